package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// bootIDPath names the current boot, see random(4).
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// Ingest is a session in which one or more images come into the store. What it
// has staged is invisible until Commit. It holds the store, see Hold. It is safe
// for concurrent use.
type Ingest struct {
	store *Store
	hold  *Hold
	boot  string
}

// Begin starts a session. The caller ends it with Close.
func (s *Store) Begin(ctx context.Context) (*Ingest, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	hold, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	in := &Ingest{s, hold, boot}
	if err := os.MkdirAll(s.path("staging", boot), dirPerm); err != nil {
		hold.Release()
		return nil, err
	}
	return in, nil
}

func bootID() (string, error) {
	data, err := os.ReadFile(bootIDPath)
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if id == "" || strings.ContainsAny(id, "/.") {
		return "", fmt.Errorf("read boot id: %s has %q", bootIDPath, clip(id))
	}
	return id, nil
}

// Close ends the session. What was staged and not committed stays for the next
// pull to use. If a removal left garbage because of this session, it is collected.
func (in *Ingest) Close(ctx context.Context) error {
	in.hold.Release()
	return in.store.collectPending(ctx)
}

func (in *Ingest) stagedBlob(d Digest) string { return in.store.path("staging", in.boot, d.Hex()) }

func (in *Ingest) stagedLayer(diffID Digest) string {
	return filepath.Join(in.store.layersDir(), stagedPrefix+in.boot+"-"+diffID.Hex())
}

// Names of directories below layers that are not layers in use.
const (
	stagedPrefix = ".staged-"
	tempPrefix   = ".tmp-"
)

// HasBlob reports whether the store has the blob with digest d and size bytes.
func (in *Ingest) HasBlob(d Digest, sizeBytes int64) bool {
	f, err := in.OpenBlob(d)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	return err == nil && fi.Size() == sizeBytes
}

// OpenBlob opens a blob that the store has. The caller closes it.
func (in *Ingest) OpenBlob(d Digest) (*os.File, error) {
	f, err := os.Open(in.store.BlobPath(d))
	if errors.Is(err, os.ErrNotExist) {
		return os.Open(in.stagedBlob(d))
	}
	return f, err
}

// readBlob reads a small blob and checks its digest.
func (in *Ingest) readBlob(d Digest, limit int64) ([]byte, error) {
	path := in.store.BlobPath(d)
	if !fsx.Exists(path) {
		path = in.stagedBlob(d)
	}
	return readVerified(path, d, limit)
}

// PutBlob stages data as a blob.
func (in *Ingest) PutBlob(data []byte) (Digest, error) {
	w, err := in.CreateBlob()
	if err != nil {
		return "", err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return "", err
	}
	d := w.Digest()
	return d, w.Stage(d, int64(len(data)))
}

// KeepSignatures keeps what Store.Signatures returns for the manifest d, as long
// as an image has this digest.
func (in *Ingest) KeepSignatures(d Digest, data []byte) error {
	return fsx.WriteFile(in.store.path("signatures", d.Hex()), data, filePerm)
}

// BlobWriter writes one blob to a temporary file and hashes it on the way.
type BlobWriter struct {
	in   *Ingest
	f    *os.File
	hash hash.Hash
	size int64
}

