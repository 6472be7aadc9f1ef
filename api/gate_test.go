package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/tls"
	"net/http/httptest"
)

// sockets returns listeners at sockets of the test's own, with what connects to them.
func sockets(t *testing.T, n int) (list []Listener, clients []*http.Client) {
	t.Helper()
	for i := range n {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Listener{Listener: l})
		clients = append(clients, &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}})
	}
	return list, clients
}

func ping(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err != nil || string(data) != "OK" {
		return fmt.Errorf("%q, %w", data, err)
	}
	return nil
}

// All listeners are served, and the server ends when nobody is connected to any.
func TestServeSeveral(t *testing.T) {
	list, clients := sockets(t, 3)
	there, err := net.Dial("unix", list[2].Addr().String()) // so that the server does not end too early
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- newServer(&fake{}, Options{}).Serve(context.WithoutCancel(t.Context()), list, 300*time.Millisecond)
	}()
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() {
			for range 20 {
				if err := ping(t.Context(), c, "http://d/_ping"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	_ = there.Close()
	if err := <-done; !errors.Is(err, ErrIdle) {
		t.Errorf("serving ends with %v", err)
	}
}

// Whoever connects while the gate is about to shut is let in by this call of Accept
// or the next one, never lost.
func TestGateLosesNobody(t *testing.T) {
	list, clients := sockets(t, 2)
	g := newGate(list, func(string) {})
	defer g.Close()
	const each = 100
	var group sync.WaitGroup
	for _, c := range clients {
		dial := c.Transport.(*http.Transport).DialContext
		group.Go(func() {
			for range each {
				conn, err := dial(t.Context(), "", "")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // the other side closes it
					t.Errorf("a client is left with %v", err)
				}
				_ = conn.Close()
			}
		})
	}
	shut := 0
	for seen := 0; seen < 2*each; {
		_ = g.SetDeadline(time.Now().Add(50 * time.Microsecond))
		conn, err := g.Accept()
		if err != nil {
			shut++
			continue
		}
		seen++
		_ = conn.Close()
	}
	group.Wait()
	if shut == 0 {
		t.Log("the gate was never shut in between")
	}
}

func TestGateEnds(t *testing.T) {
	list, _ := sockets(t, 2)
	g := newGate(list, func(string) {})
	ended := make(chan error, 1)
	go func() {
		_, err := g.Accept()
		ended <- err
	}()
	_ = g.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ends with %v", err)
	}
	list, _ = sockets(t, 2)
	_ = list[1].Close()
	if err := newServer(&fake{}, Options{}).Serve(t.Context(), list, -1); err == nil || !strings.Contains(err.Error(), "accept connections") {
		t.Errorf("a broken listener: %v", err)
	}
}

// Who does not pass the handshake is refused, and does not hold up others.
func TestGateShakesHands(t *testing.T) {
	model := httptest.NewUnstartedServer(nil)
	model.StartTLS() // for its certificate
	defer model.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- newServer(&fake{}, Options{Warn: func(s string) { told <- s }}).Serve(ctx, []Listener{{l, &tls.Config{Certificates: model.TLS.Certificates, MinVersion: tls.VersionTLS12}}}, -1)
	}()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := ping(t.Context(), model.Client(), "https://"+l.Addr().String()+"/_ping"); err != nil {
		t.Error(err)
	}
	if err := ping(t.Context(), http.DefaultClient, "http://"+l.Addr().String()+"/_ping"); err == nil {
		t.Error("a client without TLS was answered")
	}
	if s := <-told; !strings.HasPrefix(s, "refused a client at 127.0.0.1:") {
		t.Errorf("%q", s)
	}
	model.Client().CloseIdleConnections()
	cancel()
	<-done
}
