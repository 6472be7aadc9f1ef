package engine

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A step sees the keys of an agent and has things signed; it does not change it.
func TestAgentProxyLetsThroughLittle(t *testing.T) {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	real, err := net.Listen("unix", filepath.Join(dir, "real"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = real.Close() }()
	seen := make(chan []byte, 10)
	go func() {
		for {
			conn, err := real.Accept()
			if err != nil {
				return
			}
			for {
				request, err := readAgent(conn)
				if err != nil {
					break
				}
				seen <- request
				_ = writeAgent(conn, append([]byte{12}, request...))
			}
			_ = conn.Close()
		}
	}()
	path, stop, err := serveAgent(t.Context(), filepath.Join(dir, "a", "long", "way", "down"), "0", AgentMount{Socket: filepath.Join(dir, "real"), Mode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", fi, err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, c := range []struct{ request, want []byte }{
		{[]byte{agentList}, []byte{12, agentList}}, {[]byte{17, 1, 2}, []byte{agentFailure}}, {[]byte{19}, []byte{agentFailure}}, {nil, []byte{agentFailure}},
		{[]byte{agentSign, 7}, []byte{12, agentSign, 7}}, {[]byte{27, agentSign}, []byte{agentFailure}},
	} {
		if err := writeAgent(conn, c.request); err != nil {
			t.Fatal(err)
		}
		got, err := readAgent(conn)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, %v", c.request, got, err)
		}
	}
	if len(seen) != 2 {
		t.Errorf("the agent was asked %d times", len(seen))
	}
	stop() // ends the connection that is open
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlived its step")
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the socket outlived its step")
	}
}
