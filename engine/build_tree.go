package engine

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/rootfs/tree"
)

// UnpackBuildTree unpacks a tar, compressed or not, into a directory of this
// process's own. What would give rights there, such as devices, is left out.
func UnpackBuildTree(ctx context.Context, r io.Reader, dir string) error {
	t, err := OpenBuildTree(dir)
	if err != nil {
		return err
	}
	defer t.Close()
	f := &BuildFiles{*t}
	return f.extract(ctx, "/", r, tree.ExtractOptions{Owner: &tree.Owner{UID: os.Geteuid(), GID: os.Getegid()}, Harmless: true})
}

// Pack writes the tree as a tar stream.
func (t *BuildTree) Pack(ctx context.Context, w io.Writer) error {
	return tree.Pack(ctx, w, t.root, tree.PackOptions{})
}

// CopyOut copies the tree to a directory of the host. Devices, and what gives rights,
// stay behind; all files become the caller's.
func (t *BuildTree) CopyOut(ctx context.Context, dir string) error {
	to, err := OpenBuildTree(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	fd, err := to.realOpen("/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	_, err = transfer(nil,
		func(w io.Writer) error { return t.Pack(ctx, w) },
		func(r io.Reader) error {
			return tree.Extract(ctx, r, fd, tree.ExtractOptions{Owner: &tree.Owner{UID: os.Geteuid(), GID: os.Getegid()}, Harmless: true, KeepKind: true})
		})
	return classified(err)
}
