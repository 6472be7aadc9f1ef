package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/rootfs/tree"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// BuildTree is a tree of files that a build reads: its context, or the file system
// of a stage. Symbolic links in it lead nowhere else: "/" is its top.
type BuildTree struct {
	root  int
	owner func(user string) (uid, gid uint32, err error)
	close func()
}

// BuildEntry describes a file of a BuildTree.
type BuildEntry struct {
	Mode       os.FileMode
	UID, GID   uint32
	Size       int64
	Mtime      time.Time
	Link       string // of a symbolic link, as it is written
	Rdev       uint64
	Xattrs     map[string]string
	Ino, Ctime uint64 // what tells a changed file from the one that was there before; Ctime in nanoseconds
	Dev        uint64
}

// OpenBuildTree opens a directory of the host, a build's context. The caller
// closes it.
func OpenBuildTree(dir string) (*BuildTree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &BuildTree{root: fd, close: func() { closeFd(fd) }}, nil
}

// Files opens the file system that a chain of layers makes, for reading. The
// caller closes it.
func (b *Build) Files(ctx context.Context, layers []BuildLayer) (*BuildTree, error) {
	if err := b.Need(ctx, layers); err != nil {
		return nil, err
	}
	view, err := b.view(layers, plan.Rootfs{})
	if err != nil {
		return nil, err
	}
	return &BuildTree{root: view.Root(), owner: view.Owner, close: view.Close}, nil
}

// view mounts a chain of layers below r's writable layer, if that has one.
func (b *Build) view(layers []BuildLayer, r plan.Rootfs) (*sandbox.View, error) {
	point, err := b.e.mountPoint()
	if err != nil {
		return nil, err
	}
	for attempt := range moveAttempts {
		if r.Lower, err = b.paths(layers); err != nil {
			return nil, err
		}
		if len(r.Lower) == 0 && r.Upper == "" {
			r.Lower = []string{point} // empty: what is mounted on it is in other namespaces
		}
		view, err := sandbox.ViewLayers(r, point, mountRootfs)
		if err == nil || attempt == moveAttempts-1 || !moved(r.Lower) {
			return view, err
		}
	}
	return nil, nil //nolint:nilnil // not reached: the last attempt returns
}

// moveAttempts is how often layers are looked for again that another build has
// published, and so moved, in the middle of a step.
const moveAttempts = 3

// moved reports whether one of the directories is no longer there.
func moved(dirs []string) bool {
	for _, dir := range dirs {
		if !fsx.Exists(dir) {
			return true
		}
	}
	return false
}

// Close gives the tree up.
func (t *BuildTree) Close() { t.close() }

// Resolve returns where name leads to once all symbolic links are followed, as a
// path that begins with "/". It need not exist.
func (t *BuildTree) Resolve(name string) (string, error) {
	return tree.Follow(t.root, path.Clean("/"+name))
}

// Owner returns the numbers of user[:group], by the tree's own /etc/passwd and
// /etc/group.
func (t *BuildTree) Owner(user string) (uid, gid uint32, err error) {
	if t.owner == nil {
		return 0, 0, invalid("user %q: this tree has no users", user)
	}
	return t.owner(user)
}

