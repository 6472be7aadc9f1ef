package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// Artifact fetches a manifest that is not an image's, see image.ParseArtifact, with
// its configuration.
func (c *Client) Artifact(ctx context.Context, ref image.Reference, configType string) (m image.Manifest, config []byte, err error) {
	p := &pull{client: c, ref: ref, hosts: c.hosts(ref.Domain()), sessions: map[string]*session{}}
	doc, err := p.findManifest(ctx)
	if err != nil {
		return m, nil, err
	}
	if m, err = image.ParseArtifact(doc.data, configType); err != nil {
		return m, nil, p.about(err)
	}
	err = p.fromAny(ctx, func(s *session) (err error) {
		config, err = s.config(ctx, m.Config)
		return err
	})
	if err != nil {
		return m, nil, p.about(err)
	}
	return m, config, nil
}

// Layers stages layers of a repository that the store does not have, as blobs and
// unpacked. DiffIDs are theirs, in the same order.
func (c *Client) Layers(ctx context.Context, in *image.Ingest, ref image.Reference, blobs []image.Descriptor, diffIDs []image.Digest, opt PullOptions) error {
	if len(blobs) != len(diffIDs) {
		return fmt.Errorf("pull layers: %d of them and %d diff ids: %w", len(blobs), len(diffIDs), spec.ErrInvalid)
	}
	p := &pull{client: c, in: in, ref: ref, opt: opt, hosts: c.hosts(ref.Domain()), sessions: map[string]*session{}}
	if err := p.layers(ctx, blobs, diffIDs); err != nil {
		return p.about(err)
	}
	return nil
}

// PushArtifact uploads a manifest that is not an image's, and its blobs, which in has.
func (c *Client) PushArtifact(ctx context.Context, in *image.Ingest, ref image.Reference, m image.Manifest, raw []byte, opt PushOptions) error {
	if ref.Digest() != "" {
		return fmt.Errorf("push %s: wants a tag, not a digest: %w", ref.Familiar(), spec.ErrInvalid)
	}
	p := &push{client: c, in: in, ref: ref, host: ref.Domain(), opt: opt}
	if err := p.ask(ctx, func() (err error) {
		p.session, err = c.openFor(ctx, p.host, ref.Path(), transport.PushScope)
		return err
	}); err != nil {
		return p.about(err)
	}
	if err := p.blobs(ctx, m); err != nil {
		return p.about(err)
	}
	out := image.Outgoing{Manifest: m, Raw: raw, Digest: image.DigestOf(raw)}
	if err := p.ask(ctx, func() error { return p.session.putManifest(ctx, ref.Tag(), out) }); err != nil {
		return p.about(err)
	}
	return nil
}

// Gzip stages a layer that has no compression once more, as gzip, and returns that.
// Others stay as they are.
func Gzip(ctx context.Context, in *image.Ingest, l image.Descriptor) (image.Descriptor, error) {
	mediaType := image.GzipType(l.MediaType)
	if mediaType == "" {
		return l, nil
	}
	d, err := (&push{in: in}).compress(ctx, l)
	if err != nil {
		return l, fmt.Errorf("compress layer %s: %w", l.Digest.Short(), err)
	}
	if d.Digest != l.Digest {
		d.MediaType = mediaType
	}
	return d, nil
}
