package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/sys"
	"github.com/cleat-project/cleat/rootfs/internal/tarmeta"
	"golang.org/x/sys/unix"
)

// PackOptions says how to pack. The zero value packs all there is.
type PackOptions struct {
	// Name is what the top is called in the stream, and begins the names of all
	// that is in it. "" leaves the top itself out.
	Name string

	// Closed are the mounts, by id, in which nothing is packed: only the place
	// where they are mounted. File systems of the kernel's own are always closed.
	Closed map[uint64]bool

	// Warn is called with a sentence about what had to be left out or is not as
	// it was; nil ignores it.
	Warn func(sentence string)
}

// Pack writes the tree at the open file top, which may be a descriptor that only
// stands for it, as a tar stream: owners, modes, extended attributes, hard links
// and devices included. Times are whole seconds, as Docker writes them. Files
// that vanish meanwhile are left out, and so are sockets, which nobody listens on
// in a copy. Nobody's access times change where the kernel allows that.
func Pack(ctx context.Context, w io.Writer, top int, opt PackOptions) error {
	p := newPacker(w, opt.Warn)
	p.closed = opt.Closed
	st, err := statx(top)
	if err != nil {
		return err
	}
	if err := p.tree(ctx, top, st, opt.Name, 0); err != nil {
		return err
	}
	return p.tar.Close()
}

// inode identifies a file that may have several names.
type inode struct {
	major, minor uint32
	ino          uint64
}

// packer writes one stream.
type packer struct {
	tar    *tar.Writer
	warn   func(string)
	closed map[uint64]bool
	links  map[inode]string // names of files that have several
	latest time.Time        // see DiffOptions
	plain  *Plain           // see there, too
	buf    []byte
}

// chunkBytes is how much content is copied at a time.
const chunkBytes = 256 << 10

func newPacker(w io.Writer, warn func(string)) *packer {
	if warn == nil {
		warn = func(string) {}
	}
	return &packer{tar: tar.NewWriter(w), warn: warn, links: map[inode]string{}, buf: make([]byte, chunkBytes)}
}

// tree packs the file fd under the given name, with what is in it.
func (p *packer) tree(ctx context.Context, fd int, st *unix.Statx_t, name string, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if name != "" {
		if err := p.entry(ctx, fd, st, name); err != nil {
			return fmt.Errorf("pack %q: %w", name, err)
		}
	}
	if !isType(st, unix.S_IFDIR) {
		return nil
	}
	if depth >= maxDepth {
		return fmt.Errorf("pack %q: more than %d levels deep: %w", name, maxDepth, unix.ELOOP)
	}
	names, err := readNames(fd)
	if err != nil {
		return fmt.Errorf("pack %q: %w", name, err)
	}
	for _, child := range names {
		if err := p.child(ctx, fd, st.Mnt_id, child, join(name, child), depth); err != nil {
			return err
		}
	}
	return nil
}

// join puts a name below that of its directory in the stream.
func join(dir, name string) string {
	switch dir {
	case "":
		return name
	case "/":
		return "/" + name
	}
	return dir + "/" + name
}

// child packs the entry base of directory dir, which is on mount mnt.
func (p *packer) child(ctx context.Context, dir int, mnt uint64, base, name string, depth int) error {
	fd, err := openChild(dir, base)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pack %q: open: %w", name, err)
	}
	defer sys.Close(fd)
	st, err := statx(fd)
	if err != nil {
		return fmt.Errorf("pack %q: %w", name, err)
	}
	if st.Mnt_id != mnt && p.isClosed(fd, st) {
		if !isType(st, unix.S_IFDIR) {
			return nil
		}
		return p.entry(ctx, fd, st, name)
	}
	return p.tree(ctx, fd, st, name, depth+1)
}

// kernelFilesystems show the kernel's own state: copies of their files mean
// nothing, and some of them never end.
var kernelFilesystems = map[int64]bool{
	unix.PROC_SUPER_MAGIC: true, unix.SYSFS_MAGIC: true, unix.CGROUP_SUPER_MAGIC: true, unix.CGROUP2_SUPER_MAGIC: true,
	unix.DEVPTS_SUPER_MAGIC: true, unix.DEBUGFS_MAGIC: true, unix.TRACEFS_MAGIC: true, unix.SECURITYFS_MAGIC: true,
	unix.BPF_FS_MAGIC: true, unix.PSTOREFS_MAGIC: true, unix.EFIVARFS_MAGIC: true, mqueueMagic: true,
}

const mqueueMagic = 0x19800202

func (p *packer) isClosed(fd int, st *unix.Statx_t) bool { return p.closed[st.Mnt_id] || IsKernels(fd) }

// IsKernels reports whether the open file fd is on a file system that shows the
// state of the kernel.
func IsKernels(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && kernelFilesystems[int64(fs.Type)] //nolint:unconvert // it is an int32 on some machines
}

