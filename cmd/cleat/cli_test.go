package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// outcome is what a command printed and how it ended.
type outcome struct {
	Out, Err string
	Code     int
}

// try runs a command line against eng as root, on a machine that needs no
// embedded host, and with nothing on stdin.
func try(t *testing.T, eng backend, args ...string) outcome {
	t.Helper()
	return tryWith(t, eng, "", args...)
}

// tryWith is try with something on stdin.
func tryWith(t *testing.T, eng backend, stdin string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	c := testCLI(eng)
	c.in, c.out, c.err = strings.NewReader(stdin), &out, &errs
	root := newRoot(c, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(t.Context())
	code := report(&errs, cmd, err)
	return outcome{out.String(), errs.String(), code}
}

func testCLI(eng backend) *cli {
	enter := func(context.Context, *cli) error { return nil }
	return &cli{
		lookup: callersEnv, dir: "/here",
		open:           func(engine.Options) (backend, error) { return eng, nil },
		releaseSignals: func() {}, enterHost: enter, enterToComplete: enter,
	}
}

// callersEnv is an environment with one variable.
func callersEnv(name string) (string, bool) {
	if name == "SET" {
		return "value of SET", true
	}
	return "", false
}

func want(t *testing.T, got, want outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// bystander is an engine that no test expects to be called.
type bystander struct{ backend }

// recorder notes the calls of verbs that take a container and fails for the one
// called "bad".
type recorder struct {
	backend
	calls []any
}

func (r *recorder) call(ref string, call ...any) error {
	r.calls = append(r.calls, append([]any{ref}, call...))
	if ref == "bad" {
		return errors.New("no such container: bad")
	}
	return nil
}

func (r *recorder) expect(t *testing.T, calls ...any) {
	t.Helper()
	if diff := cmp.Diff(calls, r.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
