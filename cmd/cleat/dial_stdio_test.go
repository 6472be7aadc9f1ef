package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// serveOnce answers one connection.
func serveOnce(t *testing.T, answer func(net.Conn)) net.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			answer(c)
			_ = c.Close()
		}
	}()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = l.Close()
		<-done
	})
	return conn
}

// The end of one direction is passed on and is not that of the other.
func TestRelay(t *testing.T) {
	t.Parallel()
	conn := serveOnce(t, func(c net.Conn) {
		in, _ := io.ReadAll(c)
		_, _ = io.WriteString(c, "got "+string(in))
	})
	var out bytes.Buffer
	if err := relay(t.Context(), conn, strings.NewReader("hello"), &out); err != nil || out.String() != "got hello" {
		t.Errorf("%q, %v", &out, err)
	}
}

// Nothing is waited for once the server has closed the connection.
func TestRelayEndsWithTheServer(t *testing.T) {
	t.Parallel()
	conn := serveOnce(t, func(c net.Conn) { _, _ = io.WriteString(c, "bye") })
	in, hold := io.Pipe()
	defer hold.Close()
	var out bytes.Buffer
	if err := relay(t.Context(), conn, in, &out); err != nil || out.String() != "bye" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestRelayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	conn := serveOnce(t, func(net.Conn) { <-stop })
	defer close(stop)
	in, hold := io.Pipe()
	defer hold.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := relay(ctx, conn, in, io.Discard); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}
