package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// pattern yields n bytes that do not repeat soon.
type pattern struct{ left, at uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(uint64(len(b)), p.left)
	for i := range n {
		x := (p.at + i) * 0x9e3779b97f4a7c15
		b[i] = byte(x >> 56)
	}
	p.at, p.left = p.at+n, p.left-n
	return int(n), nil
}

// TestBigInput sends much through a container's standard input.
func TestBigInput(t *testing.T) {
	s := shared()
	size := uint64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, &pattern{left: size}); err != nil {
		t.Fatal(err)
	}
	cmd := s.cmd("run", "-i", "--rm", "--network", "none", "busybox", "sha256sum")
	cmd.Stdin = &pattern{left: size}
	began := time.Now()
	r := finish(cmd)
	t.Logf("%d MiB in %v", size>>20, time.Since(began).Round(time.Millisecond))
	if want := fmt.Sprintf("%x  -", sum.Sum(nil)); r.code != 0 || r.out != want {
		t.Errorf("%v, want %s", r, want)
	}
}

// TestThroughAndBack sends data to a container that sends it back, so that both
// ways are under way at once, and half-closes in the end.
func TestThroughAndBack(t *testing.T) {
	s := shared()
	const size = 32 << 20
	want := sha256.New()
	if _, err := io.Copy(want, &pattern{left: size}); err != nil {
		t.Fatal(err)
	}
	cmd := s.cmd("run", "-i", "--rm", "--network", "none", "--log-driver", "none", "busybox", "sh", "-c", "cat; echo end >&2; exit 6")
	got := sha256.New()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &pattern{left: size}, got, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 6 || stderr.String() != "end\n" {
		t.Errorf("%v, stderr %q", err, stderr.String())
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Error("what came back differs")
	}
}

// TestInputEnds shows when a container's standard input ends: with the one
// client of run -i, but not with a client of a container that keeps it open.
func TestInputEnds(t *testing.T) {
	s := shared()
	r := s.feed("a\nb\n", "run", "-i", "--rm", "--network", "none", "busybox", "sh", "-c", "cat; echo done")
	if r.out != "a\nb\ndone" {
		t.Errorf("run -i: %v", r)
	}
	s.run(t, "keeps", "-i", "busybox", "sh", "-c", "while read l; do echo got $l; done; echo ended")
	for i, word := range []string{"one", "two"} {
		c := s.begin(t, strings.NewReader(word+"\n"), "attach", "keeps")
		until(t, "the word arrived", func() bool { return strings.Contains(s.must(t, "logs", "keeps"), "got "+word) })
		if i == 0 {
			_ = c.cmd.Process.Kill() // detached by force; the next one goes on
		}
	}
	if got := s.must(t, "logs", "keeps"); got != "got one\ngot two" {
		t.Errorf("logs: %q", got)
	}
}

// feed runs a command with the given input.
func (s site) feed(input string, args ...string) result {
	cmd := s.cmd(args...)
	cmd.Stdin = strings.NewReader(input)
	return finish(cmd)
}

// terminal is a command on a pseudo-terminal.
type terminal struct {
	*os.File
	cmd *exec.Cmd

	mu   sync.Mutex
	text strings.Builder
	done chan struct{}
}

func (s site) terminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	cmd := s.cmd(args...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 111})
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{File: f, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(term.done)
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			term.mu.Lock()
			term.text.Write(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = f.Close() })
	return term
}

// sees waits until the screen has text.
func (t *terminal) sees(tb testing.TB, text string) {
	tb.Helper()
	defer func() {
		if tb.Failed() {
			tb.Logf("the screen has %q", clip(t.screen()))
		}
	}()
	until(tb, fmt.Sprintf("the terminal shows %q", text), func() bool { return strings.Contains(t.screen(), text) })
}

func (t *terminal) screen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *terminal) types(tb testing.TB, keys string) {
	tb.Helper()
	if _, err := io.WriteString(t, keys); err != nil {
		tb.Fatal(err)
	}
}

// exit waits for the command's end and returns its exit code.
func (t *terminal) exit() int {
	_ = t.cmd.Wait()
	<-t.done
	return t.cmd.ProcessState.ExitCode()
}

