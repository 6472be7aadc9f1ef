package broker

import (
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
)

func TestAttachBeforeTheStartMissesNoByte(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	both := attach(t, socket, stdio.AttachRequest{Stdout: true, Stderr: true})
	only := attach(t, socket, stdio.AttachRequest{Stderr: true})
	e := register(t, socket, nil)
	writeString(t, e.stdout, "prompt> ")
	if f, err := both.Recv(t.Context()); err != nil || f.Type != stdio.FrameStarted {
		t.Fatalf("first frame %q, %v", f.Type, err)
	}
	if f, err := both.Recv(t.Context()); err != nil || string(f.Data) != "prompt> " {
		t.Fatalf("frame %q, %v: want the prompt, which is no whole line yet", f.Data, err)
	}
	writeString(t, e.stderr, "oops\n")
	e.close()
	var out, errs, errs2 strings.Builder
	if err := both.Copy(t.Context(), &out, &errs); err != nil {
		t.Error(err)
	}
	if err := only.Copy(t.Context(), &out, &errs2); err != nil {
		t.Error(err)
	}
	if out.String() != "" || errs.String() != "oops\n" || errs2.String() != "oops\n" {
		t.Errorf("got %q, %q, %q", &out, &errs, &errs2)
	}
}

func TestStdinEndsAsRegistered(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		once bool
		end  func(*stdio.Session) error
		eof  bool
	}{
		"once, input closed":   {true, (*stdio.Session).CloseStdin, true},
		"once, client gone":    {true, (*stdio.Session).Close, true},
		"always, input closed": {false, (*stdio.Session).CloseStdin, false},
		"always, client gone":  {false, (*stdio.Session).Close, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := startJournald(t)
			socket := startBroker(t, j.path)
			e := register(t, socket, func(r *stdio.Registration) { r.Stdin, r.StdinOnce = true, tt.once })
			s := attach(t, socket, stdio.AttachRequest{Stdin: true})
			if _, err := s.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.WriteStdin(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := tt.end(s); err != nil {
				t.Fatal(err)
			}
			if !tt.eof {
				next := attach(t, socket, stdio.AttachRequest{Stdin: true})
				go func() { _ = next.Copy(t.Context(), nil, nil) }()
				if _, err := next.WriteStdin(t.Context(), []byte("y")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(e.stdin, make([]byte, 2)); err != nil {
					t.Error(err)
				}
				return
			}
			if in, err := io.ReadAll(e.stdin); err != nil || string(in) != "x" {
				t.Errorf("read %q, %v", in, err)
			}
		})
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	s := attach(t, socket, stdio.AttachRequest{Stdin: true, Stdout: true, Size: stdio.Size{Width: 101, Height: 51}})
	slave := registerTerminal(t, socket)
	size := func() stdio.Size {
		ws, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			t.Fatal(err)
		}
		return stdio.Size{Width: ws.Col, Height: ws.Row}
	}
	if got := size(); got != (stdio.Size{Width: 101, Height: 51}) {
		t.Errorf("initial size %v", got)
	}
	if _, err := s.Recv(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Resize(t.Context(), stdio.Size{Width: 20, Height: 10}); err != nil || size() != (stdio.Size{Width: 20, Height: 10}) {
		t.Errorf("resized by the session: %v, %v", size(), err)
	}
	if err := stdio.Resize(t.Context(), socket, testID, stdio.Size{Width: 30, Height: 15}); err != nil || size() != (stdio.Size{Width: 30, Height: 15}) {
		t.Errorf("resized by id: %v, %v", size(), err)
	}
	if _, err := s.WriteStdin(t.Context(), []byte("typed\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := slave.Read(buf); err != nil || string(buf[:n]) != "typed\n" {
		t.Errorf("payload read %q, %v", buf[:n], err)
	}
	writeString(t, slave, "answer\n")
	expect(t, s, "answer\r\n")
	_ = slave.Close()
	drain(t, socket)
	if diff := cmp.Diff([]string{"typed\r", "answer\r"}, j.messages(t, 2)); diff != "" {
		t.Error(diff)
	}
}

// blockedWrite fills a pipe until it takes no more and returns what it took.
func blockedWrite(t *testing.T, w *os.File, data []byte) int {
	t.Helper()
	total := 0
	for total < len(data) {
		_ = w.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := w.Write(data[total:])
		total += n
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
			break
		}
	}
	_ = w.SetWriteDeadline(time.Time{})
	return total
}

func TestAClientThatDoesNotReadHoldsUpTheContainerOnly(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	stopped := attach(t, socket, stdio.AttachRequest{Stdout: true, Patience: -1})
	e := register(t, socket, nil)
	data := []byte(strings.Repeat(strings.Repeat("z", 99)+"\n", 100_000))
	n := blockedWrite(t, e.stdout, data)
	if n == len(data) {
		t.Fatalf("%d bytes went into a container's pipe although nobody reads them", n)
	}
	e.close()
	drain(t, socket) // the container has died: its log must not wait for the client
	lines := 0
	for _, m := range j.messages(t, n/100) {
		lines += len(m) / 99
	}
	if lines != n/100 {
		t.Errorf("journal has %d lines, want %d", lines, n/100)
	}
	h := sha256.New()
	if err := stopped.Copy(t.Context(), h, nil); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(data[:n]); string(want[:]) != string(h.Sum(nil)) {
		t.Error("the client got something else than was written")
	}
}

func TestAClientWithoutPatienceLeftIsCutOff(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	slow := attach(t, socket, stdio.AttachRequest{Stdout: true, Patience: time.Millisecond})
	quick := attach(t, socket, stdio.AttachRequest{Stdout: true})
	e := register(t, socket, func(r *stdio.Registration) { r.Log = false })
	got := make(chan int64)
	go func() {
		var n counter
		_ = quick.Copy(t.Context(), &n, nil)
		got <- int64(n)
	}()
	const size = 20 << 20
	if _, err := e.stdout.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	e.close()
	if n := <-got; n != size {
		t.Errorf("the other client got %d bytes, want %d", n, size)
	}
	if err := slow.Copy(t.Context(), nil, nil); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("the slow client got %v, want a conflict", err)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestDrainEndsAStreamThatIsHeldOpen(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	e := register(t, socket, nil)
	writeString(t, e.stdout, "last words")
	if err := stdio.Drain(t.Context(), socket, testID, 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"last words"}, j.messages(t, 1)); diff != "" {
		t.Error(diff)
	}
	if _, err := e.stdout.WriteString("from beyond"); !errors.Is(err, unix.EPIPE) {
		t.Errorf("write after the end: %v, want EPIPE", err)
	}
	if list, err := stdio.List(t.Context(), socket); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v: want nothing", list, err)
	}
	if err := stdio.Drain(t.Context(), socket, testID, 0); err != nil {
		t.Errorf("drain of an unknown container: %v", err)
	}
}

