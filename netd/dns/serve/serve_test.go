package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns/handover"
)

// front is a world with the containers web and db on network front.
func front(t testing.TB) world {
	w := newWorld(t)
	w.network("front")
	w.run("web", netd.Live{Endpoints: []netd.Endpoint{on("front", "10.1.0.2", "www")}})
	w.run("db", netd.Live{Endpoints: []netd.Endpoint{on("front", "10.1.0.3")}})
	return w
}

func TestContainersFindEachOther(t *testing.T) {
	t.Parallel()
	s := newSupervisor(front(t))
	web, db := register(t, s.socket, "web"), register(t, s.socket, "db")
	for _, network := range []string{"udp", "tcp"} {
		if got := web.ask(network, "db"); got != "10.1.0.3" {
			t.Errorf("%s: db is %s", network, got)
		}
		if got := db.ask(network, "www.front"); got != "10.1.0.2" {
			t.Errorf("%s: www.front is %s", network, got)
		}
	}
	// A container that comes is known from its record on.
	s.run("late", netd.Live{Endpoints: []netd.Endpoint{on("front", "10.1.0.4")}})
	if got := web.ask("udp", "late"); got != "10.1.0.4" {
		t.Errorf("late is %s", got)
	}
	if err := s.lives().Remove(id("late")); err != nil {
		t.Fatal(err)
	}
	if got := web.ask("udp", "late"); got == "10.1.0.4" {
		t.Error("a container that has gone is still known")
	}
}

func TestQuestionsWaitForTheNextServer(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]os.Signal{"SIGKILL": unix.SIGKILL, "SIGTERM": unix.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSupervisor(front(t))
			web := register(t, s.socket, "web")
			s.stop(sig)
			answers := make(chan string, 2)
			for _, network := range []string{"udp", "tcp"} {
				var c net.Conn
				var err error
				web.Do(func() { c, err = net.Dial(network, "127.0.0.11:53") })
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				go func() {
					got, err := exchange(c, network, "db", dnsmessage.TypeA, limit)
					answers <- fmt.Sprint(got, err)
				}()
			}
			s.start()
			for range 2 {
				if got := <-answers; got != "10.1.0.3<nil>" {
					t.Error(got)
				}
			}
		})
	}
}

// However often the server is killed, every question gets an answer, be it when
// it is asked again, as resolvers do.
func TestKillingTheServerAgainAndAgain(t *testing.T) {
	t.Parallel()
	times := 20
	if testing.Short() {
		times = 4
	}
	s := newSupervisor(front(t))
	web := register(t, s.socket, "web")
	stop, answers := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(answers)
		for n, end := 0, time.Now().Add(limit); ; {
			got, err := web.askOnce([]string{"udp", "tcp"}[n%2], "db", 100*time.Millisecond)
			if err != nil && time.Now().Before(end) {
				continue // as a resolver does
			}
			if err != nil || got != "10.1.0.3" {
				t.Errorf("db is %q: %v", got, err)
				return
			}
			select {
			case answers <- struct{}{}:
				n, end = n+1, time.Now().Add(limit)
			case <-stop:
				return
			}
		}
	}()
	for range times {
		for range 3 {
			if _, ok := <-answers; !ok {
				return
			}
		}
		s.restart(unix.SIGKILL)
	}
	close(stop)
	for range answers {
	}
	if got := s.stored(); got != 2 {
		t.Errorf("%d descriptors in the store", got)
	}
}

// A server that dies at any point of a registration leaves one that works.
func TestRegisteringWhileTheServerIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.network("front")
	s := newSupervisor(w)
	names := []string{}
	for i := range 10 {
		names = append(names, fmt.Sprint("c", i))
		w.run(names[i], netd.Live{Endpoints: []netd.Endpoint{on("front", fmt.Sprint("10.1.0.", i+2))}})
	}
	var wg sync.WaitGroup
	boxes := make([]box, len(names))
	for i, name := range names {
		boxes[i] = box{nstest.New(t, name), t, name}
		wg.Go(func() { boxes[i].register(s.socket) })
		if i%3 == 0 {
			s.restart(unix.SIGKILL)
		}
	}
	wg.Wait()
	for i, b := range boxes {
		if got, want := b.ask("udp", names[(i+1)%10]), fmt.Sprint("10.1.0.", (i+1)%10+2); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := s.stored(); got != 20 {
		t.Errorf("%d descriptors in the store", got)
	}
}