// TestTerminal is a session of run -it: echo, size, resize, interrupt, detach,
// attach again, exit code.
func TestTerminal(t *testing.T) {
	s := shared()
	t.Cleanup(func() { s.try("rm", "-f", "term") })
	term := s.terminal(t, "run", "-it", "--network", "none", "--name", "term", "busybox", "sh")
	term.sees(t, "# ")
	term.types(t, "tty; stty size\n")
	term.sees(t, "tty; stty size") // echo
	term.sees(t, "/dev/pts/0")
	term.sees(t, "33 111")
	if err := pty.Setsize(term.File, &pty.Winsize{Rows: 44, Cols: 122}); err != nil {
		t.Fatal(err)
	}
	until(t, "the new size arrives", func() bool {
		term.types(t, "stty size\n")
		return strings.Contains(term.screen(), "44 122")
	})
	term.types(t, "sleep 1000\n")
	until(t, "sleep runs", func() bool {
		return strings.Contains(s.must(t, "exec", "term", "ps"), "sleep 1000")
	})
	term.types(t, "\x03")
	term.types(t, "echo after=$?\n")
	term.sees(t, "after=130")
	term.types(t, "\x10\x11") // ctrl-p ctrl-q
	if code := term.exit(); code != 0 {
		t.Errorf("detached with %d", code)
	}
	if got := s.inspect(t, "term", "{{.State.Status}}"); got != "running" {
		t.Errorf("after detaching it is %s", got)
	}
	again, second := s.terminal(t, "attach", "term"), s.terminal(t, "attach", "--detach-keys", "ctrl-a,x", "term")
	again.types(t, "echo one$((1+1))\n")
	again.sees(t, "one2")
	second.sees(t, "one2")
	second.types(t, "echo two$((1+2))\n")
	again.sees(t, "two3")
	second.types(t, "\x01x")
	if code := second.exit(); code != 0 {
		t.Errorf("detached with %d", code)
	}
	again.types(t, "exit 9\n")
	if code := again.exit(); code != 9 {
		t.Errorf("attach ended with %d, want 9", code)
	}
	if got := s.inspect(t, "term", "{{.State.ExitCode}}"); got != "9" {
		t.Errorf("exit code %s, want 9", got)
	}
}

// TestExecOnATerminal is a session of exec -it.
func TestExecOnATerminal(t *testing.T) {
	s := shared()
	s.run(t, "execterm", "busybox", "sleep", "1000")
	term := s.terminal(t, "exec", "-it", "execterm", "sh")
	term.sees(t, "# ")
	term.types(t, "stty size; echo $((40+2)); exit 4\n")
	term.sees(t, "33 111")
	term.sees(t, "42")
	if code := term.exit(); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
}

// TestSignalsArePassedOn sends signals to "cleat run", as a service manager or a
// user's kill does.
func TestSignalsArePassedOn(t *testing.T) {
	s := shared()
	const script = `trap 'echo got HUP' HUP; trap 'echo got USR1' USR1; trap 'echo got TERM; exit 21' TERM; trap 'echo got INT; exit 22' INT; echo ready; while :; do usleep 10000; done`
	for _, tt := range []struct {
		args []string
		last unix.Signal
		want int
	}{
		{[]string{"run", "--rm"}, unix.SIGTERM, 21},
		{[]string{"run", "--rm", "-i"}, unix.SIGINT, 22},
		{[]string{"run", "--rm", "--init"}, unix.SIGTERM, 21},
	} {
		c := s.begin(t, nil, append(tt.args, "--network", "none", "busybox", "sh", "-c", script)...)
		until(t, "ready", func() bool { return strings.Contains(c.text(), "ready") })
		for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, tt.last} {
			if err := c.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			want := "got " + strings.TrimPrefix(unix.SignalName(sig), "SIG")
			until(t, want, func() bool { return strings.Contains(c.text(), want) })
		}
		if code := c.end(); code != tt.want {
			t.Errorf("%v: ended with %d, want %d", tt.args, code, tt.want)
		}
	}
	// Without the proxy the client ends and the container goes on.
	t.Cleanup(func() { s.try("rm", "-f", "noproxy") })
	c := s.begin(t, nil, "run", "--sig-proxy=false", "--network", "none", "--name", "noproxy", "busybox", "sh", "-c", script)
	until(t, "ready", func() bool { return strings.Contains(c.text(), "ready") })
	if err := c.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.end(); code != 128+15 {
		t.Errorf("without the proxy it ended with %d", code)
	}
	if got := s.inspect(t, "noproxy", "{{.State.Status}}"); got != "running" {
		t.Errorf("without the proxy the container is %s", got)
	}
}
