package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
	"github.com/cleat-project/cleat/sandbox/plan"
)

// ViewLayers opens the tree that a chain of layers makes, for reading if r has no
// Upper, without a container. Like that of ViewStopped it is mounted in a namespace
// of its own. MountPoint is a directory on which nothing will be seen.
func ViewLayers(r plan.Rootfs, mountPoint string, mount func(r plan.Rootfs, target string) error) (*View, error) {
	v := &View{ns: -1}
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make mount namespace: %w", err)
		}
		if v.ns, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open mount namespace: %w", err)
		}
		if err := isolateMounts(); err != nil {
			return err
		}
		if err := mount(r, mountPoint); err != nil {
			return err
		}
		v.root, err = inroot.Open(mountPoint)
		return err
	})
	if err != nil {
		closeFd(v.ns)
		return nil, fmt.Errorf("open file system of layers: %w", err)
	}
	return v, nil
}

// Make opens path as Root.Make of package inroot does: missing directories are
// made. The calling thread's umask must be clear.
func (v *View) Make(path string, kind inroot.Kind) (int, error) { return v.root.Make(path, kind) }
