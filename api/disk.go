package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/volume"

	"github.com/cleat-project/cleat/engine"
)

// diskAnswer tells what objects take: in the form of versions before 1.53, in that
// of versions from 1.52 on, or in both.
type diskAnswer struct {
	*oldDisk
	ImageUsage      *usageOf[imageSummary]      `json:",omitempty"`
	ContainerUsage  *usageOf[summary]           `json:",omitempty"`
	VolumeUsage     *usageOf[volume.Volume]     `json:",omitempty"`
	BuildCacheUsage *usageOf[build.CacheRecord] `json:",omitempty"`
}

type oldDisk struct {
	LayersSize  int64
	Images      []imageSummary
	Containers  []summary
	Volumes     []volume.Volume
	BuildCache  []build.CacheRecord
	BuilderSize *int64 `json:",omitempty"`
}

// usageOf tells what objects of one kind take.
type usageOf[T any] struct {
	ActiveCount int64 `json:",omitempty"`
	Items       []T   `json:",omitempty"`
	Reclaimable int64 `json:",omitempty"`
	TotalCount  int64 `json:",omitempty"`
	TotalSize   int64 `json:",omitempty"`
}

// diskUsage measures all objects.
func (s *Server) diskUsage(w http.ResponseWriter, r *request) error {
	kinds := r.query["type"]
	for _, kind := range kinds {
		if !slices.Contains([]string{"container", "image", "volume", "build-cache"}, kind) {
			return invalid("unknown object type: %s", kind)
		}
	}
	u, err := s.eng.DiskUsage(r.Context())
	if err != nil {
		return err
	}
	containers, err := s.diskContainers(r, u)
	if err != nil {
		return err
	}
	wanted := func(kind string) bool { return len(kinds) == 0 || slices.Contains(kinds, kind) }
	return ok(w, newDiskAnswer(u, containers, r.version, r.flag("verbose"), wanted))
}

func (s *Server) diskContainers(r *request, u *engine.DiskUsage) ([]summary, error) {
	list := make([]engine.Container, 0, len(u.Containers))
	for _, c := range u.Containers {
		list = append(list, c.Container)
	}
	full, err := s.eng.Summarize(r.Context(), list)
	if err != nil {
		return nil, err
	}
	out := make([]summary, 0, len(full))
	for i, c := range full {
		row := newSummary(c, time.Now())
		row.SizeRw, row.SizeRootFs = u.Containers[i].WritableBytes, u.Containers[i].TotalBytes
		out = append(out, row)
	}
	return out, nil
}

// newDiskAnswer puts what was measured into the form of version v.
func newDiskAnswer(u *engine.DiskUsage, containers []summary, v version, verbose bool, wanted func(kind string) bool) diskAnswer {
	images, volumes := []imageSummary{}, []volume.Volume{}
	for _, img := range u.Images {
		row := newImageSummary(img.Image, nil, v)
		row.SharedSize, row.Containers = img.SharedBytes, int64(img.Containers)
		images = append(images, row)
	}
	for _, vol := range u.Volumes {
		row := convertVolume(vol.Volume)
		row.UsageData = &volume.UsageData{RefCount: int64(len(vol.Users)), Size: vol.Bytes}
		volumes = append(volumes, row)
	}
	var out diskAnswer
	if v < 53 && !(v == 52 && verbose) {
		out.oldDisk = &oldDisk{LayersSize: u.LayersBytes, BuildCache: []build.CacheRecord{}}
		if wanted("build-cache") {
			out.oldDisk.BuildCache = cacheRecords(u.BuildCache)
		}
		if v < 42 {
			out.oldDisk.BuilderSize = new(cacheBytes(u.BuildCache))
		}
		if wanted("image") {
			out.oldDisk.Images = images
		}
		if wanted("container") {
			out.oldDisk.Containers = containers
		}
		if wanted("volume") {
			out.oldDisk.Volumes = volumes
		}
	}
	if v >= 52 {
		out.addUsage(u, images, containers, volumes, wanted)
		if !verbose {
			out.dropItems()
		}
	}
	return out
}

// addUsage adds the form of later versions.
func (a *diskAnswer) addUsage(u *engine.DiskUsage, images []imageSummary, containers []summary, volumes []volume.Volume, wanted func(string) bool) {
	if wanted("image") {
		a.ImageUsage = &usageOf[imageSummary]{Items: images, TotalCount: int64(len(images)), TotalSize: u.LayersBytes, Reclaimable: u.LayersBytes}
		for _, img := range images {
			if img.Containers > 0 {
				a.ImageUsage.ActiveCount++
				a.ImageUsage.Reclaimable -= img.Size - img.SharedSize
			}
		}
	}
	if wanted("container") {
		a.ContainerUsage = &usageOf[summary]{Items: containers, TotalCount: int64(len(containers))}
		for _, c := range containers {
			a.ContainerUsage.TotalSize += c.SizeRw
			if c.State == "running" || c.State == "paused" || c.State == "restarting" {
				a.ContainerUsage.ActiveCount++
			} else {
				a.ContainerUsage.Reclaimable += c.SizeRw
			}
		}
	}
	if wanted("volume") {
		a.VolumeUsage = &usageOf[volume.Volume]{Items: volumes, TotalCount: int64(len(volumes))}
		for _, v := range volumes {
			a.VolumeUsage.TotalSize += v.UsageData.Size
			if v.UsageData.RefCount > 0 {
				a.VolumeUsage.ActiveCount++
			} else {
				a.VolumeUsage.Reclaimable += v.UsageData.Size
			}
		}
	}
	if wanted("build-cache") {
		list := cacheRecords(u.BuildCache)
		a.BuildCacheUsage = &usageOf[build.CacheRecord]{Items: list, TotalCount: int64(len(list)), TotalSize: cacheBytes(u.BuildCache)}
		for _, c := range list {
			if !c.Shared {
				a.BuildCacheUsage.Reclaimable += c.Size
			}
		}
	}
}

// dropItems leaves the sums.
func (a *diskAnswer) dropItems() {
	if a.ImageUsage != nil {
		a.ImageUsage.Items = nil
	}
	if a.ContainerUsage != nil {
		a.ContainerUsage.Items = nil
	}
	if a.VolumeUsage != nil {
		a.VolumeUsage.Items = nil
	}
	if a.BuildCacheUsage != nil {
		a.BuildCacheUsage.Items = nil
	}
}

// imageSummary is an image in a list, with what older versions had.
type imageSummary struct {
	image.Summary
	VirtualSize *int64 `json:",omitempty"` // before version 1.44
}

// newImageSummary turns an image into its row of a list, under those of its names
// that names has; nil means all.
func newImageSummary(img engine.Image, names []engine.Reference, v version) imageSummary {
	out := imageSummary{Summary: image.Summary{
		ID: string(img.ID), Created: img.Created.Unix(), Labels: img.Config.Labels, Size: img.SizeBytes, Containers: -1, SharedSize: -1,
		RepoTags: []string{}, RepoDigests: []string{},
	}}
	if names == nil {
		names = img.References
	}
	for _, ref := range names {
		out.RepoTags = append(out.RepoTags, ref.Familiar())
	}
	for _, ref := range img.RepoDigests {
		out.RepoDigests = append(out.RepoDigests, ref.Familiar())
	}
	if v < 43 && len(out.RepoTags) == 0 && len(out.RepoDigests) == 0 {
		out.RepoTags, out.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
	}
	if v < 44 {
		out.VirtualSize = &out.Size
	}
	if img.Created.IsZero() {
		out.Created = 0
	}
	return out
}
