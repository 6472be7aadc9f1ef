package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// hidePaths masks and write-protects the paths that the configuration lists.
// What the kernel does not have needs no mask.
func (m *mounter) hidePaths() error {
	empty := -1 // a read-only tmpfs, once one is mounted
	defer func() { closeFd(empty) }()
	for _, p := range m.config.Linux.MaskedPaths {
		if err := m.mask(p, &empty); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mask %s: %w", p, err)
		}
	}
	for _, p := range m.config.Linux.ReadonlyPaths {
		if err := m.protectPath(p); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("make %s read-only: %w", p, err)
		}
	}
	return nil
}

// mask covers a directory with an empty one and anything else with the null
// device.
func (m *mounter) mask(path string, empty *int) error {
	target, err := m.root.Open(path, unix.O_PATH)
	if err != nil {
		return err
	}
	defer closeFd(target)
	kind, _, err := fileType(target)
	if err != nil {
		return err
	}
	var cover int
	if kind != unix.S_IFDIR {
		cover, err = m.nullDevice()
	} else if *empty < 0 {
		*empty, err = mountNew("tmpfs", "tmpfs", []string{"nr_blocks=1", "nr_inodes=1", "mode=755"}, unix.MOUNT_ATTR_RDONLY)
		if err != nil {
			return err
		}
		return attach(*empty, target)
	} else {
		cover, err = unix.OpenTree(*empty, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	}
	if err != nil {
		return err
	}
	defer closeFd(cover)
	return attach(cover, target)
}

// nullDevice returns a detached bind mount of the null device. A path to it is
// not proof that it is one (CVE-2025-31133): the device number is.
func (m *mounter) nullDevice() (int, error) {
	fd, err := m.root.OpenReal("/dev/null", unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return -1, err
	}
	defer closeFd(fd)
	kind, rdev, err := fileType(fd)
	if err != nil {
		return -1, err
	}
	if kind != unix.S_IFCHR || rdev != unix.Mkdev(1, 3) {
		return -1, fmt.Errorf("/dev/null is not the null device: %w", spec.ErrInvalid)
	}
	return unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
}

// protectPath mounts what is at path, and below it, over itself, read-only.
func (m *mounter) protectPath(path string) error {
	target, err := m.root.Open(path, unix.O_PATH)
	if err != nil {
		return err
	}
	defer closeFd(target)
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH | unix.AT_RECURSIVE
	cover, err := unix.OpenTree(target, "", flags)
	if err != nil {
		return err
	}
	defer closeFd(cover)
	err = setAttributes(cover, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return err
	}
	return attach(cover, target)
}
