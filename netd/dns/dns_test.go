package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func addrs(all ...string) (out []netip.Addr) {
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func fixed(servers ...netip.AddrPort) func() []netip.AddrPort {
	return func() []netip.AddrPort { return servers }
}

func sample() *Records {
	return NewRecords([]Entry{
		{Names: []string{"web", "www", "0123456789ab"}, Network: "front", Addrs: addrs("172.18.0.2", "fd00::2")},
		{Names: []string{"db"}, Network: "front", Addrs: addrs("172.18.0.3")},
		{Names: []string{"two", "Pool"}, Network: "front", Addrs: addrs("172.18.0.4")},
		{Names: []string{"three", "pool"}, Network: "front", Addrs: addrs("172.18.0.5")},
	})
}

func question(t testing.TB, name string, typ dnsmessage.Type) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: typ, Class: dnsmessage.ClassINET}},
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// show renders an answer: its code, marks and resources.
func show(t testing.TB, msg []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	out := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	if m.Truncated {
		out = append(out, "truncated")
	}
	for _, a := range m.Answers {
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(b.AAAA).String())
		case *dnsmessage.PTRResource:
			out = append(out, b.PTR.String())
		}
	}
	if !m.Response || m.ID != 7 || len(m.Questions) != 1 {
		t.Errorf("header %+v with %d questions", m.Header, len(m.Questions))
	}
	return strings.Join(out, " ")
}

func TestAnswer(t *testing.T) {
	tests := map[string]struct {
		name string
		typ  dnsmessage.Type
		want string
	}{
		"name":                                 {"web.", dnsmessage.TypeA, "Success 172.18.0.2"},
		"IPv6":                                 {"web.", dnsmessage.TypeAAAA, "Success fd00::2"},
		"both":                                 {"web.", dnsmessage.TypeALL, "Success fd00::2 172.18.0.2"},
		"alias":                                {"www.", dnsmessage.TypeA, "Success 172.18.0.2"},
		"id":                                   {"0123456789ab.", dnsmessage.TypeA, "Success 172.18.0.2"},
		"name with its network":                {"web.front.", dnsmessage.TypeA, "Success 172.18.0.2"},
		"case does not matter":                 {"WeB.FrOnT.", dnsmessage.TypeA, "Success 172.18.0.2"},
		"no address of the family":             {"db.", dnsmessage.TypeAAAA, "Success"},
		"other type of a name of ours":         {"db.", dnsmessage.TypeMX, "Success"},
		"shared alias, in turns":               {"pool.", dnsmessage.TypeA, "Success 172.18.0.5 172.18.0.4"},
		"pointer":                              {"2.0.18.172.in-addr.arpa.", dnsmessage.TypePTR, "Success web.front."},
		"pointer, IPv6":                        {"2." + strings.Repeat("0.", 29) + "d.f.ip6.arpa.", dnsmessage.TypePTR, "Success web.front."},
		"pointer, IPv6, of part of an address": {"2." + strings.Repeat("0.", 28) + "d.f.ip6.arpa.", dnsmessage.TypePTR, "! forward"},
		"pointer to a stranger":                {"9.0.18.172.in-addr.arpa.", dnsmessage.TypePTR, "! forward"},
		"pointer with a leading zero":          {"02.0.18.172.in-addr.arpa.", dnsmessage.TypePTR, "! forward"},
		"name of the world":                    {"example.com.", dnsmessage.TypeA, "! forward"},
		"ours as a part":                       {"web.example.com.", dnsmessage.TypeA, "! forward"},
		"root":                                 {".", dnsmessage.TypeNS, "! forward"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q, err := parse(question(t, tt.name, tt.typ))
			if err != nil {
				t.Fatal(err)
			}
			got := "! forward"
			msg, err := sample().answer(q, q.size, 1)
			if err == nil {
				got = show(t, msg)
			} else if !errors.Is(err, errForward) {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestLongAnswersAreCut(t *testing.T) {
	var entries []Entry
	for i := range 60 {
		entries = append(entries, Entry{Names: []string{"many"}, Addrs: addrs(fmt.Sprint("10.0.0.", i))})
	}
	q, err := parse(question(t, "many.", dnsmessage.TypeA))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRecords(entries)
	short, err := r.answer(q, q.size, 0)
	if got := show(t, short); got != "Success truncated" || len(short) > minUDP || err != nil {
		t.Errorf("%s, %d bytes, %v", got, len(short), err)
	}
	long, err := r.answer(q, maxTCP, 0)
	if got := show(t, long); strings.Count(got, "10.0.0.") != 60 || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

func TestEDNSIsAnswered(t *testing.T) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7})
	var opt dnsmessage.ResourceHeader
	err := errors.Join(b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName("web."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}),
		b.StartAdditionals(), opt.SetEDNS0(1232, dnsmessage.RCodeSuccess, false), b.OPTResource(opt, dnsmessage.OPTResource{}))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	q, err := parse(raw)
	if err != nil || !q.edns || q.size != 1232 {
		t.Fatalf("%+v, %v", q, err)
	}
	msg, err := sample().answer(q, q.size, 0)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil || len(m.Additionals) != 1 || m.Additionals[0].Header.Type != dnsmessage.TypeOPT {
		t.Errorf("%v, %v", m.Additionals, err)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add(question(f, "web.", dnsmessage.TypeA))
	f.Add(question(f, "2.0.18.172.in-addr.arpa.", dnsmessage.TypePTR))
	r := sample()
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, err := parse(msg)
		if err != nil {
			return
		}
		reply, err := r.answer(q, q.size, 0)
		if err == nil && (len(reply) > q.size || len(reply) < 12) {
			t.Fatalf("%x gives %x", msg, reply)
		}
	})
}

