package engine

import (
	"context"
	"strings"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/journal/event"
)

// PruneImagesOptions says which images to remove. The zero value asks for those
// without a tag.
type PruneImagesOptions struct {
	All    bool // also those with a tag
	Filter PruneFilter
}

// PruneImages removes images that no container uses, and everything in the store
// that nothing leads to.
func (e *Engine) PruneImages(ctx context.Context, opt PruneImagesOptions) (Pruned, error) {
	done, err := e.images.Prune(ctx, image.PruneOptions{All: opt.All, Match: func(img Image) bool {
		return opt.Filter.match(img.Config.Labels, img.Created)
	}})
	e.tellImagesPruned(done)
	kind := PrunedKind{Name: "Images"}
	for _, r := range done.Removed {
		line := "deleted: " + r.Deleted
		if r.Untagged != "" {
			line = "untagged: " + r.Untagged
		}
		kind.Removed = append(kind.Removed, line)
	}
	p := Pruned{[]PrunedKind{kind}, done.FreedBytes}
	e.tellPruned(event.Image, p)
	return p, err
}

// tellImagesPruned tells what a prune of images has done to each of them.
func (e *Engine) tellImagesPruned(done image.Pruned) {
	for _, img := range done.Images {
		for range len(img.References) + len(img.RepoDigests) {
			e.tellImage("untag", img, string(img.ID))
		}
		e.tell(event.Image, "delete", string(img.ID), map[string]string{"name": string(img.ID)})
	}
}

// HasLabel reports whether labels fit the filter want: NAME, or NAME=VALUE.
func HasLabel(labels map[string]string, want string) bool {
	name, value, withValue := strings.Cut(want, "=")
	have, ok := labels[name]
	return ok && (!withValue || have == value)
}
