package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	grandom "github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/ulikunitz/xz"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

// entry is one member of a hand-made archive.
type entry struct {
	name, data, link string
	hard             bool
}

func tarOf(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data)), Typeflag: tar.TypeReg, Linkname: e.link}
		switch {
		case e.hard:
			hdr.Typeflag = tar.TypeLink
		case e.link != "":
			hdr.Typeflag = tar.TypeSymlink
		}
		if err := w.WriteHeader(hdr); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// legacySave is what docker save wrote until version 24: a directory per layer,
// equal layers as symlinks.
func legacySave(tb testing.TB, img imagetest.Image, tags ...string) []byte {
	tb.Helper()
	var entries []entry
	var paths []string
	for i, l := range img.Layers {
		path := fmt.Sprintf("%064d/layer.tar", i)
		entries = append(entries, entry{name: path, data: string(l.Tar)}, entry{name: filepath.Dir(path) + "/VERSION", data: "1.0"})
		paths = append(paths, path)
	}
	entries[0].name = "elsewhere/layer.tar"
	entries = append(entries, entry{name: paths[0], link: "../elsewhere/layer.tar"})
	config := img.ID().Hex() + ".json"
	list := imagetest.JSON(tb, []map[string]any{{"Config": config, "RepoTags": tags, "Layers": paths}})
	return tarOf(tb, append(entries, entry{name: config, data: string(img.Config)}, entry{name: "manifest.json", data: string(list)})...)
}

// mixedSave is what docker save has written since version 25: an OCI layout with
// manifest.json beside it.
func mixedSave(tb testing.TB, img imagetest.Image, tag string) []byte {
	tb.Helper()
	var entries []entry
	var paths []string
	for d, data := range img.Blobs() {
		entries = append(entries, entry{name: "blobs/sha256/" + d.Hex(), data: string(data)})
	}
	for _, l := range img.Layers {
		paths = append(paths, "blobs/sha256/"+image.DigestOf(l.Blob).Hex())
	}
	index := imagetest.JSON(tb, image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIIndex, Manifests: []image.Descriptor{{
		MediaType: image.MediaTypeOCIManifest, Digest: img.Digest(), Size: int64(len(img.Manifest)),
		Annotations: map[string]string{"io.containerd.image.name": imagetest.Ref(tb, tag).String(), "org.opencontainers.image.ref.name": "latest"},
	}}})
	list := imagetest.JSON(tb, []map[string]any{{"Config": "blobs/sha256/" + img.ID().Hex(), "RepoTags": []string{tag}, "Layers": paths}})
	return tarOf(tb, append(entries, entry{name: "blobs/sha256/" + img.Digest().Hex(), data: string(img.Manifest)},
		entry{name: "index.json", data: string(index)}, entry{name: "manifest.json", data: string(list)},
		entry{name: "oci-layout", data: `{"imageLayoutVersion":"1.0.0"}`})...)
}

func xzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// bzipped compresses with the bzip2 program: the standard library only decompresses.
func bzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "bzip2", "-c")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		tb.Skip("bzip2 is not installed")
	}
	return out
}

func load(tb testing.TB, store *image.Store, r io.Reader) ([]archive.Loaded, error) {
	tb.Helper()
	return archive.Load(tb.Context(), store, r, archive.LoadOptions{Unpack: imagetest.Unpack})
}

func check(tb testing.TB, root string, store *image.Store) {
	tb.Helper()
	imagetest.CheckWhole(tb, store, func(path, _ string) (io.ReadCloser, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		r, _, err := compress.NewReader(bytes.NewReader(data))
		return r, err
	})
	for _, pattern := range []string{"layers/.*", "images/staging/*/*", "images/staging/.*"} {
		if left, _ := filepath.Glob(filepath.Join(root, pattern)); len(left) > 0 {
			tb.Errorf("left behind: %q", left)
		}
	}
}

