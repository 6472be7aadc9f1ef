package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/internal/iox"
	"github.com/cleat-project/cleat/rootfs/tree"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/spec"
)

// PathStat describes a path in a container.
type PathStat = tree.PathStat

// CopyFromOptions says what CopyFrom reads.
type CopyFromOptions struct {
	FollowLink bool // what the path leads to if it is a symbolic link
}

// CopyToOptions says how an archive is unpacked in a container.
type CopyToOptions struct {
	// AsUser gives everything to the user that the container runs as, if it was
	// given one. Otherwise the archive's numbers are kept.
	AsUser bool

	// KeepKind refuses to replace a directory by anything else, or anything else
	// by a directory.
	KeepKind bool
}

// CopyOptions says how files are copied between a container and the host.
type CopyOptions struct {
	FollowLink bool // copy what the source leads to if it is a symbolic link

	// Archive keeps owners on the way out, with setuid and devices. On the way in,
	// where they are kept anyway, everything becomes the container's user's.
	Archive bool

	Progress func(bytes int64) // called now and then with the size of the archive so far; nil drops it
}

// Copied tells what was copied.
type Copied struct {
	Bytes  int64  // of the archive that it took, in bytes, as Docker counts them
	Target string // where it went, links followed
}

const openPath = unix.O_PATH | unix.O_NOFOLLOW

func closeFd(fd int) { _ = unix.Close(fd) } // a descriptor that nothing was written to

// StatPath describes a path in a container, whether that runs or not.
func (e *Engine) StatPath(ctx context.Context, ref, name string) (PathStat, error) {
	name, err := cleanPath(name)
	if err != nil {
		return PathStat{}, err
	}
	f, err := e.findFiles(ctx, ref)
	if err != nil {
		return PathStat{}, err
	}
	defer f.Close()
	fd, st, err := f.lookup(name)
	if err != nil {
		return PathStat{}, err
	}
	closeFd(fd)
	return st, nil
}

// cleanPath returns a path in a container as an absolute one, see tree.Clean.
func cleanPath(name string) (string, error) {
	if name == "" {
		return "", invalid("the path in the container is empty: / is its root")
	}
	return tree.Clean(name), nil
}

// findFiles opens the file system of a container to be read.
func (e *Engine) findFiles(ctx context.Context, ref string) (*files, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return nil, err
	}
	return e.openFiles(ctx, c, sandbox.Everything)
}

// lookup opens a clean path, itself if it is a link, as a descriptor that stands
// for it.
func (f *files) lookup(name string) (fd int, st PathStat, err error) {
	fd, err = tree.Open(f.Root(), name, openPath)
	if err != nil {
		return -1, st, f.explain(name, err)
	}
	if st, err = tree.Stat(f.Root(), fd, name); err != nil {
		closeFd(fd)
		return -1, st, f.explain(name, err)
	}
	return fd, st, nil
}

// explain says what is wrong with a path in the container.
func (f *files) explain(name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return worded{fmt.Sprintf("could not find the file %s in container %s", name, f.container.Name), spec.ErrNotFound}
	case errors.Is(err, unix.ENOTDIR):
		return invalid("%s in container %s: a part of the path is not a directory", name, f.container.Name)
	case errors.Is(err, unix.ELOOP):
		return invalid("%s in container %s: too many symbolic links, or one of the kernel's own", name, f.container.Name)
	}
	return fmt.Errorf("%s in container %s: %w", name, f.container.Name, err)
}

// CopyFrom describes a path in a container and returns what is there as a tar
// stream, in which the path's last element begins all names. The caller closes
// the stream, read to its end or not.
func (e *Engine) CopyFrom(ctx context.Context, ref, name string, opt CopyFromOptions) (io.ReadCloser, PathStat, error) {
	name, err := cleanPath(name)
	if err != nil {
		return nil, PathStat{}, err
	}
	f, err := e.findFiles(ctx, ref)
	if err != nil {
		return nil, PathStat{}, err
	}
	fd, st, err := f.lookupSource(name, opt.FollowLink)
	if err != nil {
		f.Close()
		return nil, PathStat{}, err
	}
	return stream(func(w io.Writer) error {
		defer f.Close()
		defer closeFd(fd)
		return e.packFrom(ctx, f, w, fd, st.Name)
	}), st, nil
}

