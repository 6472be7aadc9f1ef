package broker

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fdstore"
)

// Store keeps descriptors over the death of the broker.
type Store interface {
	// Keep adds descriptors under name, which may hold several.
	Keep(name string, fds ...int) error
	// Forget removes all descriptors under name.
	Forget(name string) error
}

// Stored is a descriptor that came out of the store.
type Stored = fdstore.Passed

// ListenFDs takes the descriptors that systemd passed to this process apart:
// the listening socket, -1 if there is none, and what was in the store; getenv is
// os.Getenv.
func ListenFDs(getenv func(string) string) (listener int, stored []Stored, err error) {
	listener = -1
	all, err := fdstore.Take(getenv)
	if err != nil {
		return listener, nil, err
	}
	for _, p := range all {
		var st unix.Stat_t
		if err := unix.Fstat(p.FD, &st); err != nil {
			return listener, nil, fmt.Errorf("look at descriptor %d: %w", p.FD, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			listener = p.FD
			continue
		}
		stored = append(stored, p)
	}
	return listener, stored, nil
}

// nameDigits is the base of the names in the store. They are short because all
// of them together have to fit into one environment variable, of 128 KiB.
const nameDigits = 36

// stdinSuffix marks the entry of a container's stdin, which may have to go
// before the others.
const stdinSuffix = "."

func storeName(n uint64) string { return strconv.FormatUint(n, nameDigits) }
