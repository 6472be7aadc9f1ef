package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/journal/stdio"
)

// limit bounds every wait of a test; none is asserted to be shorter.
const limit = 60 * time.Second

var testID = strings.Repeat("0123456789abcdef", 4)

// entry is one journal entry as the fake journald got it.
type entry struct {
	fields map[string]string
	pid    int // of the credentials
}

// fakeJournald takes entries in journald's native protocol.
type fakeJournald struct {
	path string
	mu   sync.Mutex
	all  []entry
	errs []error
	more chan struct{}
	conn *net.UnixConn
	done chan struct{}
	hold chan struct{} // if not nil, received from before each datagram
}

func startJournald(t testing.TB) *fakeJournald {
	t.Helper()
	j := &fakeJournald{path: filepath.Join(shortDir(t), "journal"), more: make(chan struct{}, 1)}
	j.open(t)
	t.Cleanup(j.close)
	return j
}

// shortDir is a temporary directory whose name fits into a socket address,
// which t.TempDir's need not do.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (j *fakeJournald) open(t testing.TB) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = rc.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	j.conn, j.done = conn, make(chan struct{})
	go j.run(conn, j.done)
}

func (j *fakeJournald) close() {
	_ = j.conn.Close()
	<-j.done
}

func (j *fakeJournald) run(conn *net.UnixConn, done chan struct{}) {
	defer close(done)
	buf, oob := make([]byte, 4<<20), make([]byte, 1024)
	for {
		if j.hold != nil {
			<-j.hold
		}
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		entries, err := decodeDatagram(buf[:n], oob[:oobn])
		if len(entries) > 1 { // as journald has done it since version 253
			entries, err = entries[:1], fmt.Errorf("a datagram of %d entries: journald drops all but the first", len(entries))
		}
		j.mu.Lock()
		j.all = append(j.all, entries...)
		if err != nil {
			j.errs = append(j.errs, err)
		}
		j.mu.Unlock()
		poke(j.more)
	}
}

func decodeDatagram(data, oob []byte) ([]entry, error) {
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	pid := 0
	for i := range cmsgs {
		if cred, err := unix.ParseUnixCredentials(&cmsgs[i]); err == nil {
			pid = int(cred.Pid)
		}
		if fds, err := unix.ParseUnixRights(&cmsgs[i]); err == nil {
			f := os.NewFile(uintptr(fds[0]), "entry")
			if data, err = io.ReadAll(io.NewSectionReader(f, 0, 1<<30)); err != nil {
				return nil, err
			}
			_ = f.Close()
		}
	}
	var list []entry
	for len(data) > 0 {
		fields, rest, err := decodeEntry(data)
		if err != nil {
			return list, err
		}
		list = append(list, entry{fields, pid})
		data = rest
	}
	return list, nil
}

func decodeEntry(data []byte) (fields map[string]string, rest []byte, err error) {
	fields = map[string]string{}
	for len(data) > 0 {
		line, after, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil, nil, fmt.Errorf("field %.40q does not end", data)
		}
		if len(line) == 0 {
			return fields, after, nil
		}
		name, value, ok := strings.Cut(string(line), "=")
		if !ok {
			n := binary.LittleEndian.Uint64(after)
			value, after = string(after[8:8+n]), after[8+n+1:]
		}
		if _, dup := fields[name]; dup {
			return nil, nil, fmt.Errorf("field %s comes twice", name)
		}
		fields[name] = value
		data = after
	}
	return fields, nil, nil
}

// wait waits until n entries have come and returns all.
func (j *fakeJournald) wait(t testing.TB, n int) []entry {
	t.Helper()
	timeout := time.After(limit)
	for {
		j.mu.Lock()
		all, errs := j.all, j.errs
		j.mu.Unlock()
		if len(errs) > 0 {
			t.Fatal(errors.Join(errs...))
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-j.more:
		case <-timeout:
			t.Fatalf("got %d entries, want %d", len(all), n)
		}
	}
}

