package main

import (
	"context"
	"testing"

	"github.com/cleat-project/cleat/engine"
)

func (r *recorder) Generate(_ context.Context, ref string, opt engine.GenerateOptions) ([]engine.UnitFile, error) {
	return []engine.UnitFile{{Name: "a.service", Text: "[Service]\n"}, {Name: "a.socket", Text: "[Socket]\n"}}, r.call(ref, "generate", opt)
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	const out = "# a.service\n[Service]\n\n# a.socket\n[Socket]\n"
	want(t, try(t, r, "generate", "web"), outcome{Out: out})
	want(t, try(t, r, "generate", "--plain", "web"), outcome{Out: out})
	want(t, try(t, r, "explain", "web"), outcome{Out: out})
	want(t, try(t, r, "explain", "bad"), outcome{Err: "cleat: no such container: bad\n", Code: 1})
	r.expect(t,
		[]any{"web", "generate", engine.GenerateOptions{Own: true}},
		[]any{"web", "generate", engine.GenerateOptions{Plain: true}},
		[]any{"web", "generate", engine.GenerateOptions{Own: true, Plain: true, Explain: true}},
		[]any{"bad", "generate", engine.GenerateOptions{Own: true, Plain: true, Explain: true}},
	)
}
