package image_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

// FuzzParseManifest checks that whatever is accepted is an index or an image, not
// both, and has only digests that are safe as file names.
func FuzzParseManifest(f *testing.F) {
	made := imagetest.New(f, nil, files(f, "a"))
	f.Add(made.Manifest, "")
	f.Add(docker(made).Manifest, image.MediaTypeDockerManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+string(made.Digest())+`","size":1}]}`), image.MediaTypeOCIIndex)
	f.Add([]byte(`{"schemaVersion":2,"Layers":[],"MANIFESTS":[],"config":{}}`), "application/json")
	f.Fuzz(func(t *testing.T, data []byte, mediaType string) {
		m, err := image.ParseManifest(data, mediaType)
		if err != nil {
			return
		}
		if m.IsIndex() && (len(m.Layers) > 0 || m.Config.Digest != "") || !m.IsIndex() && len(m.Manifests) > 0 {
			t.Fatalf("%s is two things: %+v", data, m)
		}
		for _, d := range append(append(m.Layers, m.Manifests...), m.Config) {
			if d.Digest == "" && m.IsIndex() {
				continue // the zero config
			}
			if hex := d.Digest.Hex(); len(hex) != 64 || strings.ContainsAny(hex, "/.") || d.Size < 0 {
				t.Fatalf("%s has digest %q", data, d.Digest)
			}
		}
	})
}

// FuzzParseConfig checks the same of configurations.
func FuzzParseConfig(f *testing.F) {
	f.Add(imagetest.New(f, nil, files(f, "a")).Config)
	f.Add([]byte(`{"rootfs":{"type":"layers","diff_ids":[null]}}`))
	f.Add([]byte(`{"os":"linux","config":null,"history":[{"created":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := image.ParseConfig(data)
		if err != nil {
			return
		}
		for _, d := range c.RootFS.DiffIDs {
			if _, err := image.ParseDigest(string(d)); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
		}
		if _, err := json.Marshal(c); err != nil {
			t.Fatalf("%s cannot be written again: %v", data, err)
		}
	})
}

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/arm64/v8": "linux/arm64", "ARM64": "linux/arm64", "x86_64": "linux/amd64",
		"linux/arm": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6", "linux": image.Platform{}.OrDefault().String(),
	} {
		if p, err := image.ParsePlatform(in); err != nil || p.String() != want {
			t.Errorf("ParsePlatform(%q) = %s, %v, want %s", in, p, err, want)
		}
	}
	for _, in := range []string{"", "linux/", "windows/amd64", "a/b/c/d", "linux/a b", "/amd64"} {
		if p, err := image.ParsePlatform(in); err == nil {
			t.Errorf("ParsePlatform(%q) = %s", in, p)
		}
	}
}
