package engine

import (
	"context"

	"github.com/cleat-project/cleat/image"
)

// ImageUsage is an image with what it takes and who uses it.
type ImageUsage struct {
	Image
	ContentBytes int64 // of manifest, configuration and layers as they came
	Containers   int   // that were made from it, running or not
}

// ImageUsage returns all images as Images does, with their use.
func (e *Engine) ImageUsage(context.Context) ([]ImageUsage, error) {
	list, err := e.images.List()
	if err != nil {
		return nil, err
	}
	containers, err := e.stored()
	if err != nil {
		return nil, err
	}
	used := map[string]int{}
	for _, c := range containers {
		used[c.Image.ID]++
	}
	content := map[image.Digest]int64{} // by image
	err = e.images.EachManifest(func(_ image.Reference, out image.Outgoing) {
		n := int64(len(out.Raw)) + out.Manifest.Config.Size
		for _, l := range out.Manifest.Layers {
			n += l.Size
		}
		content[out.ID] = n
	})
	if err != nil {
		return nil, err
	}
	all := make([]ImageUsage, 0, len(list))
	for _, img := range list {
		all = append(all, ImageUsage{Image: img, ContentBytes: content[img.ID], Containers: used[string(img.ID)]})
	}
	return all, nil
}
