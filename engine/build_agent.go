package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// AgentMount is the socket of an ssh agent, at which a step can see which keys there
// are, and have things signed, and nothing else.
type AgentMount struct {
	Socket   string // of the agent
	UID, GID int
	Mode     os.FileMode
}

// agentProxy stands between a step and an agent.
type agentProxy struct {
	agent    string
	listener net.Listener
	wg       sync.WaitGroup
	stop     context.CancelFunc
}

// serveAgent opens a socket called name in dir, which is made, and returns its path.
func serveAgent(ctx context.Context, dir, name string, m AgentMount) (path string, stop func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = d.Close() }() // only a way to name the directory
	// A path of any length does not fit into the address of a socket; this one does.
	address := "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + name
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", address)
	if err != nil {
		return "", nil, fmt.Errorf("listen for ssh: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // its directory goes as a whole
	}
	p := &agentProxy{agent: m.Socket, listener: l, stop: cancel}
	path = filepath.Join(dir, name)
	if err := errors.Join(os.Chown(path, m.UID, m.GID), os.Chmod(path, m.Mode)); err != nil {
		p.close()
		return "", nil, err
	}
	p.wg.Go(func() { p.accept(ctx) })
	return path, p.close, nil
}

func (p *agentProxy) close() {
	p.stop()
	_ = p.listener.Close() // ends accept
	p.wg.Wait()
}

func (p *agentProxy) accept(ctx context.Context) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // it was closed
		}
		p.wg.Go(func() { p.serve(ctx, conn) })
	}
}

// serve passes requests on, one at a time.
func (p *agentProxy) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }() // the step sees the end
	agent, err := (&net.Dialer{}).DialContext(ctx, "unix", p.agent)
	if err != nil {
		return
	}
	defer func() { _ = agent.Close() }() // nothing is left to be written
	end := context.AfterFunc(ctx, func() { _, _ = conn.Close(), agent.Close() })
	defer end()
	for {
		request, err := readAgent(conn)
		if err != nil {
			return
		}
		answer := []byte{agentFailure}
		if len(request) > 0 && (request[0] == agentList || request[0] == agentSign) {
			if err := writeAgent(agent, request); err != nil {
				return
			}
			if answer, err = readAgent(agent); err != nil {
				return
			}
		}
		if err := writeAgent(conn, answer); err != nil {
			return
		}
	}
}

// Messages of the agent's protocol, see draft-ietf-sshm-ssh-agent. Keys cannot be
// added or removed from a step, nor the agent be locked.
const (
	agentFailure = 5
	agentList    = 11
	agentSign    = 13
)

// maxAgentBytes is how long a message may be, as in OpenSSH.
const maxAgentBytes = 256 << 10

func readAgent(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxAgentBytes {
		return nil, invalid("message of an ssh agent has %d bytes", n)
	}
	data := make([]byte, n)
	_, err := io.ReadFull(r, data)
	return data, err
}

func writeAgent(w io.Writer, data []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}
