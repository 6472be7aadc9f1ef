package image_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/spec"
)

// files makes a layer with one file of that name and content.
func files(t testing.TB, name string) imagetest.Layer {
	return imagetest.GzipLayer(t, map[string]string{name: "content of " + name})
}

func names(refs []image.Reference) string {
	var list []string
	for _, r := range refs {
		list = append(list, r.Familiar())
	}
	return strings.Join(list, " ")
}

// summary is what a store lists: per image the names and whether it is complete.
func summary(t *testing.T, store *image.Store) []string {
	t.Helper()
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, img := range list {
		line := names(img.References)
		for _, d := range img.Layers {
			if _, err := os.Stat(store.LayerDir(d)); err != nil {
				line += " LAYER MISSING"
			}
		}
		m, err := store.Manifest(img)
		if err != nil {
			t.Error(err)
		}
		for _, l := range m.Layers {
			if fi, err := os.Stat(store.BlobPath(l.Digest)); err != nil || fi.Size() != l.Size {
				line += " BLOB MISSING"
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// rest lists what lies in the store besides its fixed parts.
func rest(t *testing.T, root string) (blobs, layers, other int) {
	t.Helper()
	count := func(pattern string) int {
		list, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	return count("images/blobs/sha256/*"), count("layers/[0-9a-f]*"), count("layers/.*") + count("images/staging/*/*") + count("images/staging/.*") + count("images/.*")
}

func TestStoreGet(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	a := imagetest.New(t, nil, files(t, "a"))
	b := imagetest.New(t, nil, files(t, "b"))
	pulled := imagetest.Ref(t, "nginx").WithDigest(image.DigestOf([]byte("index"))).String()
	a.Add(t, store, "nginx", "nginx:1", pulled)
	b.Add(t, store, "abc", "localhost:5000/b")
	tests := map[string]struct {
		name string
		want image.Digest
	}{
		"name":                          {"nginx", a.ID()},
		"name and tag":                  {"nginx:1", a.ID()},
		"full name":                     {"docker.io/library/nginx:latest", a.ID()},
		"id":                            {a.ID().Hex(), a.ID()},
		"id with algorithm":             {string(a.ID()), a.ID()},
		"short id":                      {a.ID().Short(), a.ID()},
		"short id with algorithm":       {"sha256:" + a.ID().Short(), a.ID()},
		"digest of the manifest":        {string(a.Digest()), a.ID()},
		"digest it was pulled by":       {pulled, a.ID()},
		"tag beside a digest is void":   {strings.Replace(pulled, "@", ":nosuch@", 1), a.ID()},
		"repository and manifest":       {"nginx@" + string(a.Digest()), a.ID()},
		"a name wins over hex digits":   {"abc", b.ID()},
		"registry with port":            {"localhost:5000/b:latest", b.ID()},
		"unknown tag":                   {"nginx:2", ""},
		"unknown name":                  {"nosuch", ""},
		"unknown id":                    {strings.Repeat("0", 64), ""},
		"other repository, same digest": {"busybox@" + string(a.Digest()), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			img, err := store.Get(tt.name)
			if tt.want == "" {
				if !errors.Is(err, spec.ErrNotFound) || !strings.Contains(err.Error(), "no such image") {
					t.Fatalf("Get(%q) = %v, %v, want not found", tt.name, img.ID, err)
				}
				return
			}
			if err != nil || img.ID != tt.want {
				t.Fatalf("Get(%q) = %v, %v, want %s", tt.name, img.ID, err, tt.want)
			}
		})
	}
	if _, err := store.Get("Bad Name"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("bad name: %v", err)
	}
}

func TestAmbiguousID(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	seen := map[byte]bool{}
	var prefix string
	for i := 0; prefix == ""; i++ { // by the pigeonhole principle at most 17 images
		img := imagetest.New(t, func(c *image.ConfigFile) { c.Author = fmt.Sprint(i) })
		img.Add(t, store)
		if first := img.ID().Hex()[0]; seen[first] {
			prefix = string(first)
		} else {
			seen[first] = true
		}
	}
	if _, err := store.Get(prefix); !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("Get(%q) = %v", prefix, err)
	}
}

func TestImageTellsWhatItsConfigurationSays(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	made := imagetest.New(t, func(c *image.ConfigFile) {
		c.Author = "me"
		c.Config = image.Config{
			User: "7:8", Env: []string{"A=b"}, Cmd: []string{"run"}, Entrypoint: []string{"/e"}, WorkingDir: "/w",
			ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/v": {}}, Labels: map[string]string{"k": "v"},
			StopSignal: "SIGQUIT", Healthcheck: &image.Healthcheck{Test: []string{"CMD", "true"}, Interval: 5e9}, OnBuild: []string{"RUN x"}, Shell: []string{"/bin/bash"},
		}
		c.History = []image.HistoryEntry{{CreatedBy: "base"}, {CreatedBy: "ENV", EmptyLayer: true}, {CreatedBy: "COPY"}}
	}, files(t, "a"), files(t, "b"))
	img := made.Add(t, store, "app")
	c, err := image.ParseConfig(made.Config)
	if err != nil {
		t.Fatal(err)
	}
	want := image.Image{
		ID: made.ID(), ManifestDigest: made.Digest(), References: []image.Reference{imagetest.Ref(t, "app")}, Created: c.Created,
		SizeBytes: imagetest.FileBytes(t, made.Layers[0].Tar) + imagetest.FileBytes(t, made.Layers[1].Tar), Platform: c.Platform, Author: "me", Config: c.Config,
		Layers: c.RootFS.DiffIDs, History: c.History,
	}
	if diff := cmp.Diff(want, img, cmp.Comparer(func(a, b image.Reference) bool { return a == b })); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	var steps []string
	for _, l := range store.Layers(img) {
		steps = append(steps, fmt.Sprint(l.CreatedBy, " ", l.SizeBytes, " ", l.DiffID != ""))
	}
	wantSteps := []string{fmt.Sprintf("COPY %d true", imagetest.FileBytes(t, made.Layers[1].Tar)), "ENV 0 false", fmt.Sprintf("base %d true", imagetest.FileBytes(t, made.Layers[0].Tar))}
	if diff := cmp.Diff(wantSteps, steps); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if data, err := store.RawConfig(img); err != nil || !bytes.Equal(data, made.Config) {
		t.Errorf("RawConfig: %v", err)
	}
	if store.TagTime(img).IsZero() {
		t.Error("TagTime is zero")
	}
}

func TestTagMovesAndLeavesDanglingImage(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	imagetest.New(t, nil, files(t, "a")).Add(t, store, "app")
	imagetest.New(t, func(c *image.ConfigFile) { c.Created = c.Created.AddDate(1, 0, 0) }, files(t, "b")).Add(t, store, "app")
	if diff := cmp.Diff([]string{"app:latest", ""}, summary(t, store)); diff != "" {
		t.Fatalf("after the tag has moved (-want +got):\n%s", diff)
	}
	old, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Tag(t.Context(), old[1].ID.Short(), imagetest.Ref(t, "app:old")); err != nil {
		t.Fatal(err)
	}
	if err := store.Tag(t.Context(), "app:old", imagetest.Ref(t, "reg:1/x")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"app:latest", "app:old reg:1/x:latest"}, summary(t, store)); diff != "" {
		t.Errorf("after naming it anew (-want +got):\n%s", diff)
	}
	if err := store.Tag(t.Context(), "nosuch", imagetest.Ref(t, "x")); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("tag of unknown image: %v", err)
	}
	if err := store.Tag(t.Context(), "app", imagetest.Ref(t, "x@sha256:"+hex64)); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("tag with digest: %v", err)
	}
}

