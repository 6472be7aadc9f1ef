package engine

import (
	"context"
	"errors"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/image"
)

// ContainerSize is what a container's root file system holds.
type ContainerSize struct {
	WritableBytes int64 // what it has written itself
	TotalBytes    int64 // the same with its image's
}

// Sizes returns the sizes of containers, in their order. It reads the whole of
// their writable layers.
func (e *Engine) Sizes(ctx context.Context, list []Container) ([]ContainerSize, error) {
	sizes := make([]ContainerSize, len(list))
	layers := make(map[string]int64) // many containers have the same ones
	for i, c := range list {
		for _, d := range c.Image.DiffIDs {
			if _, known := layers[d]; !known {
				layers[d] = e.images.LayerSize(image.Digest(d)) // 0 if it is not known any more
			}
			sizes[i].TotalBytes += layers[d]
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range list {
		group.Go(func() error {
			n, err := e.writableBytes(ctx, c.ID)
			sizes[i].WritableBytes = n
			sizes[i].TotalBytes += n
			return err
		})
	}
	return sizes, group.Wait()
}

// listAll returns the containers and the images, which are read at once.
func (e *Engine) listAll(ctx context.Context) (containers []Container, images []Image, err error) {
	var group errgroup.Group
	group.Go(func() (err error) {
		images, err = e.images.List()
		return err
	})
	containers, err = e.List(ctx)
	return containers, images, errors.Join(err, group.Wait())
}