func testImage(tb testing.TB) imagetest.Image {
	tb.Helper()
	return imagetest.New(tb, nil, imagetest.GzipLayer(tb, map[string]string{"a": strings.Repeat("a", 5000)}), imagetest.GzipLayer(tb, map[string]string{"d/b": "b"}))
}

func TestLoad(t *testing.T) {
	img := testImage(t)
	legacy, mixed := legacySave(t, img, "app:1", "reg:5000/app"), mixedSave(t, img, "app:1")
	tests := map[string]struct {
		data  func(t *testing.T) []byte
		names []string
	}{
		"docker save, legacy":        {func(*testing.T) []byte { return legacy }, []string{"app:1", "reg:5000/app:latest"}},
		"docker save, legacy, gzip":  {func(t *testing.T) []byte { return imagetest.Gzip(t, legacy) }, []string{"app:1", "reg:5000/app:latest"}},
		"docker save, without names": {func(t *testing.T) []byte { return legacySave(t, img) }, nil},
		"docker save, OCI":           {func(*testing.T) []byte { return mixed }, []string{"app:1"}},
		"zstd":                       {func(t *testing.T) []byte { return imagetest.Zstd(t, mixed) }, []string{"app:1"}},
		"xz":                         {func(t *testing.T) []byte { return xzipped(t, mixed) }, []string{"app:1"}},
		"bzip2":                      {func(t *testing.T) []byte { return bzipped(t, mixed) }, []string{"app:1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			data := tt.data(t)
			path := filepath.Join(t.TempDir(), "archive")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			for how, r := range map[string]io.Reader{"stream": bytes.NewReader(data), "file": f} {
				loaded, err := load(t, store, r)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				var names []string
				for _, ref := range loaded[0].Names {
					names = append(names, ref.Familiar())
				}
				if diff := cmp.Diff(tt.names, names); diff != "" || len(loaded) != 1 || loaded[0].Image.ID != img.ID() {
					t.Errorf("%s: loaded %v (-want +got):\n%s", how, loaded, diff)
				}
			}
			check(t, root, store)
		})
	}
}

// Archives of other tools: go-containerregistry's tarball and layout, and skopeo's.
func TestLoadFromOtherTools(t *testing.T) {
	var layers []v1.Layer
	for range 3 {
		l, err := grandom.Layer(2000, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		t.Fatal(err)
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.com/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := tarball.Write(tag, img, &saved); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "example.com/app:v2"})); err != nil {
		t.Fatal(err)
	}
	archives := map[string][]byte{"tarball": saved.Bytes(), "layout": tarDir(t, dir)}
	if skopeo, err := exec.LookPath("skopeo"); err == nil {
		for _, kind := range []string{"oci-archive", "docker-archive"} {
			out := filepath.Join(t.TempDir(), "x")
			msg, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", "oci:"+dir+":example.com/app:v2", kind+":"+out+":example.com/app:v3").CombinedOutput()
			if err != nil {
				t.Fatalf("skopeo: %v: %s", err, msg)
			}
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			archives["skopeo "+kind] = data
		}
	}
	for name, data := range archives {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			loaded, err := load(t, store, bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if len(loaded) != 1 || len(loaded[0].Names) != 1 || loaded[0].Names[0].Repository() != "example.com/app" {
				t.Fatalf("loaded %+v", loaded)
			}
			if got := string(loaded[0].Image.ID); got != id.String() && !strings.HasPrefix(name, "skopeo docker") {
				t.Errorf("id is %s, want %s", got, id)
			}
			check(t, root, store)
		})
	}
}

