package tests

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// wsClient is a client of a websocket.
type wsClient struct {
	net.Conn
	in *bufio.Reader
}

// websocket attaches to a container, and returns the status if there is no websocket.
func (s apiSite) websocket(t *testing.T, path, heads string) (*wsClient, int) {
	t.Helper()
	c, err := s.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: d\r\n%s\r\n", path, heads)
	w := &wsClient{c, bufio.NewReader(c)}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("heads %v", resp.Header)
	}
	return w, resp.StatusCode
}

const wsHeads = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost\r\n"

// send writes one frame, masked as a client's.
func (w *wsClient) send(t *testing.T, head byte, text string) {
	t.Helper()
	frame := append([]byte{head, 0x80 | byte(len(text))}, 1, 2, 3, 4)
	for i := range len(text) {
		frame = append(frame, text[i]^frame[2+i&3])
	}
	if _, err := w.Write(frame); err != nil {
		t.Fatal(err)
	}
}

// read returns the next frame.
func (w *wsClient) read(t *testing.T) (head byte, data string) {
	t.Helper()
	var b [2]byte
	if _, err := io.ReadFull(w.in, b[:]); err != nil {
		t.Fatal(err)
	}
	n := int(b[1])
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(w.in, long[:]); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(w.in, buf); err != nil {
		t.Fatal(err)
	}
	return b[0], string(buf)
}

// expect reads until what has come ends in text.
func (w *wsClient) expect(t *testing.T, head byte, text string) {
	t.Helper()
	var all strings.Builder
	for !strings.HasSuffix(all.String(), text) {
		h, data := w.read(t)
		if all.WriteString(data); h != head {
			t.Fatalf("frame %#x %q after %q, want %#x that ends in %q", h, data, all.String(), head, text)
		}
	}
}

// TestAttachWebsocket talks to containers over websockets.
func TestAttachWebsocket(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	s.must(t, "run", "-d", "-i", "--name", "chat", "--network", "none", "busybox", "sh", "-c", "while read l; do echo got $l; echo err $l >&2; [ $l = end ] && exit 5; done")
	const attach = "/v1.44/containers/chat/attach/ws?stream=1&stdin=1&stdout=1"
	w, code := s.websocket(t, attach, wsHeads)
	if code != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", code)
	}
	w.send(t, 0x01, "fir")
	w.send(t, 0x89, "are you there")
	if h, data := w.read(t); h != 0x8a || data != "are you there" {
		t.Errorf("a ping is answered with %#x %q", h, data)
	}
	w.send(t, 0x80, "st\n")
	w.expect(t, 0x82, "got first\n")

	old, code := s.websocket(t, strings.Replace(attach, "1.44", "1.27", 1)+"&stderr=1", wsHeads)
	if code != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", code)
	}
	old.send(t, 0x82, "second\n")
	old.expect(t, 0x81, "\n") // one of the streams, whichever comes first
	w.expect(t, 0x82, "got second\n")

	// A client that breaks the rules, and one that is gone, disturb nobody.
	bad, _ := s.websocket(t, attach, wsHeads)
	if _, err := bad.Write([]byte{0x82, 1, 'x'}); err != nil {
		t.Fatal(err)
	}
	if h, data := bad.read(t); h != 0x88 || data != "\x03\xea" {
		t.Errorf("what is not masked is answered with %#x %q", h, data)
	}
	gone, _ := s.websocket(t, strings.Replace(attach, "stdin=1&", "", 1), wsHeads)
	_ = gone.Close()
	if got := s.inspect(t, "chat", "{{.State.Status}}"); got != "running" {
		t.Fatalf("the container is %s", got)
	}
	for heads, want := range map[string]int{
		"": http.StatusBadRequest,
		"Upgrade: tcp\r\nConnection: Upgrade\r\n":                 http.StatusBadRequest,
		strings.Replace(wsHeads, "13", "7", 1):                    http.StatusUpgradeRequired,
		strings.Replace(wsHeads, "dGhlIHNhbXBsZSBub25jZQ", "", 1): http.StatusBadRequest,
	} {
		if _, code := s.websocket(t, attach, heads); code != want {
			t.Errorf("%q: status %d, want %d", heads, code, want)
		}
	}
	if _, code := s.websocket(t, "/containers/nosuch/attach/ws", wsHeads); code != http.StatusNotFound {
		t.Errorf("a container that is not there: status %d", code)
	}

	last, _ := s.websocket(t, attach, wsHeads)
	last.send(t, 0x81, "end\n")
	last.expect(t, 0x82, "got end\n")
	if h, data := last.read(t); h != 0x88 || data != "\x03\xe8" {
		t.Errorf("the end of the container is %#x %q", h, data)
	}
	if got := s.must(t, "wait", "chat"); got != "5" {
		t.Errorf("exit code %s", got)
	}
	s.must(t, "rm", "chat")

	s.must(t, "run", "-d", "-it", "--name", "tty", "--network", "none", "busybox", "cat")
	tty, code := s.websocket(t, "/containers/tty/attach/ws?stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-x", wsHeads)
	if code != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", code)
	}
	tty.send(t, 0x82, "echo\n")
	tty.expect(t, 0x82, "echo\r\n")
	tty.send(t, 0x82, "\x18")
	for h := byte(0); h != 0x88; {
		h, _ = tty.read(t)
	}
	if got := s.inspect(t, "tty", "{{.State.Status}}"); got != "running" {
		t.Errorf("detaching has left the container %s", got)
	}
	s.must(t, "rm", "-f", "tty")
	s.clean(t)
}
