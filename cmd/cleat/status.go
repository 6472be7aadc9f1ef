package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/interrupt"
)

// The exit codes of cleat itself, which are Docker's.
const (
	exitFailure = 1   // a command that did not do what was asked
	exitOwn     = 125 // cleat's own failure in a command that passes on a container's code, and unknown flags
)

// exitCode ends the program with a container's code, without a word.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// runError is a failure of cleat itself in a command that otherwise ends with
// the code of what it ran.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// ownFailure marks err as a runError unless it is nil or carries a code already.
func ownFailure(err error) error {
	if _, ok := errors.AsType[exitCode](err); ok || err == nil {
		return err
	}
	return runError{err}
}

// codedError is printed like any other, and ends the program with its code.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// usageError is a command line that makes no sense. It is printed with the
// command's usage line.
type usageError struct {
	error
	code int
	see  string // "See" or "Run", as Docker begins the last line
}

func (e usageError) Unwrap() error { return e.error }

// hintError is an error with advice on what to do.
type hintError struct {
	error
	hint string
}

func (e hintError) Unwrap() error { return e.error }

// Hint returns the advice as one sentence without a full stop.
func (e hintError) Hint() string { return e.hint }

func hinted(err error, hint string) error { return hintError{err, hint} }

// report prints err on w and returns the exit code of the program.
func report(w io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if sig, ok := errors.AsType[interrupt.Error](context.Cause(contextOf(cmd))); ok {
		if _, told := errors.AsType[interrupt.Error](err); !told && !errors.Is(err, context.Canceled) {
			printError(w, err)
		}
		return 128 + int(sig.Signal)
	}
	if refused, ok := errors.AsType[refusedError](err); ok { // of a flag before the verb, for which there is no flagError
		err = usageError{refused, exitOwn, "Run"}
	}
	for _, e := range flatten(err) {
		printError(w, e)
	}
	if u, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(w, "\nUsage:  %s\n\n%s '%s --help' for more information\n", useLine(cmd), u.see, cmd.CommandPath())
		return u.code
	}
	if _, ok := errors.AsType[runError](err); ok {
		fmt.Fprintf(w, "\nRun '%s --help' for more information\n", cmd.CommandPath())
		return startCode(err)
	}
	if e, ok := errors.AsType[codedError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[seeHelp](err); ok {
		fmt.Fprintf(w, "See '%s --help'\n", cmd.CommandPath())
	}
	return exitFailure
}

// startCode is the exit code of a container that did not start.
func startCode(err error) int {
	if e, ok := errors.AsType[*engine.StartError](err); ok && e.Code != 0 {
		return e.Code
	}
	return exitOwn
}

func contextOf(cmd *cobra.Command) context.Context {
	if cmd != nil && cmd.Context() != nil {
		return cmd.Context()
	}
	return context.Background()
}

func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "cleat: %s\n", strings.ReplaceAll(sentence(err), "\n", "; "))
	for _, hint := range hints(err) {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// flatten returns the errors that each collected, or err alone.
func flatten(err error) []error {
	if list, ok := errors.AsType[errorList](err); ok {
		return list
	}
	return []error{err}
}

func sentence(err error) string { return engine.Sentence(err) }

// hints collects the advice in err's tree.
func hints(err error) []string {
	switch e := err.(type) { //nolint:errorlint // The whole tree is walked, because several errors may have advice.
	case interface{ Hint() string }:
		return append([]string{e.Hint()}, hints(errors.Unwrap(err))...)
	case interface{ Unwrap() error }:
		return hints(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []string
		for _, inner := range e.Unwrap() {
			out = append(out, hints(inner)...)
		}
		return out
	}
	return nil
}

// flagError turns an error of the flag parser into a usageError.
func flagError(_ *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return usageError{plainFlagError(err), exitOwn, "Run"}
}

// plainFlagError says what a boolean or a number is instead of how it was parsed.
func plainFlagError(err error) error {
	num, ok := errors.AsType[*strconv.NumError](err)
	if !ok {
		return err
	}
	what := "it is a number"
	switch {
	case num.Func == "ParseBool":
		what = "it is true or false"
	case errors.Is(num, strconv.ErrRange):
		what = "the number is too large, or too small"
	}
	before, _, _ := strings.Cut(err.Error(), "strconv.")
	return fmt.Errorf("%s%s%w", before, what, quiet{err})
}

// quiet is an error that others say in better words.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }
