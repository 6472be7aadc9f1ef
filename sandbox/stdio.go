package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/plan"
)

// pipeBytes is the size of a payload's pipes: what it can write before the
// broker has to run.
const pipeBytes = 256 << 10

// nearEnds are what becomes the payload's descriptors 0, 1 and 2.
type nearEnds [3]*os.File

func (n nearEnds) close() {
	for _, f := range n {
		if f != nil {
			_ = f.Close() // the payload has its own
		}
	}
}

// openStdio makes the payload's stdio. What only the container has, its
// terminal and its /dev/null, the second stage puts in the place of the host's
// /dev/null.
func openStdio(s plan.Stdio) (near nearEnds, far Streams, err error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return near, far, err
	}
	if s.TTY {
		return nearEnds{null, null, null}, far, nil
	}
	near[0] = null
	if s.OpenStdin {
		_ = null.Close() // not used
		if near[0], far.Stdin, err = pipe(); err != nil {
			return near, far, err
		}
	}
	if far.Stdout, near[1], err = pipe(); err != nil {
		return near, far, err
	}
	far.Stderr, near[2], err = pipe()
	return near, far, err
}

// pipe makes a pipe whose ends block, as programs expect of their stdio.
func pipe() (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	// The default of 64 KiB does as well where the limit for users is used up.
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeBytes)
	return os.NewFile(uintptr(p[0]), "read end"), os.NewFile(uintptr(p[1]), "write end"), nil
}
