package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/rootfs"
	"github.com/cleat-project/cleat/rootfs/internal/sys"
	"golang.org/x/sys/unix"
)

// ChangeKind says what has become of a path. The numbers are Docker's.
type ChangeKind int

// The kinds of change.
const (
	Modified ChangeKind = iota
	Added
	Deleted
)

// String returns the letter that Docker shows.
func (k ChangeKind) String() string {
	switch k {
	case Modified:
		return "C"
	case Added:
		return "A"
	case Deleted:
		return "D"
	}
	return "?"
}

// Change is one path that differs from the image. Its JSON form is Docker's.
type Change struct {
	Path string // absolute
	Kind ChangeKind
}

// DiffOptions says what to compare.
type DiffOptions struct {
	Upper int // open directory that overlayfs writes to
	Lower int // open top of the merged layers below it; -1 if there are none

	// Ignore are the paths that a start of the container makes, as mount points,
	// where the image lacks them. They are no changes while nothing is in them.
	Ignore []string

	// Latest is the youngest time that a packed change may have; what is younger
	// gets it. The zero time leaves all as they are.
	Latest time.Time

	// Plain gets to know what it takes to use the writable layer as it lies there
	// instead of unpacking what is packed; nil for nothing. Changes ignores it.
	Plain *Plain

	Warn func(sentence string) // about what had to be left out; nil ignores it
}

// Changes lists what the writable layer of a container changes, in the order of
// the paths, a directory before what is in it. A file that was copied up and is
// the same as before is no change; a directory is one if its owner, mode or
// attributes are others, or if there is a change in it.
func Changes(ctx context.Context, opt DiffOptions) ([]Change, error) {
	var all []Change
	opt.Plain = nil
	err := newDiffer(opt, func(c Change, _ int, _ string) error {
		all = append(all, c)
		return nil
	}).run(ctx)
	return all, err
}

// PackChanges writes what Changes lists as a layer of an image: the OCI image
// specification's "Image Layer Filesystem Changeset".
func PackChanges(ctx context.Context, w io.Writer, opt DiffOptions) error {
	p := newPacker(w, opt.Plain.warning(opt.Warn))
	p.latest, p.plain = opt.Latest, opt.Plain
	if !p.latest.IsZero() {
		p.plain.refuse("times are set")
	}
	err := newDiffer(opt, func(c Change, dir int, base string) error { return p.change(ctx, c, dir, base) }).run(ctx)
	if err != nil {
		return err
	}
	return p.tar.Close()
}

const whiteoutPrefix = ".wh."

// change packs one change; base in dir is what the writable layer has there.
func (p *packer) change(ctx context.Context, c Change, dir int, base string) error {
	name := c.Path[1:]
	if strings.Contains(c.Path, "/"+whiteoutPrefix) {
		p.warn(fmt.Sprintf("file %q is left out: in a layer, its name would mean that another file was deleted", c.Path))
		return nil
	}
	if c.Kind == Deleted {
		return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(name), whiteoutPrefix+base), Mode: 0o600, Format: tar.FormatPAX})
	}
	fd, err := openChild(dir, base)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pack %q: open: %w", name, err)
	}
	defer sys.Close(fd)
	st, err := statx(fd)
	if err == nil {
		err = p.plain.look(fd, st, c.Path)
	}
	if err == nil {
		err = p.entry(ctx, fd, st, name)
	}
	if err != nil {
		return fmt.Errorf("pack %q: %w", name, err)
	}
	return nil
}

// visit is called for each change with the directory of the writable layer that
// the path is in, and its name there.
type visit func(c Change, dir int, base string) error

// differ walks a writable layer.
type differ struct {
	opt     DiffOptions
	ignore  map[string]bool
	visit   visit
	pending []pending
}

// pending is a directory on the way to where the walk is. It is a change as soon
// as there is one in it.
type pending struct {
	Change
	dir  int
	base string
	told bool
}

func newDiffer(opt DiffOptions, v visit) *differ {
	d := &differ{opt: opt, ignore: map[string]bool{}, visit: v}
	for _, p := range opt.Ignore {
		d.ignore[p] = true
	}
	return d
}

func (d *differ) run(ctx context.Context) error {
	return d.dir(ctx, pair{d.opt.Upper, d.opt.Lower, false}, "/", 0)
}

// pair is a directory in the writable layer and, unless it is -1, in the image.
type pair struct {
	upper, lower int
	hides        bool // what only the image has there is deleted
}

// tell reports a change, after the directories that it is in.
func (d *differ) tell(c Change, dir int, base string) error {
	for i := range d.pending {
		p := &d.pending[i]
		if p.told {
			continue
		}
		p.told = true
		if err := d.visit(p.Change, p.dir, p.base); err != nil {
			return err
		}
	}
	return d.visit(c, dir, base)
}

// dir compares the content of one directory.
func (d *differ) dir(ctx context.Context, p pair, name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d levels deep: %w", name, maxDepth, unix.ELOOP)
	}
	names, err := readNames(p.upper)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !p.hides {
		value, _, err := getXattr(p.upper, "trusted.overlay.opaque")
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.hides = string(value) == "y"
	}
	if p.hides && p.lower >= 0 {
		below, err := readNames(p.lower)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		names = slices.Compact(slices.Sorted(slices.Values(append(names, below...))))
	}
	for _, base := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := d.entry(ctx, p, base, path.Join(name, base), depth); err != nil {
			return err
		}
	}
	return nil
}

// side is one file of a comparison; fd is -1 if there is none.
type side struct {
	fd int
	st *unix.Statx_t
}