// lookupSource is lookup for something to be copied, which follows a link if it
// is told to. The name stays that of the link.
func (f *files) lookupSource(name string, follow bool) (fd int, st PathStat, err error) {
	fd, st, err = f.lookup(name)
	if err == nil && follow && st.LinkTarget != "" {
		closeFd(fd)
		asked := st.Name
		fd, st, err = f.lookup(st.LinkTarget)
		st.Name = asked
	}
	if err != nil {
		return -1, st, err
	}
	if err := f.refuseKernels(fd, st, name); err != nil {
		closeFd(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// refuseKernels refuses files that have no content to copy.
func (f *files) refuseKernels(fd int, st PathStat, name string) error {
	if st.Mode.IsDir() || !tree.IsKernels(fd) {
		return nil
	}
	return invalid("%s in container %s shows the state of the kernel and cannot be copied: read it with 'cleat exec'", name, f.container.Name)
}

// packFrom writes the tree at fd, which is called name in the stream.
func (e *Engine) packFrom(ctx context.Context, f *files, w io.Writer, fd int, name string) error {
	err := tree.Pack(ctx, w, fd, tree.PackOptions{Name: name, Closed: f.closedMounts(), Warn: e.opt.Warn})
	if err == nil {
		err = e.stillThere(f.container)
	}
	return err
}

// stream runs write in a goroutine that ends when the reader does, or is closed.
func stream(write func(w io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffered := bufio.NewWriterSize(w, 128<<10)
		err := write(buffered)
		if err == nil {
			err = buffered.Flush()
		}
		_ = w.CloseWithError(err) // never fails
	}()
	return &streamReader{r, done}
}

// streamReader waits for its writer when it is closed.
type streamReader struct {
	*io.PipeReader
	done <-chan struct{}
}

// Close implements io.Closer.
func (s *streamReader) Close() error {
	_ = s.PipeReader.Close() // never fails
	<-s.done
	return nil
}

// CopyTo unpacks a tar stream, compressed or not, into a directory of a
// container. Decompression happens in this process (CVE-2026-41567).
func (e *Engine) CopyTo(ctx context.Context, ref, name string, r io.Reader, opt CopyToOptions) error {
	name, err := cleanPath(name)
	if err != nil {
		return err
	}
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	f, err := e.openFilesToWrite(ctx, c)
	if err != nil {
		return err
	}
	defer f.Close()
	input := iox.WithContext(ctx, r)
	defer func() { _ = input.Close() }() // never fails
	plain, _, err := compress.NewReader(input)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return invalid("archive for container %s: %v", c.Name, err)
	}
	defer func() { _ = plain.Close() }() // only read
	return f.extract(ctx, name, plain, opt)
}

// extract unpacks an archive into the directory name.
func (f *files) extract(ctx context.Context, name string, r io.Reader, opt CopyToOptions) error {
	dir, err := f.openTarget(name)
	if err != nil {
		return err
	}
	defer closeFd(dir)
	to := tree.ExtractOptions{KeepKind: opt.KeepKind, Root: f.Root(), Path: name}
	if user := f.container.Process.User; opt.AsUser && user != "" {
		uid, gid, err := f.Owner(user)
		if err != nil {
			return fmt.Errorf("user %q of container %s: %w", user, f.container.Name, err)
		}
		to.Owner = &tree.Owner{UID: int(uid), GID: int(gid)}
	}
	if err := tree.Extract(ctx, r, dir, to); err != nil {
		return fmt.Errorf("copy to %s in container %s: %w", name, f.container.Name, classified(err))
	}
	return nil
}

// classified adds the class of failure that the caller tells apart.
func classified(err error) error {
	if errors.Is(err, tree.ErrInvalid) || errors.Is(err, tree.ErrKind) {
		return fmt.Errorf("%w: %w", err, spec.ErrInvalid)
	}
	return err
}

// openTarget opens the directory of a container in which something is to be made.
func (f *files) openTarget(name string) (int, error) {
	dir, err := tree.Open(f.Root(), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) {
		return -1, invalid("destination \"%s:%s\" must be a directory", f.container.Name, name)
	}
	if err != nil {
		return -1, f.explain(name, err)
	}
	if err := f.checkWritable(dir); err != nil {
		closeFd(dir)
		return -1, err
	}
	return dir, nil
}

func (f *files) checkWritable(dir int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	at, err := tree.MountOf(dir)
	if err != nil {
		return err
	}
	root, err := tree.MountOf(f.Root())
	if err != nil {
		return err
	}
	if at == root {
		return conflict("container %s: container rootfs is marked read-only", f.container.Name)
	}
	return conflict("container %s: mounted volume is marked read-only", f.container.Name)
}

// CopyOut copies a path of a container to the host, by Docker's rules for what
// the copy is called. Target is an absolute path.
func (e *Engine) CopyOut(ctx context.Context, ref, source, target string, opt CopyOptions) (Copied, error) {
	dst, err := hostTarget(tree.Clean(target))
	if err != nil {
		return Copied{}, err
	}
	name, err := cleanPath(source)
	if err != nil {
		return Copied{}, err
	}
	f, err := e.findFiles(ctx, ref)
	if err != nil {
		return Copied{}, err
	}
	defer f.Close()
	fd, st, err := f.lookupSource(name, opt.FollowLink)
	if err != nil {
		return Copied{}, err
	}
	defer closeFd(fd)
	dir, base, err := tree.Place(tree.Source{Path: name, IsDir: st.Mode.IsDir()}, dst)
	if err != nil {
		return Copied{}, worded{err.Error(), spec.ErrInvalid}
	}
	to, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Copied{}, fmt.Errorf("open directory %s: %w", dir, err)
	}
	defer closeFd(to)
	options := tree.ExtractOptions{KeepKind: true, Warn: e.opt.Warn}
	if !opt.Archive {
		options.Owner, options.Harmless = &tree.Owner{UID: os.Geteuid(), GID: os.Getegid()}, true
	}
	n, err := transfer(opt.Progress,
		func(w io.Writer) error { return e.packFrom(ctx, f, w, fd, base) },
		func(r io.Reader) error { return tree.Extract(ctx, r, to, options) })
	if err != nil {
		return Copied{}, fmt.Errorf("copy %s of container %s to %s: %w", name, f.container.Name, dst.Path, classified(err))
	}
	return Copied{n, dst.Path}, nil
}

// CopyIn copies a path of the host into a container, by Docker's rules for what
// the copy is called. Source is an absolute path.
func (e *Engine) CopyIn(ctx context.Context, source, ref, target string, opt CopyOptions) (Copied, error) {
	target, err := cleanPath(target)
	if err != nil {
		return Copied{}, err
	}
	c, err := e.state.Find(ref)
	if err != nil {
		return Copied{}, err
	}
	fd, src, err := hostSource(tree.Clean(source), opt.FollowLink)
	if err != nil {
		return Copied{}, err
	}
	defer closeFd(fd)
	f, err := e.openFilesToWrite(ctx, c)
	if err != nil {
		return Copied{}, err
	}
	defer f.Close()
	dst, err := f.target(target)
	if err != nil {
		return Copied{}, err
	}
	dir, base, err := tree.Place(src, dst)
	if err != nil {
		return Copied{}, worded{err.Error(), spec.ErrInvalid}
	}
	n, err := transfer(opt.Progress,
		func(w io.Writer) error {
			return tree.Pack(ctx, w, fd, tree.PackOptions{Name: base, Warn: e.opt.Warn})
		},
		func(r io.Reader) error {
			return f.extract(ctx, tree.Clean(dir), r, CopyToOptions{AsUser: opt.Archive, KeepKind: true})
		})
	return Copied{n, dst.Path}, err
}

// target looks at where a copy is to go in the container. A link at its end is
// followed, and leads to what is to be made if that does not exist.
func (f *files) target(name string) (tree.Target, error) {
	fd, st, err := f.lookup(name)
	if err == nil && st.LinkTarget != "" {
		closeFd(fd)
		name = st.LinkTarget
		fd, st, err = f.lookup(name)
	}
	if errors.Is(err, spec.ErrNotFound) {
		return tree.Target{Path: name}, nil
	}
	if err != nil {
		return tree.Target{}, err
	}
	closeFd(fd)
	if !st.Mode.IsDir() && !st.Mode.IsRegular() {
		return tree.Target{}, invalid("destination \"%s:%s\" must be a directory or a regular file", f.container.Name, name)
	}
	return tree.Target{Path: name, Exists: true, IsDir: st.Mode.IsDir()}, nil
}

// transfer connects a writer with a reader, and counts what passes.
func transfer(progress func(int64), write func(io.Writer) error, read func(io.Reader) error) (int64, error) {
	var total atomic.Int64
	var packErr error
	src := stream(func(w io.Writer) error {
		packErr = write(&counter{w, &total, progress})
		return packErr
	})
	err := read(src)
	_ = src.Close() // waits for the writer
	if packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		err = packErr // it is why the reader failed
	}
	return total.Load(), err
}

