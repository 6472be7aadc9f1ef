package stdio

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/spec"
)

// Files are the ends of a container's stdio that the broker takes over. The
// caller keeps its own descriptors and should close them after Register: the
// broker sees the end of the output only when no other writer is left.
type Files struct {
	Master *os.File // of the terminal; then the others are nil

	Stdout *os.File // read end of the payload's stdout
	Stderr *os.File // read end of the payload's stderr, another pipe
	Stdin  *os.File // write end of the payload's stdin; nil if it is /dev/null
}

// list returns the descriptors in the order in which the protocol sends them.
func (f Files) list() []*os.File {
	if f.Master != nil {
		return []*os.File{f.Master}
	}
	if f.Stdin == nil {
		return []*os.File{f.Stdout, f.Stderr}
	}
	return []*os.File{f.Stdout, f.Stderr, f.Stdin}
}

// Register hands the stdio of a container that is about to start to the broker
// at socket. When it returns nil the descriptors are in systemd's keeping and
// outlive the broker, and clients that waited for the container are attached;
// the payload may run. If the container is still registered from an earlier run,
// that run's output is taken to its end beside the new one's.
func Register(ctx context.Context, socket string, reg Registration, files Files) error {
	reg.TTY, reg.Stdin = files.Master != nil, files.Stdin != nil
	if !reg.TTY && (files.Stdout == nil || files.Stderr == nil) {
		return fmt.Errorf("register stdio of %s: stdout or stderr is missing: %w", reg.ID, spec.ErrInvalid)
	}
	fds, err := duplicates(files.list())
	defer seqpacket.CloseAll(fds)
	if err == nil {
		err = call(ctx, socket, VerbRegister, reg, nil, fds...)
	}
	if err != nil {
		return fmt.Errorf("register stdio of %s: %w", reg.ID, err)
	}
	return nil
}

// duplicates returns descriptors of files for sending. File.Fd would do, but may
// make the open file blocking, which the broker and the caller share.
func duplicates(files []*os.File) (fds []int, err error) {
	for _, f := range files {
		rc, err := f.SyscallConn()
		if err != nil {
			return fds, err
		}
		var fd int
		var dupErr error
		err = rc.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
		if err := seqpacket.FirstError(err, dupErr); err != nil {
			return fds, fmt.Errorf("duplicate %s: %w", f.Name(), err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// Drain waits until every output stream of the container's current run has
// ended and the journal has taken its last line, and lets the broker forget it.
// It is meant for the time after the payload's death: if a process that left the
// container keeps a stream open, the broker waits grace for it, takes what has
// been written until then and closes it. A negative grace waits for ever. A
// container that the broker does not know is drained already.
func Drain(ctx context.Context, socket, id string, grace time.Duration) error {
	if err := call(ctx, socket, VerbDrain, DrainRequest{ID: id, Grace: grace}, nil); err != nil {
		return fmt.Errorf("drain output of %s: %w", id, err)
	}
	return nil
}

// Resize sets the size of the container's terminal. The error matches
// spec.ErrNotFound if the broker does not know the container and
// spec.ErrConflict if that has no terminal.
func Resize(ctx context.Context, socket, id string, size Size) error {
	if err := call(ctx, socket, VerbResize, ResizeRequest{ID: id, Size: size}, nil); err != nil {
		return fmt.Errorf("resize terminal of %s: %w", id, err)
	}
	return nil
}

// List returns what the broker knows, in the order of ids. An answer of any
// length also shows that the broker works.
func List(ctx context.Context, socket string) ([]Status, error) {
	list := []Status{}
	err := call(ctx, socket, VerbList, nil, func(payload []byte) error {
		var s Status
		if err := json.Unmarshal(payload, &s); err != nil {
			return err
		}
		list = append(list, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list stdio: %w", err)
	}
	return list, nil
}

// attempts is how often an attachment is tried when the broker is killed while
// it works on it.
const attempts = 5

// call makes one request and reads the answer to its end. Every FrameItem's
// payload goes to item. Every request may be repeated: a registration of the
// same pipes for the same container is recognized.
func call(ctx context.Context, socket string, verb byte, v any, item func([]byte) error, fds ...int) error {
	msg, err := EncodeRequest(verb, v)
	if err != nil {
		return err
	}
	return seqpacket.Call(ctx, socket, msg, func(answer []byte) (bool, error) { return takeAnswer(answer, item) }, fds...)
}

// takeAnswer looks at one message of an answer and reports whether it is the
// last one.
func takeAnswer(msg []byte, item func([]byte) error) (done bool, err error) {
	switch msg[0] {
	case FrameOK:
		return true, nil
	case FrameError:
		return true, decodeError(msg[1:])
	case FrameItem:
		if item == nil {
			return true, fmt.Errorf("answer holds an item: %w", spec.ErrInvalid)
		}
		return false, item(msg[1:])
	}
	return true, fmt.Errorf("answer of type %q: %w", msg[0], spec.ErrInvalid)
}
