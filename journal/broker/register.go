package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/undo"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/spec"
)

// add serves VerbRegister. Taken says that the broker owns the descriptors.
func (b *Broker) add(ctx context.Context, reg stdio.Registration, fds []int) (taken bool, err error) {
	if err := checkRegistration(reg, fds); err != nil {
		return false, err
	}
	b.register.Lock()
	defer b.register.Unlock()
	if c, err := b.find(reg.ID); err == nil && c.sameSource(fds[0]) {
		return false, nil // made once more, since the answer got lost
	}
	c, err := b.newContainer(ctx, reg, fds)
	if err != nil {
		return true, err
	}
	b.mu.Lock()
	b.current[reg.ID] = c // an earlier run goes on to its end beside it
	b.all[c] = struct{}{}
	b.adoptWaiting(c)
	b.mu.Unlock()
	c.start(ctx)
	return true, nil
}

// idDigits is the length of a container's id.
const idDigits = 64

func checkRegistration(reg stdio.Registration, fds []int) error {
	if len(reg.ID) != idDigits || strings.Trim(reg.ID, "0123456789abcdef") != "" {
		return fmt.Errorf("container id %q: %w", reg.ID, spec.ErrInvalid)
	}
	want := 2
	if reg.TTY {
		want = 1
	} else if reg.Stdin {
		want = 3
	}
	if len(fds) != want {
		return fmt.Errorf("%d descriptors, expected %d: %w", len(fds), want, spec.ErrInvalid)
	}
	if len(reg.Unit) > unitBytes || strings.ContainsAny(reg.Unit, "\n\x00") {
		return fmt.Errorf("unit %q: %w", reg.Unit, spec.ErrInvalid)
	}
	for _, fd := range fds {
		id, err := sourceID(fd)
		if err != nil {
			return err
		}
		if first, _ := sourceID(fds[0]); fd != fds[0] && id == first {
			return fmt.Errorf("stdout is the same pipe as another stream: %w", spec.ErrInvalid)
		}
	}
	return nil
}

// unitBytes is the length of the longest unit name: UNIT_NAME_MAX.
const unitBytes = 255

// newContainer makes a container of a registration and puts it into the store.
// It takes over fds, also when it fails.
func (b *Broker) newContainer(ctx context.Context, reg stdio.Registration, fds []int) (_ *container, err error) {
	var u undo.Stack
	defer u.OnError(ctx, &err)
	files := takeFiles(fds)
	u.Push("close stdio", func(context.Context) error { return closeFiles(files) })

	meta, err := json.Marshal(reg)
	if err != nil {
		return nil, err
	}
	c := b.emptyContainer(reg, b.newName())
	u.Push("free name", func(context.Context) error { b.freeName(c.name); return nil })
	var start uint64
	c.payload, start = newPayload(reg.PID, 0)
	u.Push("close pidfd", func(context.Context) error { c.payload.close(); return nil })
	if !reg.TTY && reg.Stdin {
		c.stdin = files[2]
	}
	outputs := files[:min(len(files), 2)]
	keep := []int{}
	for i, src := range outputs {
		s, err := makeStream(c, src, fds[i], stdio.FrameStdout+byte(i), meta)
		if err != nil {
			return nil, err
		}
		u.Push("close stage", func(context.Context) error { return s.closeStage() })
		c.streams = append(c.streams, s)
		keep = append(keep, s.stored(fds[i])...)
	}
	c.streams[0].st.set(wordPID, start)
	c.streams[0].st.set(wordSerial, uint64(time.Now().UnixNano()))
	c.open = len(c.streams)
	return c, b.keep(c, fds, keep)
}

// keep puts a container's descriptors into the store: stdin first, so that a
// container whose stages are there is complete.
func (b *Broker) keep(c *container, fds, keep []int) error {
	if b.cfg.Store == nil {
		return nil
	}
	if c.stdin != nil {
		if err := b.cfg.Store.Keep(storeName(c.name)+stdinSuffix, fds[2]); err != nil {
			return err
		}
	}
	if err := b.cfg.Store.Keep(storeName(c.name), keep...); err != nil {
		b.forgetName(storeName(c.name) + stdinSuffix)
		return err
	}
	return nil
}

func (b *Broker) freeName(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.names, n)
}

func (b *Broker) emptyContainer(reg stdio.Registration, name uint64) *container {
	return &container{b: b, reg: reg, name: name, ready: make(chan struct{}), done: make(chan struct{})}
}

// makeStream makes a stream with an empty stage; fd is src's.
func makeStream(c *container, src *os.File, fd int, frame byte, meta []byte) (*stream, error) {
	id, err := sourceID(fd)
	if err != nil {
		return nil, err
	}
	mid := -1
	if c.reg.TTY {
		if mid, err = newPipe(); err != nil {
			return nil, err
		}
	}
	st, err := newStage(meta, frame, id)
	if err == nil {
		var s *stream
		if s, err = newStream(c, src, mid, st); err == nil {
			return s, nil
		}
		err = errors.Join(err, st.close())
	}
	if mid >= 0 {
		_ = unix.Close(mid)
	}
	return nil, err
}

// closeStage closes what makeStream made.
func (s *stream) closeStage() error {
	err := s.st.close()
	if s.mid >= 0 {
		err = errors.Join(err, unix.Close(s.mid))
	}
	return err
}

// stored lists what has to be in the store for the stream, whose source is fd.
func (s *stream) stored(fd int) []int {
	list := []int{fd, s.st.fd}
	if s.mid >= 0 {
		list = append(list, s.mid)
	}
	return list
}

// pipeBytes is the capacity of a container's pipes; memory is used as they fill.
const pipeBytes = 256 << 10

// takeFiles makes non-blocking files of descriptors. The payload does not notice:
// its ends of the pipes are open files of their own.
func takeFiles(fds []int) []*os.File {
	var files []*os.File
	for _, fd := range fds {
		_ = unix.SetNonblock(fd, true) // fails for no open descriptor
		// Fewer wake-ups for a flood; refused for a terminal, or beyond a limit.
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeBytes)
		files = append(files, os.NewFile(uintptr(fd), "container stdio"))
	}
	return files
}

func closeFiles(files []*os.File) error {
	var err error
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}