// Rests of sessions that died are invisible; the complete ones are used again,
// unless the machine was booted since.
func TestRestsOfDeadSessions(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	a := imagetest.New(t, nil, files(t, "a"))
	in, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.Stage(t, in)
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := summary(t, store); len(got) != 0 {
		t.Fatalf("staged image is listed: %q", got)
	}
	imagetest.New(t, nil, files(t, "b")).Add(t, store, "b")
	if _, err := store.Remove(t.Context(), "b", image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if in, err = store.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !in.HasLayer(image.DigestOf(a.Layers[0].Tar)) {
		t.Error("a complete staged layer is not found again")
	}
	if _, err := in.Commit(t.Context(), a.Addition(t, "a")); err != nil {
		t.Errorf("commit of what an earlier session has staged: %v", err)
	}
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"layers/.staged-otherboot-" + hex64, "layers/.tmp-1/root", "images/staging/otherboot"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := store.Sweep(t.Context()); !ok || err != nil {
		t.Fatalf("Sweep = %v, %v", ok, err)
	}
	if blobs, layers, other := rest(t, root); blobs != 3 || layers != 1 || other != 0 {
		t.Errorf("left are %d blobs, %d layers, %d others; want 3, 1, 0", blobs, layers, other)
	}
}

func TestCommitRefusesIncompleteImage(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	a := imagetest.New(t, nil, files(t, "a"), files(t, "b"))
	partial := a
	partial.Layers = a.Layers[:1]
	in, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(t.Context()) }()
	partial.Stage(t, in)
	if _, err := in.Commit(t.Context(), a.Addition(t, "a")); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("Commit = %v", err)
	}
	if got := summary(t, store); len(got) != 0 {
		t.Errorf("listed: %q", got)
	}
}

