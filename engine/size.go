package engine

import (
	"context"
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
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range list {
		group.Go(func() error {
			n, err := e.writableBytes(ctx, c.ID)
			if err != nil {
				return err
			}
			sizes[i] = ContainerSize{WritableBytes: n, TotalBytes: n + e.layersBytes(c.Image.DiffIDs)}
			return nil
		})
	}
	return sizes, group.Wait()
}

// layersBytes is what layers hold together. Those whose size is not known any
// more, because their image was removed, count nothing.
func (e *Engine) layersBytes(diffIDs []string) (sum int64) {
	for _, d := range diffIDs {
		sum += e.images.LayerSize(image.Digest(d))
	}
	return sum
}
