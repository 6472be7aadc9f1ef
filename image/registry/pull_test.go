package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

func TestPullKinds(t *testing.T) {
	h := newHub(t)
	tests := map[string]func(imagetest.Layer) imagetest.Layer{
		"gzip": func(l imagetest.Layer) imagetest.Layer { return l },
		"uncompressed": func(l imagetest.Layer) imagetest.Layer {
			return imagetest.Layer{Tar: l.Tar, Blob: l.Tar, MediaType: image.MediaTypeOCILayer}
		},
		"zstd": func(l imagetest.Layer) imagetest.Layer {
			return imagetest.Layer{Tar: l.Tar, Blob: imagetest.Zstd(t, l.Tar), MediaType: image.MediaTypeOCILayerZstd}
		},
		"docker media type": func(l imagetest.Layer) imagetest.Layer { l.MediaType = image.MediaTypeDockerLayer; return l },
		"wrong media type for its compression": func(l imagetest.Layer) imagetest.Layer {
			return imagetest.Layer{Tar: l.Tar, Blob: imagetest.Zstd(t, l.Tar), MediaType: image.MediaTypeOCILayerGzip}
		},
		"gzip in two members": func(l imagetest.Layer) imagetest.Layer {
			l.Blob = append(imagetest.Gzip(t, l.Tar[:1000]), imagetest.Gzip(t, l.Tar[1000:])...)
			return l
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			repository := strings.ReplaceAll(name, " ", "-")
			made := imagetest.New(t, nil, change(bigLayer(t, 300_000, 1)), change(bigLayer(t, 10, 2)))
			push(t, h.URL, repository, "v1", made)
			s, c := newTarget(t), newClient(t, nil)
			ref := h.ref(t, repository+":v1")
			got, err := s.pull(t.Context(), c, ref)
			if err != nil {
				t.Fatal(err)
			}
			if got.Image.ID != made.ID() || got.Digest != made.Digest() || got.UpToDate {
				t.Errorf("pulled %s, digest %s", got.Image.ID, got.Digest)
			}
			if diff := cmp.Diff([]string{ref.String(), ref.WithDigest(made.Digest()).String()}, []string{got.Image.References[0].String(), got.Image.RepoDigests[0].String()}); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			s.checkWhole(t)
			h.misbehave(nil)
			if got, err = s.pull(t.Context(), c, ref); err != nil || !got.UpToDate || h.count("/blobs/") > 0 {
				t.Errorf("second pull: up to date %v, %v, %d blobs", got.UpToDate, err, h.count("/blobs/"))
			}
		})
	}
}

func TestPullDockerSchema2ByDigest(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	made.Manifest = []byte(strings.NewReplacer(image.MediaTypeOCIManifest, image.MediaTypeDockerManifest,
		image.MediaTypeOCIConfig, image.MediaTypeDockerConfig, image.MediaTypeOCILayerGzip, image.MediaTypeDockerLayer).Replace(string(made.Manifest)))
	for d, data := range made.Blobs() {
		pushBlob(t, h.URL, "app", d, data)
	}
	pushManifest(t, h.URL, "app", "v1", image.MediaTypeDockerManifest, made.Manifest)
	s := newTarget(t)
	ref := h.ref(t, "app:ignored@"+string(made.Digest()))
	got, err := s.pull(t.Context(), newClient(t, nil), ref)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Image.References) != 0 || len(got.Image.RepoDigests) != 1 {
		t.Errorf("names are %v and %v", got.Image.References, got.Image.RepoDigests)
	}
	if _, err := s.Get(ref.String()); err != nil {
		t.Error(err)
	}
	s.checkWhole(t)
}

