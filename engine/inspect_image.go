package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/sandbox/plan"
)

// ImageInspect is an image in Docker's form (Engine API 1.41, ImageInspect).
// Later versions have left out Container, ContainerConfig and VirtualSize, which
// scripts still ask for.
type ImageInspect struct {
	ID              string `json:"Id"`
	RepoTags        []string
	RepoDigests     []string
	Parent          string
	Comment         string
	Created         string // RFC 3339 with nanoseconds, "" if the image does not tell
	Container       string // that the image was committed from, by its author's Docker
	ContainerConfig ImageConfig
	DockerVersion   string
	Author          string
	Config          ImageConfig
	Architecture    string
	Variant         string `json:",omitempty"`
	OS              string `json:"Os"`
	OSVersion       string `json:"OsVersion,omitempty"`
	Size            int64  // of all layers, uncompressed, in bytes
	VirtualSize     int64  // the same
	GraphDriver     GraphDriver
	RootFS          RootFSInspect
	Metadata        ImageMetadata
}

// ImageConfig is how containers of an image run, with all the keys that it has in
// Docker's form, whether they mean something for an image or not.
type ImageConfig struct {
	Hostname     string
	Domainname   string
	User         string
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Tty          bool
	OpenStdin    bool
	StdinOnce    bool
	Env          []string
	Cmd          []string
	Healthcheck  *image.Healthcheck `json:",omitempty"`
	ArgsEscaped  bool               `json:",omitempty"`
	Image        string
	Volumes      map[string]struct{}
	WorkingDir   string
	Entrypoint   []string
	OnBuild      []string
	Labels       map[string]string
	StopSignal   string   `json:",omitempty"`
	StopTimeout  *int     `json:",omitempty"` // seconds
	Shell        []string `json:",omitempty"`
}

// RootFSInspect lists the layers of an image, the lowest first.
type RootFSInspect struct {
	Type   string
	Layers []string `json:",omitempty"`
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
	config, err := e.images.RawConfig(img)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, 0, len(img.Layers))
	for _, d := range img.Layers {
		dirs = append(dirs, e.images.LayerDir(d))
	}
	return inspectImage(img, config, dirs, e.images.TagTime(img))
}

// inspectImage turns img, whose configuration blob is config, into Docker's form.
// Dirs are the directories of its layers, the lowest first; they are reversed in
// place. It does no I/O.
func inspectImage(img image.Image, config []byte, dirs []string, tagged time.Time) (*ImageInspect, error) {
	var raw struct {
		Container       string
		ContainerConfig ImageConfig `json:"container_config"`
		DockerVersion   string      `json:"docker_version"`
		Config          ImageConfig
	}
	if err := json.Unmarshal(config, &raw); err != nil {
		return nil, fmt.Errorf("decode configuration of image %s: %w", img.ID.Short(), err)
	}
	out := &ImageInspect{
		ID: string(img.ID), RepoTags: familiarNames(img.References), RepoDigests: familiarNames(img.RepoDigests),
		Comment: img.Comment, Author: img.Author, Config: raw.Config,
		Container: raw.Container, ContainerConfig: raw.ContainerConfig, DockerVersion: raw.DockerVersion,
		Architecture: img.Platform.Architecture, Variant: img.Platform.Variant, OS: img.Platform.OS, OSVersion: img.Platform.OSVersion,
		Size: img.SizeBytes, VirtualSize: img.SizeBytes,
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
	return out, nil
}

func familiarNames(refs []image.Reference) []string {
	out := []string{}
	for _, r := range refs {
		out = append(out, r.Familiar())
	}
	return out
}
