package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/sys"
	"github.com/cleat-project/cleat/rootfs/internal/tarmeta"
	"golang.org/x/sys/unix"
)

// ErrInvalid is wrapped by errors that are the tar stream's own fault.
var ErrInvalid = errors.New("invalid tar archive")

// ErrKind is wrapped by the error for an entry that would replace a directory by
// something else, or something else by a directory.
var ErrKind = errors.New("one is a directory and the other is not")

// Owner is a user and a group by number.
type Owner struct{ UID, GID int }

// ExtractOptions says how to unpack. The zero value is for a tree in which no
// parent directory may be a symbolic link.
type ExtractOptions struct {
	Owner    *Owner // to give everything to; nil means the numbers in the stream
	KeepKind bool   // do not let a directory replace anything else, or be replaced
	Top      bool   // the entry "." is for the directory itself, which is left as it is otherwise

	// Harmless leaves out what gives rights where it is unpacked: setuid, setgid,
	// file capabilities and device nodes. A container may make any of these.
	Harmless bool
	Warn     func(sentence string) // called about each device left out; nil ignores it

	// Root and Path are for a container: parents that are symbolic links are
	// followed, with the directory Root as "/". Path is that of the directory
	// which is unpacked into. Without a Path there is no Root.
	Root int
	Path string
}

// Extract unpacks the uncompressed tar stream r into the open directory dir. What
// is there stays, unless the stream has a file of its name: that is replaced at
// once by a complete one, so programs that use it see the old or the new file.
// Missing parents are made, 0755. Times of directories are set at the end.
//
// Nothing outside of dir, or outside of Root, is written to, whatever the stream
// says and whoever changes the tree meanwhile. If Extract fails, what came before
// has been unpacked.
func Extract(ctx context.Context, r io.Reader, dir int, opt ExtractOptions) error {
	x := &extractor{opt: opt, base: dir, parent: -1, buf: make([]byte, chunkBytes)}
	defer x.leave()
	if err := x.entries(ctx, tar.NewReader(r)); err != nil {
		return err
	}
	if err := x.setTimes(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // padding; a writer may want to get rid of it
	return err
}

// extractor unpacks one stream.
type extractor struct {
	opt  ExtractOptions
	base int // the directory that is unpacked into

	// The directory that the last entry was in: most have the same.
	parent      int // -1 if there is none
	parentName  string
	parentMount uint64

	dirs []dirTimes
	buf  []byte
}

// dirTimes are the times that a directory gets when nothing more is made in it.
type dirTimes struct {
	name  string
	times [2]unix.Timespec
}

func (x *extractor) entries(ctx context.Context, tr *tar.Reader) error {
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return streamError(err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.entry(ctx, hdr, tr); err != nil {
			return fmt.Errorf("unpack %q: %w", tarmeta.Shorten(hdr.Name), err)
		}
	}
}

// streamError marks an error of the tar reader as the stream's own fault if it is.
func streamError(err error) error {
	for _, own := range []error{tar.ErrHeader, tar.ErrFieldTooLong, io.ErrUnexpectedEOF} {
		if errors.Is(err, own) {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return fmt.Errorf("read tar archive: %w", err)
}

// entry makes one entry of the stream.
func (x *extractor) entry(ctx context.Context, hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := tarmeta.CleanName(hdr.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	m, err := tarmeta.Of(hdr)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if x.opt.Owner != nil {
		m.UID, m.GID = x.opt.Owner.UID, x.opt.Owner.GID
	}
	if x.opt.Harmless && !x.disarm(hdr, m) {
		return nil
	}
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the directory itself as something else", ErrInvalid)
		}
		if x.opt.Top {
			return x.furnish(x.base, ".", m)
		}
		return nil // it is the user's, and stays as it is
	}
	if err := x.enter(path.Dir(name)); err != nil {
		return err
	}
	base := path.Base(name)
	taken, err := x.makeWay(base, hdr.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return x.dir(name, base, m)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return x.place(base, taken, func(as string) error { return x.file(ctx, as, hdr.Size, m, content) })
	case tar.TypeSymlink:
		return x.place(base, taken, func(as string) error { return x.symlink(as, hdr.Linkname, m) })
	case tar.TypeLink:
		return x.link(base, taken, hdr.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return x.special(base, taken, hdr, m)
	}
	return fmt.Errorf("%w: entry of type %q", ErrInvalid, hdr.Typeflag)
}

// disarm takes what gives rights from an entry. It reports false if nothing is
// left of it.
func (x *extractor) disarm(hdr *tar.Header, m *tarmeta.Meta) bool {
	switch hdr.Typeflag {
	case tar.TypeChar, tar.TypeBlock:
		if x.opt.Warn != nil {
			x.opt.Warn(fmt.Sprintf("device %q is left out: only archive mode (-a) copies devices to the host", tarmeta.Shorten(hdr.Name)))
		}
		return false
	case tar.TypeDir: // its setgid gives nothing but a group to what is made in it
	default:
		m.Mode &^= unix.S_ISUID | unix.S_ISGID
	}
	m.Xattrs = slices.DeleteFunc(m.Xattrs, func(a tarmeta.Xattr) bool { return strings.HasPrefix(a.Name, "security.") })
	return true
}

// makeWay looks at what has the name of an entry already. It reports whether
// there is something that the entry has to replace.
func (x *extractor) makeWay(base string, isDir bool) (taken bool, err error) {
	var st unix.Statx_t
	err = unix.Statx(x.parent, base, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE|unix.STATX_MNT_ID, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stat: %w", err)
	}
	wasDir := isType(&st, unix.S_IFDIR)
	if st.Mnt_id != x.parentMount && !(wasDir && isDir) {
		// The kernel would let a process outside of the container replace it, and
		// take the mount away.
		return false, errors.New("it is a mount point, which cannot be replaced")
	}
	switch {
	case wasDir == isDir:
		return true, nil
	case x.opt.KeepKind && wasDir:
		return false, fmt.Errorf("cannot overwrite a directory with a non-directory: %w", ErrKind)
	case x.opt.KeepKind:
		return false, fmt.Errorf("cannot overwrite a non-directory with a directory: %w", ErrKind)
	}
	return false, rootfs.RemoveAt(x.parent, base)
}

// tempName is a name that no entry has and that a sweep would recognise.
func tempName() string { return fmt.Sprintf(".cleat-cp-%016x", rand.Uint64()) }

// place has create make a file called base in the current parent. If the name is
// taken, it is made beside and takes the place of the old one when it is
// complete.
func (x *extractor) place(base string, taken bool, create func(as string) error) error {
	if !taken {
		err := create(base)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	temp := tempName()
	if err := create(temp); err != nil {
		_ = unix.Unlinkat(x.parent, temp, 0) // if it got that far
		return err
	}
	err := unix.Renameat(x.parent, temp, x.parent, base)
	_ = unix.Unlinkat(x.parent, temp, 0) // still there if that failed, or if both were links to one file
	if err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return nil
}

func (x *extractor) file(ctx context.Context, as string, size int64, m *tarmeta.Meta, content io.Reader) (err error) {
	fd, err := unix.Openat(x.parent, as, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer sys.Close(fd)
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(x.parent, as, 0) // half of it is of no use
		}
	}()
	if err := x.write(ctx, fd, size, content); err != nil {
		return err
	}
	if err := setOwnerMode(fd, m); err != nil {
		return err
	}
	if _, err := m.SetXattrs(func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
		return err
	}
	return setTimes(fd, m.Times)
}

func (x *extractor) write(ctx context.Context, fd int, size int64, content io.Reader) error {
	for size > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		chunk := x.buf[:min(size, chunkBytes)]
		if _, err := io.ReadFull(content, chunk); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return streamError(err)
		}
		for rest := chunk; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("write: %w", err)
			}
			rest = rest[max(n, 0):]
		}
		size -= int64(len(chunk))
	}
	return nil
}

