package tests

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// buildOnTerminal runs a command on a terminal of its own, and returns all that it wrote.
func buildOnTerminal(t *testing.T, rows, columns uint16, args ...string) (string, error) {
	t.Helper()
	cmd := shared().cmd(args...)
	cmd.Env = append(os.Environ(), "TERM=xterm")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out bytes.Buffer
	_, _ = io.Copy(&out, f) // ends with EIO
	return out.String(), cmd.Wait()
}

// On a terminal the lines of a build are drawn over and over; elsewhere never.
func TestBuildOnATerminal(t *testing.T) {
	dir := tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox AS a\nENV PATH=/bin\nRUN echo one; echo two; sleep 0.4; printf '\\033[2Jevil'; echo three\nRUN exit 3\n"))
	out, err := buildOnTerminal(t, 20, 60, "build", "--network", "none", "--no-cache", dir)
	if err == nil {
		t.Error("the build succeeded")
	}
	for _, want := range []string{"[+] Building ", " => [a 2/3] RUN echo one", " => => # two", " => ERROR [a 3/3] RUN exit 3", "Dockerfile:4", "   4 | >>> RUN exit 3", "ERROR: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3", "\x1b["} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %q", want, out)
		}
	}
	if strings.Contains(out, "\x1b[2J") {
		t.Error("the step has steered the terminal")
	}
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox AS a\nENV PATH=/bin\nRUN echo one\n"))
	if out, err = buildOnTerminal(t, 20, 60, "build", "--network", "none", dir); err != nil || !strings.Contains(out, "FINISHED") || !strings.Contains(out, "writing image sha256:") {
		t.Errorf("%v: %q", err, out)
	}
	if out, err = buildOnTerminal(t, 20, 60, "build", "--network", "none", "--progress", "plain", dir); err != nil || strings.Contains(out, "\x1b") || !strings.Contains(out, "#2 [a 1/2] FROM busybox") {
		t.Errorf("%v: %q", err, out)
	}
	if r := shared().try("build", "--progress", "tty", dir); r.code == 0 || !strings.Contains(r.stderr, "stderr is not a terminal") {
		t.Errorf("tty without one: %v", r)
	}
	if r := shared().try("build", "--network", "none", "--progress", "rawjson", dir); r.code != 0 || !strings.Contains(r.stderr, `"cached":true`) {
		t.Errorf("rawjson: %v", r)
	}
}
