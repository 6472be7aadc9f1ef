package serve

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns/handover"
)

// limit bounds every wait of a test; none is asserted to be shorter.
const limit = 60 * time.Second

// world is what a server looks at: records of containers and networks, control
// groups, and the host's name servers, all of them below one directory.
type world struct {
	t   testing.TB
	dir string
}

func newWorld(t testing.TB) world {
	t.Helper()
	dir, err := os.MkdirTemp("", "cleat") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := world{t, dir}
	w.resolvConf("")
	return w
}

func (w world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w world) resolvConf(text string) { w.write("resolv.conf", text) }

func (w world) lives() netd.Lives { return netd.NewLives(filepath.Join(w.dir, "live")) }

// network makes a network whose id is name's.
func (w world) network(name string) {
	data, err := json.Marshal(netd.Network{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("networks/"+name, string(data))
}

func (w world) loadNetwork(name string) (n netd.Network, err error) {
	data, err := os.ReadFile(filepath.Join(w.dir, "networks", name))
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(data, &n)
}

// id returns the id of the container called name.
func id(name string) string { return fmt.Sprintf("%x", name) + strings.Repeat("0", 64-2*len(name)) }

// on returns an endpoint of network with an address and aliases.
func on(network, addr string, aliases ...string) netd.Endpoint {
	return netd.Endpoint{NetworkID: network, Addr4: netip.MustParsePrefix(addr + "/16"), Aliases: aliases}
}

// run records that a container runs.
func (w world) run(name string, l netd.Live) {
	w.t.Helper()
	l.ContainerID, l.Cgroup, l.Resolver = id(name), "/"+name, true
	l.Names = append([]string{name}, l.Names...)
	w.write("cgroup/"+name+"/cgroup.events", "populated 1\nfrozen 0\n")
	if err := w.lives().Save(l); err != nil {
		w.t.Fatal(err)
	}
}

// end has the processes of a container end. Its record stays.
func (w world) end(name string) {
	w.write("cgroup/"+name+"/cgroup.events", "populated 0\nfrozen 0\n")
}

func (w world) config() Config {
	return Config{
		Lives: w.lives(), Network: w.loadNetwork, Cgroups: filepath.Join(w.dir, "cgroup"),
		ResolvConf: []string{filepath.Join(w.dir, "resolv.conf"), filepath.Join(w.dir, "resolved.conf")},
		Idle:       -1, PeerUID: uint32(os.Getuid()),
		Warn: func(f string, a ...any) { w.t.Logf("server: "+f, a...) },
	}
}

// TestMain is also the server that a supervisor starts.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CLEAT_TEST_NETD"); dir != "" {
		if err := serverProcess(dir); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serverProcess(dir string) error {
	if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return err
	}
	store, err := fdstore.Connect(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	cfg := world{dir: dir}.config()
	cfg.Listener, cfg.Stored, cfg.Store = passed[0].FD, passed[1:], store
	cfg.Warn = func(f string, a ...any) { fmt.Fprintf(os.Stderr, "warning: "+f+"\n", a...) }
	s, err := New(cfg)
	if err != nil {
		return err
	}
	if err := store.Notify("READY=1"); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer cancel()
	if err := s.Serve(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// supervisor does for a server in a process of its own what systemd does: it
// holds the socket and the store, and can start it again.
type supervisor struct {
	world
	host   *nstest.NS // where the server runs
	socket string
	listen *os.File
	notify *net.UnixConn

	mu    sync.Mutex
	store map[string][]*os.File
	marks chan string
	cmd   *exec.Cmd
}

func newSupervisor(w world) *supervisor {
	w.t.Helper()
	s := &supervisor{world: w, host: nstest.New(w.t, "host"), socket: filepath.Join(w.dir, "s"), store: map[string][]*os.File{}, marks: make(chan string, 100)}
	fd, err := seqpacket.Listen(s.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	s.listen = os.NewFile(uintptr(fd), "listener")
	s.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(w.dir, "n"), Net: "unixgram"})
	if err != nil {
		w.t.Fatal(err)
	}
	go s.receive()
	s.start()
	w.t.Cleanup(s.close)
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
		closeFiles(s.store[name])
		delete(s.store, name)
	default:
		s.marks <- lines[0]
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// stored returns how many descriptors are in the store once all that the server
// has sent so far is in it.
func (s *supervisor) stored() (n int) {
	s.sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, files := range s.store {
		n += len(files)
	}
	return n
}

// sync waits until the notification socket has been read.
func (s *supervisor) sync() {
	c, err := net.Dial("unixgram", filepath.Join(s.dir, "n"))
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
			s.t.Fatalf("no %s from server", want)
		}
	}
}

func (s *supervisor) start() {
	s.t.Helper()
	s.mu.Lock()
	files, names := []*os.File{s.listen}, []string{"cleat-netd.socket"}
	for name, list := range s.store {
		for _, f := range list {
			files, names = append(files, f), append(names, name)
		}
	}
	s.cmd = exec.Command(os.Args[0])
	s.cmd.ExtraFiles, s.cmd.Stderr = files, os.Stderr
	s.cmd.Env = append(os.Environ(), "CLEAT_TEST_NETD="+s.dir, "NOTIFY_SOCKET="+filepath.Join(s.dir, "n"),
		"LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	var err error
	s.host.Do(func() { err = s.cmd.Start() })
	s.mu.Unlock()
	if err != nil {
		s.t.Fatal(err)
	}
	s.waitMark("READY=1")
}

// stop ends the server with a signal.
func (s *supervisor) stop(sig os.Signal) {
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait()
	s.sync()
}

func (s *supervisor) restart(sig os.Signal) {
	s.stop(sig)
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
		closeFiles(files)
	}
}

// box is a container: a network namespace with registered sockets.
type box struct {
	*nstest.NS
	t    testing.TB
	name string
}

// register makes the network namespace of a container that runs, and registers
// its sockets.
func register(t testing.TB, socket, name string) box {
	t.Helper()
	b := box{nstest.New(t, name), t, name}
	b.register(socket)
	return b
}

func (b box) register(socket string) {
	b.t.Helper()
	s, err := handover.Open(b.FD())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := errors.Join(handover.Register(b.t.Context(), socket, id(b.name), s), s.Close()); err != nil {
		b.t.Fatal(err)
	}
}

// closed waits until nobody has the sockets of the container any more.
func (b box) closed() {
	b.t.Helper()
	for end := time.Now().Add(limit); ; {
		s, err := handover.Open(b.FD())
		if err == nil {
			_ = s.Close()
			return
		}
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(end) {
			b.t.Fatalf("sockets of %s are still open: %v", b.name, err)
		}
		<-time.After(time.Millisecond)
	}
}

// ask looks a name's IPv4 addresses up, again and again until there is an
// answer: "192.0.2.1 192.0.2.2", or the code of the error.
func (b box) ask(network, name string) string {
	b.t.Helper()
	for end := time.Now().Add(limit); ; {
		got, err := b.askOnce(network, name, limit/10)
		if err == nil {
			return got
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s asks for %s by %s: %v", b.name, name, network, err)
		}
	}
}

func (b box) askOnce(network, name string, patience time.Duration) (string, error) {
	var c net.Conn
	var err error
	b.Do(func() { c, err = net.Dial(network, "127.0.0.11:53") })
	if err != nil {
		return "", err
	}
	defer c.Close()
	return exchange(c, network, name, dnsmessage.TypeA, patience)
}

// exchange asks one question by c.
func exchange(c net.Conn, network, name string, kind dnsmessage.Type, patience time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}},
	}
	msg, err := q.Pack()
	if err != nil {
		return "", err
	}
	buf := make([]byte, 4096)
	if network == "tcp" {
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
			return "", err
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return "", err
		}
		buf = buf[:binary.BigEndian.Uint16(buf)]
		if _, err := io.ReadFull(c, buf); err != nil {
			return "", err
		}
		return show(buf)
	}
	if _, err := c.Write(msg); err != nil {
		return "", err
	}
	n, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	return show(buf[:n])
}

// show renders an answer.
func show(msg []byte) (string, error) {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		return "", err
	}
	if m.RCode != dnsmessage.RCodeSuccess {
		return strings.TrimPrefix(m.RCode.String(), "RCode"), nil
	}
	var out []string
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A).String())
		case *dnsmessage.PTRResource:
			out = append(out, b.PTR.String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " "), nil
}

// serveHere runs a server in this process and returns its socket, and what Serve
// returned.
func serveHere(t testing.TB, cfg Config) (socket string, done chan error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	if cfg.Listener, err = seqpacket.Listen(socket); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	ended := make(chan struct{})
	go func() { defer close(ended); done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(limit):
			t.Error("server does not stop")
		}
	})
	return socket, done
}