func TestPullSharesLayers(t *testing.T) {
	h := newHub(t)
	base, own := bigLayer(t, 100_000, 1), bigLayer(t, 1000, 2)
	push(t, h.URL, "base", "latest", imagetest.New(t, nil, base))
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, base, own, base))
	s, c := newTarget(t), newClient(t, nil)
	if _, err := s.pull(t.Context(), c, h.ref(t, "base")); err != nil {
		t.Fatal(err)
	}
	h.misbehave(nil)
	var mu sync.Mutex
	last := map[image.Digest]image.Phase{}
	_, err := c.Pull(t.Context(), s.Store, h.ref(t, "app"), registry.PullOptions{Unpack: imagetest.Unpack, Progress: func(e image.Event) {
		mu.Lock()
		defer mu.Unlock()
		last[e.Layer] = e.Phase
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[image.Digest]image.Phase{image.DigestOf(base.Blob): image.Exists, image.DigestOf(own.Blob): image.Done}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("last phases (-want +got):\n%s", diff)
	}
	if n := h.count("GET", "/blobs/"); n != 2 { // configuration and own
		t.Errorf("%d blobs were loaded, want 2", n)
	}
	s.checkWhole(t)
}

// The server sends the second half of the layer only when the first one has been
// unpacked: a client that unpacks afterwards would wait for ever.
func TestPullUnpacksWhileDownloading(t *testing.T) {
	h := newHub(t)
	l := bigLayer(t, 4<<20, 1)
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, l))
	unpacking := make(chan struct{})
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) || !strings.HasSuffix(r.URL.Path, image.DigestOf(l.Blob).Hex()) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(l.Blob)))
		_, _ = w.Write(l.Blob[:len(l.Blob)/2])
		w.(http.Flusher).Flush()
		select {
		case <-unpacking:
		case <-r.Context().Done():
		}
		_, _ = w.Write(l.Blob[len(l.Blob)/2:])
		return true
	})
	var once sync.Once
	s := newTarget(t)
	_, err := newClient(t, nil).Pull(t.Context(), s.Store, h.ref(t, "app"), registry.PullOptions{
		Unpack: func(ctx context.Context, tar io.Reader, dir string) (int64, error) {
			return imagetest.Unpack(ctx, readerFunc(func(p []byte) (int, error) {
				n, err := tar.Read(p)
				once.Do(func() { close(unpacking) })
				return n, err
			}), dir)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.checkWhole(t)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPullSurvivesTransientFaults(t *testing.T) {
	// Each test breaks something and says whether that has to cause range requests.
	tests := map[string]struct {
		fault  func(h *hub) func(w http.ResponseWriter, r *http.Request) bool
		ranges bool
	}{
		"connections cut in the middle are resumed": {func(h *hub) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if isBlob(r) {
					h.inner.ServeHTTP(&cutWriter{ResponseWriter: w, left: 150_000}, r)
				}
				return isBlob(r)
			}
		}, true},
		"cut, and the server does not know ranges": {func(h *hub) func(http.ResponseWriter, *http.Request) bool {
			var n atomic.Int64
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r) {
					return false
				}
				r.Header.Del("Range")
				h.inner.ServeHTTP(&cutWriter{ResponseWriter: w, left: 100_000 * int(n.Add(1))}, r)
				return true
			}
		}, true},
		"cut, and the server refuses ranges": {func(h *hub) func(http.ResponseWriter, *http.Request) bool {
			var n atomic.Int64
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r) {
					return false
				}
				if r.Header.Get("Range") != "" {
					answer(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UNKNOWN", "no ranges")
					return true
				}
				h.inner.ServeHTTP(&cutWriter{ResponseWriter: w, left: 100_000 * int(n.Add(1))}, r)
				return true
			}
		}, true},
		"the server falls silent": {func(h *hub) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !isBlob(r) || r.Header.Get("Range") != "" {
					return false
				}
				h.inner.ServeHTTP(&cutWriter{ResponseWriter: w, left: 100_000, silent: r.Context().Done()}, r)
				return true
			}
		}, true},
		"server errors, twice for each thing": {func(*hub) func(http.ResponseWriter, *http.Request) bool {
			var mu sync.Mutex
			n := map[string]int{}
			return func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if n[r.URL.Path]++; n[r.URL.Path] > 2 {
					return false
				}
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
		}, false},
		"too many requests, once for each blob": {func(*hub) func(http.ResponseWriter, *http.Request) bool {
			var seen sync.Map
			return func(w http.ResponseWriter, r *http.Request) bool {
				if _, again := seen.LoadOrStore(r.URL.Path, true); again || !isBlob(r) {
					return false
				}
				answer(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
				return true
			}
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			push(t, h.URL, "app", "latest", imagetest.New(t, nil, bigLayer(t, 1<<20, 1), bigLayer(t, 200_000, 2)))
			h.misbehave(tt.fault(h))
			s := newTarget(t)
			c := newClientWith(t, registry.Options{ConfigDir: t.TempDir(), StallTime: 300 * time.Millisecond})
			if _, err := s.pull(t.Context(), c, h.ref(t, "app")); err != nil {
				t.Fatal(err)
			}
			if got := h.count("bytes="); (got > 0) != tt.ranges {
				t.Errorf("%d range requests", got)
			}
			s.checkWhole(t)
		})
	}
}