// setOwnerMode changes the owner first: chown(2) clears setuid.
func setOwnerMode(fd int, m *tarmeta.Meta) error {
	if err := unix.Fchown(fd, m.UID, m.GID); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	if err := unix.Fchmod(fd, m.Mode); err != nil {
		return fmt.Errorf("change mode: %w", err)
	}
	return nil
}

func setTimes(fd int, times [2]unix.Timespec) error {
	if err := unix.UtimesNanoAt(fd, "", times[:], unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// dir makes a directory, or gives the one that is there the entry's metadata.
func (x *extractor) dir(name, base string, m *tarmeta.Meta) error {
	if err := unix.Mkdirat(x.parent, base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make directory: %w", err)
	}
	fd, err := openDirAt(x.parent, base)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer sys.Close(fd)
	return x.furnish(fd, name, m)
}

// furnish gives the open directory fd the metadata of its entry, the times at the
// end.
func (x *extractor) furnish(fd int, name string, m *tarmeta.Meta) error {
	if err := setOwnerMode(fd, m); err != nil {
		return err
	}
	if _, err := m.SetXattrs(func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
		return err
	}
	x.dirs = append(x.dirs, dirTimes{name, m.Times})
	return nil
}

func (x *extractor) symlink(as, target string, m *tarmeta.Meta) error {
	if err := unix.Symlinkat(target, x.parent, as); err != nil {
		return fmt.Errorf("make symbolic link: %w", err)
	}
	return x.setLoose(as, m, false)
}

// special makes a device node or a named pipe.
func (x *extractor) special(base string, taken bool, hdr *tar.Header, m *tarmeta.Meta) error {
	kind, dev := uint32(unix.S_IFIFO), uint64(0)
	if hdr.Typeflag != tar.TypeFifo {
		var err error
		if dev, err = tarmeta.Device(hdr); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		kind = unix.S_IFBLK
		if hdr.Typeflag == tar.TypeChar {
			kind = unix.S_IFCHR
		}
	}
	return x.place(base, taken, func(as string) error {
		if err := unix.Mknodat(x.parent, as, kind, int(dev)); err != nil {
			return fmt.Errorf("make special file: %w", err)
		}
		return x.setLoose(as, m, true)
	})
}

// setLoose gives a file that must not be opened, because that has effects, its
// metadata: through a descriptor that only stands for it, so that the name may
// become another file meanwhile.
func (x *extractor) setLoose(as string, m *tarmeta.Meta, withMode bool) error {
	fd, err := openChild(x.parent, as)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer sys.Close(fd)
	if err := unix.Fchownat(fd, "", m.UID, m.GID, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	if st, err := statx(fd); err != nil || withMode && isType(st, unix.S_IFLNK) {
		return errors.Join(err, unix.ESTALE)
	}
	if withMode {
		if err := unix.Chmod(sys.ProcFd(fd), m.Mode); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	if _, err := m.SetXattrs(func(name string, value []byte) error { return unix.Setxattr(sys.ProcFd(fd), name, value, 0) }); err != nil {
		return err
	}
	return setTimes(fd, m.Times)
}

// link makes a further name of a file that is there, in the stream or before it.
// The inode keeps its metadata, and a symbolic link is not followed
// (CVE-2021-41089).
func (x *extractor) link(base string, taken bool, target string) error {
	clean, err := tarmeta.CleanName(target)
	if err != nil {
		return fmt.Errorf("%w: hard link to %q: %w", ErrInvalid, tarmeta.Shorten(target), err)
	}
	from, err := x.openDir(path.Dir(clean))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", tarmeta.Shorten(target), err)
	}
	defer sys.Close(from)
	return x.place(base, taken, func(as string) error {
		if err := unix.Linkat(from, path.Base(clean), x.parent, as, 0); err != nil {
			return fmt.Errorf("hard link to %q: %w", tarmeta.Shorten(target), err)
		}
		return nil
	})
}

// setTimes sets the times of directories, the deepest last made first. One that
// is gone or has become something else needs none.
func (x *extractor) setTimes() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		fd, err := x.openDir(x.dirs[i].name)
		if err != nil {
			continue
		}
		err = setTimes(fd, x.dirs[i].times)
		sys.Close(fd)
		if err != nil {
			return fmt.Errorf("unpack %q: %w", x.dirs[i].name, err)
		}
	}
	return nil
}

func (x *extractor) leave() { sys.Close(x.parent); x.parent = -1 }

// enter makes the directory name the current parent, with what is missing of it.
func (x *extractor) enter(name string) error {
	if x.parent >= 0 && x.parentName == name {
		return nil
	}
	fd, err := x.openDir(name)
	if errors.Is(err, unix.ENOENT) {
		fd, err = x.makeDirs(name)
	}
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("directory %q is or leads through a symbolic link, which is not followed: %w", name, ErrKind)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%q is not a directory: %w", name, ErrKind)
	case err != nil:
		return fmt.Errorf("open directory %q: %w", name, err)
	}
	mount, err := MountOf(fd)
	if err != nil {
		sys.Close(fd)
		return fmt.Errorf("open directory %q: %w", name, err)
	}
	x.leave()
	x.parent, x.parentName, x.parentMount = fd, name, mount
	return nil
}

