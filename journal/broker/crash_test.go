package broker

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/journal/stdio"
)

// flood writes n numbered lines to w and closes it. Some are long enough to be
// logged in parts, and some writes end within a line.
func flood(t *testing.T, w *os.File, n int) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := bufio.NewWriterSize(w, 5000)
		for i := range n {
			if i%5000 == 4999 {
				_, _ = b.WriteString(strings.Repeat("-", 20_000))
			}
			_, _ = fmt.Fprintf(b, "line %d\n", i)
		}
		if err := errors.Join(b.Flush(), w.Close()); err != nil {
			t.Error(err)
		}
	}()
	return done
}

// floodEntries is the number of journal entries that n lines of a flood make.
func floodEntries(n int) int { return n + n/5000 }

// checkFlood compares what the journal got with what flood wrote.
func checkFlood(t *testing.T, all []entry, priority string, n int) {
	t.Helper()
	next, rest := 0, ""
	for _, e := range all {
		if e.fields["PRIORITY"] != priority {
			continue
		}
		msg := e.fields["MESSAGE"]
		if e.fields["CONTAINER_PARTIAL_MESSAGE"] == "true" {
			rest += msg
			continue
		}
		want := fmt.Sprintf("line %d", next)
		if next%5000 == 4999 {
			want = strings.Repeat("-", 20_000) + want
		}
		if got := rest + msg; strings.TrimSuffix(got, "\r") != want {
			t.Fatalf("after %d lines: got %.60q, want %.60q", next, got, want)
		}
		rest = ""
		next++
	}
	if next != n {
		t.Fatalf("got %d lines, want %d", next, n)
	}
}

// killAlong restarts the broker with sig again and again while the journal
// grows, at moments that differ from run to run.
func killAlong(t *testing.T, s *supervisor, j *fakeJournald, sig os.Signal, total, times int) {
	t.Helper()
	for i := range times {
		j.wait(t, (i*total+rand.IntN(total))/times)
		<-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond) // not just after a datagram
		s.restart(sig)
	}
}

func TestKillingTheBrokerLosesAndRepeatsNoLine(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]os.Signal{"SIGKILL": unix.SIGKILL, "SIGTERM": unix.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, times := 100_000, 25 // on each of two streams
			if testing.Short() {
				lines, times = 20_000, 5
			}
			j := startJournald(t)
			s := newSupervisor(t, j.path)
			e := register(t, s.socket, nil)
			out, errs := flood(t, e.stdout, lines), flood(t, e.stderr, lines)
			killAlong(t, s, j, sig, 2*lines, times)
			<-out
			<-errs
			drain(t, s.socket)
			all := j.wait(t, 2*floodEntries(lines))
			checkFlood(t, all, "6", lines)
			checkFlood(t, all, "3", lines)
			if n := s.stored(); n != 0 {
				t.Errorf("%d descriptors are left in the store", n)
			}
		})
	}
}

func TestKillingTheBrokerLosesNoLineOfATerminal(t *testing.T) {
	t.Parallel()
	const lines = 30_000
	j := startJournald(t)
	s := newSupervisor(t, j.path)
	slave := registerTerminal(t, s.socket)
	done := flood(t, slave, lines)
	killAlong(t, s, j, unix.SIGKILL, lines, 10)
	<-done
	drain(t, s.socket)
	checkFlood(t, j.wait(t, floodEntries(lines)), "6", lines)
	if n := s.stored(); n != 0 {
		t.Errorf("%d descriptors are left in the store", n)
	}
}

// registerTerminal registers a container with a terminal and returns its slave.
func registerTerminal(t *testing.T, socket string) *os.File {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	reg := stdio.Registration{ID: testID, Name: "shell", Unit: "cleat-shell.service", Log: true}
	if err := stdio.Register(t.Context(), socket, reg, stdio.Files{Master: master}); err != nil {
		t.Fatal(err)
	}
	_ = master.Close()
	return slave
}

