package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

// LockLayer takes the lock of a layer, so that of several sessions one unpacks it
// and the others wait and find it. The caller releases it. To be free of
// deadlocks a goroutine holds at most one.
func (in *Ingest) LockLayer(ctx context.Context, diffID Digest) (*fsx.Lock, error) {
	return fsx.Acquire(ctx, in.store.path("locks", diffID.Hex()))
}

// HasLayer reports whether the layer is unpacked, listed or staged.
func (in *Ingest) HasLayer(diffID Digest) bool {
	return fsx.Exists(in.store.LayerDir(diffID)) || fsx.Exists(in.stagedLayer(diffID))
}

// AddLayer unpacks an uncompressed layer tar and stages it under its diff id,
// which it returns. Unless want is empty, a stream with another digest is a
// *Mismatch. If AddLayer fails, nothing is left.
// Callers that know want hold its LockLayer. AddLayer does not return before a
// Read of tar does: whoever cancels ctx makes that end.
func (in *Ingest) AddLayer(ctx context.Context, want Digest, tar io.Reader, unpack Unpacker) (diffID Digest, err error) {
	dir, err := os.MkdirTemp(in.store.layersDir(), tempPrefix+"*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	root := filepath.Join(dir, "root")
	if err := makeLayerRoot(root); err != nil {
		return "", err
	}
	stream := newTarHash(tar)
	defer stream.stop()
	size, err := unpack(ctx, stream, root)
	if err != nil {
		return "", fmt.Errorf("unpack layer: %w", stream.cause(err))
	}
	if diffID, err = stream.finish(); err != nil {
		return "", err
	}
	if want != "" && diffID != want {
		return "", &Mismatch{"layer, uncompressed,", string(want), string(diffID)}
	}
	if err := in.stageLayer(root, diffID, size); err != nil {
		return "", err
	}
	return diffID, os.RemoveAll(dir)
}

// VerifyTar reads tar to its end and returns a *Mismatch unless it is the
// uncompressed layer diffID.
func VerifyTar(tar io.Reader, diffID Digest) error {
	return verify(tar, diffID, "layer, uncompressed,")
}

// VerifyBlob reads r to its end and returns a *Mismatch unless it is the blob d.
func VerifyBlob(r io.Reader, d Digest) error { return verify(r, d, "blob "+string(d)) }

func verify(r io.Reader, want Digest, what string) error {
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, chunkBytes)); err != nil {
		return err
	}
	if got := digestOfSum(h.Sum(nil)); got != want {
		return &Mismatch{what, string(want), string(got)}
	}
	return nil
}

// makeLayerRoot makes the directory that becomes "/". Its parent is closed to
// users, so that 0755 opens nothing; chmod because of the umask.
func makeLayerRoot(root string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	return os.Chmod(root, 0o755)
}

// stageLayer moves an unpacked layer to where the next Commit or pull finds it.
func (in *Ingest) stageLayer(root string, diffID Digest, size int64) error {
	sizeText := []byte(strconv.FormatInt(size, 10))
	if err := fsx.WriteFileVolatile(in.store.sizePath(diffID), sizeText, filePerm); err != nil {
		return err
	}
	if fsx.Exists(in.store.LayerDir(diffID)) {
		return os.RemoveAll(root)
	}
	err := os.Rename(root, in.stagedLayer(diffID))
	if err != nil && fsx.Exists(in.stagedLayer(diffID)) { // somebody without the layer's lock was faster
		return os.RemoveAll(root)
	}
	return err
}

func (s *Store) layerSize(diffID Digest) int64 {
	data, err := fsx.ReadFile(s.sizePath(diffID))
	if err != nil {
		return 0 // it is for show only
	}
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (s *Store) layersSize(diffIDs []Digest) (sum int64) {
	for _, d := range diffIDs {
		sum += s.layerSize(d)
	}
	return sum
}

// syncFS writes everything of the file system that holds dir to disk, see
// syncfs(2). One call is much cheaper than fsync(2) of every file of a layer.
func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %s: %w", dir, err)
	}
	return nil
}

const (
	chunkBytes  = 256 << 10
	chunksAhead = 8
)

// tarHash reads a tar stream ahead in a goroutine of its own and hashes it there,
// so that decompressing and hashing run beside unpacking.
type tarHash struct {
	full  chan []byte
	empty chan []byte
	quit  chan struct{}
	once  sync.Once
	ended chan struct{}

	// Owned by the goroutine until ended is closed.
	hash hash.Hash
	err  error // io.EOF at the end of the stream

	current, rest []byte // owned by Read
}

func newTarHash(r io.Reader) *tarHash {
	t := &tarHash{
		full: make(chan []byte, chunksAhead), empty: make(chan []byte, chunksAhead),
		quit: make(chan struct{}), ended: make(chan struct{}), hash: sha256.New(),
	}
	for range chunksAhead {
		t.empty <- nil // allocated when first used: most layers are small
	}
	go t.readAhead(r)
	return t
}

var errStopped = errors.New("reading was given up")

func (t *tarHash) readAhead(r io.Reader) {
	defer close(t.ended)
	defer close(t.full)
	for t.err == nil {
		var buf []byte
		select {
		case buf = <-t.empty:
		case <-t.quit:
			t.err = errStopped
			return
		}
		if buf == nil {
			buf = make([]byte, chunkBytes)
		}
		var n int
		n, t.err = fill(r, buf[:chunkBytes])
		t.hash.Write(buf[:n])
		select {
		case t.full <- buf[:n]:
		case <-t.quit:
			t.err = errStopped
		}
	}
}

// fill reads until buf is full or r ends. Unlike io.ReadFull it hands on the
// error of r as it is, so that a cut-off stream is not taken for its end.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// Read implements io.Reader.
func (t *tarHash) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		if t.current != nil {
			t.empty <- t.current // never blocks: there are as many places as buffers
			t.current = nil
		}
		buf, ok := <-t.full
		if !ok {
			<-t.ended
			return 0, t.err
		}
		t.current, t.rest = buf, buf
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// finish reads what the unpacker has left, such as padding, and returns the
// digest of the whole stream.
func (t *tarHash) finish() (Digest, error) {
	if _, err := io.Copy(io.Discard, t); err != nil {
		return "", err
	}
	return digestOfSum(t.hash.Sum(nil)), nil
}

// cause adds the error of the stream, if it has one, to what the unpacker made of it.
func (t *tarHash) cause(err error) error {
	t.stop()
	if t.err == nil || errors.Is(t.err, io.EOF) || errors.Is(t.err, errStopped) || errors.Is(err, t.err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, t.err)
}

// stop ends the goroutine and waits for it. It may be called more than once.
func (t *tarHash) stop() {
	t.once.Do(func() { close(t.quit) })
	<-t.ended
}

// LayerSize returns what the files of an unpacked layer hold, in bytes; 0 if the
// store does not have the layer.
func (s *Store) LayerSize(diffID Digest) int64 { return s.layerSize(diffID) }
