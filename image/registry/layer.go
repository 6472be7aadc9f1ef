package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/spec"
)

// download loads one layer and unpacks it while it arrives. If the store has it
// unpacked already, its content is only compared with the diff id.
func (p *pull) download(ctx context.Context, j job, slots slots, unpack bool) error {
	blob, err := p.in.CreateBlob()
	if err != nil {
		return err
	}
	defer blob.Close()
	d := newDownload(blob, func(n int64) { p.send(j.blob, image.Downloading, n) })
	if err := take(ctx, slots.download); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	fetched := make(chan error, 1)
	go func() {
		err := p.fetch(ctx, j.blob, d)
		<-slots.download
		d.end(err)
		fetched <- err
	}()
	err = p.unpackStream(ctx, j, slots, d, unpack)
	cancel(err) // ends the download if the unpacking has failed
	if failed := <-fetched; failed != nil && (err == nil || errors.Is(err, failed) || !errors.Is(failed, context.Canceled)) {
		return failed
	}
	if err != nil {
		return err
	}
	return blob.Stage(j.blob.Digest, j.blob.Size)
}

// unpackBlob unpacks a layer whose blob was complete before.
func (p *pull) unpackBlob(ctx context.Context, j job, slots slots) error {
	f, err := p.in.OpenBlob(j.blob.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return p.unpackStream(ctx, j, slots, f, true)
}

// unpackStream decompresses r and unpacks it, or only compares the diff id.
func (p *pull) unpackStream(ctx context.Context, j job, slots slots, r io.Reader, unpack bool) error {
	if err := take(ctx, slots.unpack); err != nil {
		return err
	}
	defer func() { <-slots.unpack }()
	counted := &counter{r: r, report: func(n int64) { p.send(j.blob, image.Extracting, n) }}
	tar, format, err := compress.NewReader(counted)
	if err != nil {
		return err
	}
	defer func() { _ = tar.Close() }()
	if format == compress.XZ || format == compress.Bzip2 {
		return fmt.Errorf("compressed with %s, which layers in registries may not be: %w", format, spec.ErrUnsupport)
	}
	if unpack {
		_, err = p.in.AddLayer(ctx, j.diffID, tar, p.opt.Unpack)
	} else {
		err = image.VerifyTar(tar, j.diffID)
	}
	if err != nil {
		return err
	}
	// What follows the compressed stream belongs to the blob.
	_, err = io.Copy(io.Discard, counted)
	return err
}

// counter reports how much was read from a stream, in steps.
type counter struct {
	r        io.Reader
	n, shown int64
	report   func(int64)
}

const reportStep = 512 << 10

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.n-c.shown >= reportStep || err != nil && c.n > c.shown {
		c.shown = c.n
		c.report(c.n)
	}
	return n, err
}