func tarDir(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadRefuses(t *testing.T) {
	img := testImage(t)
	other := imagetest.GzipLayer(t, map[string]string{"c": "c"})
	good := mixedSave(t, img, "app")
	swap := func(old, new string) []byte { return bytes.ReplaceAll(good, []byte(old), []byte(new)) }
	list := func(config string, layers ...string) entry {
		return entry{name: "manifest.json", data: string(imagetest.JSON(t, []map[string]any{{"Config": config, "Layers": layers}}))}
	}
	config := entry{name: "c.json", data: string(img.Config)}
	tests := map[string][]byte{
		"empty":                       {},
		"text":                        []byte(strings.Repeat("this is no archive ", 100)),
		"empty tar":                   tarOf(t),
		"root filesystem":             img.Layers[0].Tar,
		"cut off":                     good[:len(good)/2],
		"gzip cut off":                imagetest.Gzip(t, good)[:1000],
		"layer is another":            legacySave(t, imagetest.Image{Config: img.Config, Manifest: img.Manifest, Layers: []imagetest.Layer{other, img.Layers[1]}}),
		"digest is a path":            swap("sha256:"+img.Digest().Hex(), "sha256:../../../"+img.Digest().Hex()[9:]),
		"manifest is another":         swap(img.Digest().Hex(), img.ID().Hex()),
		"no images":                   tarOf(t, entry{name: "manifest.json", data: "[]"}),
		"null":                        tarOf(t, entry{name: "manifest.json", data: "null"}),
		"config is missing":           tarOf(t, list("nosuch.json")),
		"layer is missing":            tarOf(t, config, list("c.json", "a", "b")),
		"fewer layers than diff ids":  tarOf(t, config, list("c.json")),
		"config is a path outside":    tarOf(t, list("../../../../etc/passwd")),
		"config is a link outside":    tarOf(t, entry{name: "c.json", link: "/etc/passwd"}, list("c.json")),
		"config is a link to itself":  tarOf(t, entry{name: "c.json", link: "c.json"}, list("c.json")),
		"config is a hard link loop":  tarOf(t, entry{name: "c.json", link: "d", hard: true}, entry{name: "d", link: "c.json", hard: true}, list("c.json")),
		"name is bad":                 legacySave(t, img, "Bad:Name"),
		"manifest.json is huge":       tarOf(t, entry{name: "manifest.json", data: strings.Repeat(" ", image.MaxManifestBytes+1)}),
		"index with layers (41190)":   tarOf(t, entry{name: "oci-layout", data: "{}"}, entry{name: "index.json", data: `{"schemaVersion":2,"manifests":[],"layers":[]}`}),
		"image for another system":    legacySave(t, imagetest.New(t, func(c *image.ConfigFile) { c.OS = "windows" }, img.Layers...), "app"),
		"many entries of one archive": nil,
	}
	var many []entry
	for range 100_001 {
		many = append(many, entry{name: "x"})
	}
	tests["many entries of one archive"] = tarOf(t, many...)
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			loaded, err := load(t, store, bytes.NewReader(data))
			if err == nil || len(loaded) > 0 {
				t.Errorf("loaded %v, %v", loaded, err)
			}
			if images, err := store.List(); err != nil || len(images) > 0 {
				t.Errorf("listed are %v, %v", images, err)
			}
		})
	}
}

// Another platform than the wanted one is not loaded, whichever form the archive has.
func TestLoadPlatform(t *testing.T) {
	img := imagetest.New(t, func(c *image.ConfigFile) { c.Platform = image.Platform{OS: "linux", Architecture: "arm64"} }, imagetest.GzipLayer(t, map[string]string{"a": "a"}))
	for name, data := range map[string][]byte{"docker": legacySave(t, img, "app"), "oci": mixedSave(t, img, "app")} {
		for arch, fits := range map[string]bool{"arm64": true, "s390x": false} {
			_, err := archive.Load(t.Context(), image.New(t.TempDir(), image.Options{}), bytes.NewReader(data), archive.LoadOptions{
				Unpack: imagetest.Unpack, Platform: image.Platform{OS: "linux", Architecture: arch},
			})
			if (err == nil) != fits || !fits && !strings.Contains(err.Error(), "is for linux/arm64, not for linux/s390x") {
				t.Errorf("%s for %s: %v", name, arch, err)
			}
		}
	}
}

