package engine

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/rootfs/tree"
	"github.com/cleat-project/cleat/state"
)

// ExportVolume writes the files of a volume to w as a tar stream, in which the
// volume itself is ".". Containers may go on writing to it: what they change
// meanwhile is in the stream as it was or as it is, and whatever links they put
// there, nothing of the host is (CVE-2019-10152, CVE-2023-0778).
func (e *Engine) ExportVolume(ctx context.Context, name string, w io.Writer) error {
	dir, err := e.openVolume(name)
	if err != nil {
		return err
	}
	defer closeFd(dir)
	if err := tree.Pack(ctx, w, dir, tree.PackOptions{Name: ".", Warn: e.opt.Warn}); err != nil {
		return fmt.Errorf("export volume %q: %w", name, err)
	}
	return nil
}

// ImportVolume unpacks a tar stream, compressed or not, into a volume. What is
// there stays, unless the stream has a file of its name; the entry "." is for the
// volume itself.
func (e *Engine) ImportVolume(ctx context.Context, name string, r io.Reader) error {
	dir, err := e.openVolume(name)
	if err != nil {
		return err
	}
	defer closeFd(dir)
	plain, _, err := compress.NewReader(r)
	if err != nil {
		return invalid("import volume %q: %v", name, err)
	}
	defer func() { _ = plain.Close() }() // only read
	if err := tree.Extract(ctx, plain, dir, tree.ExtractOptions{Top: true}); err != nil {
		return fmt.Errorf("import volume %q: %w", name, classified(err))
	}
	return nil
}

// openVolume opens the directory with a volume's files.
func (e *Engine) openVolume(name string) (int, error) {
	v, err := e.state.LoadVolume(name)
	if err != nil {
		return -1, err
	}
	dir := e.state.VolumeDir(name)
	if v.Mounted() && !e.state.IsMounted(name) {
		if dir = boundDir(v); dir == "" {
			return -1, conflict("volume %q is not mounted: start a container that uses it first", name)
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open volume %q: %w", name, err)
	}
	return fd, nil
}

// boundDir returns the directory that is mounted on v with a bind mount, "" if
// it is mounted otherwise.
func boundDir(v state.Volume) string {
	words := strings.Split(v.Options[optMount], ",")
	if slices.Contains(words, "bind") || slices.Contains(words, "rbind") {
		return v.Options[optDevice]
	}
	return ""
}