func TestARestartedContainerIsANewRun(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	old := register(t, socket, nil)
	client := attach(t, socket, stdio.AttachRequest{Stdout: true})
	cur := register(t, socket, nil)
	writeString(t, cur.stdout, "new\n")
	writeString(t, old.stdout, "old\n")
	j.wait(t, 2)
	old.close()
	var out strings.Builder
	if err := client.Copy(t.Context(), &out, nil); err != nil || out.String() != "old\n" {
		t.Errorf("client of the old run got %q, %v", &out, err)
	}
	list, err := stdio.List(t.Context(), socket)
	if err != nil || len(list) != 1 || list[0].Open != 2 {
		t.Errorf("list %v, %v: want the new run", list, err)
	}
	cur.close()
	drain(t, socket)
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	r, w := pipe(t)
	r2, _ := pipe(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_ = w
	for name, tt := range map[string]struct {
		reg   stdio.Registration
		files stdio.Files
	}{
		"short id":        {stdio.Registration{ID: "abc"}, stdio.Files{Stdout: r, Stderr: r2}},
		"own field":       {stdio.Registration{ID: testID, Fields: []string{"MESSAGE=x"}}, stdio.Files{Stdout: r, Stderr: r2}},
		"trusted field":   {stdio.Registration{ID: testID, Fields: []string{"_PID=1"}}, stdio.Files{Stdout: r, Stderr: r2}},
		"unit injection":  {stdio.Registration{ID: testID, Unit: "a\nPRIORITY=0"}, stdio.Files{Stdout: r, Stderr: r2}},
		"same pipe twice": {stdio.Registration{ID: testID}, stdio.Files{Stdout: r, Stderr: r}},
		"no pipe":         {stdio.Registration{ID: testID}, stdio.Files{Stdout: r, Stderr: null}},
		"no stderr":       {stdio.Registration{ID: testID}, stdio.Files{Stdout: r}},
	} {
		if err := stdio.Register(t.Context(), socket, tt.reg, tt.files); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if err := stdio.Resize(t.Context(), socket, testID, stdio.Size{}); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("resize of nothing: %v", err)
	}
	register(t, socket, nil)
	if err := stdio.Resize(t.Context(), socket, testID, stdio.Size{}); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("resize without terminal: %v", err)
	}
}

func TestAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := serveBrokerAs(t, Config{JournalSocket: j.path, Idle: -1}, uint32(os.Getuid()+1))
	if _, err := stdio.List(t.Context(), socket); !errors.Is(err, spec.ErrDenied) {
		t.Errorf("list: %v, want denied", err)
	}
}

func TestTheBrokerLeavesWhenThereIsNothingToDo(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	done := make(chan error, 1)
	socket := serveBrokerDone(t, Config{JournalSocket: j.path, Idle: 50 * time.Millisecond}, done)
	e := register(t, socket, nil)
	select {
	case err := <-done:
		t.Fatalf("left while a container runs: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	e.close()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Error("stays")
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Not parallel: it counts the descriptors of the process.
func TestManyAttachmentsLeaveNothingBehind(t *testing.T) {
	cycles := 10_000
	if testing.Short() {
		cycles = 500
	}
	j := startJournald(t)
	socket := startBroker(t, j.path)
	e := register(t, socket, func(r *stdio.Registration) { r.Stdin = true })
	writeString(t, e.stdout, "x\n")
	j.wait(t, 1)
	fds, routines := openFDs(t), runtime.NumGoroutine()
	for i := range cycles {
		s, err := stdio.Attach(t.Context(), socket, stdio.AttachRequest{ID: testID, Stdin: true, Stdout: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if _, err := s.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	timeout := time.After(limit)
	for openFDs(t) > fds+5 || runtime.NumGoroutine() > routines+5 || clients(t, socket) > 0 {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			t.Fatalf("%d descriptors and %d goroutines, at first %d and %d", openFDs(t), runtime.NumGoroutine(), fds, routines)
		}
	}
}

func clients(t *testing.T, socket string) int {
	t.Helper()
	list, err := stdio.List(t.Context(), socket)
	if err != nil || len(list) != 1 {
		t.Fatalf("list %v, %v: want one container", list, err)
	}
	return list[0].Clients
}

func TestBrokenRequestsDoNoHarm(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	socket := startBroker(t, j.path)
	for _, msg := range []string{"", "x", "\x01", "\x02R{}", "\x01?{}", "\x01A{", "\x01R{}", "\x01D[]", "\x01W1"} {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(msg)); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 1000)
		if n, err := c.Read(buf); msg != "" && (err != nil || n == 0 || buf[0] != stdio.FrameError) {
			t.Errorf("answer to %q: %q, %v", msg, buf[:n], err)
		}
		_ = c.Close()
	}
	if _, err := stdio.List(t.Context(), socket); err != nil {
		t.Error(err)
	}
}
