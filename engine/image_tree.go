package engine

import "context"

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
	all := make([]ImageUsage, 0, len(list))
	for _, img := range list {
		out, err := e.images.Outgoing(string(img.ID))
		if isNotFound(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		u := ImageUsage{Image: img, Containers: used[string(img.ID)], ContentBytes: int64(len(out.Raw)) + out.Manifest.Config.Size}
		for _, l := range out.Manifest.Layers {
			u.ContentBytes += l.Size
		}
		all = append(all, u)
	}
	return all, nil
}
