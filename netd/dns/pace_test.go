package dns

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestPace(t *testing.T) {
	for rate, want := range map[int]int{0: 100_000, 50: 500, 1: 100 /* one in each window */} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second-1)
			defer cancel()
			n := 0
			for p := (&Server{Rate: rate}).pace(); p.wait(ctx); n++ {
			}
			// What has waited is not counted again: one more in each window.
			if n < want || n > want+100 {
				t.Errorf("rate %d: %d in 10 s, want %d", rate, n, want)
			}
		})
	}
}

func TestRateIsKept(t *testing.T) {
	ask := serve(t, &Server{Rate: 50}, View{Records: sample()})
	start := time.Now()
	for i := range 20 {
		if got := ask([]string{"udp", "tcp"}[i%2], "web."); got != "Success 172.18.0.2" {
			t.Error(got)
		}
	}
	if d := time.Since(start); d < paceWindow/2 {
		t.Errorf("twenty questions took %v", d)
	}
}

func TestJoin(t *testing.T) {
	one := NewRecords([]Entry{
		{Names: []string{"a"}, Network: "one", Addrs: addrs("10.0.0.1")},
		{Names: []string{"six"}, Network: "one", Addrs: addrs("fd00::1")},
	})
	two := NewRecords([]Entry{
		{Names: []string{"a"}, Network: "two", Addrs: addrs("10.1.0.1")},
		{Names: []string{"b"}, Network: "two", Addrs: addrs("10.1.0.2")},
		{Names: []string{"six"}, Network: "two", Addrs: addrs("10.1.0.3")},
	})
	r := Join(nil, one, Join(two))
	for name, want := range map[string]string{
		"a.":                     "Success 10.0.0.1",
		"a.two.":                 "Success 10.1.0.1",
		"b.":                     "Success 10.1.0.2",
		"six.":                   "Success 10.1.0.3", // the first part has no IPv4 address
		"six.one.":               "Success",
		"c.":                     "! forward",
		"2.0.1.10.in-addr.arpa.": "Success b.two.",
		"9.0.1.10.in-addr.arpa.": "! forward",
		"1.0.0.10.in-addr.arpa.": "Success a.one.",
	} {
		kind := dnsmessage.TypeA
		if strings.Contains(name, "arpa") {
			kind = dnsmessage.TypePTR
		}
		q, err := parse(question(t, name, kind))
		if err != nil {
			t.Fatal(err)
		}
		got := "! forward"
		if msg, err := r.answer(q, q.size, 0); err == nil {
			got = show(t, msg)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// A query that is as long as no query is ends the connection, before it is
// waited for.
func TestLongQueriesAreNotTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = (&Server{}).ServeStream(t.Context(), l, func() View { return View{} }) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// An answer that is too long for UDP makes the client ask by TCP.
func TestLongForeignAnswersAreCut(t *testing.T) {
	up := newUpstream(t, func(reply []byte) [][]byte {
		return [][]byte{append(reply, make([]byte, 5000)...)}
	})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = (&Server{}).ServePacket(t.Context(), pc, func() View { return View{Upstreams: fixed(up.addr)} })
	}()
	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(question(t, "example.com.", dnsmessage.TypeA)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	var p dnsmessage.Parser
	h, pErr := p.Start(buf[:n])
	if err != nil || pErr != nil || !h.Truncated || n > maxUDP {
		t.Errorf("%d bytes, truncated %v, %v, %v", n, h.Truncated, err, pErr)
	}
}