func TestPullGivesUp(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 300_000, 1))
	push(t, h.URL, "app", "latest", made)
	tests := map[string]struct {
		fault func(w http.ResponseWriter, r *http.Request) bool
		class error
		says  string
	}{
		"blob never comes": {func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) && !strings.Contains(r.URL.Path, made.ID().Hex()) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		}, spec.ErrUnavail, "answers 503"},
		"blob is not there": {func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				answer(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
			}
			return isBlob(r)
		}, spec.ErrNotFound, "blob unknown"},
		"unknown tag": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				answer(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
				return true
			}
			return false
		}, spec.ErrNotFound, "manifest for " + h.host() + "/app:latest not found"},
		"unknown repository": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				answer(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known")
				return true
			}
			return false
		}, spec.ErrNotFound, "repository does not exist or may require 'cleat login'"},
		"denied": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				answer(w, http.StatusForbidden, "DENIED", "requested access\nto the \x1b[31mresource is denied")
				return true
			}
			return false
		}, spec.ErrDenied, "pull access denied for " + h.host() + "/app"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h.misbehave(tt.fault)
			s := newTarget(t)
			_, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app"))
			if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.says) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("pull: %v\nwant %v and %q", err, tt.class, tt.says)
			}
			s.checkNothingVisible(t)
		})
	}
}

func TestPullFromNowhere(t *testing.T) {
	h := newHub(t)
	ref := h.ref(t, "app")
	h.Close()
	s := newTarget(t)
	_, err := s.pull(t.Context(), newClient(t, nil), ref)
	if !errors.Is(err, spec.ErrUnavail) || !strings.Contains(err.Error(), "registry "+h.host()+" cannot be reached") {
		t.Errorf("pull: %v", err)
	}
	s.checkNothingVisible(t)
}

func TestPullCancelled(t *testing.T) {
	h := newHub(t)
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, bigLayer(t, 1<<20, 1), bigLayer(t, 1<<20, 2)))
	ctx, cancel := context.WithCancel(t.Context())
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) || h.count("/blobs/") < 2 {
			return false
		}
		w.Header().Set("Content-Length", "1048576")
		_, _ = w.Write([]byte{0x1f, 0x8b})
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	})
	s := newTarget(t)
	if _, err := s.pull(ctx, newClient(t, nil), h.ref(t, "app")); !errors.Is(err, context.Canceled) {
		t.Errorf("pull: %v", err)
	}
	s.checkNothingVisible(t)
}

