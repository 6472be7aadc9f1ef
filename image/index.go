package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Annotations of an entry in index.json. The name is there twice: containerd and
// ctr look for the first, skopeo and crane for the second.
const (
	keyName   = "io.containerd.image.name"
	keyRef    = "org.opencontainers.image.ref.name"
	keyID     = "io.github.cleat-project.image.id"
	keySize   = "io.github.cleat-project.image.size"
	keyTagged = "io.github.cleat-project.image.tagged"

	// keyOrigin is the digest of the manifest as it came. The entry itself is for
	// other tools and points to an OCI form of it where that is a Docker manifest.
	keyOrigin = "io.github.cleat-project.image.manifest"
)

// indexHead starts an index.json that was written here: one entry per line
// follows, so that a reader finds the one that it wants without decoding all.
const indexHead = `{"schemaVersion":2,"mediaType":"` + MediaTypeOCIIndex + `","manifests":[` + "\n"

const indexTail = "]}\n"

// entry is one line of the index: an image under one name. An image has an entry
// per tag and per repository@digest; if it has neither, one entry without name.
type entry struct{ Descriptor }

func newEntry(shown Descriptor, origin, id Digest, sizeBytes int64) entry {
	shown.Annotations = map[string]string{
		keyID:     string(id),
		keySize:   strconv.FormatInt(sizeBytes, 10),
		keyOrigin: string(origin),
	}
	return entry{shown}
}

// named returns a copy of e under the name ref; the zero ref makes it nameless.
func (e entry) named(ref Reference, now time.Time) entry {
	a := map[string]string{}
	for _, key := range []string{keyID, keySize, keyOrigin} {
		a[key] = e.Annotations[key]
	}
	if !ref.IsZero() {
		a[keyName] = ref.String()
		a[keyTagged] = now.UTC().Format(time.RFC3339Nano)
		if ref.Tag() != "" {
			a[keyRef] = ref.String()
		}
	}
	e.Annotations = a
	return e
}

func (e entry) id() Digest { return Digest(e.Annotations[keyID]) }

func (e entry) origin() Digest { return Digest(e.Annotations[keyOrigin]) }

// valid reports whether e was written here: unpacked layers belong to it.
func (e entry) valid() bool {
	_, errID := ParseDigest(string(e.id()))
	_, errOrigin := ParseDigest(string(e.origin()))
	return errID == nil && errOrigin == nil && e.Digest != ""
}

