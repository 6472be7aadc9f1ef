package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Layout returns an image of an OCI layout and its layers: where is the directory,
// with ":TAG" or "@DIGEST" unless the layout has one image only. The image is not
// listed afterwards.
func (b *Build) Layout(ctx context.Context, where string) (_ Image, _ []BuildLayer, err error) {
	dir, name := splitLayout(where)
	l, err := archive.OpenLayout(dir)
	if err != nil {
		return Image{}, nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, blobs, err := l.Image(ctx, b.in, name, unpack)
	if err != nil {
		return Image{}, nil, fmt.Errorf("OCI layout %s: %w", where, err)
	}
	layers := make([]BuildLayer, 0, len(blobs))
	for i, blob := range blobs {
		layers = append(layers, BuildLayer{c.RootFS.DiffIDs[i], blob})
	}
	b.mu.Lock()
	b.made = append(b.made, layers...)
	b.mu.Unlock()
	if len(layers) > 0 && c.Platform.OS != "" && !HostPlatform().Fits(c.Platform) {
		return Image{}, nil, fmt.Errorf("OCI layout %s: the image is for %s: %w", where, c.Platform, spec.ErrUnsupport)
	}
	return Image{
		Created: c.Created, Platform: c.Platform, Author: c.Author, Comment: c.Comment,
		Config: c.Config, Layers: c.RootFS.DiffIDs, History: c.History,
	}, layers, nil
}

// splitLayout takes the name of an image from the directory of its layout.
func splitLayout(where string) (dir, name string) {
	if fsx.Exists(path.Join(where, "index.json")) {
		return where, ""
	}
	if dir, digest, ok := strings.Cut(where, "@"); ok && strings.HasPrefix(digest, "sha256:") {
		if i := strings.LastIndexByte(dir, ':'); i > strings.LastIndexByte(dir, '/') {
			dir = dir[:i]
		}
		return dir, digest
	}
	if i := strings.LastIndexByte(where, ':'); i > strings.LastIndexByte(where, '/') {
		return where[:i], where[i+1:]
	}
	return where, ""
}
