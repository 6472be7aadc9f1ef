package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/internal/buildflags"
)

// someEvents are of a build of two stages, the second of which fails.
var someEvents = []build.Event{
	{Step: 1, Title: "[1/2] RUN a", Phase: build.Started},
	{Step: 1, Title: "[1/2] RUN a", Phase: build.Log, Text: "half"},
	{Step: 2, Title: "[2/2] COPY b", Phase: build.Started},
	{Step: 2, Title: "[2/2] COPY b", Phase: build.Cached},
	{Step: 1, Title: "[1/2] RUN a", Phase: build.Log, Text: " a line\x1b[31m\r\n10%\r20%\n\x1b]0;title\arest", After: time.Second},
	{Step: 1, Title: "[1/2] RUN a", Phase: build.Done, After: 1500 * time.Millisecond},
	{Phase: build.Warning, Text: "care\x1b[2Jful"},
	{Step: 3, Title: "exporting", Phase: build.Started},
	{Step: 3, Title: "exporting", Phase: build.Status, Text: "naming to x"},
	{Step: 3, Title: "exporting", Phase: build.Log, Text: "why\n"},
	{Step: 4, Title: "beside", Phase: build.Started},
	{Step: 3, Title: "exporting", Phase: build.Failed, Err: errors.New("boom")},
	{Step: 4, Title: "beside", Phase: build.Canceled},
}

