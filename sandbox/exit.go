package sandbox

import "errors"

// The exit codes with which "cleat-init start" tells systemd, and through it
// whoever started the unit, how far it came. They are outside the range that
// payloads commonly use; the units carry them in RestartPreventExitStatus=.
const (
	ExitFailed        = 241 // cleat could not set the container up: 125 to the user
	ExitNotExecutable = 242 // the command was found but cannot be run: 126
	ExitNotFound      = 243 // the command was not found: 127
	ExitEnough        = 244 // the restart policy allows no further start
)

// UserExitCode returns the code that a user sees for an exit code of
// "cleat-init start", and false if code is none of those of a failed start.
func UserExitCode(code int) (int, bool) {
	switch code {
	case ExitFailed:
		return 125, true
	case ExitNotExecutable:
		return 126, true
	case ExitNotFound:
		return 127, true
	}
	return 0, false
}

// CommandError is the failure of a container's command itself, as opposed to
// one of setting up the container.
type CommandError struct {
	Exit int // ExitNotExecutable or ExitNotFound
	Err  error
}

// Error returns Docker's wording.
func (e *CommandError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// ExitOf returns the exit code for a failed start.
func ExitOf(err error) int {
	if e, ok := errors.AsType[*CommandError](err); ok {
		return e.Exit
	}
	return ExitFailed
}
