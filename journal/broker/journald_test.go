package broker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/journal/stdio"
)

// Programs of the systemd package.
const (
	journaldPath   = "/lib/systemd/systemd-journald"
	journalctlPath = "/usr/bin/journalctl"
)

// journald is a real systemd-journald with a /run of its own.
type journald struct {
	proc string // its directory in /proc
	root string // its /run, as seen from here
}

func startRealJournald(t testing.TB) *journald {
	t.Helper()
	testenv.NeedRoot(t)
	for _, path := range []string{journaldPath, journalctlPath} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("needs systemd: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "CLEAT_TEST_JOURNALD=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	proc := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	j := &journald{proc: proc, root: filepath.Join(proc, "root/run")}
	for deadline := time.After(limit); ; {
		if c, err := net.Dial("unixgram", j.socket()); err == nil {
			_ = c.Close()
			return j
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("journald does not come up")
		}
	}
}

func (j *journald) socket() string { return filepath.Join(j.root, "systemd/journal/socket") }

// journaldProcess becomes journald. The process is in a mount namespace of its
// own.
func journaldProcess() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "size=2g"); err != nil {
		return err
	}
	for _, dir := range []string{"/run/systemd/journald.conf.d", "/run/log/journal", "/run/systemd/journal"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	conf := "[Journal]\nStorage=volatile\nRuntimeMaxUse=1500M\nRateLimitIntervalSec=0\nForwardToSyslog=no\nForwardToWall=no\nReadKMsg=no\nAudit=no\n"
	if err := os.WriteFile("/run/systemd/journald.conf.d/test.conf", []byte(conf), 0o600); err != nil {
		return err
	}
	return unix.Exec(journaldPath, []string{journaldPath}, []string{"PATH=/usr/bin:/bin", "SYSTEMD_LOG_LEVEL=warning"})
}

// sync waits until journald has written all that it was sent.
func (j *journald) sync(t testing.TB) {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(j.root, "systemd/journal/io.systemd.journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, `{"method":"io.systemd.Journal.Synchronize"}`+"\x00"); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(c).ReadString(0); err != nil || strings.Contains(answer, "error") {
		t.Fatalf("synchronize: %q, %v", answer, err)
	}
}

func (j *journald) messages(t testing.TB, match ...string) []string {
	t.Helper()
	args := append([]string{"-D", filepath.Join(j.root, "log/journal"), "-o", "cat", "-a", "-q"}, match...)
	out, err := exec.CommandContext(t.Context(), journalctlPath, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestRealJournaldKeepsEveryLine(t *testing.T) {
	t.Parallel()
	j := startRealJournald(t)
	const lines = 20_000
	s := newSupervisor(t, j.socket())
	e := register(t, s.socket, func(r *stdio.Registration) { r.PID = os.Getpid() })
	go func() {
		w := bufio.NewWriter(e.stdout)
		for i := range lines {
			_, _ = fmt.Fprintf(w, "line %d\n", i)
		}
		_ = w.Flush()
		e.close()
	}()
	for range 5 {
		<-time.After(50 * time.Millisecond)
		s.restart(unix.SIGKILL)
	}
	drain(t, s.socket)
	j.sync(t)
	for _, match := range []string{"CONTAINER_NAME=web", "OBJECT_SYSTEMD_UNIT=cleat-web.service"} {
		got := j.messages(t, match, "_PID="+fmt.Sprint(os.Getpid()))
		if len(got) != lines {
			t.Fatalf("journal has %d lines for %s, want %d", len(got), match, lines)
		}
		for i, m := range got {
			if m != fmt.Sprintf("line %d", i) {
				t.Fatalf("line %d is %q", i, m)
			}
		}
	}
}

// typicalFields are those that the engine gives a container.
var typicalFields = []string{
	"CONTAINER_ID=0123456789ab", "CONTAINER_ID_FULL=" + testID, "CONTAINER_NAME=web", "CONTAINER_TAG=web",
	"IMAGE_NAME=docker.io/library/nginx:latest", "SYSLOG_IDENTIFIER=web",
}

func benchLine(i int) string {
	return fmt.Sprintf("10.0.0.1 - - \"GET /index.html HTTP/1.1\" 200 612 request %d\n", i)
}

func benchInput(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(benchLine(i))
	}
	return b.Bytes()
}

const benchLines = 200_000

// BenchmarkJournald compares the broker's way into a real journald with that of
// a plain service, whose stdout is a stream to journald. One operation is
// benchLines lines; journald has written them at its end.
func BenchmarkJournald(b *testing.B) {
	input := benchInput(benchLines)
	b.Run("service", func(b *testing.B) {
		j := startRealJournald(b)
		for b.Loop() {
			c, err := net.Dial("unix", filepath.Join(j.root, "systemd/journal/stdout"))
			if err != nil {
				b.Fatal(err)
			}
			// Identifier, unit, priority, level prefix, three kinds of forwarding.
			for _, data := range [][]byte{[]byte("web\ncleat-web.service\n6\n0\n0\n0\n0\n"), input} {
				if _, err := c.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.Close()
			j.sync(b)
		}
		reportLines(b, j)
	})
	b.Run("broker", func(b *testing.B) {
		j := startRealJournald(b)
		s := newSupervisor(b, j.socket())
		for b.Loop() {
			e := register(b, s.socket, func(r *stdio.Registration) {
				r.Fields, r.PID = typicalFields, os.Getpid()
			})
			if _, err := e.stdout.Write(input); err != nil {
				b.Fatal(err)
			}
			e.close()
			drain(b, s.socket)
			j.sync(b)
		}
		reportLines(b, j)
	})
}

// reportLines reports the rate, and the processor time that journald spent on a
// line: that is what limits the rate, and it varies less on a busy machine.
func reportLines(b *testing.B, j *journald) {
	b.Helper()
	lines := benchLines * float64(b.N)
	b.ReportMetric(lines/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64(j.cpu(b).Nanoseconds())/lines, "journald-ns/line")
}

// cpu is the processor time that journald has used.
func (j *journald) cpu(t testing.TB) time.Duration {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(j.proc, "schedstat"))
	if err != nil {
		t.Fatal(err)
	}
	var ns int64
	if _, err := fmt.Sscan(string(data), &ns); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ns)
}
