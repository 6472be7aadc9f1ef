package image

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// The media types of manifests, lists and layers that the store understands.
const (
	MediaTypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	MediaTypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	MediaTypeOCILayer       = "application/vnd.oci.image.layer.v1.tar"
	MediaTypeOCILayerGzip   = "application/vnd.oci.image.layer.v1.tar+gzip"
	MediaTypeOCILayerZstd   = "application/vnd.oci.image.layer.v1.tar+zstd"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"

	mediaTypeDockerTar = "application/vnd.docker.image.rootfs.diff.tar"
)

// Limits on what is read into memory, in bytes.
const (
	MaxManifestBytes = 4 << 20 // as registries enforce it
	MaxConfigBytes   = 8 << 20
)

// maxLayers is what overlayfs takes at most, see fs/overlayfs/params.h.
const maxLayers = 500

// Descriptor points to a blob, see the OCI image specification, descriptor.md.
type Descriptor struct {
	MediaType    string            `json:"mediaType,omitempty"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"` // bytes
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Manifest is an image manifest or, with Manifests set, an index (Docker:
// manifest list). ParseManifest never returns one that is both.
type Manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Config        Descriptor   `json:"config,omitzero"`
	Layers        []Descriptor `json:"layers,omitempty"`
	Manifests     []Descriptor `json:"manifests,omitempty"`
}

// IsIndex reports whether m lists manifests instead of layers.
func (m Manifest) IsIndex() bool { return isIndexType(m.MediaType) }

func isIndexType(t string) bool { return t == MediaTypeOCIIndex || t == MediaTypeDockerList }

// ParseManifest decodes a manifest or index that came with the given media type,
// which may be "". A document that could be read as either (CVE-2021-41190), that
// contradicts its media type, has foreign layers (CVE-2020-15157) or bad digests
// (CVE-2024-3727) is refused: the error wraps spec.ErrInvalid, or
// spec.ErrUnsupport for what is understood but not taken.
func ParseManifest(data []byte, mediaType string) (Manifest, error) {
	m, err := parseManifest(data, mediaType)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func parseManifest(data []byte, mediaType string) (Manifest, error) {
	if len(data) > MaxManifestBytes {
		return Manifest{}, fmt.Errorf("larger than %d bytes: %w", MaxManifestBytes, spec.ErrInvalid)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return Manifest{}, fmt.Errorf("decode: %w: %w", err, spec.ErrInvalid)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("decode: %w: %w", err, spec.ErrInvalid)
	}
	if m.SchemaVersion == 1 || hasKey(keys, "fsLayers") || strings.Contains(mediaType, "docker.distribution.manifest.v1") {
		return Manifest{}, fmt.Errorf("is of Docker schema 1, which was dropped in 2020; push the image again with a current tool: %w", spec.ErrUnsupport)
	}
	if m.SchemaVersion != 2 {
		return Manifest{}, fmt.Errorf("schema version is %d, want 2: %w", m.SchemaVersion, spec.ErrInvalid)
	}
	isList, isImage := hasKey(keys, "manifests"), hasKey(keys, "layers") || hasKey(keys, "config")
	if isList == isImage {
		return Manifest{}, fmt.Errorf("must have either manifests or config and layers: %w", spec.ErrInvalid)
	}
	if err := m.settleType(mediaType, isList); err != nil {
		return Manifest{}, err
	}
	return m, m.check()
}

// OCI returns a Docker manifest in the words of OCI. Blobs are the same.
func (m Manifest) OCI() Manifest {
	m.MediaType, m.Config.MediaType = MediaTypeOCIManifest, MediaTypeOCIConfig
	layers := slices.Clone(m.Layers)
	for i, l := range layers {
		switch l.MediaType {
		case MediaTypeDockerLayer:
			layers[i].MediaType = MediaTypeOCILayerGzip
		case mediaTypeDockerTar:
			layers[i].MediaType = MediaTypeOCILayer
		case mediaTypeDockerTar + ".zstd":
			layers[i].MediaType = MediaTypeOCILayerZstd
		}
	}
	m.Layers = layers
	return m
}

// GzipType returns the media type that a layer of type t has once it is
// compressed with gzip, "" if it is compressed already.
func GzipType(t string) string {
	switch t {
	case MediaTypeOCILayer:
		return MediaTypeOCILayerGzip
	case mediaTypeDockerTar:
		return MediaTypeDockerLayer
	}
	return ""
}

// hasKey looks for key as encoding/json does, without regard to case.
func hasKey(keys map[string]json.RawMessage, key string) bool {
	for k := range keys {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

// settleType sets m.MediaType from the document, else from the given type of the
// response or descriptor, else from what the document looks like.
func (m *Manifest) settleType(given string, isList bool) error {
	known := func(t string) bool {
		return isIndexType(t) || t == MediaTypeOCIManifest || t == MediaTypeDockerManifest
	}
	if m.MediaType != "" && !known(m.MediaType) {
		return fmt.Errorf("media type %q: %w", clip(m.MediaType), spec.ErrUnsupport)
	}
	if !known(given) { // registries also answer application/json or text/plain
		given = ""
	}
	if m.MediaType != "" && given != "" && m.MediaType != given {
		return fmt.Errorf("says it is %q but was sent as %q: %w", m.MediaType, given, spec.ErrInvalid)
	}
	if m.MediaType == "" {
		m.MediaType = given
	}
	if m.MediaType == "" && isList {
		m.MediaType = MediaTypeOCIIndex
	}
	if m.MediaType == "" {
		m.MediaType = MediaTypeOCIManifest
	}
	if m.IsIndex() != isList {
		return fmt.Errorf("media type %q contradicts its content: %w", m.MediaType, spec.ErrInvalid)
	}
	return nil
}

func (m Manifest) check() error {
	if m.IsIndex() {
		for _, d := range m.Manifests {
			if err := d.check("entry"); err != nil {
				return err
			}
		}
		return nil
	}
	if err := m.Config.check("config"); err != nil {
		return err
	}
	if t := m.Config.MediaType; t != MediaTypeOCIConfig && t != MediaTypeDockerConfig {
		return fmt.Errorf("config has media type %q, so this is not a container image: %w", clip(t), spec.ErrUnsupport)
	}
	if m.Config.Size > MaxConfigBytes {
		return fmt.Errorf("config has %d bytes, more than %d: %w", m.Config.Size, int64(MaxConfigBytes), spec.ErrInvalid)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%d layers, more than the %d that overlayfs can stack: %w", len(m.Layers), maxLayers, spec.ErrUnsupport)
	}
	for _, d := range m.Layers {
		if err := d.checkLayer(); err != nil {
			return err
		}
	}
	return nil
}

func (d Descriptor) check(what string) error {
	if d.Digest == "" {
		return fmt.Errorf("%s has no digest: %w", what, spec.ErrInvalid)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s %s has size %d: %w", what, d.Digest, d.Size, spec.ErrInvalid)
	}
	return nil
}

func (d Descriptor) checkLayer() error {
	if err := d.check("layer"); err != nil {
		return err
	}
	if len(d.URLs) > 0 || strings.Contains(d.MediaType, "foreign") || strings.Contains(d.MediaType, "nondistributable") {
		return fmt.Errorf("layer %s is a foreign layer, to be fetched from another server: %w", d.Digest, spec.ErrUnsupport)
	}
	switch d.MediaType {
	case MediaTypeOCILayer, MediaTypeOCILayerGzip, MediaTypeOCILayerZstd, MediaTypeDockerLayer, mediaTypeDockerTar, mediaTypeDockerTar + ".zstd":
		return nil
	}
	return fmt.Errorf("layer %s has media type %q: %w", d.Digest, clip(d.MediaType), spec.ErrUnsupport)
}