func TestRegisteringAgain(t *testing.T) {
	t.Parallel()
	s := newSupervisor(front(t))
	old := register(t, s.socket, "web")
	sockets := s.stored()
	renewed := register(t, s.socket, "web") // of the next run, in a new namespace
	if got := renewed.ask("udp", "db"); got != "10.1.0.3" {
		t.Errorf("db is %s", got)
	}
	old.closed()
	if now := s.stored(); sockets != 2 || now != 2 {
		t.Errorf("%d descriptors in the store, then %d", sockets, now)
	}
}

// The same sockets once more are what a client sends whose answer got lost.
func TestRegisteringTheSameAgain(t *testing.T) {
	t.Parallel()
	s := newSupervisor(front(t))
	b := box{nstest.New(t, "web"), t, "web"}
	sockets, err := handover.Open(b.FD())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := handover.Register(t.Context(), s.socket, id("web"), sockets); err != nil {
			t.Fatal(err)
		}
		s.restart(unix.SIGKILL)
	}
	_ = sockets.Close()
	if got := b.ask("tcp", "db"); got != "10.1.0.3" {
		t.Errorf("db is %s", got)
	}
	if n := s.stored(); n != 2 {
		t.Errorf("%d descriptors in the store", n)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	s := newSupervisor(front(t))
	web, db := register(t, s.socket, "web"), register(t, s.socket, "db")
	for range 2 { // that there is nothing to forget is no error
		if err := handover.Forget(t.Context(), s.socket, id("web")); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := handover.List(t.Context(), s.socket)
	if diff := cmp.Diff([]string{id("db")}, ids); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if n := s.stored(); n != 2 {
		t.Errorf("%d descriptors in the store", n)
	}
	web.closed()
	if got := db.ask("udp", "web"); got != "10.1.0.2" { // until its record goes
		t.Errorf("web is %s", got)
	}
}

// The end of a run that nobody reports is noticed.
func TestEndsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*supervisor){
		"processes end":      func(s *supervisor) { s.end("web") },
		"the record goes":    func(s *supervisor) { _ = s.lives().Remove(id("web")) },
		"all records go":     func(s *supervisor) { _ = os.RemoveAll(s.lives().Dir()) },
		"while nobody is up": func(s *supervisor) { s.stop(unix.SIGKILL); s.end("web"); s.start() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSupervisor(front(t))
			web := register(t, s.socket, "web")
			end(s)
			web.closed()
			if n := s.stored(); n != 0 {
				t.Errorf("%d descriptors in the store", n)
			}
		})
	}
}

