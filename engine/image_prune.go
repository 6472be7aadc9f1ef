package engine

import (
	"context"
	"strings"
	"time"

	"github.com/cleat-project/cleat/image"
)

// PrunedImages is what PruneImages has done.
type PrunedImages = image.Pruned

// PruneImagesOptions says which images to remove. The zero value asks for those
// without a tag.
type PruneImagesOptions struct {
	All       bool      // also those with a tag
	Until     time.Time // only those made before; zero means any
	Labels    []string  // only those that have all of these, each NAME or NAME=VALUE
	NotLabels []string  // only those that have none of these
}

// PruneImages removes images that no container uses, and everything in the store
// that nothing leads to.
func (e *Engine) PruneImages(ctx context.Context, opt PruneImagesOptions) (PrunedImages, error) {
	return e.images.Prune(ctx, image.PruneOptions{All: opt.All, Until: opt.Until, Match: func(img Image) bool {
		for _, want := range opt.Labels {
			if !HasLabel(img.Config.Labels, want) {
				return false
			}
		}
		for _, not := range opt.NotLabels {
			if HasLabel(img.Config.Labels, not) {
				return false
			}
		}
		return true
	}})
}

// HasLabel reports whether labels fit the filter want: NAME, or NAME=VALUE.
func HasLabel(labels map[string]string, want string) bool {
	name, value, withValue := strings.Cut(want, "=")
	have, ok := labels[name]
	return ok && (!withValue || have == value)
}