// CreateBlob starts a blob whose digest need not be known yet. The caller closes it.
func (in *Ingest) CreateBlob() (*BlobWriter, error) {
	f, err := os.CreateTemp(in.store.path("staging"), tempPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return &BlobWriter{in: in, f: f, hash: sha256.New()}, nil
}

// Write implements io.Writer.
func (w *BlobWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// ReadAt reads what has been written, also while more is being written.
func (w *BlobWriter) ReadAt(p []byte, off int64) (int, error) { return w.f.ReadAt(p, off) }

// Size returns the number of bytes written so far.
func (w *BlobWriter) Size() int64 { return w.size }

// Digest returns the digest of what has been written so far.
func (w *BlobWriter) Digest() Digest { return digestOfSum(w.hash.Sum(nil)) }

// Mismatch is the error for content that is not what its digest or size says.
// It wraps spec.ErrInvalid.
type Mismatch struct {
	What      string // "layer", "manifest", "configuration" …
	Want, Got string // digests, or sizes in bytes
}

// Error implements error.
func (e *Mismatch) Error() string {
	return fmt.Sprintf("%s is damaged or forged: got %s, want %s", e.What, e.Got, e.Want)
}

// Unwrap makes errors.Is(err, spec.ErrInvalid) true.
func (e *Mismatch) Unwrap() error { return spec.ErrInvalid }

// Verify returns a *Mismatch unless exactly size bytes with digest d were written.
func (w *BlobWriter) Verify(d Digest, size int64) error {
	if w.size != size {
		return &Mismatch{"blob " + string(d), fmt.Sprintf("%d bytes", size), fmt.Sprintf("%d bytes", w.size)}
	}
	if got := w.Digest(); got != d {
		return &Mismatch{"blob " + string(d), string(d), string(got)}
	}
	return nil
}

// Stage verifies the blob and keeps it for Commit. The writer stays open for ReadAt.
func (w *BlobWriter) Stage(d Digest, size int64) error {
	if err := w.Verify(d, size); err != nil {
		return err
	}
	if fsx.Exists(w.in.store.BlobPath(d)) {
		return nil // Close removes this copy
	}
	if err := w.f.Chmod(filePerm); err != nil {
		return err
	}
	return os.Rename(w.f.Name(), w.in.stagedBlob(d))
}

// Close closes the file, and removes it unless it was staged.
func (w *BlobWriter) Close() {
	_ = w.f.Close()           // nothing is read from it any more, and syncfs(2) reports lost writes
	_ = os.Remove(w.f.Name()) // gone already if it was staged
}

// TempFile returns a file without name in the store's file system, for what is
// too large for memory. Its space is free again when the caller closes it.
func (in *Ingest) TempFile() (*os.File, error) {
	f, err := os.CreateTemp(in.store.path("staging"), tempPrefix+"*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Addition is an image that is complete in a session.
type Addition struct {
	Manifest Descriptor  // of the image's manifest, which is a staged blob; Digest and MediaType are used
	Names    []Reference // tags and repository@digest names to give it; empty leaves it without name
}

// Commit makes a staged image durable and lists it under its names, which other
// images lose. If it fails, the list is unchanged.
func (in *Ingest) Commit(ctx context.Context, add Addition) (Image, error) {
	img, err := in.commit(ctx, add)
	if err != nil {
		return Image{}, fmt.Errorf("add image %s: %w", add.Manifest.Digest.Hex(), err)
	}
	return img, nil
}

func (in *Ingest) commit(ctx context.Context, add Addition) (Image, error) {
	e, err := in.prepare(add)
	if err != nil {
		return Image{}, err
	}
	return in.list(ctx, e, add.Names)
}

// prepare makes a staged image durable and returns its entry, without a name.
func (in *Ingest) prepare(add Addition) (entry, error) {
	data, err := in.readBlob(add.Manifest.Digest, MaxManifestBytes)
	if err != nil {
		return entry{}, err
	}
	m, err := ParseManifest(data, add.Manifest.MediaType)
	if err != nil {
		return entry{}, err
	}
	if m.IsIndex() {
		return entry{}, fmt.Errorf("is an index of images: %w", spec.ErrInvalid)
	}
	config, err := in.readBlob(m.Config.Digest, MaxConfigBytes)
	if err != nil {
		return entry{}, err
	}
	c, err := ParseConfig(config)
	if err != nil {
		return entry{}, err
	}
	shown, err := in.toShow(m, data, c.Platform)
	if err != nil {
		return entry{}, err
	}
	if err := in.publish([]Digest{add.Manifest.Digest, shown.Digest, m.Config.Digest}, m.Layers, c.RootFS.DiffIDs); err != nil {
		return entry{}, err
	}
	return newEntry(shown, add.Manifest.Digest, m.Config.Digest, in.store.layersSize(c.RootFS.DiffIDs)), nil
}

// toShow returns the descriptor that index.json has of the manifest m, which was
// decoded from data: skopeo finds only OCI manifests in a layout.
func (in *Ingest) toShow(m Manifest, data []byte, p Platform) (Descriptor, error) {
	if m.MediaType == MediaTypeDockerManifest {
		var err error
		if data, err = json.Marshal(m.OCI()); err != nil {
			return Descriptor{}, err
		}
		if _, err := in.PutBlob(data); err != nil {
			return Descriptor{}, err
		}
	}
	return Descriptor{MediaType: MediaTypeOCIManifest, Digest: DigestOf(data), Size: int64(len(data)), Platform: &p}, nil
}

// list enters e in the index under its names.
func (in *Ingest) list(ctx context.Context, e entry, names []Reference) (Image, error) {
	err := in.store.update(ctx, func(entries []entry) ([]entry, error) {
		if len(names) == 0 {
			names = []Reference{{}}
		}
		for _, ref := range names {
			entries = assign(entries, e, ref, time.Now())
		}
		return entries, nil
	})
	if err != nil {
		return Image{}, err
	}
	return in.store.Get(string(e.id()))
}

// publish flushes what is staged of an image and renames it to its place.
func (in *Ingest) publish(blobs []Digest, layers []Descriptor, diffIDs []Digest) error {
	moves := map[string]string{} // from staged to final
	for _, d := range layers {
		blobs = append(blobs, d.Digest)
	}
	for _, d := range blobs {
		if err := plan(moves, in.stagedBlob(d), in.store.BlobPath(d), "blob "+string(d)); err != nil {
			return err
		}
	}
	for _, d := range diffIDs {
		if err := plan(moves, in.stagedLayer(d), in.store.LayerDir(d), "layer "+string(d)); err != nil {
			return err
		}
	}
	if len(moves) == 0 {
		return nil
	}
	if err := syncFS(in.store.path()); err != nil {
		return err
	}
	for from, to := range moves {
		// Another session may have published the same in between.
		if err := os.Rename(from, to); err != nil && !fsx.Exists(to) {
			return err
		}
	}
	return errors.Join(fsx.SyncDir(in.store.path("blobs", "sha256")), fsx.SyncDir(in.store.layersDir()))
}

// plan notes that from is to be renamed to to, unless to is there already.
func plan(moves map[string]string, from, to, what string) error {
	if fsx.Exists(to) {
		return nil
	}
	if !fsx.Exists(from) && !fsx.Exists(to) { // a session beside may just have published it
		return fmt.Errorf("%s is missing: %w", what, spec.ErrInvalid)
	}
	moves[from] = to
	return nil
}
