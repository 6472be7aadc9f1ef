package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// packing says how items become a tar.
type packing struct {
	prefix string // where they go, without a slash at the beginning
	dirs   []string
	owner  *engine.TreeOwner // of all; nil keeps owners, which of a context are root
	mode   *fs.FileMode      // of all
	time   time.Time         // of what has none
}

// pack writes items as a tar. A file whose content is not what was looked at when
// the key of the step was computed is an error: the step would be remembered under
// a key that is another's.
func (f *files) pack(ctx context.Context, w io.Writer, items []item, p packing) error {
	tw := tar.NewWriter(w)
	for _, dir := range p.dirs {
		hdr := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: p.time, Format: tar.FormatPAX}
		p.own(hdr)
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
	}
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := f.packItem(ctx, tw, it, p); err != nil {
			return fmt.Errorf("copy %q: %w", it.src, err)
		}
	}
	return tw.Close()
}

func (p packing) own(hdr *tar.Header) {
	if p.owner != nil {
		hdr.Uid, hdr.Gid = p.owner.UID, p.owner.GID
	}
}

func (f *files) header(it item, p packing) (*tar.Header, error) {
	e := it.entry
	hdr, err := tar.FileInfoHeader(entryInfo{e}, e.Link)
	if err != nil {
		return nil, err
	}
	hdr.Name, hdr.Format, hdr.Size = path.Join(p.prefix, it.dst), tar.FormatPAX, 0
	hdr.ModTime = e.Mtime.Truncate(time.Second)
	if e.Mode.IsRegular() {
		hdr.Size = e.Size
	}
	if e.Mode.IsDir() {
		hdr.Name += "/"
	}
	if f.keep {
		hdr.Uid, hdr.Gid = int(e.UID), int(e.GID)
	}
	p.own(hdr)
	if p.mode != nil && e.Mode&fs.ModeSymlink == 0 {
		hdr.Mode = unixMode(*p.mode)
	}
	if e.Mode&fs.ModeDevice != 0 {
		hdr.Devmajor, hdr.Devminor = devNumbers(e.Rdev)
	}
	for name, value := range e.Xattrs {
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords["SCHILY.xattr."+name] = value
	}
	return hdr, nil
}

// devNumbers takes a device number apart, see makedev(3).
func devNumbers(rdev uint64) (major, minor int64) {
	return int64(rdev>>8&0xfff | rdev>>32&^0xfff), int64(rdev&0xff | rdev>>12&0xffffff00)
}

func unixMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			mode |= bit
		}
	}
	return mode
}

func (f *files) packItem(ctx context.Context, tw *tar.Writer, it item, p packing) error {
	hdr, err := f.header(it, p)
	if err != nil {
		return err
	}
	if it.data != nil {
		hdr.Size = int64(len(it.data))
	}
	if err := tw.WriteHeader(hdr); err != nil || hdr.Typeflag != tar.TypeReg {
		return err
	}
	if it.data != nil {
		_, err := io.Copy(tw, bytes.NewReader(it.data))
		return err
	}
	r, err := f.tree.Open(it.src)
	if err != nil {
		return f.missing(it.src, err)
	}
	defer func() { _ = r.Close() }() // only read
	h := sha256.New()
	n, err := io.Copy(tw, io.TeeReader(io.LimitReader(readerWith(ctx, r), hdr.Size), h))
	if err != nil {
		return err
	}
	if n != hdr.Size || it.sum != "" && hex.EncodeToString(h.Sum(nil)) != it.sum {
		return fmt.Errorf("the file changed while it was built with: build again: %w", spec.ErrConflict)
	}
	return nil
}

// entryInfo is a BuildEntry as package tar wants it.
type entryInfo struct{ e engine.BuildEntry }

func (i entryInfo) Name() string       { return "" }
func (i entryInfo) Size() int64        { return i.e.Size }
func (i entryInfo) Mode() fs.FileMode  { return i.e.Mode }
func (i entryInfo) ModTime() time.Time { return i.e.Mtime }
func (i entryInfo) IsDir() bool        { return i.e.Mode.IsDir() }
func (i entryInfo) Sys() any           { return nil }