func TestKilledDuringAPartialLine(t *testing.T) {
	t.Parallel()
	j := startJournald(t)
	s := newSupervisor(t, j.path)
	e := register(t, s.socket, nil)
	writeString(t, e.stdout, "first\nsec")
	j.wait(t, 1)
	s.restart(unix.SIGKILL)
	writeString(t, e.stdout, "ond\n"+strings.Repeat("p", maxLine+1))
	j.wait(t, 3)
	s.restart(unix.SIGKILL)
	writeString(t, e.stdout, "q\n")
	e.close()
	drain(t, s.socket)
	all := j.wait(t, 4)
	if len(all) != 4 || all[1].fields["MESSAGE"] != "second" || all[3].fields["MESSAGE"] != "pq" {
		t.Fatalf("got %d entries, last %.40q", len(all), all[len(all)-1].fields["MESSAGE"])
	}
	if a, b := all[2].fields, all[3].fields; a["CONTAINER_PARTIAL_ID"] != b["CONTAINER_PARTIAL_ID"] || b["CONTAINER_PARTIAL_ORDINAL"] != "2" {
		t.Errorf("parts %v and %v", a["CONTAINER_PARTIAL_ID"], b)
	}
}

func TestASessionSurvivesTheBroker(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]os.Signal{"SIGKILL": unix.SIGKILL, "SIGTERM": unix.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := startJournald(t)
			s := newSupervisor(t, j.path)
			e := register(t, s.socket, func(r *stdio.Registration) { r.Stdin, r.StdinOnce = true, true })
			session := attach(t, s.socket, stdio.AttachRequest{Stdin: true, Stdout: true})
			writeString(t, e.stdout, "before\n")
			got := expect(t, session, "before\n")
			s.restart(sig)
			writeString(t, e.stdout, "after\n") // waits in the pipe for the session to return
			if got += expect(t, session, "after\n"); got != "before\nafter\n" {
				t.Errorf("got %q", got)
			}
			if _, err := session.WriteStdin(t.Context(), []byte("input")); err != nil {
				t.Error(err)
			}
			if err := session.CloseStdin(); err != nil {
				t.Error(err)
			}
			in, err := io.ReadAll(e.stdin)
			if err != nil || string(in) != "input" {
				t.Errorf("stdin: %q, %v", in, err)
			}
			e.close()
			if _, err := session.Recv(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v, want EOF", err)
			}
		})
	}
}

// expect receives until the output ends in want.
func expect(t *testing.T, s *stdio.Session, want string) string {
	t.Helper()
	got := ""
	for !strings.HasSuffix(got, want) {
		f, err := s.Recv(t.Context())
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(f.Data)
	}
	return got
}

func TestInputGoesOnWhileTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	j := startJournald(t)
	s := newSupervisor(t, j.path)
	e := register(t, s.socket, func(r *stdio.Registration) { r.Stdin, r.StdinOnce = true, true })
	session := attach(t, s.socket, stdio.AttachRequest{Stdin: true, Stdout: true})
	go func() { _ = session.Copy(t.Context(), nil, nil) }()
	want := feed(t, session, size)
	got := sha256.New()
	if _, err := io.CopyN(got, e.stdin, size/2); err != nil {
		t.Fatal(err)
	}
	s.restart(unix.SIGKILL)
	if _, err := io.Copy(got, e.stdin); err != nil {
		t.Fatal(err)
	}
	if string(got.Sum(nil)) != string(<-want) {
		t.Error("the payload read something else than was fed")
	}
	e.close()
	drain(t, s.socket)
}

// feed copies size random bytes from a pipe to the session and closes its
// stdin. The result is the bytes' hash.
func feed(t *testing.T, session *stdio.Session, size int64) <-chan []byte {
	t.Helper()
	sum := make(chan []byte, 1)
	r, w := pipe(t)
	go func() {
		h := sha256.New()
		src := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
		if _, err := io.Copy(io.MultiWriter(h, w), src); err != nil {
			t.Error(err)
		}
		_ = w.Close()
		sum <- h.Sum(nil)
	}()
	go func() {
		if err := errors.Join(session.CopyStdin(t.Context(), r), session.CloseStdin()); err != nil {
			t.Error(err)
		}
	}()
	return sum
}
