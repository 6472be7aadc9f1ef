package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// executed notes what is to be executed, and does not.
type executed struct {
	backend
	ref  string
	opt  engine.ExecOptions
	fail error
}

func (e *executed) Exec(_ context.Context, ref string, opt engine.ExecOptions) (*engine.Exec, error) {
	e.ref, e.opt = ref, opt
	return &engine.Exec{}, e.fail
}

func TestExec(t *testing.T) {
	t.Parallel()
	tests := map[string]engine.ExecOptions{
		"-d web a -x":                       {Argv: []string{"a", "-x"}, Detach: true},
		"-di --privileged -u 1 -w /w web a": {Argv: []string{"a"}, Detach: true, Privileged: true, User: "1", Dir: "/w"},
		"-d -e A=1 -e SET -e NOT web a":     {Argv: []string{"a"}, Detach: true, Env: []string{"A=1", "SET=value of SET"}},
		"-dt web a":                         {Argv: []string{"a"}, Detach: true, TTY: true},
	}
	for args, opt := range tests {
		e := &executed{}
		want(t, try(t, e, append([]string{"exec"}, strings.Fields(args)...)...), outcome{})
		if diff := cmp.Diff(opt, e.opt); diff != "" || e.ref != "web" {
			t.Errorf("%s: container %q (-want +got):\n%s", args, e.ref, diff)
		}
	}
}

func TestExecFailures(t *testing.T) {
	t.Parallel()
	start := &engine.StartError{Name: "web", Code: 126, Message: `exec: "/etc": permission denied`}
	want(t, try(t, &executed{fail: start}, "exec", "web", "/etc"), outcome{Err: "cleat: exec: \"/etc\": permission denied\n", Code: 126})
	want(t, try(t, &executed{fail: errors.New(`container "web" is not running`)}, "exec", "web", "a"), outcome{Err: "cleat: container \"web\" is not running\n", Code: 1})
	want(t, try(t, bystander{}, "exec", "-it", "web", "a"), outcome{Err: "cleat: the input device is not a TTY\n", Code: 1})
}

func TestFeedExecClosesPipesOnly(t *testing.T) {
	t.Parallel()
	for tty, closed := range map[bool]bool{false: true, true: false} {
		c := &cli{in: strings.NewReader("text")}
		w := &closer{}
		c.feedExec(w, tty, nil, func() { t.Error("detached") })
		if w.String() != "text" || w.closed != closed {
			t.Errorf("tty %v: got %q, closed %v", tty, w, w.closed)
		}
	}
}

type closer struct {
	strings.Builder
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

var _ io.WriteCloser = (*closer)(nil)
