package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
)

// streamed is what comes of events, with what they are about in short.
func streamed(quiet bool, events []build.Event, end func(*apiStream)) string {
	var out bytes.Buffer
	s := newAPIStream(&out, quiet)
	for _, e := range events {
		s.event(e)
	}
	end(s)
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

func TestAPIStream(t *testing.T) {
	events := []build.Event{
		{Phase: build.Instruction, Text: "FROM x", Number: 1, Total: 3},
		{Phase: build.Log, Text: "[internal]\n"},
		{Phase: build.Triggers, Total: 2},
		{Phase: build.Made, ID: "0000000000000000", Reused: true, Part: true},
		{Phase: build.Made, ID: "0123456789abcdef"},
		{Phase: build.Warning, Text: "careful"},
		{Phase: build.Instruction, Text: "RUN y", Number: 2, Total: 3},
		{Phase: build.Running, ID: "aaaaaaaaaaaaaaaa"},
		{Phase: build.Log, Text: "out"},
		{Phase: build.Log, Text: "err", Stderr: true},
		{Phase: build.Made, ID: "bbbbbbbbbbbbbbbb"},
		{Phase: build.Instruction, Text: "COPY a b", Number: 3, Total: 3},
		{Phase: build.Made, ID: "cccccccccccccccc", Reused: true},
		{Phase: build.Log, Text: "exporting"},
	}
	begin := `{"stream":"Step 1/3 : FROM x"}
{"stream":"\n"}
{"stream":"# Executing 2 build triggers\n"}
{"stream":" ---\u003e Using cache\n"}
{"stream":" ---\u003e 0123456789ab\n"}
{"stream":"Step 2/3 : RUN y"}
{"stream":"\n"}
{"stream":" ---\u003e Running in aaaaaaaaaaaa\n"}
{"stream":"out"}
{"stream":"\u001b[91merr\u001b[0m"}
`
	made := `{"stream":"Removing intermediate container aaaaaaaaaaaa\n"}
{"stream":" ---\u003e bbbbbbbbbbbb\n"}
{"stream":"Step 3/3 : COPY a b"}
{"stream":"\n"}
{"stream":" ---\u003e Using cache\n"}
{"stream":" ---\u003e dddddddddddd\n"}
{"aux":{"ID":"sha256:dddddddddddddddd"}}
{"stream":"[Warning] careful\n"}
{"stream":"Successfully built dddddddddddd\n"}
{"stream":"Successfully tagged t:latest\n"}
`
	image := engine.Image{ID: "sha256:dddddddddddddddd"}
	finish := func(s *apiStream) { s.finish(image, []string{"t"}) }
	fail := func(s *apiStream) {
		s.fail(&build.CommandError{Command: "/bin/sh -c y", Err: &engine.ExitError{Code: 3}})
	}
	const failure = `{"errorDetail":{"code":3,"message":"The command '/bin/sh -c y' returned a non-zero code: 3"},"error":"The command '/bin/sh -c y' returned a non-zero code: 3"}` + "\n"
	for name, tt := range map[string]struct{ got, want string }{
		"all":                        {streamed(false, events, finish), begin + made},
		"only the image":             {streamed(true, events, finish), `{"stream":"sha256:dddddddddddddddd\n"}` + "\n"},
		"a failed command":           {streamed(false, events[:10], fail), begin + failure},
		"quiet, and a failure":       {streamed(true, events[:10], fail), begin + failure},
		"nothing was done":           {streamed(false, nil, func(s *apiStream) { s.fail(errors.New("no")) }), `{"errorDetail":{"message":"no"},"error":"no"}` + "\n"},
		"what is not UTF-8 is there": {streamed(false, []build.Event{{Phase: build.Running, ID: "a"}, {Phase: build.Log, Text: "\xff"}}, func(*apiStream) {}), `{"stream":" ---\u003e Running in a\n"}` + "\n" + `{"stream":"\ufffd"}` + "\n"},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What a quiet build says is kept, but not all of it.
func TestAPIStreamIsBounded(t *testing.T) {
	events := []build.Event{{Phase: build.Running, ID: "a"}}
	for range 100 {
		events = append(events, build.Event{Phase: build.Log, Text: strings.Repeat("x", maxHeld/50)})
	}
	got := streamed(true, events, func(s *apiStream) { s.fail(errors.New("no")) })
	if len(got) > maxHeld+100 || len(got) < maxHeld/4 || !strings.HasPrefix(got, `{"stream":"xxx`) || !strings.HasSuffix(got, `"error":"no"}`+"\n") {
		t.Errorf("%d bytes: %.50q … %q", len(got), got, got[len(got)-50:])
	}
}

func TestAPIPulls(t *testing.T) {
	var out bytes.Buffer
	s := newAPIStream(&out, false)
	for range 3 { // of which only one is shown within a moment
		s.pulling("a/b", engine.PullEvent{Layer: "sha256:0123456789abcdef", Current: 5, Total: 10})
	}
	want := `{"status":"Pulling from a/b","id":"latest"}` + "\r\n" + `{"status":"Waiting","id":"0123456789ab","progressDetail":{}}` + "\r\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The other end of the credentials tells when there is nobody to build for.
func TestReadCredentials(t *testing.T) {
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, `[{"Server":"s","User":"u"}]`+"\n") }()
	list, ctx, err := readCredentials(t.Context(), r)
	if err != nil || !cmp.Equal(list, []engine.Credentials{{Server: "s", User: "u"}}) {
		t.Fatalf("%v, %v", list, err)
	}
	if ctx.Err() != nil {
		t.Error("the context has ended too early")
	}
	_ = w.Close()
	<-ctx.Done()
	if cause := context.Cause(ctx); !strings.Contains(cause.Error(), "the API server is gone") {
		t.Errorf("cause is %v", cause)
	}
	if _, _, err := readCredentials(t.Context(), strings.NewReader("{}")); err == nil {
		t.Error("an object was taken for a list")
	}
}
