package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

// queueLength is how many datagrams wait on a new Unix socket. systemd raises it
// at boot, for the good of the journal's socket that it makes next.
const queueLength = "/proc/sys/net/unix/max_dgram_qlen"

// keepSysctl returns a function that, once the host has booted, puts the queue
// length back that systemd raised: with a shared network it is the machine's.
// Boots wait for each other here, or one would put back what another has raised.
func keepSysctl(ctx context.Context, p bootPlan) (restore func(), err error) {
	if p.PrivateNetwork || !fsx.Exists(queueLength) {
		return func() {}, nil
	}
	lock, err := fsx.Acquire(ctx, queueLength)
	if err != nil {
		return nil, err
	}
	before, err := os.ReadFile(queueLength)
	if err != nil {
		lock.Release()
		return nil, fmt.Errorf("read the socket queue length: %w", err)
	}
	return func() {
		defer lock.Release()
		// If it cannot be written, systemd could not change it either.
		_ = writeControl(queueLength, strings.TrimSpace(string(before)))
	}, nil
}

// protectSysctl keeps systemd from raising limits of the whole machine.
func protectSysctl(bootPlan) error {
	for _, path := range []string{"/proc/sys/fs/file-max", "/proc/sys/fs/nr_open"} {
		err := unix.Mount(path, path, "", unix.MS_BIND, "")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
		}
		if err != nil {
			return fmt.Errorf("protect %s: %w", path, err)
		}
	}
	return nil
}
