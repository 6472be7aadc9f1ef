package main

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// journal is an engine with the log of one container.
type journal struct {
	backend
	lines []engine.LogLine
	got   engine.LogOptions
	fail  error
}

func (j *journal) Logs(_ context.Context, _ string, opt engine.LogOptions) iter.Seq2[engine.LogLine, error] {
	j.got = opt
	return func(yield func(engine.LogLine, error) bool) {
		for _, l := range j.lines {
			if !yield(l, nil) {
				return
			}
		}
		if j.fail != nil {
			yield(engine.LogLine{}, j.fail)
		}
	}
}

func line(text string, stderr, partial bool) engine.LogLine {
	return engine.LogLine{Time: now, Message: []byte(text), Stderr: stderr, Partial: partial}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	lines := []engine.LogLine{line("a", false, false), line("e", true, false), line("be", false, true), line("\x1b[1m", false, false), line("", false, false)}
	const stamp = "2026-05-06T07:08:09.000000000Z "
	tests := map[string]struct {
		args string
		want outcome
		opt  engine.LogOptions
	}{
		"each on its stream":       {"", outcome{Out: "a\nbe\x1b[1m\n\n", Err: "e\n"}, engine.LogOptions{Tail: -1}},
		"times once a line":        {"-t", outcome{Out: stamp + "a\n" + stamp + "be\x1b[1m\n" + stamp + "\n", Err: stamp + "e\n"}, engine.LogOptions{Tail: -1}},
		"following":                {"-f -n 5", outcome{Out: "a\nbe\x1b[1m\n\n", Err: "e\n"}, engine.LogOptions{Tail: 5, Follow: true}},
		"details":                  {"--details --tail 0", outcome{Out: " a\n be\x1b[1m\n \n", Err: " e\n"}, engine.LogOptions{Details: true}},
		"what is no number is all": {"--tail all", outcome{Out: "a\nbe\x1b[1m\n\n", Err: "e\n"}, engine.LogOptions{Tail: -1}},
		"since and until":          {"--since 2026-01-02T03:04:05Z --until 1767323045.5", outcome{Out: "a\nbe\x1b[1m\n\n", Err: "e\n"}, engine.LogOptions{Tail: -1, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Until: time.Unix(1767323045, 5e8)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := &journal{lines: lines}
			want(t, try(t, j, append(strings.Fields("logs "+tt.args), "web")...), tt.want)
			if diff := cmp.Diff(tt.opt, j.got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
	j := &journal{lines: lines[:1], fail: errors.New("journal is gone")}
	want(t, try(t, j, "logs", "web"), outcome{Out: "a\n", Err: "cleat: journal is gone\n", Code: 1})
	for _, flag := range []string{"--since", "--until"} {
		if got := try(t, bystander{}, "logs", flag, "yesterday", "web"); got.Code != 1 || !strings.Contains(got.Err, `failed to parse "yesterday" as a time`) {
			t.Errorf("%s: %+v", flag, got)
		}
	}
}

func TestLogTime(t *testing.T) {
	t.Parallel()
	local := func(h, m, s int) time.Time { return time.Date(2026, 1, 2, h, m, s, 0, time.Local) }
	for in, want := range map[string]time.Time{
		"":                             {},
		"0":                            {},
		"10m":                          now.Add(-10 * time.Minute),
		"1h30m":                        now.Add(-90 * time.Minute),
		"2026-01-02":                   local(0, 0, 0),
		"2026-01-02T03":                local(3, 0, 0),
		"2026-01-02T03:04":             local(3, 4, 0),
		"2026-01-02T03:04:05":          local(3, 4, 5),
		"2026-01-02T03:04:05Z":         time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.25+02:00": time.Date(2026, 1, 2, 1, 4, 5, 25e7, time.UTC),
		"2026-01-02Z":                  time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"1767323045":                   time.Unix(1767323045, 0),
		"1767323045.000000001":         time.Unix(1767323045, 1),
	} {
		if got, err := logTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, error %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "-5", "1.2.3", "1.0000000001", "2026-13-01", "99999999999999999999"} {
		if got, err := logTime(in, now); err == nil {
			t.Errorf("%q: %v and no error", in, got)
		}
	}
}

func FuzzLogTime(f *testing.F) {
	for _, s := range []string{"10m", "2026-01-02T03:04:05Z", "1767323045.5", "2026-01-02", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := logTime(s, now)
		if err != nil && !got.IsZero() {
			t.Errorf("%q gives %v and %v", s, got, err)
		}
		again, againErr := logTime(s, now)
		if !again.Equal(got) || (err == nil) != (againErr == nil) {
			t.Errorf("%q gives %v and then %v", s, got, again)
		}
	})
}

// BenchmarkLogs prints lines as logs does: a million of them have to take less
// than a second or two altogether, reading included.
func BenchmarkLogs(b *testing.B) {
	p := newLogPrinter(nopWriter{}, nopWriter{}, &logsFlags{follow: true})
	defer p.stop()
	l := line("a line of a usual length, which is about sixty characters long", false, false)
	for b.Loop() {
		if err := p.print(l); err != nil {
			b.Fatal(err)
		}
	}
}

type nopWriter struct{}

func (nopWriter) Write(p []byte) (int, error) { return len(p), nil }