// openDir opens a directory beneath the one that is unpacked into.
func (x *extractor) openDir(name string) (int, error) {
	fd, err := openDirAt(x.base, name)
	if errors.Is(err, unix.ELOOP) && x.opt.Path != "" {
		return Open(x.opt.Root, path.Join("/", x.opt.Path, name), unix.O_RDONLY|unix.O_DIRECTORY)
	}
	return fd, err
}

// makeDirs makes what is missing of the directory name and opens it.
func (x *extractor) makeDirs(name string) (int, error) {
	parts := strings.Split(name, "/")
	fd, err := x.openDir(".")
	for i := 0; err == nil && i < len(parts); i++ {
		above := fd
		if fd, err = x.openDir(path.Join(parts[:i+1]...)); errors.Is(err, unix.ENOENT) {
			fd, err = x.makeDir(above, parts[i])
		}
		sys.Close(above)
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// makeDir makes a directory that the stream does not describe.
func (x *extractor) makeDir(above int, name string) (int, error) {
	if err := unix.Mkdirat(above, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	fd, err := openDirAt(above, name)
	if err != nil {
		return -1, err
	}
	owner := x.opt.Owner
	if owner == nil {
		owner = &Owner{}
	}
	if err := setOwnerMode(fd, &tarmeta.Meta{UID: owner.UID, GID: owner.GID, Mode: 0o755}); err != nil {
		sys.Close(fd)
		return -1, err
	}
	return fd, nil
}