func TestPullPlatform(t *testing.T) {
	h := newHub(t)
	entry := func(p image.Platform, seed uint64) image.Descriptor {
		made := imagetest.New(t, func(c *image.ConfigFile) { c.Platform = p }, bigLayer(t, 100, seed))
		push(t, h.URL, "app", "x", made)
		return image.Descriptor{MediaType: image.MediaTypeOCIManifest, Digest: made.Digest(), Size: int64(len(made.Manifest)), Platform: &p}
	}
	arm6 := entry(image.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, 1)
	arm64 := entry(image.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, 2)
	here := entry(image.Platform{}.OrDefault(), 3)
	attestation := here
	attestation.Platform = &image.Platform{OS: "unknown", Architecture: "unknown"}
	riscv := entry(image.Platform{OS: "linux", Architecture: "riscv64"}, 4)
	list := imagetest.JSON(t, image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIIndex, Manifests: []image.Descriptor{attestation, arm6, arm64, here, riscv}})
	pushManifest(t, h.URL, "app", "latest", image.MediaTypeOCIIndex, list)
	tests := map[string]struct {
		platform string
		want     image.Digest
	}{
		"this machine":        {"", here.Digest},
		"architecture":        {"linux/riscv64", riscv.Digest},
		"variant is implied":  {"linux/arm64", arm64.Digest},
		"variant":             {"linux/arm64/v8", arm64.Digest},
		"other spelling":      {"aarch64", arm64.Digest},
		"lower variant suits": {"linux/arm/v7", arm6.Digest},
		"arm without variant": {"linux/arm", arm6.Digest},
		"too low a variant":   {"linux/arm/v5", ""},
		"not in the list":     {"linux/s390x", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var p image.Platform
			if tt.platform != "" {
				var err error
				if p, err = image.ParsePlatform(tt.platform); err != nil {
					t.Fatal(err)
				}
			}
			s := newTarget(t)
			got, err := newClient(t, nil).Pull(t.Context(), s.Store, h.ref(t, "app"), registry.PullOptions{Unpack: imagetest.Unpack, Platform: p})
			if tt.want == "" {
				if !errors.Is(err, spec.ErrNotFound) || !strings.Contains(err.Error(), "no matching manifest for "+tt.platform) {
					t.Errorf("pull: %v", err)
				}
				return
			}
			if err != nil || got.Image.ManifestDigest != tt.want || got.Digest != image.DigestOf(list) {
				t.Errorf("pulled %s of %s, %v; want %s", got.Image.ManifestDigest, got.Digest, err, tt.want)
			}
		})
	}
	pushManifest(t, h.URL, "app", "single", image.MediaTypeOCIManifest, mustManifest(t, h, riscv.Digest))
	s := newTarget(t)
	_, err := newClient(t, nil).Pull(t.Context(), s.Store, h.ref(t, "app:single"), registry.PullOptions{Unpack: imagetest.Unpack, Platform: image.Platform{OS: "linux", Architecture: "arm64"}})
	if !errors.Is(err, spec.ErrNotFound) || !strings.Contains(err.Error(), "the image is for linux/riscv64, not for linux/arm64") {
		t.Errorf("pull of a single image for another platform: %v", err)
	}
}

func mustManifest(t *testing.T, h *hub, d image.Digest) []byte {
	t.Helper()
	resp, err := http.Get(h.URL + "/v2/app/manifests/" + string(d))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestConcurrentPullsLoadOnce(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 2<<20, 1), bigLayer(t, 1<<20, 2), bigLayer(t, 1000, 3))
	push(t, h.URL, "app", "latest", made)
	h.misbehave(nil)
	s := newTarget(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			// A store and a client of their own, as separate processes have them.
			if _, err := newClient(t, nil).Pull(t.Context(), image.New(s.root, image.Options{}), h.ref(t, "app"), registry.PullOptions{Unpack: imagetest.Unpack}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, l := range made.Layers {
		if n := h.count("GET", image.DigestOf(l.Blob).Hex()); n != 1 {
			t.Errorf("a layer was loaded %d times", n)
		}
	}
	s.checkWhole(t)
}

func TestUnpackErrorEndsPull(t *testing.T) {
	h := newHub(t)
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, bigLayer(t, 8<<20, 1), bigLayer(t, 1000, 2)))
	s := newTarget(t)
	full := fmt.Errorf("write: %w", os.ErrPermission)
	_, err := newClient(t, nil).Pull(t.Context(), s.Store, h.ref(t, "app"), registry.PullOptions{
		Unpack: func(context.Context, io.Reader, string) (int64, error) { return 0, full },
	})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("pull: %v", err)
	}
	s.checkNothingVisible(t)
}
