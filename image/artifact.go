package image

import (
	"encoding/json"
	"fmt"

	"github.com/cleat-project/cleat/spec"
)

// ParseArtifact decodes a manifest that is not an image's: its configuration has the
// given media type. Its layers are those of images. What is of another type wraps
// spec.ErrUnsupport.
func ParseArtifact(data []byte, configType string) (Manifest, error) {
	var m Manifest
	if len(data) > MaxManifestBytes {
		return m, fmt.Errorf("manifest: larger than %d bytes: %w", MaxManifestBytes, spec.ErrInvalid)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("manifest: decode: %w: %w", err, spec.ErrInvalid)
	}
	if m.SchemaVersion != 2 || m.MediaType != MediaTypeOCIManifest || len(m.Manifests) > 0 || m.Config.MediaType != configType {
		return m, fmt.Errorf("manifest: its configuration has media type %q, not %q: %w", clip(m.Config.MediaType), configType, spec.ErrUnsupport)
	}
	if err := m.Config.check("config"); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if m.Config.Size > MaxConfigBytes {
		return m, fmt.Errorf("manifest: config has %d bytes, more than %d: %w", m.Config.Size, int64(MaxConfigBytes), spec.ErrInvalid)
	}
	for _, l := range m.Layers {
		if err := l.checkLayer(); err != nil {
			return m, fmt.Errorf("manifest: %w", err)
		}
	}
	return m, nil
}
