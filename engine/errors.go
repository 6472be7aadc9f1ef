package engine

import (
	"errors"
	"fmt"

	"github.com/cleat-project/cleat/spec"
)

// StartError says that a container could not be started. Code is Docker's exit
// code for it: 125 cleat could not set it up, 126 the command is not
// executable, 127 the command was not found.
type StartError struct {
	Name    string // of the container
	Code    int
	Message string // the reason as one sentence, from the start helper
}

// Error implements error.
func (e *StartError) Error() string { return fmt.Sprintf("start %q: %s", e.Name, e.Message) }

// conflict returns an error of class spec.ErrConflict.
func conflict(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, spec.ErrConflict)...)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, spec.ErrInvalid)...)
}

func isNotFound(err error) bool { return errors.Is(err, spec.ErrNotFound) }
