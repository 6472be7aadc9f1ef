package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

const copyBytes = 128 << 10

// errStalled ends a connection on which nothing comes any more; the rest is asked
// for anew.
var errStalled = errors.New("the server sends nothing any more")

// download is a blob on its way to a file, which can be read while it grows, so
// that the network never waits for the unpacking.
type download struct {
	blob   *image.BlobWriter
	report func(written int64)

	mu      sync.Mutex
	grown   *sync.Cond
	written int64
	ended   bool
	err     error
	readAt  int64 // owned by Read
}

func newDownload(blob *image.BlobWriter, report func(int64)) *download {
	d := &download{blob: blob, report: report}
	d.grown = sync.NewCond(&d.mu)
	return d
}

// Write implements io.Writer for the side that downloads.
func (d *download) Write(p []byte) (int, error) {
	n, err := d.blob.Write(p)
	if err != nil {
		err = &storageError{err}
	}
	d.mu.Lock()
	d.written += int64(n)
	written := d.written
	d.mu.Unlock()
	d.grown.Broadcast()
	d.report(written)
	return n, err
}

// end tells the reading side that no more comes; a nil err means all has come.
func (d *download) end(err error) {
	d.mu.Lock()
	d.ended, d.err = true, err
	d.mu.Unlock()
	d.grown.Broadcast()
}

// Read implements io.Reader for the side that unpacks. It waits for what has not
// come yet, until end.
func (d *download) Read(p []byte) (int, error) {
	d.mu.Lock()
	for d.readAt == d.written && !d.ended {
		d.grown.Wait()
	}
	have, err := d.written-d.readAt, d.err
	d.mu.Unlock()
	if have == 0 {
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	n, err := d.blob.ReadAt(p[:min(int64(len(p)), have)], d.readAt)
	d.readAt += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// fetch downloads blob from the first host that has it into d and verifies it. A
// broken connection is taken up where it broke, also at the next host, and as
// often as it takes while at least something arrives.
func (p *pull) fetch(ctx context.Context, blob image.Descriptor, d *download) error {
	for idle := 1; ; idle++ {
		before := d.blob.Size()
		err := p.fromAny(ctx, func(s *session) error { return s.fetchRest(ctx, blob, d, p.client.opt.StallTime) })
		if err == nil {
			return d.blob.Verify(blob.Digest, blob.Size)
		}
		if d.blob.Size() > before {
			idle = 0
		}
		if ctx.Err() != nil || idle > 0 || !errors.Is(err, spec.ErrUnavail) {
			return fmt.Errorf("download: %w", err)
		}
	}
}

// fetchRest makes one request for what is missing of the blob.
func (s *session) fetchRest(ctx context.Context, blob image.Descriptor, d *download, stall time.Duration) error {
	have := d.blob.Size()
	if have >= blob.Size && have > 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", have, blob.Size-1))
	}
	resp, err := s.get(ctx, "/blobs/"+string(blob.Digest), header, http.StatusOK, http.StatusPartialContent)
	if answer, ok := errors.AsType[*transport.Error](err); ok && answer.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		resp, err = s.get(ctx, "/blobs/"+string(blob.Digest), nil, http.StatusOK) // it cannot: begin anew, and skip
	}
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	skip, err := skipBytes(resp, have)
	if err != nil {
		return err
	}
	body := &watched{r: resp.Body, stall: stall, timer: time.AfterFunc(stall, func() { cancel(errStalled) })}
	defer body.timer.Stop()
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		return stalled(ctx, err)
	}
	// One byte too many is enough to see that the blob is too long.
	rest := io.LimitReader(body, blob.Size-have+1)
	if _, err := io.CopyBuffer(struct{ io.Writer }{d}, rest, make([]byte, copyBytes)); err != nil {
		return stalled(ctx, err)
	}
	if d.blob.Size() < blob.Size && resp.ContentLength < 0 {
		return io.ErrUnexpectedEOF // a chunked response of a proxy that lost its server
	}
	return nil
}

// skipBytes returns how much of the response is known already: nothing if the
// server has heeded the range, all that is there if it begins anew.
func skipBytes(resp *http.Response, have int64) (int64, error) {
	if resp.StatusCode == http.StatusOK {
		return have, nil
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-")
	if n, err := strconv.ParseInt(first, 10, 64); err != nil || n != have {
		return 0, fmt.Errorf("asked for bytes from %d, got range %q", have, oneLine(resp.Header.Get("Content-Range")))
	}
	return 0, nil
}

// stalled returns the cause if the watch on the connection has ended ctx.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// watched is a body whose timer is set back by each byte that comes.
type watched struct {
	r     io.Reader
	stall time.Duration
	timer *time.Timer
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.timer.Reset(w.stall)
	return n, err
}
