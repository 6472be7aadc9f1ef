package engine

import (
	"context"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// DiskUsage is what the objects of this machine take.
type DiskUsage struct {
	LayersBytes int64 // of all layers of all images, each once
	Images      []ImageDisk
	Containers  []ContainerDisk
	Volumes     []VolumeDisk
	BuildCache  []BuildCacheDisk
}

// ImageDisk is what an image takes.
type ImageDisk struct {
	Image
	SharedBytes int64 // in layers that other images have as well
	Containers  int   // that were made from it, running or not
}

// ContainerDisk is what a container takes.
type ContainerDisk struct {
	Container
	ContainerSize
}

// VolumeDisk is what a volume takes.
type VolumeDisk struct {
	Volume
	Bytes int64
}

// BuildCacheDisk is what a step of a build takes that is kept for the next one.
type BuildCacheDisk struct {
	ID      string
	Type    string // in BuildKit's words: "regular" for a step, "exec.cachemount"
	What    string // the instruction, or the id of the mount
	Created time.Time
	Used    time.Time // last
	Bytes   int64
	InUse   bool
	Shared  bool // an image has the same layer
}

// DiskUsage measures all objects. It reads all directories of containers' own
// layers and of volumes.
func (e *Engine) DiskUsage(ctx context.Context) (*DiskUsage, error) {
	containers, images, err := e.listAll(ctx)
	if err != nil {
		return nil, err
	}
	u, layers := &DiskUsage{}, e.newLayerSizes()
	u.LayersBytes, u.Images = imageDisk(images, containers, layers)
	sizes, err := e.sizes(ctx, containers, layers)
	if err != nil {
		return nil, err
	}
	for i, c := range containers {
		u.Containers = append(u.Containers, ContainerDisk{c, sizes[i]})
	}
	if u.Volumes, err = e.volumeDisk(ctx, containers); err != nil {
		return nil, err
	}
	u.BuildCache, err = e.buildCache(ctx, images)
	return u, err
}

// imageDisk counts every layer once, and how much of each image is shared.
func imageDisk(images []Image, containers []Container, layers layerSizes) (total int64, list []ImageDisk) {
	users, used := map[image.Digest]int{}, map[string]int{}
	for _, img := range images {
		for _, d := range distinct(img.Layers) {
			users[d]++
		}
	}
	for d := range users {
		total += layers.of(d)
	}
	for _, c := range containers {
		used[c.Image.ID]++
	}
	for _, img := range images {
		disk := ImageDisk{Image: img, Containers: used[string(img.ID)]}
		for _, d := range distinct(img.Layers) {
			if users[d] > 1 {
				disk.SharedBytes += layers.of(d)
			}
		}
		list = append(list, disk)
	}
	return total, list
}

// distinct drops the repetitions that an image may have, of empty layers mostly.
func distinct(layers []image.Digest) []image.Digest {
	return slices.Compact(slices.Sorted(slices.Values(layers)))
}

func (e *Engine) volumeDisk(ctx context.Context, containers []Container) ([]VolumeDisk, error) {
	volumes, err := e.state.Volumes()
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, c := range containers {
		for _, m := range c.Mounts {
			if m.Type == spec.MountVolume && !slices.Contains(users[m.Source], c.ID) {
				users[m.Source] = append(users[m.Source], c.ID)
			}
		}
	}
	list := make([]VolumeDisk, len(volumes))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, v := range volumes {
		group.Go(func() error {
			bytes, err := usage(ctx, e.state.VolumeDir(v.Name))
			list[i] = VolumeDisk{e.volume(v, users[v.Name]), bytes}
			return err
		})
	}
	return list, group.Wait()
}