// counter counts what is written.
type counter struct {
	w        io.Writer
	total    *atomic.Int64
	progress func(int64)
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	sum := c.total.Add(int64(n))
	if c.progress != nil {
		c.progress(sum)
	}
	return n, err
}

// hostSource opens what is to be copied from the host, as a descriptor that only
// stands for it.
func hostSource(name string, follow bool) (int, tree.Source, error) {
	flags := unix.O_PATH | unix.O_CLOEXEC
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Open(name, flags, 0)
	if err != nil {
		return -1, tree.Source{}, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeFd(fd)
		return -1, tree.Source{}, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isDir && tree.IsKernels(fd) {
		closeFd(fd)
		return -1, tree.Source{}, invalid("%s shows the state of the kernel and cannot be copied: write what it shows to a file first", name)
	}
	return fd, tree.Source{Path: name, IsDir: isDir}, nil
}

// maxHostLinks is how many links the end of a path on the host may lead through.
const maxHostLinks = 40

// hostTarget looks at where a copy is to go on the host. Links at its end are
// followed, and lead to what is to be made if that does not exist.
func hostTarget(name string) (tree.Target, error) {
	if err := checkOutput(name); err != nil {
		return tree.Target{}, err
	}
	for range maxHostLinks {
		fi, err := os.Lstat(name)
		if errors.Is(err, os.ErrNotExist) {
			return tree.Target{Path: name}, nil
		}
		if err != nil {
			return tree.Target{}, err
		}
		if fi.Mode()&os.ModeSymlink == 0 {
			return tree.Target{Path: name, Exists: true, IsDir: fi.IsDir()}, nil
		}
		link, err := os.Readlink(name)
		if err != nil {
			return tree.Target{}, err
		}
		if !filepath.IsAbs(link) {
			link = path.Join(path.Dir(path.Clean(name)), link)
		}
		name = link
	}
	return tree.Target{}, invalid("too many symbolic links in %s", name)
}

// checkOutput refuses what nothing can be copied to, in Docker's words.
func checkOutput(name string) error {
	dir := filepath.Dir(filepath.Clean(name))
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return invalid("invalid output path: directory %q does not exist", dir)
	}
	fi, err := os.Stat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir() || fi.Mode().IsRegular():
		return nil
	case fi.Mode()&os.ModeDevice != 0:
		return invalid("invalid output path: %q must be a directory or a regular file: got a device", name)
	}
	return invalid("invalid output path: %q must be a directory or a regular file", strings.TrimSuffix(name, "/"))
}
