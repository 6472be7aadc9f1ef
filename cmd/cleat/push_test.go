package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine"
)

// carrier is an engine that takes what is pushed.
type carrier struct {
	backend
	done []string // tags that it pushes
	opt  engine.PushOptions
	name string
	fail error
}

const (
	pushedDigest = "sha256:d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
	zeros        = "0000000000000000000000000000000000000000000000000000000000000000"
)

func (c *carrier) Push(_ context.Context, name string, opt engine.PushOptions) error {
	c.name, c.opt = name, opt
	layer := func(phase engine.PullPhase, from string) engine.PullEvent {
		return engine.PullEvent{Layer: "sha256:" + zeros, Phase: phase, Total: 100, From: from}
	}
	for _, tag := range c.done {
		ref, err := engine.ParseReference("registry.lan:5000/web:" + tag)
		if err != nil {
			return err
		}
		opt.Progress(layer(engine.Preparing, ""))
		opt.Progress(layer(engine.Pushing, ""))
		opt.Progress(layer(engine.Mounted, "base"))
		opt.Done(engine.PushedImage{Reference: ref, Digest: pushedDigest, SizeBytes: 528})
	}
	return c.fail
}

func TestPush(t *testing.T) {
	t.Parallel()
	const head = "The push refers to repository [registry.lan:5000/web]\n"
	const layers = "000000000000: Preparing\n000000000000: Mounted from base\n"
	line := func(tag string) string { return tag + ": digest: " + pushedDigest + " size: 528\n" }
	tests := map[string]struct {
		args string
		eng  carrier
		want outcome
	}{
		"tag":         {"registry.lan:5000/web:1", carrier{done: []string{"1"}}, outcome{Out: head + layers + line("1")}},
		"default tag": {"registry.lan:5000/web", carrier{done: []string{"latest"}}, outcome{Out: "Using default tag: latest\n" + head + layers + line("latest")}},
		"all tags":    {"-a registry.lan:5000/web", carrier{done: []string{"1", "2"}}, outcome{Out: head + layers + line("1") + layers + line("2")}},
		"quiet":       {"-q registry.lan:5000/web:1", carrier{done: []string{"1"}}, outcome{Out: "registry.lan:5000/web:1\n"}},
		"failure":     {"-q registry.lan:5000/web:1", carrier{fail: errors.New("push access denied for web")}, outcome{Err: "cleat: push access denied for web\n", Code: 1}},
	}
	for name, tt := range tests {
		for _, object := range []string{"push ", "image push "} {
			eng := tt.eng
			want(t, try(t, &eng, strings.Fields(object+tt.args)...), tt.want)
			if eng.opt.AllTags != strings.Contains(tt.args, "-a") || !strings.HasSuffix(tt.args, " "+eng.name) && tt.args != eng.name {
				t.Errorf("%s: pushed %q with %+v", name, eng.name, eng.opt.AllTags)
			}
		}
	}
	for _, args := range []string{"push", "push a b", "push A:b"} {
		if got := try(t, bystander{}, strings.Fields(args)...); got.Code == 0 || got.Err == "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
