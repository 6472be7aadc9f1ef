package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// site is one embedded host with its root directory.
type site struct{ root string }

// shared returns the host that all tests share.
func shared() site { return site{env.root} }

// newSite starts a host of the test's own, which ends with the test.
func newSite(t *testing.T, args ...string) site {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-e2e-own-")
	if err != nil {
		t.Fatal(err)
	}
	s := site{dir}
	t.Cleanup(func() {
		r := s.try("host", "stop", "-t", "0")
		if err := os.RemoveAll(dir); err != nil || r.code != 0 {
			t.Errorf("host stop: %v, %v", r, err)
		}
	})
	s.must(t, append([]string{"host", "start"}, args...)...)
	if err := noteGroup(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// cmd returns a command of cleat at this host.
func (s site) cmd(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(env.bin, "cleat"), append([]string{"--root", s.root}, args...)...)
}

// result is how a command ended.
type result struct {
	code        int // -1 if a signal ended it
	out, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d, stdout %q, stderr %q", r.code, clip(r.out), clip(r.stderr))
}

// clip shortens what would make a message unreadable.
func clip(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "…"
	}
	return s
}

// try runs a command to its end. Its output is without the final newline.
func (s site) try(args ...string) result { return finish(s.cmd(args...)) }

func finish(cmd *exec.Cmd) result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{out: strings.TrimSuffix(stdout.String(), "\n"), stderr: strings.TrimSuffix(stderr.String(), "\n")}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		r.code, r.stderr = -2, r.stderr+err.Error()
	}
	return r
}

// must runs a command that has to succeed and returns its output.
func (s site) must(t testing.TB, args ...string) string {
	t.Helper()
	r := s.try(args...)
	if r.code != 0 {
		t.Fatalf("cleat %s: %v", strings.Join(args, " "), r)
	}
	return r.out
}

// systemctl runs systemctl inside the host.
func (s site) systemctl(t testing.TB, args ...string) string {
	t.Helper()
	return s.must(t, append([]string{"host", "shell", "systemctl"}, args...)...)
}

// inspect returns one value of a container.
func (s site) inspect(t testing.TB, name, format string) string {
	t.Helper()
	return s.must(t, "inspect", "-f", format, name)
}

// run starts a container in the background that is removed with the test.
func (s site) run(t testing.TB, name string, args ...string) (id string) {
	t.Helper()
	t.Cleanup(func() { s.try("rm", "-f", "-v", name) })
	return s.must(t, append([]string{"run", "-d", "--network", "none", "--name", name}, args...)...)
}

// clean fails the test if "system check" finds anything.
func (s site) clean(t testing.TB) {
	t.Helper()
	if r := s.try("system", "check"); r.code != 0 {
		t.Errorf("system check: %v", r)
	}
}

// until calls ok until it returns true: what is watched are other programs,
// which tell nobody.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// goSpeak is what must not reach a user: Go's syntax, panics, bare numbers of
// errors.
var goSpeak = regexp.MustCompile(`panic:|goroutine|runtime error|&\{|map\[|%!|0x[0-9a-f]{6}|<nil>|\*[a-z]+\.[A-Z]|errno|\bE[A-Z]{3,}\b`)

// plain fails the test if a message is not one for users.
func plain(t testing.TB, message string) {
	t.Helper()
	if bad := goSpeak.FindString(message); bad != "" {
		t.Errorf("message has %q: %s", bad, message)
	}
}