// messages waits for n entries and returns their texts.
func (j *fakeJournald) messages(t testing.TB, n int) []string {
	t.Helper()
	var list []string
	for _, e := range j.wait(t, n) {
		list = append(list, e.fields["MESSAGE"])
	}
	return list
}

// TestMain is also the broker that a supervisor starts, and the beginning of a
// real journald.
func TestMain(m *testing.M) {
	if path := os.Getenv("CLEAT_TEST_BROKER"); path != "" {
		if err := brokerProcess(path); err != nil {
			fmt.Fprintln(os.Stderr, "broker:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv("CLEAT_TEST_JOURNALD") != "" {
		fmt.Fprintln(os.Stderr, "journald:", journaldProcess())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func brokerProcess(journal string) error {
	if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	listener, stored, err := ListenFDs(os.Getenv)
	if err != nil {
		return err
	}
	store, err := fdstore.Connect(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	b, err := New(Config{
		Listener: listener, Stored: stored, Store: store, JournalSocket: journal, Idle: -1,
		PeerUID: uint32(os.Getuid()),
		Warn:    func(f string, a ...any) { fmt.Fprintf(os.Stderr, "warning: "+f+"\n", a...) },
	})
	if err != nil {
		return err
	}
	if err := store.Notify("READY=1"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	go func() { <-terminated; cancel() }()
	if err := b.Serve(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// startBroker runs a broker in this process and returns its socket.
func startBroker(t testing.TB, journal string) string {
	t.Helper()
	return serveBroker(t, Config{JournalSocket: journal, Idle: -1})
}

func serveBroker(t testing.TB, cfg Config) string {
	t.Helper()
	return serveBrokerDone(t, cfg, make(chan error, 1))
}

func serveBrokerDone(t testing.TB, cfg Config, done chan error) string {
	t.Helper()
	cfg.PeerUID = uint32(os.Getuid())
	return serve(t, cfg, done)
}

func serveBrokerAs(t testing.TB, cfg Config, uid uint32) string {
	t.Helper()
	cfg.PeerUID = uid
	return serve(t, cfg, make(chan error, 1))
}

// serve runs a broker and sends its result to done.
func serve(t testing.TB, cfg Config, done chan error) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "s")
	fd, err := seqpacket.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener = fd
	cfg.Warn = func(f string, a ...any) { t.Logf("broker: "+f, a...) }
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); done <- b.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(limit):
			t.Error("broker does not stop")
		}
	})
	return socket
}

// ends are a container's sides of its stdio.
type ends struct {
	stdout, stderr, stdin *os.File
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// register makes the pipes of a container and registers them.
func register(t testing.TB, socket string, change func(*stdio.Registration)) ends {
	t.Helper()
	reg := stdio.Registration{ID: testID, Name: "web", Unit: "cleat-web.service", Log: true, Fields: []string{"CONTAINER_NAME=web"}}
	if change != nil {
		change(&reg)
	}
	outR, outW := pipe(t)
	errR, errW := pipe(t)
	files := stdio.Files{Stdout: outR, Stderr: errR}
	e := ends{stdout: outW, stderr: errW}
	var inW *os.File
	if reg.Stdin {
		e.stdin, inW = pipe(t)
		files.Stdin = inW
	}
	if err := stdio.Register(t.Context(), socket, reg, files); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{outR, errR, inW} {
		if f != nil {
			_ = f.Close()
		}
	}
	return e
}

func (e ends) close() {
	_ = e.stdout.Close()
	_ = e.stderr.Close()
}

func drain(t testing.TB, socket string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := stdio.Drain(ctx, socket, testID, -1); err != nil {
		t.Fatal(err)
	}
}

func attach(t testing.TB, socket string, req stdio.AttachRequest) *stdio.Session {
	t.Helper()
	req.ID = testID
	s, err := stdio.Attach(t.Context(), socket, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func writeString(t testing.TB, f *os.File, s string) {
	t.Helper()
	if _, err := f.WriteString(s); err != nil {
		t.Fatal(err)
	}
}
