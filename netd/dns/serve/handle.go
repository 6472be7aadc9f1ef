package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/netd/dns/handover"
	"github.com/cleat-project/cleat/spec"
)

// requestTime is how long a connection may take.
const requestTime = 10 * time.Second

// handle serves one connection.
func (s *Server) handle(ctx context.Context, conn *seqpacket.Conn) {
	if conn.SetDeadline(time.Now().Add(requestTime)) != nil {
		return
	}
	defer conn.Bind(ctx)()
	msg := make([]byte, handover.RequestBytes)
	n, fds, err := conn.Recv(msg)
	defer func() { seqpacket.CloseAll(fds) }()
	if err == nil {
		err = s.call(ctx, conn, msg[:n], fds)
	}
	switch {
	case errors.Is(err, io.EOF) || ctx.Err() != nil:
		// Nobody is there to be told, or will ask again.
	case err != nil:
		_ = conn.Send(append([]byte{handover.FrameError}, err.Error()...))
	default:
		_ = conn.Send([]byte{handover.FrameOK})
	}
}

// call does what a request asks for. The descriptors stay the caller's. Who
// asked is looked at only now: a connection that is closed with an unread message
// would lose the answer.
func (s *Server) call(ctx context.Context, conn *seqpacket.Conn, msg []byte, fds []int) error {
	uid, err := conn.PeerUID()
	if err != nil {
		return err
	}
	if uid != s.cfg.PeerUID {
		return fmt.Errorf("user %d may not use cleat-netd: %w", uid, spec.ErrDenied)
	}
	verb, id, err := handover.ParseRequest(msg)
	if err != nil {
		return err
	}
	if verb != handover.VerbRegister && len(fds) > 0 {
		return fmt.Errorf("%d descriptors that nobody asked for: %w", len(fds), spec.ErrInvalid)
	}
	switch verb {
	case handover.VerbRegister:
		return s.add(ctx, id, fds)
	case handover.VerbForget:
		s.forget(id)
	case handover.VerbList:
		for _, id := range s.ids() {
			if err := conn.Send(append([]byte{handover.FrameItem}, id...)); err != nil {
				return err
			}
		}
	}
	return nil
}