// entry packs the file fd itself.
func (p *packer) entry(ctx context.Context, fd int, st *unix.Statx_t, name string) error {
	hdr, err := header(fd, st, name)
	if hdr == nil || err != nil {
		return err
	}
	if !p.latest.IsZero() && hdr.ModTime.After(p.latest) {
		hdr.ModTime = p.latest
	}
	id := inode{st.Dev_major, st.Dev_minor, st.Ino}
	if st.Nlink > 1 && hdr.Typeflag != tar.TypeDir {
		if first, ok := p.links[id]; ok {
			return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, ModTime: hdr.ModTime, Mode: hdr.Mode, Uid: hdr.Uid, Gid: hdr.Gid, Format: tar.FormatPAX})
		}
		p.links[id] = name
	}
	if hdr.PAXRecords, err = p.xattrs(fd); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeReg && hdr.Size > 0 {
		return p.file(ctx, fd, hdr)
	}
	return p.tar.WriteHeader(hdr)
}

// header describes the file fd; nil for one that a tar cannot hold.
func header(fd int, st *unix.Statx_t, name string) (*tar.Header, error) {
	hdr := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtime.Sec, 0), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		hdr.Typeflag, hdr.Size = tar.TypeReg, int64(st.Size)
	case unix.S_IFDIR:
		hdr.Typeflag, hdr.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case unix.S_IFLNK:
		target, err := readLink(fd)
		if err != nil {
			return nil, err
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, target
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if isType(st, unix.S_IFBLK) {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(st.Rdev_major), int64(st.Rdev_minor)
	default:
		return nil, nil //nolint:nilnil // documented
	}
	return hdr, nil
}

// file packs a regular file. The descriptor fd only stands for it, and what it
// stands for cannot become another file meanwhile.
func (p *packer) file(ctx context.Context, fd int, hdr *tar.Header) error {
	content, err := reopen(fd)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer sys.Close(content)
	if err := p.tar.WriteHeader(hdr); err != nil {
		return err
	}
	for left := hdr.Size; left > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := read(content, p.buf[:min(left, chunkBytes)])
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			p.warn(fmt.Sprintf("file %q shrank while it was copied: the last %d bytes of the copy are zeros", hdr.Name, left))
			return p.zeros(left)
		}
		if _, err := p.tar.Write(p.buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// reopen opens the regular file that fd stands for, without a change of its
// access time if that is allowed.
func reopen(fd int) (int, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC
	content, err := unix.Open(sys.ProcFd(fd), flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		content, err = unix.Open(sys.ProcFd(fd), flags, 0)
	}
	return content, err
}

func read(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (p *packer) zeros(n int64) error {
	clear(p.buf)
	for n > 0 {
		chunk := min(n, chunkBytes)
		if _, err := p.tar.Write(p.buf[:chunk]); err != nil {
			return err
		}
		n -= chunk
	}
	return nil
}

// xattrs returns the extended attributes of the file fd as PAX records. One
// whose name cannot stand in a tar is left out.
func (p *packer) xattrs(fd int) (map[string]string, error) {
	names, err := xattrNames(fd)
	if err != nil {
		return nil, err
	}
	var records map[string]string
	for _, name := range names {
		if !rootfs.KeepXattr(name) || strings.Contains(name, "=") {
			continue
		}
		value, ok, err := getXattr(fd, name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if records == nil {
			records = map[string]string{}
		}
		records[tarmeta.XattrRecord+name] = string(value)
	}
	return records, nil
}

// xattrNames lists the extended attributes of the file fd, which is reached by
// its name in procfs because descriptors that only stand for a file have none.
func xattrNames(fd int) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Listxattr(sys.ProcFd(fd), buf) })
	if errors.Is(err, unix.ENOTSUP) || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00"), nil
}

// getXattr returns one extended attribute of the file fd, if it has it.
func getXattr(fd int, name string) (value []byte, ok bool, err error) {
	value, err = sized(func(buf []byte) (int, error) { return unix.Getxattr(sys.ProcFd(fd), name, buf) })
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("get extended attribute %q: %w", name, err)
	}
	return value, true, nil
}

// sized calls read with a buffer that is large enough for its answer.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	var small [512]byte
	n, err := read(small[:])
	if !errors.Is(err, unix.ERANGE) {
		return append([]byte(nil), small[:max(n, 0)]...), err
	}
	large := make([]byte, 64<<10) // the kernel's limit
	n, err = read(large)
	return large[:max(n, 0)], err
}

// Xattrs returns those extended attributes of the open file fd that copies keep. It
// may be a descriptor that only stands for the file. What cannot be read is left out.
func Xattrs(fd int) map[string]string {
	names, err := xattrNames(fd)
	if err != nil {
		return nil
	}
	var found map[string]string
	for _, name := range names {
		value, ok, err := getXattr(fd, name)
		if err != nil || !ok || !rootfs.KeepXattr(name) || strings.Contains(name, "=") {
			continue
		}
		if found == nil {
			found = map[string]string{}
		}
		found[name] = string(value)
	}
	return found
}
