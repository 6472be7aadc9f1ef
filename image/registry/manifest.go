package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// RemoteManifest is a manifest or an index as a registry has it.
type RemoteManifest struct {
	Descriptor image.Descriptor // with the platform, if Parts were asked for
	Raw        []byte
	Manifest   image.Manifest
	Parts      []RemoteManifest // of an index, in its order
}

// ManifestOptions say what to fetch of a manifest.
type ManifestOptions struct {
	Parts bool // also the manifests that an index lists, and platforms
}

// Manifest fetches the manifest or index that ref names, and nothing into a store.
func (c *Client) Manifest(ctx context.Context, ref image.Reference, opt ManifestOptions) (RemoteManifest, error) {
	p := &pull{client: c, ref: ref, hosts: c.hosts(ref.Domain()), sessions: map[string]*session{}}
	doc, err := p.findManifest(ctx)
	if err != nil {
		return RemoteManifest{}, err
	}
	top, err := remote(doc)
	if err != nil {
		return RemoteManifest{}, p.about(err)
	}
	if !opt.Parts {
		return top, nil
	}
	if !top.Manifest.IsIndex() {
		err := p.findPlatform(ctx, &top)
		return top, err
	}
	for _, d := range top.Manifest.Manifests {
		var doc document
		err := p.fromAny(ctx, func(s *session) (err error) {
			doc, err = s.manifest(ctx, string(d.Digest))
			return err
		})
		if err != nil {
			return RemoteManifest{}, p.about(err)
		}
		part, err := remote(doc)
		if err != nil {
			return RemoteManifest{}, p.about(err)
		}
		part.Descriptor.Platform = d.Platform
		top.Parts = append(top.Parts, part)
	}
	return top, nil
}

// remote takes a document for what it says it is: it is only shown, and may be of
// something that is no image.
func remote(doc document) (RemoteManifest, error) {
	var m image.Manifest
	if err := json.Unmarshal(doc.data, &m); err != nil {
		return RemoteManifest{}, fmt.Errorf("decode manifest: %w: %w", err, spec.ErrInvalid)
	}
	m.MediaType = cmp.Or(m.MediaType, doc.mediaType)
	return RemoteManifest{
		Descriptor: image.Descriptor{MediaType: m.MediaType, Digest: doc.digest, Size: int64(len(doc.data))},
		Raw:        doc.data, Manifest: m,
	}, nil
}

// findPlatform reads the platform of an image from its configuration.
func (p *pull) findPlatform(ctx context.Context, m *RemoteManifest) error {
	if m.Manifest.Config.Digest == "" {
		return nil
	}
	var data []byte
	err := p.fromAny(ctx, func(s *session) (err error) {
		data, err = s.config(ctx, m.Manifest.Config)
		return err
	})
	if err != nil {
		return p.about(err)
	}
	var platform image.Platform
	if json.Unmarshal(data, &platform) == nil && platform.OS != "" {
		m.Descriptor.Platform = &platform
	}
	return nil
}
