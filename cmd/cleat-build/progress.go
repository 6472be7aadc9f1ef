package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/moby/term"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/internal/buildflags"
)

// shower shows how a build goes. Its methods are safe for concurrent use.
type shower interface {
	event(e build.Event)
	close(err error) // shows what is left, and of err what its step has said
}

// newShower returns what --progress asks for.
func newShower(f *buildflags.Flags, w io.Writer) (shower, error) {
	kind := f.Progress
	if env := os.Getenv("BUILDKIT_PROGRESS"); kind == "auto" && env != "" {
		kind = env
	}
	if f.Quiet {
		kind = "quiet"
	}
	fd, isTerminal := term.GetFdInfo(w)
	switch kind {
	case "auto":
		if isTerminal && os.Getenv("TERM") != "dumb" {
			return newDisplay(w, terminal(fd)), nil
		}
		return newPrinter(w), nil
	case "tty":
		if !isTerminal {
			return nil, errors.New("--progress tty: stderr is not a terminal")
		}
		return newDisplay(w, terminal(fd)), nil
	case "plain":
		return newPrinter(w), nil
	case "quiet":
		p := newPrinter(w)
		p.quiet = true
		return p, nil
	case "rawjson":
		return &jsonLines{w: w, steps: map[int]*jsonVertex{}}, nil
	}
	return nil, fmt.Errorf("--progress %q: want auto, plain, tty, quiet or rawjson", kind)
}

// terminal returns a function that tells the size of a terminal.
func terminal(fd uintptr) func() (rows, columns int) {
	return func() (int, int) {
		size, err := term.GetWinsize(fd)
		if err != nil || size.Height == 0 || size.Width == 0 {
			return 24, 80
		}
		return int(size.Height), int(size.Width)
	}
}

// printable keeps a command of the build from steering the terminal: its control
// characters and sequences are left out.
func printable(s string) string {
	var b strings.Builder
	for s != "" {
		if rest, ok := strings.CutPrefix(s, "\x1b"); ok {
			s = afterSequence(rest)
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) || r == '\t' {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// afterSequence returns what follows the rest of an escape sequence, see ECMA-48.
func afterSequence(s string) string {
	if s == "" {
		return ""
	}
	switch s[0] {
	case '[': // parameters, and a last byte from @ to ~
		for i := 1; i < len(s); i++ {
			if s[i] >= '@' && s[i] <= '~' {
				return s[i+1:]
			}
		}
		return ""
	case ']', 'P', '_', '^': // a string that ends with BEL or ESC \
		if i := strings.IndexByte(s, '\a'); i >= 0 {
			return s[i+1:]
		}
		if _, rest, ok := strings.Cut(s, "\x1b\\"); ok {
			return rest
		}
		return ""
	}
	_, n := utf8.DecodeRuneInString(s)
	return s[n:]
}

// lastOf returns what stays on the screen of a line that was written over.
func lastOf(line string) string {
	line = strings.TrimRight(line, "\r\n")
	return line[strings.LastIndexByte(line, '\r')+1:]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
