package main

import (
	"context"
	"testing"
)

func (r *recorder) Rename(_ context.Context, ref, name string) error {
	return r.call(ref, "rename", name)
}

func TestRename(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	want(t, try(t, r, "rename", "web", "web2"), outcome{})
	want(t, try(t, r, "container", "rename", "bad", "x"), outcome{Err: "cleat: no such container: bad\n", Code: 1})
	r.expect(t, []any{"web", "rename", "web2"}, []any{"bad", "rename", "x"})
	want(t, try(t, bystander{}, "rename", "web"), outcome{
		Err: "cleat: 'cleat rename' requires 2 arguments\n\nUsage:  cleat rename CONTAINER NEW_NAME\n\nSee 'cleat rename --help' for more information\n", Code: 1,
	})
}