func TestLayerMismatchLeavesNothing(t *testing.T) {
	root := t.TempDir()
	in, err := image.New(root, image.Options{}).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(t.Context()) }()
	l := files(t, "a")
	_, err = in.AddLayer(t.Context(), image.DigestOf([]byte("else")), bytes.NewReader(l.Tar), imagetest.Unpack)
	if _, ok := errors.AsType[*image.Mismatch](err); !ok {
		t.Errorf("AddLayer = %v, want a mismatch", err)
	}
	_, err = in.AddLayer(t.Context(), image.DigestOf(l.Tar), bytes.NewReader(l.Tar[:700]), imagetest.Unpack)
	if err == nil {
		t.Error("a cut-off tar was unpacked")
	}
	w, err := in.CreateBlob()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Stage(image.DigestOf([]byte("x")), 0); err == nil {
		t.Error("an empty blob was staged as another")
	}
	w.Close()
	if blobs, layers, other := rest(t, root); blobs+layers+other != 0 {
		t.Errorf("left are %d blobs, %d layers, %d others", blobs, layers, other)
	}
}

func TestParallelCommits(t *testing.T) {
	root := t.TempDir()
	shared := files(t, "shared")
	var wg sync.WaitGroup
	for i := range 8 {
		img := imagetest.New(t, nil, shared, files(t, fmt.Sprint("own", i)))
		wg.Go(func() { img.Add(t, image.New(root, image.Options{}), fmt.Sprint("app:", i), "app") })
	}
	wg.Wait()
	lines := summary(t, image.New(root, image.Options{}))
	if all := strings.Join(lines, " "); len(lines) != 8 || strings.Contains(all, "MISSING") || strings.Count(all, "app:latest") != 1 {
		t.Errorf("listed are %q", lines)
	}
	if _, layers, other := rest(t, root); layers != 9 || other != 0 {
		t.Errorf("%d layers, %d others, want 9 and 0", layers, other)
	}
}

// docker turns the manifest of an image into Docker's schema 2.
func docker(made imagetest.Image) imagetest.Image {
	made.Manifest = []byte(strings.NewReplacer(image.MediaTypeOCIManifest, image.MediaTypeDockerManifest, image.MediaTypeOCIConfig, image.MediaTypeDockerConfig,
		image.MediaTypeOCILayerGzip, image.MediaTypeDockerLayer).Replace(string(made.Manifest)))
	return made
}

