package registry

import (
	"context"
	"fmt"
	"io"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/compress"
)

// compress stages a layer that the store has without compression once more, as
// gzip, and returns its digest and size. A layer that is compressed although its
// media type denies it stays as it is.
func (p *push) compress(ctx context.Context, l image.Descriptor) (image.Descriptor, error) {
	f, err := p.in.OpenBlob(l.Digest)
	if err != nil {
		return image.Descriptor{}, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 6)
	if _, err := f.ReadAt(head, 0); err == nil && compress.Detect(head) != compress.None {
		return l, nil
	}
	blob, err := p.in.CreateBlob()
	if err != nil {
		return image.Descriptor{}, err
	}
	defer blob.Close()
	z, err := compress.NewGzipWriter(blob)
	if err != nil {
		return image.Descriptor{}, err
	}
	// What is read is compared with its digest: a damaged layer must not get a new one.
	if err := image.VerifyBlob(io.TeeReader(&ended{ctx.Err, f}, z), l.Digest); err != nil {
		return image.Descriptor{}, err
	}
	if err := z.Close(); err != nil {
		return image.Descriptor{}, err
	}
	d := image.Descriptor{Digest: blob.Digest(), Size: blob.Size()}
	return d, blob.Stage(d.Digest, d.Size)
}

// ended is a reader that fails once err returns an error.
type ended struct {
	err func() error
	r   io.Reader
}

// Read implements io.Reader.
func (e *ended) Read(p []byte) (int, error) {
	if err := e.err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

// compressed returns out with every layer compressed, as registries and who pays
// for them expect. The store keeps that form.
func (p *push) compressed(ctx context.Context, out image.Outgoing) (image.Outgoing, error) {
	m := out.Manifest
	m.Layers = append([]image.Descriptor{}, m.Layers...)
	changed := false
	for i, l := range m.Layers {
		mediaType := image.GzipType(l.MediaType)
		if mediaType == "" {
			continue
		}
		d, err := p.compress(ctx, l)
		if err != nil {
			return out, fmt.Errorf("compress layer %s: %w", l.Digest.Short(), err)
		}
		if d.Digest == l.Digest {
			continue
		}
		d.MediaType, d.Annotations = mediaType, l.Annotations
		m.Layers[i], changed = d, true
	}
	if !changed {
		return out, nil
	}
	return p.in.Replace(ctx, out, m)
}
