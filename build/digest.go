package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cacheVersion is part of all keys: a change of what steps do changes it.
const cacheVersion = "cleat build 2"

// keyOf hashes values in an unambiguous form.
func keyOf(kind string, values ...any) string {
	data, err := json.Marshal([]any{cacheVersion, kind, values})
	if err != nil {
		panic(fmt.Sprintf("build key of %s: %v", kind, err)) // all values are plain data
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// digests remembers the content of a context's files by what changes with it, as
// git's index does, so that a build reads only what has changed.
type digests struct {
	mu    sync.Mutex
	known map[string]fileDigest
	used  map[string]fileDigest
	fresh bool // something is not in the note yet
}

// fileDigest is the content of a file at a time.
type fileDigest struct {
	Ino, Ctime, Dev uint64
	Size            int64
	Sum             string
}

// unsettled is for how long after its last change a file may change again without
// a trace: the clock of file systems is a coarse one.
const unsettled = 2 * time.Second

// newDigests reads a note: lines of numbers in hex, a digest, and a quoted name. What
// cannot be read is not known. JSON would take longer for a large context than all else.
func newDigests(note []byte) *digests {
	lines := bytes.Count(note, []byte{'\n'})
	d := &digests{known: make(map[string]fileDigest, lines), used: map[string]fileDigest{}}
	for len(note) > 0 {
		line, rest, whole := bytes.Cut(note, []byte{'\n'})
		if note = rest; !whole {
			break
		}
		if name, is, ok := parseDigest(string(line)); ok {
			d.known[name] = is
		}
	}
	return d
}

func parseDigest(line string) (name string, is fileDigest, ok bool) {
	var numbers [4]uint64
	for i := range numbers {
		word, rest, found := strings.Cut(line, " ")
		n, err := strconv.ParseUint(word, 16, 64)
		if err != nil || !found {
			return "", is, false
		}
		numbers[i], line = n, rest
	}
	sum, quoted, found := strings.Cut(line, " ")
	name, err := strconv.Unquote(quoted)
	if err != nil || !found || len(sum) != 2*sha256.Size {
		return "", is, false
	}
	return name, fileDigest{Ino: numbers[0], Ctime: numbers[1], Dev: numbers[2], Size: int64(numbers[3]), Sum: sum}, true
}

func appendDigest(b []byte, name string, is fileDigest) []byte {
	for _, n := range []uint64{is.Ino, is.Ctime, is.Dev, uint64(is.Size)} {
		b = append(strconv.AppendUint(b, n, 16), ' ')
	}
	return append(strconv.AppendQuote(append(append(b, is.Sum...), ' '), name), '\n')
}

// note returns what to keep, false if nothing is new.
func (d *digests) note() ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.fresh {
		return nil, false
	}
	var data []byte
	for name, is := range d.known {
		if _, newer := d.used[name]; !newer {
			data = appendDigest(data, name, is)
		}
	}
	for name, is := range d.used {
		data = appendDigest(data, name, is)
	}
	return data, true
}

// of returns the digest of a regular file.
func (d *digests) of(ctx context.Context, f *files, it item) (string, error) {
	is := fileDigest{Ino: it.entry.Ino, Ctime: it.entry.Ctime, Dev: it.entry.Dev, Size: it.entry.Size}
	if d != nil {
		d.mu.Lock()
		have, ok := d.known[it.src]
		d.mu.Unlock()
		is.Sum = have.Sum
		if ok && is == have {
			return have.Sum, nil
		}
	}
	now := time.Now()
	sum, err := hashFile(ctx, f, it.src)
	if err != nil {
		return "", err
	}
	if changed := time.Unix(0, int64(it.entry.Ctime)); d != nil && now.Sub(changed) > unsettled {
		is.Sum = sum
		d.mu.Lock()
		d.used[it.src], d.fresh = is, true
		d.mu.Unlock()
	}
	return sum, nil
}

func hashFile(ctx context.Context, f *files, name string) (string, error) {
	r, err := f.tree.Open(name)
	if err != nil {
		return "", f.missing(name, err)
	}
	defer func() { _ = r.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, readerWith(ctx, r)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readerWith ends a read when ctx does.
func readerWith(ctx context.Context, r io.Reader) io.Reader { return ctxReader{ctx.Err, r} }

type ctxReader struct {
	err func() error
	r   io.Reader
}

// Read implements io.Reader.
func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// sum fills in the digests of all items and returns that of them together: names,
// kinds, modes, owners, links, attributes and content, and no times.
func (f *files) sum(ctx context.Context, d *digests, items []item) (string, error) {
	h := sha256.New()
	for i := range items {
		it := &items[i]
		if it.entry.Mode.IsRegular() && it.data == nil {
			var err error
			if it.sum, err = d.of(ctx, f, *it); err != nil {
				return "", err
			}
		}
		writeItem(h, *it, f.keep)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func writeItem(h hash.Hash, it item, owners bool) {
	e := it.entry
	uid, gid := e.UID, e.GID
	if !owners {
		uid, gid = 0, 0
	}
	mode := uint32(e.Mode)
	if e.Mode&fs.ModeSymlink != 0 {
		mode = uint32(fs.ModeSymlink) // a link's own bits mean nothing
	}
	var attrs []string
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		attrs = append(attrs, name, hex.EncodeToString([]byte(e.Xattrs[name])))
	}
	line, _ := json.Marshal([]any{it.dst, mode, uid, gid, e.Link, e.Rdev * boolInt(e.Mode&fs.ModeDevice != 0), attrs, it.sum, string(it.data)}) // plain data
	h.Write(line)
}

func boolInt(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
