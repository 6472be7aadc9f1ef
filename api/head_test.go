package api

import (
	"io"
	"net"
	"path/filepath"
	"testing"
)

// TestHeadComesAlone shows that a client whose first read takes all there is gets
// no more than the head.
func TestHeadComesAlone(t *testing.T) {
	const head = "HTTP/1.1 101 UPGRADED\r\n\r\n"
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server := &countedConn{Conn: accepted, gone: func() {}}
	if err := writeHead(server, head); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(server, "output"); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8192)
	n, err := client.Read(buf)
	if err != nil || string(buf[:n]) != head {
		t.Errorf("the first read returns %q, %v, want the head alone", buf[:n], err)
	}
	if rest, err := io.ReadAll(client); err != nil || string(rest) != "output" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}
