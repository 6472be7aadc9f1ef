package file

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrDamaged is what every *DamageError wraps.
var ErrDamaged = errors.New("damaged journal file")

// ErrUnsupported says that a journal file uses a feature of the format that this
// package does not know.
var ErrUnsupported = errors.New("journal file of an unknown format")

// errNotReady says that journald has created a file and not yet filled in its
// header.
var errNotReady = errors.New("journal file is just being created")

// DamageError says that a part of a journal file cannot be read. The rest of the
// file, and the other files, are read on.
type DamageError struct {
	Path   string // the file
	Offset uint64 // of the damaged object, in bytes; 0 is the header
	What   string // what is wrong there
}

// Error describes the damage.
func (e *DamageError) Error() string {
	return fmt.Sprintf("read journal %s: offset %d: %s", e.Path, e.Offset, e.What)
}

// Unwrap returns ErrDamaged.
func (e *DamageError) Unwrap() error { return ErrDamaged }

// catchFault turns a memory fault into a *DamageError at *errp. Somebody may
// truncate a file while it is mapped, and then touching it raises SIGBUS, which
// would end the whole program. To be used as
//
//	defer catchFault(path, debug.SetPanicOnFault(true), &err)
func catchFault(path string, old bool, errp *error) {
	debug.SetPanicOnFault(old)
	r := recover()
	if r == nil {
		return
	}
	fault, ok := r.(interface{ Addr() uintptr })
	if !ok || fault.Addr() < 4096 { // a nil pointer is a bug of ours
		panic(r)
	}
	*errp = &DamageError{Path: path, What: "the file was truncated while it was read"}
}
