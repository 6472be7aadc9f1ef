package engine

import (
	"context"
	"slices"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/sandbox/plan"
)

// ImageInspect is an image in Docker's form (Engine API, ImageInspect).
type ImageInspect struct {
	ID            string `json:"Id"`
	RepoTags      []string
	RepoDigests   []string
	Parent        string
	Comment       string
	Created       string // RFC 3339 with nanoseconds, "" if the image does not tell
	DockerVersion string
	Author        string
	Config        image.Config
	Architecture  string
	Variant       string `json:",omitempty"`
	OS            string `json:"Os"`
	Size          int64  // of all layers, uncompressed, in bytes
	GraphDriver   GraphDriver
	RootFS        RootFSInspect
	Metadata      ImageMetadata
}

// RootFSInspect lists the layers of an image, the lowest first.
type RootFSInspect struct {
	Type   string
	Layers []string
}

// ImageMetadata is what this machine knows of an image beyond the image itself.
type ImageMetadata struct {
	LastTagTime string
}

// InspectImage returns an image in Docker's form.
func (e *Engine) InspectImage(_ context.Context, ref string) (*ImageInspect, error) {
	img, err := e.images.Get(ref)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, 0, len(img.Layers))
	for _, d := range img.Layers {
		dirs = append(dirs, e.images.LayerDir(d))
	}
	return inspectImage(img, dirs, e.images.TagTime(img)), nil
}

// inspectImage turns img into Docker's form. Dirs are the directories of its
// layers, the lowest first; they are reversed in place. It does no I/O.
func inspectImage(img image.Image, dirs []string, tagged time.Time) *ImageInspect {
	out := &ImageInspect{
		ID: string(img.ID), RepoTags: familiarNames(img.References), RepoDigests: familiarNames(img.RepoDigests),
		Comment: img.Comment, Author: img.Author, Config: img.Config,
		Architecture: img.Platform.Architecture, Variant: img.Platform.Variant, OS: img.Platform.OS, Size: img.SizeBytes,
		RootFS: RootFSInspect{Type: "layers"}, Metadata: ImageMetadata{stamp(tagged)},
	}
	if !img.Created.IsZero() {
		out.Created = stamp(img.Created)
	}
	for _, d := range img.Layers {
		out.RootFS.Layers = append(out.RootFS.Layers, string(d))
	}
	slices.Reverse(dirs) // overlayfs names the topmost first
	out.GraphDriver = inspectLayers(plan.Rootfs{Lower: dirs})
	return out
}

func familiarNames(refs []image.Reference) []string {
	out := []string{}
	for _, r := range refs {
		out = append(out, r.Familiar())
	}
	return out
}
