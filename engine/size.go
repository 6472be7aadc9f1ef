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
	return e.sizes(ctx, list, e.newLayerSizes())
}

// layerSizes are the sizes of layers, each of which is in a file.
type layerSizes struct {
	images *image.Store
	known  map[image.Digest]int64
}

func (e *Engine) newLayerSizes() layerSizes {
	return layerSizes{e.images, make(map[image.Digest]int64)}
}

// of returns the size of one layer; 0 if it is not known any more.
func (l layerSizes) of(diffID image.Digest) int64 {
	n, ok := l.known[diffID]
	if !ok {
		n = l.images.LayerSize(diffID)
		l.known[diffID] = n
	}
	return n
}

func (e *Engine) sizes(ctx context.Context, list []Container, layers layerSizes) ([]ContainerSize, error) {
	sizes := make([]ContainerSize, len(list))
	for i, c := range list {
		for _, d := range c.Image.DiffIDs {
			sizes[i].TotalBytes += layers.of(image.Digest(d))
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