func TestARunThatHasEndedIsNotRegistered(t *testing.T) {
	t.Parallel()
	w := front(t)
	s := newSupervisor(w)
	w.end("web")
	for _, name := range []string{"web", "nosuch"} {
		b := nstest.New(t, name)
		sockets, err := handover.Open(b.FD())
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(handover.Register(t.Context(), s.socket, id(name), sockets), sockets.Close())
		if err == nil || !strings.Contains(err.Error(), "no run of the container is on record") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.stored(); n != 0 {
		t.Errorf("%d descriptors in the store", n)
	}
}

func TestWrongSocketsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSupervisor(front(t))
	b := nstest.New(t, "web")
	good, err := handover.Open(b.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, sockets := range map[string]handover.Sockets{
		"twice UDP": {UDP: good.UDP, TCP: good.UDP},
		"twice TCP": {UDP: good.TCP, TCP: good.TCP},
		"a pipe":    {UDP: int(r.Fd()), TCP: int(w.Fd())},
	} {
		if err := handover.Register(t.Context(), s.socket, id("web"), sockets); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := s.stored(); n != 0 {
		t.Errorf("%d descriptors in the store", n)
	}
	if err := handover.Register(t.Context(), s.socket, id("web"), good); err != nil {
		t.Error(err)
	}
}

func TestStrangersAreNotServed(t *testing.T) {
	t.Parallel()
	w := front(t)
	cfg := w.config()
	cfg.PeerUID++
	socket, _ := serveHere(t, cfg)
	_, err := handover.List(t.Context(), socket)
	if err == nil || !strings.Contains(err.Error(), "may not use cleat-netd") {
		t.Error(err)
	}
}

// With a container it stays, without one it ends.
func TestIdle(t *testing.T) {
	t.Parallel()
	cfg := front(t).config()
	cfg.Idle = 50 * time.Millisecond
	socket, done := serveHere(t, cfg)
	web := register(t, socket, "web")
	select {
	case err := <-done:
		t.Fatalf("ended with a container: %v", err)
	case <-time.After(5 * cfg.Idle):
	}
	if got := web.ask("udp", "db"); got != "10.1.0.3" {
		t.Errorf("db is %s", got)
	}
	if err := handover.Forget(t.Context(), socket, id("web")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// nameServer makes a name server at 127.0.0.1 of the host, which knows every
// name, and counts the questions.
func nameServer(t *testing.T, host *nstest.NS) *atomic.Int64 {
	t.Helper()
	var pc net.PacketConn
	var err error
	host.Do(func() { pc, err = net.ListenPacket("udp", "127.0.0.1:53") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	asked := new(atomic.Int64)
	go func() {
		buf := make([]byte, 1000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response = true
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 53}},
			}}
			if msg, err := m.Pack(); err == nil {
				_, _ = pc.WriteTo(msg, from)
			}
		}
	}()
	return asked
}

// Questions of a container on internal networks never leave (CVE-2024-29018),
// whatever name servers it has been given.
func TestInternalContainersAskNobody(t *testing.T) {
	t.Parallel()
	w := front(t)
	w.network("inner")
	w.resolvConf("nameserver 127.0.0.1\n")
	w.run("in", netd.Live{Endpoints: []netd.Endpoint{on("inner", "10.2.0.2")}, Internal: true, DNS: addrs("127.0.0.1")})
	s := newSupervisor(w)
	asked := nameServer(t, s.host)
	web, in := register(t, s.socket, "web"), register(t, s.socket, "in")
	for _, name := range []string{"example.com", "web", "web.front"} {
		if got := in.ask("udp", name); got != "NameError" || asked.Load() != 0 {
			t.Errorf("%s is %s, %d questions left", name, got, asked.Load())
		}
	}
	if got := in.ask("udp", "in"); got != "10.2.0.2" {
		t.Errorf("in is %s", got)
	}
	if got := web.ask("udp", "example.com"); got != "192.0.2.53" || asked.Load() != 1 {
		t.Errorf("example.com is %s, after %d questions", got, asked.Load())
	}
}

// The host's name servers are those of the moment.
func TestNameServersChange(t *testing.T) {
	t.Parallel()
	w := front(t)
	w.resolvConf("nameserver 127.0.0.2\n") // nobody is there
	s := newSupervisor(w)
	nameServer(t, s.host)
	web := register(t, s.socket, "web")
	if got := web.ask("udp", "example.com"); got != "ServerFailure" {
		t.Errorf("example.com is %s", got)
	}
	w.resolvConf("nameserver 127.0.0.1\n")
	if got := web.ask("udp", "example.com"); got != "192.0.2.53" {
		t.Errorf("example.com is %s", got)
	}
}

// A container that floods its socket with questions, garbage and connections, of
// which none is ever answered, holds up nobody else.
func TestAFloodHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	w := front(t)
	w.resolvConf("nameserver 127.0.0.1\n")
	s := newSupervisor(w)
	var silent net.PacketConn // an upstream that never answers
	s.host.Do(func() { silent, _ = net.ListenPacket("udp", "127.0.0.1:53") })
	defer silent.Close()
	evil, web := register(t, s.socket, "web"), register(t, s.socket, "db")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for range 300 {
		var c net.Conn
		evil.Do(func() { c, _ = net.DialTimeout("tcp", "127.0.0.11:53", 50*time.Millisecond) })
		if c == nil {
			break // the queue is full
		}
		defer c.Close()
	}
	for i := range 3 {
		var c net.Conn
		evil.Do(func() { c, _ = net.Dial("udp", "127.0.0.11:53") })
		q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(fmt.Sprint("n", i, ".example.com.")), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
		msg, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			msg = []byte(strings.Repeat("\xff", 1000))
		}
		wg.Go(func() {
			defer c.Close()
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = c.Write(msg)
				}
			}
		})
	}
	var worst time.Duration
	for i := range 200 {
		start := time.Now()
		if got := web.ask([]string{"udp", "tcp"}[i%2], "web"); got != "10.1.0.2" {
			t.Fatalf("web is %s", got)
		}
		worst = max(worst, time.Since(start))
	}
	t.Logf("200 questions beside the flood, the slowest answer after %v", worst)
}

