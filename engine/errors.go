package engine

import (
	"errors"
	"fmt"
	"strings"

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

// worded is an error of a class that its text does not name, because the text
// says it already.
type worded struct {
	text  string
	class error
}

// Error implements error.
func (e worded) Error() string { return e.text }

// Unwrap returns the class.
func (e worded) Unwrap() error { return e.class }

// Sentence is the text of err without the names of the classes at its end: they
// are for programs, and the text before them says it already.
func Sentence(err error) string {
	if e, ok := errors.AsType[*StartError](err); ok {
		return strings.TrimSuffix(e.Message, ": "+spec.ErrInvalid.Error())
	}
	return withoutClass(err.Error())
}

func withoutClass(s string) string {
	for _, class := range []error{spec.ErrExists, spec.ErrInvalid, spec.ErrConflict, spec.ErrUnsupport, spec.ErrUnavail, spec.ErrDenied} {
		s = strings.TrimSuffix(s, ": "+class.Error())
	}
	if strings.HasPrefix(s, "no such ") || strings.Contains(strings.TrimSuffix(s, spec.ErrNotFound.Error()), " not found") {
		s = strings.TrimSuffix(s, ": "+spec.ErrNotFound.Error())
	}
	return s
}
