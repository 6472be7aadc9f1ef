package main

import (
	"context"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine"
)

func (r *recorder) Top(_ context.Context, ref string, psArgs []string) (engine.ProcessTable, error) {
	return engine.ProcessTable{
		Titles:    []string{"UID", "PID", "CMD"},
		Processes: [][]string{{"root", "7", "sleep 1"}, {"a-user-with-a-very-long-name", "8", "sh"}},
	}, r.call(ref, "top", strings.Join(psArgs, " "))
}

func TestTop(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	want(t, try(t, r, "top", "web", "-o", "pid,cmd"), outcome{Out: "" +
		"UID                            PID                 CMD\n" +
		"root                           7                   sleep 1\n" +
		"a-user-with-a-very-long-name   8                   sh\n"})
	want(t, try(t, r, "container", "top", "bad", "aux"), outcome{Err: "cleat: no such container: bad\n", Code: 1})
	r.expect(t, []any{"web", "top", "-o pid,cmd"}, []any{"bad", "top", "aux"})
}