// realOpen opens a path none of whose elements may be a symbolic link, but the last
// if flags have O_NOFOLLOW and O_PATH.
func (t *BuildTree) realOpen(name string, flags int) (int, error) {
	name = "." + path.Clean("/"+name)
	resolve := uint64(unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS)
	for {
		fd, err := unix.Openat2(t.root, name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve})
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// Stat describes the file at name, itself if it is a symbolic link. A link on the
// way there is an error: Resolve tells where it leads to.
func (t *BuildTree) Stat(name string) (BuildEntry, error) {
	fd, err := t.realOpen(name, openPath)
	if err != nil {
		return BuildEntry{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	defer closeFd(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return BuildEntry{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	ps, err := tree.Stat(t.root, fd, "/")
	if err != nil {
		return BuildEntry{}, err
	}
	en := BuildEntry{
		Mode: ps.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Mtime: ps.Mtime,
		Rdev: uint64(st.Rdev), Ino: st.Ino, Dev: uint64(st.Dev), Ctime: uint64(st.Ctim.Nano()), //nolint:unconvert // they differ between machines
	}
	if en.Mode&os.ModeSymlink != 0 {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return BuildEntry{}, &os.PathError{Op: "readlink", Path: name, Err: err}
		}
		en.Link = string(buf[:n])
	}
	en.Xattrs = tree.Xattrs(fd)
	return en, nil
}

// Names lists a directory, sorted.
func (t *BuildTree) Names(name string) ([]string, error) {
	fd, err := t.realOpen(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	d := os.NewFile(uintptr(fd), name)
	defer func() { _ = d.Close() }() // only read
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// Open opens a regular file. Anything else is an error. The caller closes it.
func (t *BuildTree) Open(name string) (*os.File, error) {
	fd, err := t.realOpen(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: %w", name, spec.ErrInvalid)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

// BuildFiles is a file system that a step changes.
type BuildFiles struct{ BuildTree }

// TreeOwner is a user and a group by number.
type TreeOwner = tree.Owner

// Extract unpacks a tar stream, compressed or not, into the directory dir, a path
// without symbolic links, and gives all to owner unless that is nil. Links that are
// in there, or come with the stream, do not lead out of the file system.
func (f *BuildFiles) Extract(ctx context.Context, dir string, r io.Reader, owner *TreeOwner) error {
	return f.extract(ctx, dir, r, tree.ExtractOptions{Owner: owner})
}

func (f *BuildFiles) extract(ctx context.Context, dir string, r io.Reader, opt tree.ExtractOptions) error {
	plain, _, err := compress.NewReader(r)
	if err != nil {
		return invalid("archive: %v", err)
	}
	defer func() { _ = plain.Close() }() // only read
	fd, err := f.realOpen(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer closeFd(fd)
	opt.Root, opt.Path = f.root, path.Clean("/"+dir)
	return classified(tree.Extract(ctx, plain, fd, opt))
}

// IsArchive reports whether r has a tar, compressed or not, as far as its first
// entry tells.
func IsArchive(r io.Reader) bool {
	plain, _, err := compress.NewReader(r)
	if err != nil {
		return false
	}
	defer func() { _ = plain.Close() }() // only read
	_, err = tar.NewReader(plain).Next()
	return err == nil
}

// Change returns the layer that change makes on top of a chain; nil if it changes
// nothing.
func (b *Build) Change(ctx context.Context, layers []BuildLayer, change func(*BuildFiles) error) (_ *BuildLayer, err error) {
	if err := b.Need(ctx, layers); err != nil {
		return nil, err
	}
	step, err := b.e.state.MakeStep(ctx, newID())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, step.Close()) }()
	if err := b.changeIn(step, layers, change); err != nil {
		return nil, err
	}
	return b.capture(ctx, step, layers, nil)
}

func (b *Build) changeIn(step *state.Step, layers []BuildLayer, change func(*BuildFiles) error) error {
	view, err := b.view(layers, plan.Rootfs{Upper: step.Upper(), Work: step.Work(), Volatile: true})
	if err != nil {
		return err
	}
	defer view.Close()
	return change(&BuildFiles{BuildTree{root: view.Root(), owner: view.Owner, close: func() {}}})
}

// capture makes a layer of what was written in a step. The paths in ignore are of
// no interest while nothing is in them: mount points.
func (b *Build) capture(ctx context.Context, step *state.Step, layers []BuildLayer, ignore []string) (*BuildLayer, error) {
	opt := tree.DiffOptions{Lower: -1, Ignore: ignore, Latest: b.opt.Latest, Warn: b.e.opt.Warn}
	if len(layers) > 0 {
		lower, err := b.view(layers, plan.Rootfs{})
		if err != nil {
			return nil, err
		}
		defer lower.Close()
		opt.Lower = lower.Root()
	}
	blob, id, err := b.makeLayer(ctx, step, opt)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	if id == "" {
		return nil, nil //nolint:nilnil // documented
	}
	l := &BuildLayer{id, blob}
	b.mu.Lock()
	b.made = append(b.made, *l)
	b.mu.Unlock()
	return l, nil
}

// makeLayer packs what a step has written as a blob, and makes its directory itself
// the unpacked layer: to write all files again takes about as long as the step did.
// What cannot become a layer as it lies there is unpacked.
func (b *Build) makeLayer(ctx context.Context, step *state.Step, opt tree.DiffOptions) (blob image.Descriptor, id Digest, err error) {
	if opt.Latest.IsZero() {
		opt.Plain = &tree.Plain{}
		blob, id, err = b.packLayer(ctx, step, opt, func(_ context.Context, stream io.Reader, root string) (int64, error) {
			if _, err := io.Copy(io.Discard, stream); err != nil { // then it is known what there is to settle
				return 0, err
			}
			if err := opt.Plain.Settle(step.Upper()); err != nil {
				return 0, err
			}
			return opt.Plain.Bytes(), unix.Rename(step.Upper(), root) // os.Rename replaces no directory
		})
		if !errors.Is(err, tree.ErrNotPlain) && !errors.Is(err, unix.EXDEV) {
			return blob, id, err
		}
		opt.Plain = nil
	}
	return b.packLayer(ctx, step, opt, unpack)
}

func (b *Build) packLayer(ctx context.Context, step *state.Step, opt tree.DiffOptions, unpack image.Unpacker) (blob image.Descriptor, id Digest, err error) {
	opt.Upper, err = unix.Open(step.Upper(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return blob, "", fmt.Errorf("open writable layer: %w", err)
	}
	defer closeFd(opt.Upper)
	changes := stream(func(w io.Writer) error { return tree.PackChanges(ctx, w, opt) })
	defer func() { _ = changes.Close() }() // waits for the writer
	return archive.AddLayer(ctx, b.in, changes, unpack)
}

// Secrets of steps lie in memory, below the runtime root.
func (e *Engine) buildSecrets() string { return filepath.Join(e.opt.RunRoot, "build") }
