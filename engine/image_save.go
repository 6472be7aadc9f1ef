package engine

import (
	"context"
	"io"

	"github.com/cleat-project/cleat/image/archive"
)

// SaveOptions says how to save images.
type SaveOptions struct {
	Format   string // "docker-archive" or "oci-archive"; "" means the first
	Platform string // that the images have to be for; "" takes any
}

// Save writes images to w as an archive that Load, Docker and OCI tools read. A
// name without tag means all tags of that repository.
func (e *Engine) Save(ctx context.Context, w io.Writer, names []string, opt SaveOptions) error {
	p, err := platform(opt.Platform)
	if err != nil {
		return err
	}
	ids, err := archive.Save(ctx, e.images, w, names, archive.SaveOptions{Format: archive.Format(opt.Format), Platform: p})
	for _, id := range ids {
		if img, err := e.images.Get(string(id)); err == nil {
			e.tellImage("save", img, string(id))
		}
	}
	return err
}
