package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cleat-project/cleat/engine"
)

func (r *recorder) Stop(_ context.Context, ref string, opt engine.StopOptions) error {
	return r.call(ref, "stop", opt)
}

func (r *recorder) Restart(_ context.Context, ref string, opt engine.StopOptions) error {
	return r.call(ref, "restart", opt)
}

func (r *recorder) Kill(_ context.Context, ref, sig string) error { return r.call(ref, "kill", sig) }
func (r *recorder) Pause(_ context.Context, ref string) error     { return r.call(ref, "pause") }
func (r *recorder) Unpause(_ context.Context, ref string) error   { return r.call(ref, "unpause") }
func (r *recorder) Start(_ context.Context, ref string) error     { return r.call(ref, "start") }

func (r *recorder) Remove(_ context.Context, ref string, opt engine.RemoveOptions) error {
	return r.call(ref, "rm", opt)
}

func (r *recorder) Wait(_ context.Context, ref string, cond engine.WaitCondition) (int, error) {
	return len(ref), r.call(ref, "wait", cond)
}

func TestVerbsOfManyContainers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		call []any // without the container
	}{
		"stop":                   {[]string{"stop"}, []any{"stop", engine.StopOptions{}}},
		"stop at once":           {[]string{"stop", "-t", "0", "-s", "SIGINT"}, []any{"stop", engine.StopOptions{Signal: "SIGINT", Grace: new(time.Duration(0))}}},
		"stop and wait for ever": {[]string{"stop", "--timeout=-1"}, []any{"stop", engine.StopOptions{Grace: new(-time.Second)}}},
		"stop with the old flag": {[]string{"container", "stop", "--time", "5"}, []any{"stop", engine.StopOptions{Grace: new(5 * time.Second)}}},
		"restart":                {[]string{"restart", "-t", "3"}, []any{"restart", engine.StopOptions{Grace: new(3 * time.Second)}}},
		"kill":                   {[]string{"kill"}, []any{"kill", ""}},
		"kill with a signal":     {[]string{"kill", "-s", "HUP"}, []any{"kill", "HUP"}},
		"rm":                     {[]string{"rm"}, []any{"rm", engine.RemoveOptions{}}},
		"rm with all flags":      {[]string{"container", "remove", "-fv"}, []any{"rm", engine.RemoveOptions{Force: true, Volumes: true}}},
		"pause":                  {[]string{"pause"}, []any{"pause"}},
		"unpause":                {[]string{"unpause"}, []any{"unpause"}},
		"start":                  {[]string{"start"}, []any{"start"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			got := try(t, r, append(tt.args, "a", "bad", "b")...)
			want(t, got, outcome{Out: "a\nb\n", Err: "cleat: no such container: bad\n", Code: 1})
			var calls []any
			for _, ref := range []any{"a", "bad", "b"} {
				calls = append(calls, append([]any{ref}, tt.call...))
			}
			r.expect(t, calls...)
		})
	}
}

func TestWaitPrintsCodes(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	want(t, try(t, r, "wait", "a", "bad", "abc"), outcome{Out: "1\n3\n", Err: "cleat: no such container: bad\n", Code: 1})
	r.expect(t, []any{"a", "wait", engine.WaitNotRunning}, []any{"bad", "wait", engine.WaitNotRunning}, []any{"abc", "wait", engine.WaitNotRunning})
}

func TestStartAttachesToOneContainer(t *testing.T) {
	t.Parallel()
	want(t, try(t, bystander{}, "start", "-a", "x", "y"), outcome{Err: "cleat: you cannot start and attach multiple containers at once\n", Code: 1})
	want(t, try(t, bystander{}, "start", "--checkpoint", "c", "x"), outcome{
		Err: "cleat: --checkpoint is not supported: containers cannot be checkpointed\n\nUsage:  cleat start [OPTIONS] CONTAINER [CONTAINER...]\n\nRun 'cleat start --help' for more information\n", Code: 125,
	})
	eng := &oneContainer{err: errors.New("no broker")}
	want(t, try(t, eng, "start", "-ai", "x"), outcome{Err: "cleat: no broker\n", Code: 1})
	if eng.attached != (engine.AttachOptions{Stdin: true, Stdout: true, Stderr: true, Owner: true}) {
		t.Errorf("attached to %+v", eng.attached)
	}
}

// oneContainer is an engine with a container that takes input.
type oneContainer struct {
	backend
	status   engine.Status
	attached engine.AttachOptions
	err      error
}

func (o *oneContainer) Get(context.Context, string) (engine.Container, error) {
	ct := engine.Container{Status: o.status}
	ct.ID, ct.Process.OpenStdin = "4242", true
	return ct, nil
}

func (o *oneContainer) Attach(_ context.Context, _ string, opt engine.AttachOptions) (*engine.Session, error) {
	o.attached = opt
	return nil, o.err
}

func TestAttach(t *testing.T) {
	t.Parallel()
	tests := map[engine.Status]string{
		engine.StatusPaused:     "you cannot attach to a paused container, unpause it first",
		engine.StatusRestarting: "you cannot attach to a restarting container, wait until it is running",
		engine.StatusExited:     "you cannot attach to a stopped container, start it first",
		engine.StatusCreated:    "you cannot attach to a stopped container, start it first",
	}
	for status, msg := range tests {
		want(t, try(t, &oneContainer{status: status}, "attach", "x"), outcome{Err: "cleat: " + msg + "\n", Code: 1})
	}
	for flag, stdin := range map[string]bool{"--sig-proxy": true, "--no-stdin": false} {
		eng := &oneContainer{status: engine.StatusRunning, err: errors.New("no broker")}
		want(t, try(t, eng, "attach", flag, "x"), outcome{Err: "cleat: no broker\n", Code: 1})
		if eng.attached != (engine.AttachOptions{Stdin: stdin, Stdout: true, Stderr: true}) {
			t.Errorf("%s: attached to %+v", flag, eng.attached)
		}
	}
}
