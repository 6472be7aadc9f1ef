package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// secretsTree makes the filesystem mnt, which is in memory, fills it with the
// secrets, which systemd has put into dir, and returns its mount. Nobody else ever
// sees it.
func secretsTree(mnt specs.Mount, o mountOptions, dir string, secrets []spec.Secret) (int, error) {
	fd, err := mountNew(mnt.Type, mnt.Source, o.data, o.set&^unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", mnt.Destination, err)
	}
	for _, s := range secrets {
		if err := placeSecret(fd, dir, s); err != nil {
			closeFd(fd)
			return -1, fmt.Errorf("secret %q: %w", s.Target, err)
		}
	}
	return fd, nil
}

func placeSecret(tree int, dir string, s spec.Secret) error {
	if s.Target != filepath.Base(s.Target) || s.Target == "." || s.Target == ".." || s.Target == "/" {
		return fmt.Errorf("not the name of a file: %w", spec.ErrInvalid)
	}
	data, err := os.ReadFile(filepath.Join(dir, s.Target))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("systemd has not loaded it: the unit was made before the secret was asked for: %w", spec.ErrNotFound)
	}
	if err != nil {
		return err
	}
	mode := s.Mode
	if mode == 0 {
		mode = spec.DefaultSecretMode
	}
	fd, err := unix.Openat(tree, s.Target, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	if _, err := fdWriter(fd).Write(data); err != nil {
		return err
	}
	if err := unix.Fchown(fd, int(s.UID), int(s.GID)); err != nil {
		return err
	}
	return unix.Fchmod(fd, mode)
}