func FuzzReverse(f *testing.F) {
	f.Add("2.0.17.172.in-addr.arpa")
	f.Add(strings.Repeat("0.", 32) + "ip6.arpa")
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := reverse(s)
		if !ok || !a.Is4() {
			return
		}
		b := a.As4()
		if want := fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0]); s != want {
			t.Fatalf("%q is taken for %s", s, a)
		}
	})
}

// upstream is a name server that knows every name as 192.0.2.53, on UDP and TCP.
type upstream struct {
	addr  netip.AddrPort
	asked atomic.Int64
	// mangle changes the answers, each into those that are sent.
	mangle func(reply []byte) [][]byte
}

func newUpstream(t *testing.T, mangle func([]byte) [][]byte) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(l.Close(), pc.Close()) })
	u := &upstream{addr: netip.MustParseAddrPort(l.Addr().String()), mangle: mangle}
	go func() {
		buf := make([]byte, 1000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, r := range u.replies(buf[:n]) {
				_, _ = pc.WriteTo(r, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if msg, err := readTCP(c, maxTCP); err == nil {
				for _, r := range u.replies(msg) {
					_ = writeTCP(c, r)
				}
			}
			_ = c.Close()
		}
	}()
	return u
}

func (u *upstream) replies(msg []byte) [][]byte {
	u.asked.Add(1)
	q, err := parse(msg)
	if err != nil {
		return nil
	}
	reply, err := q.reply(dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{&dnsmessage.AResource{A: [4]byte{192, 0, 2, 53}}}, minUDP)
	if err != nil {
		return nil
	}
	if u.mangle != nil {
		return u.mangle(reply)
	}
	return [][]byte{reply}
}

// serve runs a server on sockets of its own and returns a function that asks it.
func serve(t *testing.T, s *Server, view View) (ask func(network, name string) string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.ServePacket(ctx, pc, func() View { return view }) }()
	go func() { done <- s.ServeStream(ctx, l, func() View { return view }) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return func(network, name string) string {
		t.Helper()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		send, receive := writeUDP, readUDP
		if network == "tcp" {
			send, receive = writeTCP, readLongTCP
		}
		if err := send(c, question(t, name, dnsmessage.TypeA)); err != nil {
			t.Fatal(err)
		}
		msg, err := receive(c)
		if err != nil {
			t.Fatalf("%s %s: %v", network, name, err)
		}
		return show(t, msg)
	}
}

func TestServe(t *testing.T) {
	up := newUpstream(t, nil)
	ask := serve(t, &Server{}, View{Records: sample(), Upstreams: fixed(up.addr)})
	for _, network := range []string{"udp", "tcp"} {
		if got := ask(network, "web."); got != "Success 172.18.0.2" {
			t.Errorf("%s: container: %s", network, got)
		}
		if up.asked.Load() > 0 {
			t.Errorf("%s: the upstream was asked for a container", network)
		}
		if got := ask(network, "example.com."); got != "Success 192.0.2.53" {
			t.Errorf("%s: world: %s", network, got)
		}
		up.asked.Store(0)
	}
}

// Questions of internal networks go nowhere (CVE-2024-29018).
func TestWithoutUpstreamsNothingIsPassedOn(t *testing.T) {
	dialed := false
	s := &Server{Dial: func(context.Context, string, string) (net.Conn, error) {
		dialed = true
		return nil, errors.New("must not be called")
	}}
	ask := serve(t, s, View{Records: sample()})
	for _, network := range []string{"udp", "tcp"} {
		if got := ask(network, "example.com."); got != "NameError" || dialed {
			t.Errorf("%s: %s, dialed %v", network, got, dialed)
		}
		if got := ask(network, "db."); got != "Success 172.18.0.3" {
			t.Errorf("%s: %s", network, got)
		}
	}
}

func TestUpstreamsAreTriedInTurn(t *testing.T) {
	silent := newUpstream(t, func([]byte) [][]byte { return nil })
	good := newUpstream(t, nil)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := netip.MustParseAddrPort(closed.Addr().String())
	_ = closed.Close()
	s := &Server{Timeout: 200 * time.Millisecond}
	ask := serve(t, s, View{Upstreams: fixed(nobody, silent.addr, good.addr)})
	for _, network := range []string{"udp", "tcp"} {
		if got := ask(network, "example.com."); got != "Success 192.0.2.53" {
			t.Errorf("%s: %s", network, got)
		}
	}
	ask = serve(t, s, View{Upstreams: fixed(nobody, silent.addr)})
	if got := ask("udp", "example.com."); got != "ServerFailure" {
		t.Errorf("with nobody to answer: %s", got)
	}
}

func TestForgedAnswersAreNotTaken(t *testing.T) {
	up := newUpstream(t, func(reply []byte) [][]byte {
		otherID := append([]byte(nil), reply...)
		binary.BigEndian.PutUint16(otherID, binary.BigEndian.Uint16(reply)+1)
		otherID[len(otherID)-1] = 66
		otherName := append([]byte(nil), reply...)
		otherName[13] ^= 1
		otherName[len(otherName)-1] = 67
		aQuery := append([]byte(nil), reply...)
		aQuery[2] &^= 0x80
		return [][]byte{{1, 2, 3}, otherID, otherName, aQuery, reply}
	})
	ask := serve(t, &Server{}, View{Upstreams: fixed(up.addr)})
	if got := ask("udp", "example.com."); got != "Success 192.0.2.53" {
		t.Error(got)
	}
}

// The id that goes to the upstream is not the client's, which it could know.
func TestQueryIDsAreNotTheClients(t *testing.T) {
	ids := make(chan uint16, 20)
	up := newUpstream(t, func(reply []byte) [][]byte {
		ids <- binary.BigEndian.Uint16(reply)
		return [][]byte{reply}
	})
	ask := serve(t, &Server{}, View{Upstreams: fixed(up.addr)})
	seen := map[uint16]bool{}
	for range 8 {
		ask("udp", "example.com.")
		seen[<-ids] = true
	}
	if len(seen) < 6 {
		t.Errorf("only %d different ids of 8", len(seen))
	}
}

// Go's own resolver, which sends EDNS and asks for A and AAAA at a time, gets on
// with the server.
func TestResolver(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = (&Server{}).ServePacket(t.Context(), l, func() View { return View{Records: sample()} }) }()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", l.LocalAddr().String())
	}}
	got, err := r.LookupHost(t.Context(), "web.front")
	if diff := cmp.Diff([]string{"172.18.0.2", "fd00::2"}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	names, err := r.LookupAddr(t.Context(), "fd00::2")
	if diff := cmp.Diff([]string{"web.front."}, names); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestManyClients(t *testing.T) {
	up := newUpstream(t, nil)
	ask := serve(t, &Server{}, View{Records: sample(), Upstreams: fixed(up.addr)})
	for i := range 100 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			network, name, want := "udp", "web.", "Success 172.18.0.2"
			if i%2 == 1 {
				network = "tcp"
			}
			if i%3 == 1 {
				name, want = "example.com.", "Success 192.0.2.53"
			}
			if got := ask(network, name); got != want {
				t.Errorf("%s %s: %s", network, name, got)
			}
		})
	}
}
