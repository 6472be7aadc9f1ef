// Package supervisor drives systemd: it starts, stops, freezes, kills and
// enables units, waits for jobs, and reads and follows the state of units. It
// is the only user of D-Bus in cleat.
//
// It speaks to PID 1 on systemd's private socket, which needs no bus daemon
// but is for root alone, and falls back to the system bus where that socket is
// missing. The D-Bus wire format is godbus's; the connection is our own, since
// the hot path cannot afford the five round trips to PID 1 that a general
// client spends before its first call.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cleat-project/cleat/spec"
)

// Where systemd listens and where an administrator's unit files lie.
const (
	PrivateSocket = "/run/systemd/private"
	SystemBus     = "/run/dbus/system_bus_socket"
	UnitDir       = "/etc/systemd/system"
)

// ErrNoSystemd says that no systemd answers on this machine.
var ErrNoSystemd = fmt.Errorf("systemd is not running here: %w", spec.ErrUnavail)

// errLost says that the connection broke while a call or a wait was under way.
var errLost = fmt.Errorf("connection to systemd lost: %w", spec.ErrUnavail)

// reconnectFor is how long a lost connection is tried again. PID 1 is away for
// some 50 ms during a daemon-reexec, longer with many units on a busy machine.
const reconnectFor = 10 * time.Second

// Conn is a connection to systemd. It is safe for concurrent use. It survives a
// daemon-reload, and comes back by itself after a daemon-reexec.
type Conn struct {
	private, bus, unitDir string // PrivateSocket, SystemBus and UnitDir but in tests

	mu     sync.Mutex
	link   *link
	closed bool

	versionMu sync.Mutex
	version   int
}

// Connect connects to the machine's systemd. The error wraps ErrNoSystemd if
// none runs here. The caller closes the Conn.
//
// Authentication goes on in the background; the first call waits for its end
// and reports its failure.
func Connect(ctx context.Context) (*Conn, error) {
	return connect(ctx, &Conn{private: PrivateSocket, bus: SystemBus, unitDir: UnitDir})
}

func connect(ctx context.Context, c *Conn) (*Conn, error) {
	l, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.link = l
	return c, nil
}

// Close ends the connection. Calls under way fail.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.link != nil {
		c.link.close(errClosed)
	}
}

var errClosed = errors.New("connection to systemd closed")

func (c *Conn) dial(ctx context.Context) (*link, error) {
	l, err := dialPrivate(ctx, c.private)
	if err == nil || !errors.Is(err, ErrNoSystemd) {
		return l, err
	}
	if l, busErr := dialBus(ctx, c.bus); busErr == nil {
		return l, nil
	}
	return nil, err
}

// dialError makes the error of a connect(2) that failed.
func dialError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connect to %s: %w", path, ErrNoSystemd)
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return fmt.Errorf("connect to %s as uid %d, only root may: %w", path, os.Geteuid(), spec.ErrDenied)
	}
	return fmt.Errorf("connect to %s: %w", path, err)
}

// live returns a working link, dialling anew if the last one broke.
func (c *Conn) live(ctx context.Context) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.link.alive() {
		return c.link, nil
	}
	l, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.link = l
	return l, nil
}

// retry calls do until it has reached PID 1 or reconnectFor has passed. While
// PID 1 re-executes itself its socket is gone, or ends before it has answered,
// and nothing announces its return; hence the pauses.
func (c *Conn) retry(ctx context.Context, do func() error) error {
	limit := time.NewTimer(reconnectFor)
	defer limit.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := do()
		away := errors.Is(err, errUnsent) || errors.Is(err, ErrNoSystemd)
		if !away || errors.Is(err, spec.ErrDenied) || errors.Is(err, errClosed) {
			return err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-limit.C:
			return err
		case <-ctx.Done():
			again.Stop()
			return err
		}
	}
}

// call makes one method call on the manager object.
func (c *Conn) call(ctx context.Context, method string, args ...any) ([]any, error) {
	return c.callOn(ctx, managerPath, managerInterface, method, args...)
}

// callOn makes one method call. One that failed before it left this process is
// tried again; one that may have reached PID 1 never is.
func (c *Conn) callOn(ctx context.Context, path objectPath, iface, method string, args ...any) (body []any, err error) {
	err = c.retry(ctx, func() error {
		l, err := c.live(ctx)
		if err != nil {
			return err
		}
		body, err = l.call(ctx, path, iface, method, args...)
		return err
	})
	return body, err
}

// subscribe begins to collect signals on a working link.
func (c *Conn) subscribe(ctx context.Context, want func(*dbus.Message) bool) (sub *subscription, err error) {
	err = c.retry(ctx, func() error {
		l, err := c.live(ctx)
		if err != nil {
			return err
		}
		sub = l.subscribe(want)
		return nil
	})
	return sub, err
}