func openSide(dir int, base string) (side, error) {
	if dir < 0 {
		return side{fd: -1}, nil
	}
	fd, err := openChild(dir, base)
	if errors.Is(err, unix.ENOENT) {
		return side{fd: -1}, nil
	}
	if err != nil {
		return side{fd: -1}, fmt.Errorf("open: %w", err)
	}
	st, err := statx(fd)
	if err != nil {
		sys.Close(fd)
		return side{fd: -1}, err
	}
	return side{fd, st}, nil
}

func (s side) isDir() bool { return s.fd >= 0 && isType(s.st, unix.S_IFDIR) }

func (s side) isWhiteout() bool {
	return s.fd >= 0 && isType(s.st, unix.S_IFCHR) && s.st.Rdev_major == 0 && s.st.Rdev_minor == 0
}

// entry compares one name.
func (d *differ) entry(ctx context.Context, p pair, base, name string, depth int) error {
	upper, err := openSide(p.upper, base)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer sys.Close(upper.fd)
	lower, err := openSide(p.lower, base)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer sys.Close(lower.fd)
	tell := func(kind ChangeKind) error { return d.tell(Change{name, kind}, p.upper, base) }
	switch {
	case upper.fd < 0 || upper.isWhiteout():
		if lower.fd < 0 {
			if upper.fd >= 0 {
				d.opt.Plain.drop(name)
			}
			return nil // vanished meanwhile, or a whiteout of nothing
		}
		if upper.fd < 0 {
			d.opt.Plain.deleted(name)
		}
		return tell(Deleted)
	case upper.isDir():
		return d.subdir(ctx, p, upper, lower, pending{Change{name, Modified}, p.upper, base, false}, depth)
	case lower.fd < 0:
		if d.ignore[name] && upper.st.Size == 0 && isType(upper.st, unix.S_IFREG) {
			d.opt.Plain.drop(name)
			return nil
		}
		return tell(Added)
	}
	same, err := upper.equals(lower)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if same {
		d.opt.Plain.drop(name)
		return nil
	}
	return tell(Modified)
}

// subdir compares a directory of the writable layer with what the image has.
func (d *differ) subdir(ctx context.Context, p pair, upper, lower side, at pending, depth int) error {
	below := lower.fd
	changed := true
	switch {
	case below < 0:
		at.Kind, changed = Added, !d.ignore[at.Path]
	case !lower.isDir():
		below = -1
	default:
		same, err := upper.sameMeta(lower)
		if err != nil {
			return fmt.Errorf("%s: %w", at.Path, err)
		}
		changed = !same
	}
	if changed {
		if err := d.tell(at.Change, at.dir, at.base); err != nil {
			return err
		}
	}
	at.told = changed
	d.pending = append(d.pending, at)
	err := d.dir(ctx, pair{upper.fd, below, p.hides}, at.Path, depth+1)
	if last := len(d.pending) - 1; !d.pending[last].told {
		d.opt.Plain.drop(at.Path)
	}
	d.pending = d.pending[:len(d.pending)-1]
	return err
}

// sameMeta compares type, mode, owner and attributes.
func (s side) sameMeta(o side) (bool, error) {
	if s.st.Mode != o.st.Mode || s.st.Uid != o.st.Uid || s.st.Gid != o.st.Gid || s.st.Rdev_major != o.st.Rdev_major || s.st.Rdev_minor != o.st.Rdev_minor {
		return false, nil
	}
	a, err := s.xattrs()
	if err != nil {
		return false, err
	}
	b, err := o.xattrs()
	return maps.Equal(a, b), err
}

func (s side) xattrs() (map[string]string, error) {
	names, err := xattrNames(s.fd)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, name := range names {
		if !rootfs.KeepXattr(name) {
			continue
		}
		value, ok, err := getXattr(s.fd, name)
		if err != nil {
			return nil, err
		}
		if ok {
			all[name] = string(value)
		}
	}
	return all, nil
}

// equals compares two files that are no directories. Equal sizes and times prove
// nothing: some tools put times back.
func (s side) equals(o side) (bool, error) {
	if s.st.Size != o.st.Size || s.st.Mtime.Sec != o.st.Mtime.Sec || s.st.Mtime.Nsec != o.st.Mtime.Nsec {
		return false, nil
	}
	if same, err := s.sameMeta(o); err != nil || !same {
		return false, err
	}
	switch s.st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		a, errA := readLink(s.fd)
		b, errB := readLink(o.fd)
		return a == b, errors.Join(errA, errB)
	case unix.S_IFREG:
		return sameContent(s.fd, o.fd)
	}
	return true, nil
}

func sameContent(a, b int) (bool, error) {
	a, err := reopen(a)
	if err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	defer sys.Close(a)
	if b, err = reopen(b); err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	defer sys.Close(b)
	one, two := make([]byte, chunkBytes), make([]byte, chunkBytes)
	for {
		n, err := readFull(a, one)
		m, errB := readFull(b, two)
		if err := errors.Join(err, errB); err != nil {
			return false, fmt.Errorf("read: %w", err)
		}
		if !bytes.Equal(one[:n], two[:m]) {
			return false, nil
		}
		if n == 0 {
			return true, nil
		}
	}
}

// readFull reads until buf is full or the file ends.
func readFull(fd int, buf []byte) (n int, err error) {
	for n < len(buf) {
		more, err := read(fd, buf[n:])
		if err != nil || more == 0 {
			return n, err
		}
		n += more
	}
	return n, nil
}