func TestAHundredContainersComeAndGo(t *testing.T) {
	t.Parallel()
	many := 100
	if testing.Short() {
		many = 20
	}
	w := newWorld(t)
	w.network("front")
	s := newSupervisor(w)
	before := s.memory()
	boxes := make([]box, many)
	for i := range boxes {
		name := fmt.Sprint("c", i)
		w.run(name, netd.Live{Endpoints: []netd.Endpoint{on("front", fmt.Sprintf("10.1.1.%d", i+1))}})
		boxes[i] = register(t, s.socket, name)
	}
	for i, b := range boxes {
		j := (i + 7) % many
		if got, want := b.ask("udp", fmt.Sprint("c", j)), fmt.Sprintf("10.1.1.%d", j+1); got != want {
			t.Errorf("c%d is %s, want %s", j, got, want)
		}
	}
	t.Logf("resident: %s before, %s with %d containers", before, s.memory(), many)
	if n := s.stored(); n != 2*many {
		t.Errorf("%d descriptors in the store", n)
	}
	var wg sync.WaitGroup
	for i, b := range boxes {
		wg.Go(func() {
			if i%2 == 0 {
				if err := handover.Forget(t.Context(), s.socket, id(b.name)); err != nil {
					t.Error(err)
				}
			}
			s.end(b.name)
			b.closed()
		})
	}
	wg.Wait()
	if n := s.stored(); n != 0 {
		t.Errorf("%d descriptors in the store", n)
	}
	ids, err := handover.List(t.Context(), s.socket)
	if len(ids) != 0 || err != nil {
		t.Errorf("left: %v, %v", ids, err)
	}
}

// memory returns the resident size of the server.
func (s *supervisor) memory() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}

// What systemd passes to a process has all names in one variable, which may have
// 128 KiB.
func TestNamesFitIntoTheEnvironment(t *testing.T) {
	t.Parallel()
	if n := len("LISTEN_FDNAMES=cleat-netd.socket") + maxContainers*2*(len(storeName(id("c")))+1); n >= 128<<10 {
		t.Errorf("%d bytes", n)
	}
}

func BenchmarkAnswers(b *testing.B) {
	w := front(b)
	cfg := w.config()
	cfg.Rate = 1 << 30
	socket, _ := serveHere(b, cfg)
	web := register(b, socket, "web")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var c net.Conn
		var err error
		web.Do(func() { c, err = net.Dial("udp", "127.0.0.11:53") })
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		for pb.Next() {
			if got, err := exchange(c, "udp", "db", dnsmessage.TypeA, limit); got != "10.1.0.3" {
				b.Errorf("got %s, %v", got, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}