// A Docker manifest keeps its digest, although the layout shows an OCI form of it.
func TestDockerManifestKeepsItsDigest(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	made := docker(imagetest.New(t, nil, files(t, "a")))
	img := made.Add(t, store, "app")
	m, err := store.Manifest(img)
	if err != nil || img.ManifestDigest != made.Digest() || m.MediaType != image.MediaTypeDockerManifest {
		t.Errorf("manifest is %s, %s, %v", img.ManifestDigest, m.MediaType, err)
	}
	if got, err := store.Get("app@" + string(made.Digest())); err != nil || got.ID != img.ID {
		t.Errorf("by digest: %v", err)
	}
	imagetest.New(t, nil, files(t, "b")).Add(t, store, "b")
	if _, err := store.Remove(t.Context(), "b", image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if blobs, _, _ := rest(t, root); blobs != 4 { // two forms of the manifest, configuration, layer
		t.Errorf("%d blobs, want 4", blobs)
	}
	if _, err := store.Remove(t.Context(), "app", image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, other := rest(t, root); blobs+layers+other != 0 {
		t.Errorf("left are %d blobs, %d layers, %d others", blobs, layers, other)
	}
}

// The layout is readable by go-containerregistry (crane) and skopeo.
func TestOtherToolsReadTheLayout(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	a := imagetest.New(t, nil, files(t, "a"), files(t, "b"))
	a.Add(t, store, "localhost:5000/team/app:1.0", "app")
	dockers := docker(imagetest.New(t, nil, files(t, "c")))
	dockers.Add(t, store, "dockers")
	index, err := layout.ImageIndexFromPath(filepath.Join(root, "images"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("layout is not valid: %v", err)
	}
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	for name, want := range map[string]image.Digest{"localhost:5000/team/app:1.0": a.Digest(), "docker.io/library/app:latest": a.Digest(), "docker.io/library/dockers:latest": ""} {
		out, err := exec.CommandContext(t.Context(), skopeo, "inspect", "oci:"+filepath.Join(root, "images")+":"+name).CombinedOutput()
		var info struct{ Digest string }
		if err != nil || json.Unmarshal(out, &info) != nil || want != "" && info.Digest != string(want) {
			t.Errorf("skopeo inspect %s: %v, %s", name, err, out)
		}
	}
}

// An index that another tool has written anew is still read.
func TestReformattedIndex(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	imagetest.New(t, nil, files(t, "a")).Add(t, store, "a", "b")
	path := filepath.Join(root, "images/index.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if img, err := store.Get("b"); err != nil || names(img.References) != "a:latest b:latest" {
		t.Errorf("Get = %v, %v", img, err)
	}
	if err := store.Tag(t.Context(), "a", imagetest.Ref(t, "c")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a:latest b:latest c:latest"}, summary(t, store)); diff != "" {
		t.Error(diff)
	}
}

// CVE-2021-41091, CVE-2021-41103: users of the host cannot reach into the store.
func TestCVE202141091StoreIsClosedToUsers(t *testing.T) {
	root := t.TempDir()
	imagetest.New(t, nil, files(t, "a")).Add(t, image.New(root, image.Options{}), "a")
	for _, dir := range []string{"images/blobs", "layers"} {
		fi, err := os.Stat(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", dir, fi.Mode())
		}
	}
}

func TestDamagedBlobIsNamed(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	img := imagetest.New(t, nil, files(t, "a")).Add(t, store, "a")
	if err := os.WriteFile(store.BlobPath(img.ID), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get("a"); err == nil || !strings.Contains(err.Error(), "damaged on disk") {
		t.Errorf("Get = %v", err)
	}
	if _, err := store.Remove(t.Context(), "a", image.RemoveOptions{}); err != nil {
		t.Errorf("a damaged image cannot be removed: %v", err)
	}
}

func BenchmarkGet(b *testing.B) {
	store := image.New(b.TempDir(), image.Options{})
	config := func(i int) func(*image.ConfigFile) {
		return func(c *image.ConfigFile) {
			c.Author = fmt.Sprint(i)
			c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
			for range 18 {
				c.History = append(c.History, image.HistoryEntry{CreatedBy: strings.Repeat("RUN apt-get install ", 12), EmptyLayer: true})
			}
		}
	}
	l := files(b, "a")
	for i := range 100 {
		ref := fmt.Sprintf("registry.example:5000/team/application-%d:1.0", i)
		imagetest.New(b, config(i), l, l, l, l, l, l).Add(b, store, ref, imagetest.Ref(b, ref).WithDigest(image.DigestOf([]byte(ref))).String())
	}
	for b.Loop() {
		if _, err := store.Get("registry.example:5000/team/application-50:1.0"); err != nil {
			b.Fatal(err)
		}
	}
}
