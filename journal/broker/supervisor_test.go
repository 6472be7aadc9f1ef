package broker

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
)

// supervisor does for a broker in a process of its own what systemd does: it
// holds the socket and the store, and can start it again.
type supervisor struct {
	t       testing.TB
	journal string
	socket  string
	listen  *os.File
	notify  *net.UnixConn
	path    string

	mu    sync.Mutex
	store map[string][]*os.File
	marks chan string
	cmd   *exec.Cmd
}

func newSupervisor(t testing.TB, journal string) *supervisor {
	t.Helper()
	dir := shortDir(t)
	s := &supervisor{
		t: t, journal: journal, socket: filepath.Join(dir, "s"), path: filepath.Join(dir, "n"),
		store: map[string][]*os.File{}, marks: make(chan string, 100),
	}
	fd, err := seqpacket.Listen(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.listen = os.NewFile(uintptr(fd), "listener")
	s.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	go s.receive()
	s.start()
	t.Cleanup(s.close)
	return s
}

func (s *supervisor) receive() {
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	for {
		n, oobn, _, _, err := s.notify.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		var fds []int
		cmsgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range cmsgs {
			got, _ := unix.ParseUnixRights(&cmsgs[i])
			fds = append(fds, got...)
		}
		s.message(strings.Split(string(buf[:n]), "\n"), fds)
	}
}

func (s *supervisor) message(lines []string, fds []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := ""
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, "FDNAME="); ok {
			name = v
		}
	}
	switch lines[0] {
	case "FDSTORE=1":
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			s.store[name] = append(s.store[name], os.NewFile(uintptr(fd), name))
		}
	case "FDSTOREREMOVE=1":
		_ = closeFiles(s.store[name])
		delete(s.store, name)
	default:
		s.marks <- lines[0]
	}
}

// stored returns how many descriptors are in the store once all that the broker
// has sent so far is in it.
func (s *supervisor) stored() int {
	s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, files := range s.store {
		n += len(files)
	}
	return n
}

// sync waits until the notification socket has been read.
func (s *supervisor) sync() {
	c, err := net.Dial("unixgram", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("MARK")); err != nil {
		s.t.Fatal(err)
	}
	s.waitMark("MARK")
}

func (s *supervisor) waitMark(want string) {
	for {
		select {
		case m := <-s.marks:
			if m == want {
				return
			}
		case <-time.After(limit):
			s.t.Fatalf("no %s from broker", want)
		}
	}
}

func (s *supervisor) start() {
	if err := s.startProcess(); err != nil {
		s.t.Fatal(err)
	}
	s.waitMark("READY=1")
}

func (s *supervisor) startProcess() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, names := []*os.File{s.listen}, []string{"listener"}
	for name, list := range s.store {
		for _, f := range list {
			files, names = append(files, f), append(names, name)
		}
	}
	s.cmd = exec.Command(os.Args[0])
	s.cmd.ExtraFiles = files
	s.cmd.Stderr = os.Stderr
	s.cmd.Env = append(os.Environ(), "CLEAT_TEST_BROKER="+s.journal, "NOTIFY_SOCKET="+s.path,
		"LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return s.cmd.Start()
}

// restart ends the broker with a signal and starts the next one.
func (s *supervisor) restart(sig os.Signal) {
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait()
	s.sync()
	s.start()
}

func (s *supervisor) close() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.notify.Close()
	_ = s.listen.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, files := range s.store {
		_ = closeFiles(files)
	}
}