func (e entry) size() int64 {
	n, err := strconv.ParseInt(e.Annotations[keySize], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ref returns the name of e, the zero Reference if it has none.
func (e entry) ref() Reference {
	r, err := ParseReference(e.Annotations[keyName])
	if err != nil {
		return Reference{} // nameless, or nothing that was written here
	}
	return r
}

// index is a snapshot of index.json as raw lines.
type index struct{ lines []byte }

// readIndex reads the index without a lock: rename(2) replaces it as a whole. A
// store that has no index yet is empty.
func (s *Store) readIndex() (index, error) {
	data, err := os.ReadFile(s.path("index.json"))
	if errors.Is(err, os.ErrNotExist) {
		return index{}, nil
	}
	if err != nil {
		return index{}, err
	}
	if lines, ok := bytes.CutPrefix(data, []byte(indexHead)); ok {
		return index{bytes.TrimSuffix(lines, []byte(indexTail))}, nil
	}
	x, err := foreignIndex(data)
	if err != nil {
		return index{}, fmt.Errorf("read %s: %w", s.path("index.json"), err)
	}
	return x, nil
}

// foreignIndex takes in an index that another tool has reformatted.
func foreignIndex(data []byte) (index, error) {
	var doc struct{ Manifests []entry }
	if err := json.Unmarshal(data, &doc); err != nil {
		return index{}, err
	}
	lines, err := encodeLines(doc.Manifests)
	return index{lines}, err
}

func encodeLines(entries []entry) ([]byte, error) {
	var b bytes.Buffer
	for i, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		b.Write(line)
		if i < len(entries)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// all decodes every entry. Entries that another tool has added are left out: no
// unpacked layers belong to them.
func (x index) all() ([]entry, error) {
	var list []entry
	for line := range bytes.Lines(x.lines) {
		e, err := decodeLine(line)
		if err != nil {
			return nil, err
		}
		if e.valid() {
			list = append(list, e)
		}
	}
	return list, nil
}

func decodeLine(line []byte) (entry, error) {
	var e entry
	if err := json.Unmarshal(bytes.TrimRight(line, ",\n"), &e); err != nil {
		return entry{}, fmt.Errorf("decode entry of image index: %w", err)
	}
	return e, nil
}

// maxNeedle is the length up to which bytes.Index uses vector instructions.
const maxNeedle = 48

// find decodes the entries whose line contains text and that match. Only the end
// of text is searched for, which is the part where entries differ.
func (x index) find(text string, match func(entry) bool) []entry {
	var found []entry
	text = text[max(0, len(text)-maxNeedle):]
	for rest := x.lines; ; {
		i := bytes.Index(rest, []byte(text))
		if i < 0 {
			return found
		}
		start := bytes.LastIndexByte(rest[:i], '\n') + 1
		end := len(rest)
		if n := bytes.IndexByte(rest[i:], '\n'); n >= 0 {
			end = i + n
		}
		if e, err := decodeLine(rest[start:end]); err == nil && e.valid() && match(e) {
			found = append(found, e)
		}
		rest = rest[end:]
	}
}

func (x index) entriesOf(id Digest) []entry {
	return x.find(`"`+keyID+`":"`+string(id)+`"`, func(e entry) bool { return e.id() == id })
}

func (x index) byName(ref Reference) (entry, bool) {
	found := x.find(`"`+keyName+`":"`+ref.String()+`"`, func(e entry) bool { return e.ref() == ref })
	if len(found) == 0 {
		return entry{}, false
	}
	return found[0], true
}

// resolve returns the id of the image that name means, see Store.Get.
func (x index) resolve(name string) (Digest, error) {
	if prefix, ok := idPrefix(name); ok {
		return x.byPrefix(prefix, name)
	}
	ref, err := ParseReference(name)
	if err != nil {
		return "", err
	}
	if e, ok := x.byReference(ref); ok {
		return e.id(), nil
	}
	if isHex(name) {
		return x.byPrefix(name, name)
	}
	return "", noSuchImage(ref.Familiar())
}

// idPrefix reports whether name can only be an image id or the start of one.
func idPrefix(name string) (string, bool) {
	if prefix, ok := strings.CutPrefix(name, algorithm); ok && prefix != "" && len(prefix) <= 64 && isHex(prefix) {
		return prefix, true
	}
	return name, len(name) == 64 && isHex(name)
}

// byReference finds the image of a reference. A digest outweighs a tag beside
// it, and may also be that of the manifest in the store.
func (x index) byReference(ref Reference) (entry, bool) {
	if ref.Digest() == "" {
		return x.byName(ref)
	}
	if e, ok := x.byName(ref.WithDigest(ref.Digest())); ok {
		return e, true
	}
	found := x.find(string(ref.Digest()), func(e entry) bool {
		return e.origin() == ref.Digest() && e.ref().Repository() == ref.Repository()
	})
	if len(found) == 0 {
		return entry{}, false
	}
	return found[0], true
}

func (x index) byPrefix(prefix, name string) (Digest, error) {
	found := x.find(`"`+keyID+`":"`+algorithm+prefix, func(e entry) bool {
		return strings.HasPrefix(e.id().Hex(), prefix)
	})
	if len(found) == 0 && len(prefix) == 64 {
		found = x.find(prefix, func(e entry) bool { return e.origin().Hex() == prefix })
	}
	if len(found) == 0 {
		return "", noSuchImage(name)
	}
	for _, e := range found[1:] {
		if e.id() != found[0].id() {
			return "", classify(spec.ErrConflict, "image id %s is ambiguous: it fits %s and %s; give more digits", name, found[0].id().Short(), e.id().Short())
		}
	}
	return found[0].id(), nil
}

// update changes the index under its lock. What change returns is written
// durably; if it returns an error, nothing is.
func (s *Store) update(ctx context.Context, change func([]entry) ([]entry, error)) error {
	if err := s.init(); err != nil {
		return err
	}
	lock, err := fsx.Acquire(ctx, s.path("lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	x, err := s.readIndex()
	if err != nil {
		return err
	}
	entries, err := x.all()
	if err != nil {
		return err
	}
	if entries, err = change(entries); err != nil {
		return err
	}
	lines, err := encodeLines(entries)
	if err != nil {
		return err
	}
	data := slices.Concat([]byte(indexHead), lines, []byte(indexTail))
	return fsx.WriteFile(s.path("index.json"), data, filePerm)
}

// assign gives the name ref to e. An image that loses its last name by that
// stays in the list without one.
func assign(entries []entry, e entry, ref Reference, now time.Time) []entry {
	var lost Digest
	kept := make([]entry, 0, len(entries)+1)
	for _, old := range entries {
		switch oldRef := old.ref(); {
		case oldRef == ref && !ref.IsZero():
			lost = old.id()
		case oldRef.IsZero() && old.id() == e.id() && !ref.IsZero():
			// e is nameless no longer
		default:
			kept = append(kept, old)
		}
	}
	if ref.IsZero() && hasID(kept, e.id()) {
		return kept
	}
	if lost != "" && lost != e.id() && !hasID(kept, lost) {
		i := slices.IndexFunc(entries, func(old entry) bool { return old.id() == lost })
		kept = append(kept, entries[i].named(Reference{}, now))
	}
	return append(kept, e.named(ref, now))
}

func hasID(entries []entry, id Digest) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.id() == id })
}

// Tag gives the image that source means, see Get, the further name target.
func (s *Store) Tag(ctx context.Context, source string, target Reference) error {
	if target.IsZero() || target.Digest() != "" {
		return classify(spec.ErrInvalid, "refusing to create a tag with a digest reference")
	}
	return s.update(ctx, func(entries []entry) ([]entry, error) {
		x, err := s.readIndex()
		if err != nil {
			return nil, err
		}
		id, err := x.resolve(source)
		if err != nil {
			return nil, err
		}
		return assign(entries, x.entriesOf(id)[0], target, time.Now()), nil
	})
}
