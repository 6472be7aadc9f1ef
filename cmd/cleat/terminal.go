package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/moby/term"
)

// windowSize returns the size of the terminal behind a stream in characters,
// zeros if it is none.
func windowSize(stream any) (height, width uint16) {
	fd, isTerminal := terminalFd(stream)
	if !isTerminal {
		return 0, 0
	}
	size, err := term.GetWinsize(fd)
	if err != nil {
		return 0, 0
	}
	return size.Height, size.Width
}

// needTTY returns an error if stdin is to be a terminal and is not one: the
// container would echo what nobody types.
func needTTY(c *cli, tty, stdin bool) error {
	if _, isTerminal := terminalFd(c.in); tty && stdin && !isTerminal {
		return errors.New("the input device is not a TTY")
	}
	return nil
}

// rawTerminal puts the terminals among the streams into raw mode, if tty is
// set. Restore puts them back; it may be called more than once.
func rawTerminal(c *cli, tty, stdin bool) (restore func(), err error) {
	var undo []func()
	restore = func() {
		for _, f := range undo {
			f()
		}
		undo = nil
	}
	if !tty {
		return restore, nil
	}
	set := func(stream any, mode func(uintptr) (*term.State, error)) error {
		fd, isTerminal := terminalFd(stream)
		if !isTerminal {
			return nil
		}
		before, err := mode(fd)
		if err != nil {
			return fmt.Errorf("put terminal into raw mode: %w", err)
		}
		undo = append(undo, func() { _ = term.RestoreTerminal(fd, before) }) // there is nobody left to tell
		return nil
	}
	if stdin {
		err = set(c.in, term.SetRawTerminal)
	}
	if err == nil {
		err = set(c.out, term.SetRawTerminalOutput)
	}
	if err != nil {
		restore()
	}
	return restore, err
}

// defaultDetachKeys is ctrl-p, ctrl-q.
var defaultDetachKeys = []byte{16, 17}

// detachKeys parses --detach-keys; "" means the default.
func detachKeys(s string) ([]byte, error) {
	if s == "" {
		return defaultDetachKeys, nil
	}
	keys, err := term.ToBytes(s)
	if err != nil {
		return nil, fmt.Errorf("invalid detach keys (%s): %w", s, err)
	}
	return keys, nil
}

// watchWindow calls resize with the size of the terminal behind the caller's
// stdout now and whenever it changes, until ctx is done.
func watchWindow(ctx context.Context, c *cli, resize func(height, width uint16)) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		if height, width := windowSize(c.out); height != 0 && width != 0 {
			resize(height, width)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// proxySignals passes the signals that this process gets on to send, until stop
// is called. Those that are the terminal's or the runtime's business are left
// alone, as in Docker.
func proxySignals(send func(sig syscall.Signal)) (stop func()) {
	signals := make(chan os.Signal, 128)
	signal.Notify(signals)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-signals:
				if s, ok := sig.(syscall.Signal); ok && proxied(s) {
					send(s)
				}
			case <-done:
				signal.Stop(signals) // takes half a millisecond, for which nobody waits
				return
			}
		}
	}()
	return func() { close(done) }
}

func proxied(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG, syscall.SIGWINCH:
		return false
	}
	return true
}