func TestImport(t *testing.T) {
	files := map[string]string{"bin/app": "program", "etc/x": strings.Repeat("x", 10_000)}
	data := imagetest.Tar(t, files)
	tests := map[string]func(*testing.T, []byte) []byte{
		"plain": func(_ *testing.T, d []byte) []byte { return d },
		"gzip":  func(t *testing.T, d []byte) []byte { return imagetest.Gzip(t, d) },
		"zstd":  func(t *testing.T, d []byte) []byte { return imagetest.Zstd(t, d) },
		"xz":    func(t *testing.T, d []byte) []byte { return xzipped(t, d) },
		"bzip2": func(t *testing.T, d []byte) []byte { return bzipped(t, d) },
	}
	for name, pack := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			img, err := archive.Import(t.Context(), store, bytes.NewReader(pack(t, data)), archive.ImportOptions{
				Unpack: imagetest.Unpack, Reference: imagetest.Ref(t, "app"), Changes: []string{`CMD ["/bin/app"]`, "ENV A=b"}, Message: "made by hand",
			})
			if err != nil {
				t.Fatal(err)
			}
			want := image.Config{Cmd: []string{"/bin/app"}, Env: []string{"A=b"}}
			if diff := cmp.Diff(want, img.Config); diff != "" || img.Comment != "made by hand" || img.Layers[0] != image.DigestOf(data) || img.SizeBytes != imagetest.FileBytes(t, data) {
				t.Errorf("image is %+v (-want +got):\n%s", img, diff)
			}
			if _, err := store.Get("app"); err != nil {
				t.Error(err)
			}
			check(t, root, store)
		})
	}
}

func TestImportRefuses(t *testing.T) {
	data := imagetest.Tar(t, map[string]string{"a": strings.Repeat("a", 100_000)})
	for name, tt := range map[string]struct {
		data   []byte
		change string
	}{
		"text":         {[]byte(strings.Repeat("no tar at all ", 200)), "CMD x"},
		"cut off":      {data[:50_000], "CMD x"},
		"gzip cut off": {imagetest.Gzip(t, data)[:100], "CMD x"},
		"bad change":   {data, "RUN x"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			_, err := archive.Import(t.Context(), store, bytes.NewReader(tt.data), archive.ImportOptions{Unpack: imagetest.Unpack, Changes: []string{tt.change}})
			if err == nil {
				t.Error("was imported")
			}
			check(t, root, store)
		})
	}
}

// A terminal that gives nothing does not keep import or load from ending.
func TestCancelledWhileReading(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context, store *image.Store, r io.Reader) error{
		"load": func(ctx context.Context, store *image.Store, r io.Reader) error {
			_, err := archive.Load(ctx, store, r, archive.LoadOptions{Unpack: imagetest.Unpack})
			return err
		},
		"import": func(ctx context.Context, store *image.Store, r io.Reader) error {
			_, err := archive.Import(ctx, store, r, archive.ImportOptions{Unpack: imagetest.Unpack})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			defer func() { _ = w.Close() }()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				_, _ = w.Write(imagetest.Tar(t, map[string]string{"a": "b"})[:600])
				cancel()
			}()
			if err := run(ctx, image.New(t.TempDir(), image.Options{}), r); !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// FuzzLoad feeds damaged archives. Nothing may crash or escape, and what is
// listed afterwards has to be complete.
func FuzzLoad(f *testing.F) {
	img := testImage(f)
	f.Add(legacySave(f, img, "app"))
	f.Add(mixedSave(f, img, "app"))
	f.Add(imagetest.Gzip(f, legacySave(f, img, "app")))
	f.Add(tarOf(f, entry{name: "manifest.json", data: `[{"Config":"x","Layers":null}]`}, entry{name: "x", data: "{}"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		store := image.New(root, image.Options{})
		loaded, err := load(t, store, bytes.NewReader(data))
		for _, l := range loaded {
			if _, err := store.Get(string(l.Image.ID)); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil { // what was complete before the error may be staged
			if ok, err := store.Sweep(t.Context()); !ok || err != nil {
				t.Fatalf("Sweep = %v, %v", ok, err)
			}
		}
		check(t, root, store)
	})
}