func TestPlain(t *testing.T) {
	var out strings.Builder
	p := newPrinter(&out)
	for _, e := range someEvents {
		p.event(e)
	}
	p.close(errors.New("boom"))
	want := `#1 [1/2] RUN a
#1 ...

#2 [2/2] COPY b
#2 CACHED

#1 [1/2] RUN a
#1 1.000 half a line
#1 1.000 20%
#1 1.500 rest
#1 DONE 1.5s
[Warning] careful

#3 exporting
#3 naming to x done
#3 0.000 why
#3 ...

#4 beside
#4 ...

#3 exporting
#3 ERROR: boom

#4 beside
#4 CANCELED
------
 > exporting:
0.000 why
------
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// screen is a terminal that understands what a display writes, and stops the test at
// all else.
type screen struct {
	t        *testing.T
	lines    []string
	row, col int
	deepest  int
}

func (s *screen) Write(data []byte) (int, error) {
	text := string(data)
	for text != "" {
		switch c := text[0]; c {
		case '\n':
			s.row, s.col, text = s.row+1, 0, text[1:]
			s.deepest = max(s.deepest, s.row)
		case '\r':
			s.col, text = 0, text[1:]
		case 0x1b:
			text = s.control(text)
		default:
			for len(s.lines) <= s.row {
				s.lines = append(s.lines, "")
			}
			line := s.lines[s.row] + strings.Repeat(" ", max(0, s.col-len(s.lines[s.row])))
			s.lines[s.row] = line[:s.col] + string(c) + line[min(s.col+1, len(line)):]
			s.col++
			text = text[1:]
		}
	}
	return len(data), nil
}

func (s *screen) control(text string) string {
	end := strings.IndexFunc(text[2:], func(r rune) bool { return r >= '@' }) + 2
	n, _ := strconv.Atoi(text[2:end])
	switch text[end] {
	case 'A':
		s.row -= n
	case 'K':
		if s.row < len(s.lines) {
			s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
		}
	case 'J':
		s.lines = s.lines[:min(s.row, len(s.lines))]
	case 'h', 'l', 'm':
	default:
		s.t.Fatalf("unknown control sequence %q", text[:end+1])
	}
	if s.row < 0 {
		s.t.Fatal("the cursor left the screen")
	}
	return text[end+1:]
}

func (s *screen) text() string { return strings.Join(s.lines, "\n") }

// testDisplay is one whose clock the test moves, and which does not draw by itself.
func testDisplay(t *testing.T, rows, columns int) (*display, *screen, *time.Time) {
	t.Setenv("NO_COLOR", "")
	sc, now := &screen{t: t}, new(time.Time)
	*now = time.Unix(1000, 0)
	d := &display{w: sc, size: func() (int, int) { return rows, columns }, now: func() time.Time { return *now }, begun: *now, color: true, stop: make(chan struct{})}
	return d, sc, now
}

func TestDisplay(t *testing.T) {
	d, sc, now := testDisplay(t, 24, 40)
	for i, e := range someEvents {
		*now = now.Add(200 * time.Millisecond)
		d.event(e)
		if i == 4 {
			want := "[+] Building 1.0s (1/2)\n => [1/2] RUN a                    0.8s\n => => # half a line\n => => # 20%\n => => # rest\n => CACHED [2/2] COPY b            0.0s"
			if diff := cmp.Diff(want, sc.text()); diff != "" {
				t.Errorf("half way (-want +got):\n%s", diff)
			}
		}
	}
	d.close(errors.New("boom"))
	want := `[+] Building 2.6s (2/4)
 => [1/2] RUN a                    1.5s
 => CACHED [2/2] COPY b            0.0s
 => ERROR exporting                0.0s
 => => naming to x                 0.0s
 => CANCELED beside                0.0s

 - careful
------
 > exporting:
0.000 why
------`
	if diff := cmp.Diff(want, sc.text()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// However much there is to show, it is not more than the screen has, until the end.
func TestDisplayFits(t *testing.T) {
	d, sc, now := testDisplay(t, 10, 30)
	for i := 1; i <= 20; i++ {
		*now = now.Add(time.Second)
		title := fmt.Sprintf("step %d with a name that is longer than the screen", i)
		d.event(build.Event{Step: i, Title: title, Phase: build.Started})
		for range 20 {
			d.event(build.Event{Step: i, Title: title, Phase: build.Log, Text: strings.Repeat("x", 100) + "\n"})
		}
		if i%3 > 0 {
			d.event(build.Event{Step: i, Title: title, Phase: build.Done})
		}
	}
	for _, line := range sc.lines {
		if len(line) > 30 {
			t.Errorf("%q is too long", line)
		}
	}
	if sc.deepest >= 10 {
		t.Errorf("%d lines were used", sc.deepest)
	}
	d.close(nil)
	if n := strings.Count(sc.text(), "step "); n != 20 {
		t.Errorf("%d steps are shown at the end:\n%s", n, sc.text())
	}
}

func TestRawJSON(t *testing.T) {
	var out strings.Builder
	j := &jsonLines{w: &out, steps: map[int]*jsonVertex{}}
	for _, e := range someEvents {
		j.event(e)
	}
	var all jsonLine
	for line := range strings.Lines(out.String()) {
		var one jsonLine
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		all.Vertexes, all.Logs = append(all.Vertexes, one.Vertexes...), append(all.Logs, one.Logs...)
		all.Statuses, all.Warnings = append(all.Statuses, one.Statuses...), append(all.Warnings, one.Warnings...)
	}
	if len(all.Vertexes) != 8 || len(all.Logs) != 3 || len(all.Statuses) != 1 || len(all.Warnings) != 1 {
		t.Errorf("%+v", all)
	}
	if v := all.Vertexes[6]; v.Error != "boom" || v.Name != "exporting" || v.Completed == nil {
		t.Errorf("%+v", v)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext ü": "plain\ttext ü", "\x1b[1;31mred\x1b[0m": "red", "a\x1b]0;title\x1b\\b": "ab", "\x1b[2J\x1bc": "", "a\x08\x07\u009bb": "ab", "cut \x1b[": "cut ", "\x1b": "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestKindsOfProgress(t *testing.T) {
	t.Setenv("BUILDKIT_PROGRESS", "rawjson")
	var out strings.Builder
	for kind, ok := range map[string]bool{"auto": true, "plain": true, "quiet": true, "rawjson": true, "tty": false, "fancy": false} {
		if _, err := newShower(&buildflags.Flags{Progress: kind}, &out); (err == nil) != ok {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if s, _ := newShower(&buildflags.Flags{Progress: "auto"}, &out); fmt.Sprintf("%T", s) != "*main.jsonLines" {
		t.Errorf("BUILDKIT_PROGRESS was not heard: %T", s)
	}
}
