package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// journaldSocket is where journald answers Varlink calls, see
// systemd-journald.service(8).
const journaldSocket = "/run/systemd/journal/io.systemd.journal"

// Synchronize returns once everything that was sent to journald before the
// call can be read, as "journalctl --sync" does. Without a journald to ask, the
// error wraps spec.ErrUnavail.
func Synchronize(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", journaldSocket)
	if err != nil {
		return fmt.Errorf("synchronize the journal: %w: %w", err, spec.ErrUnavail)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write([]byte(`{"method":"io.systemd.Journal.Synchronize"}` + "\x00")); err != nil {
		return fmt.Errorf("synchronize the journal: %w", err)
	}
	answer, err := bufio.NewReader(conn).ReadBytes(0)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("synchronize the journal: %w", err)
	}
	var reply struct{ Error string }
	if err := json.Unmarshal(answer[:len(answer)-1], &reply); err != nil || reply.Error != "" {
		return fmt.Errorf("synchronize the journal: journald answered %q", answer)
	}
	return nil
}
