package archive_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/spec"
)

func save(tb testing.TB, store *image.Store, format archive.Format, names ...string) ([]byte, error) {
	tb.Helper()
	var b bytes.Buffer
	ids, err := archive.Save(tb.Context(), store, &b, names, archive.SaveOptions{Format: format})
	if err == nil && len(ids) == 0 {
		tb.Error("nothing was saved, and there is no error")
	}
	return b.Bytes(), err
}

// dockerForm returns img as a registry of Docker's would send it.
func dockerForm(img imagetest.Image) imagetest.Image {
	img.Manifest = []byte(strings.NewReplacer(image.MediaTypeOCIManifest, image.MediaTypeDockerManifest,
		image.MediaTypeOCIConfig, image.MediaTypeDockerConfig, image.MediaTypeOCILayerGzip, image.MediaTypeDockerLayer).Replace(string(img.Manifest)))
	return img
}

// What is saved and loaded elsewhere is the same image under the same names, and
// from Docker's form also under the same digest.
func TestSaveAndLoad(t *testing.T) {
	shared := imagetest.GzipLayer(t, map[string]string{"shared": strings.Repeat("s", 9000)})
	a := imagetest.New(t, nil, shared, imagetest.GzipLayer(t, map[string]string{"a": "a"}))
	b := dockerForm(imagetest.New(t, func(c *image.ConfigFile) { c.Author = "b" }, shared))
	store := image.New(t.TempDir(), image.Options{})
	a.Add(t, store, "app:1", "app:2", "other/app:1")
	b.Add(t, store, "b")
	tests := map[string]struct {
		names []string
		want  []string // id and names
	}{
		"one tag":                    {[]string{"app:1"}, []string{a.ID().Short() + " app:1"}},
		"a repository is all tags":   {[]string{"app"}, []string{a.ID().Short() + " app:1 app:2"}},
		"the same twice":             {[]string{"app:1", "app:1"}, []string{a.ID().Short() + " app:1"}},
		"id without names":           {[]string{string(a.ID())}, []string{a.ID().Short()}},
		"start of an id":             {[]string{a.ID().Short()}, []string{a.ID().Short()}},
		"several images":             {[]string{"app:1", "b", "other/app:1"}, []string{a.ID().Short() + " app:1 other/app:1", b.ID().Short() + " b:latest"}},
		"by digest, which is no tag": {[]string{"app@" + string(a.Digest())}, []string{a.ID().Short()}},
	}
	for name, tt := range tests {
		for _, format := range []archive.Format{archive.FormatDocker, archive.FormatOCI} {
			t.Run(name+" "+string(format), func(t *testing.T) {
				data, err := save(t, store, format, tt.names...)
				if err != nil {
					t.Fatal(err)
				}
				root := t.TempDir()
				other := image.New(root, image.Options{})
				if _, err := load(t, other, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(slices.Sorted(slices.Values(tt.want)), contents(t, other)); diff != "" {
					t.Errorf("loaded (-want +got):\n%s", diff)
				}
				list, _ := other.List()
				for _, img := range list {
					if digest := img.ManifestDigest; format == archive.FormatDocker && digest != a.Digest() && digest != b.Digest() {
						t.Errorf("%s has manifest %s", img.ID.Short(), digest)
					}
				}
				again, err := save(t, store, format, tt.names...)
				if err != nil || !bytes.Equal(again, data) {
					t.Errorf("saved a second time it is another archive, %v", err)
				}
				check(t, root, other)
			})
		}
	}
}

// contents lists ids and names.
func contents(t *testing.T, store *image.Store) []string {
	t.Helper()
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, img := range list {
		line := img.ID.Short()
		for _, ref := range img.References {
			line += " " + ref.Familiar()
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// Other tools read what is saved: go-containerregistry, and skopeo if it is here.
func TestSaveForOtherTools(t *testing.T) {
	img := testImage(t)
	for form, made := range map[string]imagetest.Image{"oci": img, "docker": dockerForm(img)} {
		t.Run(form, func(t *testing.T) {
			store := image.New(t.TempDir(), image.Options{})
			made.Add(t, store, "example.com/app:v1")
			dir := t.TempDir()
			path := map[archive.Format]string{archive.FormatDocker: filepath.Join(dir, "d.tar"), archive.FormatOCI: filepath.Join(dir, "o.tar")}
			for format, p := range path {
				data, err := save(t, store, format, "example.com/app:v1")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tag, err := name.NewTag("example.com/app:v1")
			if err != nil {
				t.Fatal(err)
			}
			read, err := tarball.ImageFromPath(path[archive.FormatDocker], &tag)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := read.ConfigName(); err != nil || id.String() != string(made.ID()) {
				t.Errorf("go-containerregistry reads image %s, %v", id, err)
			}
			skopeo, err := exec.LookPath("skopeo")
			if err != nil {
				t.Skip("skopeo is not installed")
			}
			for format, p := range path {
				out, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", string(format)+":"+p+":example.com/app:v1", "oci:"+filepath.Join(dir, string(format))).CombinedOutput()
				if err != nil {
					t.Errorf("skopeo copies %s: %v: %s", format, err, out)
				}
			}
		})
	}
}

func TestSaveRefuses(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	img := testImage(t)
	img.Add(t, store, "app:1")
	if _, err := save(t, store, "zip", "app:1"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("unknown format: %v", err)
	}
	for _, name := range []string{"nosuch", "app:2", "app@sha256:" + strings.Repeat("0", 64)} {
		if _, err := save(t, store, "", name); !errors.Is(err, spec.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := save(t, store, "", "A:b"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("bad name: %v", err)
	}
	var b bytes.Buffer
	_, err := archive.Save(t.Context(), store, &b, []string{"app:1"}, archive.SaveOptions{Platform: image.Platform{OS: "linux", Architecture: "s390x"}})
	if !errors.Is(err, spec.ErrNotFound) || b.Len() > 0 {
		t.Errorf("another platform: %v, %d bytes written", err, b.Len())
	}
	blob := store.BlobPath(image.DigestOf(img.Layers[0].Blob))
	if err := os.WriteFile(blob, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := save(t, store, "", "app:1"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged blob: %v", err)
	}
}
