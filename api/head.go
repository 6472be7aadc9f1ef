package api

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// writeHead answers on a connection that was taken over from HTTP, so that the
// head comes alone: some clients, Python's SDK among them, read it into a buffer
// and the rest from the socket beneath, and would lose what came along with it.
//
// On a unix socket a descriptor that is passed with the head keeps a read from
// going on past it, see unix(7); who does not ask for descriptors gets none.
func writeHead(nc net.Conn, head string) error {
	if counted, ok := nc.(*countedConn); ok {
		nc = counted.Conn
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		_, err := io.WriteString(nc, head)
		return err
	}
	barrier, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer barrier.Close()
	n, _, err := uc.WriteMsgUnix([]byte(head), unix.UnixRights(int(barrier.Fd())), nil)
	if err == nil && n < len(head) { // writing nothing would tell that the client has gone
		_, err = io.WriteString(uc, head[n:])
	}
	return err
}
