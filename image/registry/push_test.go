package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// pushed pushes and returns the last phase of each layer, with its source.
func (t target) push(ctx context.Context, c *registry.Client, ref image.Reference) (registry.Pushed, map[image.Digest]string, error) {
	var mu sync.Mutex
	phases := map[image.Digest]string{}
	done, err := c.Push(ctx, t.Store, ref, registry.PushOptions{Progress: func(e image.Event) {
		mu.Lock()
		defer mu.Unlock()
		phases[e.Layer] = strings.TrimSpace(e.Phase.String() + " " + e.From)
	}})
	return done, phases, err
}

// What was pulled is pushed with the same digest, in whichever form it came.
func TestPushAfterPullKeepsTheDigest(t *testing.T) {
	h := newHub(t)
	oci := imagetest.New(t, nil, bigLayer(t, 300_000, 1), bigLayer(t, 10, 2))
	docker := oci
	docker.Manifest = []byte(strings.NewReplacer(image.MediaTypeOCIManifest, image.MediaTypeDockerManifest,
		image.MediaTypeOCIConfig, image.MediaTypeDockerConfig, image.MediaTypeOCILayerGzip, image.MediaTypeDockerLayer).Replace(string(oci.Manifest)))
	indented := oci
	indented.Manifest = append(bytes.ReplaceAll(oci.Manifest, []byte(`,"`), []byte(",\n  \"")), '\n')
	for name, made := range map[string]imagetest.Image{"oci": oci, "docker": docker, "indented": indented} {
		t.Run(name, func(t *testing.T) {
			from := newHub(t)
			for d, data := range made.Blobs() {
				pushBlob(t, from.URL, "app", d, data)
			}
			mediaType := image.MediaTypeOCIManifest
			if name == "docker" {
				mediaType = image.MediaTypeDockerManifest
			}
			pushManifest(t, from.URL, "app", "v1", mediaType, made.Manifest)
			s, c := newTarget(t), newClient(t, nil)
			if _, err := s.pull(t.Context(), c, from.ref(t, "app:v1")); err != nil {
				t.Fatal(err)
			}
			to := h.ref(t, "copy/"+name+":v2")
			if err := s.Tag(t.Context(), from.ref(t, "app:v1").String(), to); err != nil {
				t.Fatal(err)
			}
			done, _, err := s.push(t.Context(), c, to)
			if err != nil || done.Digest != made.Digest() || done.SizeBytes != int64(len(made.Manifest)) {
				t.Fatalf("pushed %+v, %v, want %s", done, err, made.Digest())
			}
			back, err := newTarget(t).pull(t.Context(), c, to)
			if err != nil || back.Digest != made.Digest() || back.Image.ID != made.ID() {
				t.Errorf("pulled again: %+v, %v", back, err)
			}
			img, err := s.Get(to.String())
			if err != nil || len(img.RepoDigests) != 2 {
				t.Errorf("digests are %v, %v", img.RepoDigests, err)
			}
			s.checkWhole(t)
		})
	}
}

// Against a real registry: what is there is not sent, what another repository has
// is mounted, and skopeo gets the same bytes.
func TestPushToRealRegistry(t *testing.T) {
	host := realRegistry(t)
	shared, own := bigLayer(t, 2<<20, 1), bigLayer(t, 5000, 2)
	base, app := imagetest.New(t, nil, shared), imagetest.New(t, nil, shared, own)
	s, c := newTarget(t), newClient(t, nil)
	base.Add(t, s.Store, host+"/base:1")
	app.Add(t, s.Store, host+"/team/app:1")
	expect := func(name string, made imagetest.Image, want map[image.Digest]string) {
		t.Helper()
		done, phases, err := s.push(t.Context(), c, imagetest.Ref(t, name))
		if err != nil || done.Digest != made.Digest() {
			t.Fatalf("push %s: %+v, %v", name, done, err)
		}
		if diff := cmp.Diff(want, phases); diff != "" {
			t.Errorf("push %s (-want +got):\n%s", name, diff)
		}
	}
	a, b := image.DigestOf(shared.Blob), image.DigestOf(own.Blob)
	expect(host+"/base:1", base, map[image.Digest]string{a: "Pushed"})
	expect(host+"/base:1", base, map[image.Digest]string{a: "Layer already exists"})
	expect(host+"/team/app:1", app, map[image.Digest]string{a: "Mounted base", b: "Pushed"})
	other := newTarget(t)
	got, err := other.pull(t.Context(), c, imagetest.Ref(t, host+"/team/app:1"))
	if err != nil || got.Digest != app.Digest() {
		t.Errorf("pulled %+v, %v", got, err)
	}
	other.checkWhole(t)
	if skopeo, err := exec.LookPath("skopeo"); err == nil {
		out, err := exec.CommandContext(t.Context(), skopeo, "inspect", "--raw", "--tls-verify=false", "docker://"+host+"/team/app:1").Output()
		if err != nil || image.DigestOf(out) != app.Digest() {
			t.Errorf("skopeo reads %q, %v", out, err)
		}
		dir := t.TempDir()
		if out, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+host+"/team/app:1", "oci:"+dir+":x").CombinedOutput(); err != nil {
			t.Errorf("skopeo copy: %v: %s", err, out)
		}
	}
}

// A repository that forgot a layer, though the store believes it is there, gets it.
func TestPushWhereMountingFails(t *testing.T) {
	host := realRegistry(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	s, c := newTarget(t), newClient(t, nil)
	made.Add(t, s.Store, host+"/never/pushed@"+string(made.Digest()), host+"/app:1")
	done, phases, err := s.push(t.Context(), c, imagetest.Ref(t, host+"/app:1"))
	if err != nil || done.Digest != made.Digest() || phases[image.DigestOf(made.Layers[0].Blob)] != "Pushed" {
		t.Errorf("pushed %+v, %v, %v", done, phases, err)
	}
}

// Layers that came without compression, as from "docker save", are pushed as
// gzip, and the store then has that form alone: the next push sends nothing.
func TestPushCompresses(t *testing.T) {
	h := newHub(t)
	text := strings.Repeat("compressible ", 100_000)
	tar := imagetest.Tar(t, map[string]string{"a": text})
	raw := imagetest.Layer{Tar: tar, Blob: tar, MediaType: image.MediaTypeOCILayer}
	lying := imagetest.Layer{Tar: tar, Blob: imagetest.Gzip(t, tar), MediaType: image.MediaTypeOCILayer}
	small := imagetest.GzipLayer(t, map[string]string{"b": "b"})
	s, c := newTarget(t), newClient(t, nil)
	made := imagetest.New(t, nil, raw, small)
	made.Add(t, s.Store, h.host()+"/app:1", "localname")
	first, _, err := s.push(t.Context(), c, h.ref(t, "app:1"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Outgoing("localname")
	if err != nil || out.Digest != first.Digest || out.Manifest.Layers[0].MediaType != image.MediaTypeOCILayerGzip || out.Manifest.Layers[0].Size > int64(len(tar)/10) {
		t.Fatalf("the store has %+v, %v", out, err)
	}
	if _, err := os.Stat(s.BlobPath(image.DigestOf(tar))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the uncompressed blob is still there: %v", err)
	}
	s.checkWhole(t)
	again, phases, err := s.push(t.Context(), c, h.ref(t, "app:1"))
	if err != nil || again != first || phases[out.Manifest.Layers[0].Digest] != "Layer already exists" {
		t.Errorf("second push: %+v, %v, %v", again, phases, err)
	}
	back, err := newTarget(t).pull(t.Context(), c, h.ref(t, "app:1"))
	if err != nil || back.Image.ID != made.ID() || back.Digest != first.Digest {
		t.Errorf("pulled %+v, %v", back, err)
	}
	other := newTarget(t)
	odd := imagetest.New(t, nil, lying)
	odd.Add(t, other.Store, h.host()+"/odd:1")
	if done, _, err := other.push(t.Context(), c, h.ref(t, "odd:1")); err != nil || done.Digest != odd.Digest() {
		t.Errorf("a layer that is compressed already: %+v, %v", done, err)
	}
}

// Errors for a moment do not end a push.
func TestPushSurvivesTransientFaults(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 300_000, 1), bigLayer(t, 10, 2))
	var mu sync.Mutex
	n := map[string]int{}
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		key := r.Method + r.URL.Query().Get("digest")
		if n[key]++; n[key] > 2 {
			return false
		}
		if r.Method == http.MethodPut && n[key] == 1 {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return true
		}
		answer(w, http.StatusServiceUnavailable, "UNAVAILABLE", "later")
		return true
	})
	s, c := newTarget(t), newClient(t, nil)
	made.Add(t, s.Store, h.host()+"/app:1")
	if done, _, err := s.push(t.Context(), c, h.ref(t, "app:1")); err != nil || done.Digest != made.Digest() {
		t.Fatalf("pushed %+v, %v", done, err)
	}
	h.misbehave(nil)
	if _, err := newTarget(t).pull(t.Context(), c, h.ref(t, "app:1")); err != nil {
		t.Error(err)
	}
}

func TestPushRefusals(t *testing.T) {
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	tests := map[string]struct {
		ref   func(h *hub) string
		fault func(w http.ResponseWriter, r *http.Request) bool
		class error
		says  string
	}{
		"not in the store": {func(h *hub) string { return h.host() + "/app:2" }, nil, spec.ErrNotFound, "no such image"},
		"digest":           {func(h *hub) string { return h.host() + "/app@" + string(made.Digest()) }, nil, spec.ErrInvalid, "not by a digest"},
		"nobody listens":   {func(*hub) string { return "127.0.0.1:1/app:1" }, nil, spec.ErrUnavail, "cannot be reached"},
		"denied":           {nil, func(w http.ResponseWriter, r *http.Request) bool { return deny(w, r, http.StatusForbidden, "DENIED") }, spec.ErrDenied, "push access denied"},
		"read-only": {nil, func(w http.ResponseWriter, r *http.Request) bool {
			return deny(w, r, http.StatusMethodNotAllowed, "UNSUPPORTED")
		}, spec.ErrDenied, "read-only"},
		"repository unknown": {nil, func(w http.ResponseWriter, r *http.Request) bool {
			return deny(w, r, http.StatusNotFound, "NAME_UNKNOWN")
		}, spec.ErrNotFound, "takes no push"},
		"another digest is confirmed": {nil, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Docker-Content-Digest", string(made.ID()))
			w.WriteHeader(http.StatusCreated)
			return true
		}, spec.ErrInvalid, "manifest that the registry has stored"},
		"upload to no address": {nil, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusAccepted)
			return true
		}, spec.ErrInvalid, "not an HTTP address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.misbehave(tt.fault)
			s := newTarget(t)
			ref := h.host() + "/app:1"
			made.Add(t, s.Store, ref, "127.0.0.1:1/app:1")
			if tt.ref != nil {
				ref = tt.ref(h)
			}
			_, _, err := s.push(t.Context(), newClient(t, nil), imagetest.Ref(t, ref))
			if !errors.Is(err, tt.class) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("push: %v", err)
			}
			if img, err := s.Get(string(made.ID())); err != nil || len(img.RepoDigests) > 0 {
				t.Errorf("after the failure the store has %v, %v", img.RepoDigests, err)
			}
		})
	}
}

// deny answers everything that writes.
func deny(w http.ResponseWriter, r *http.Request, status int, code string) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	answer(w, status, code, "no")
	return true
}

func TestPushOfDamagedBlob(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	s := newTarget(t)
	made.Add(t, s.Store, h.host()+"/app:1")
	d := image.DigestOf(made.Layers[0].Blob)
	data := append([]byte{}, made.Layers[0].Blob...)
	data[len(data)/2] ^= 1
	if err := os.WriteFile(filepath.Join(s.root, "images/blobs/sha256", d.Hex()), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.push(t.Context(), newClient(t, nil), h.ref(t, "app:1")); err == nil || !strings.Contains(err.Error(), "is damaged or forged") {
		t.Errorf("push: %v", err)
	}
}

// CVE-2020-15157 in the other direction: where a registry sends an upload gets
// the blob, and no credentials; never in plain HTTP beyond loopback.
func TestCVE202015157UploadsCarryNoCredentialsElsewhere(t *testing.T) {
	made := imagetest.New(t, nil, bigLayer(t, 5000, 1))
	for _, scheme := range []string{"Basic", "Bearer"} {
		for _, how := range []string{"location", "redirect", "challenge"} {
			t.Run(scheme+" "+how, func(t *testing.T) {
				h := newHub(t)
				guard(h, scheme)
				base, auths := stranger(t, func(w http.ResponseWriter, r *http.Request) {
					if how == "challenge" {
						w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					w.WriteHeader(http.StatusCreated)
				})
				sendElsewhere(h, how, base)
				s := newTarget(t)
				made.Add(t, s.Store, h.host()+"/app:1")
				c := newClientWith(t, registry.Options{ConfigDir: configWith(t, h.host(), "user", "secret")})
				_, _, err := s.push(t.Context(), c, h.ref(t, "app:1"))
				if (err == nil) == (how == "challenge") {
					t.Errorf("push: %v", err)
				}
				if len(auths()) == 0 {
					t.Error("the other host was not asked: nothing is tested")
				}
				for _, a := range auths() {
					if a != "" {
						t.Errorf("the other host was sent %q", a)
					}
				}
			})
		}
	}
	t.Run("no plain HTTP elsewhere", func(t *testing.T) {
		h := newHub(t)
		sendElsewhere(h, "location", "http://198.51.100.1")
		s := newTarget(t)
		made.Add(t, s.Store, h.host()+"/app:1")
		_, _, err := s.push(t.Context(), newClient(t, nil), h.ref(t, "app:1"))
		if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "plain HTTP to 198.51.100.1 is not allowed") {
			t.Errorf("push: %v", err)
		}
	})
}

// sendElsewhere makes the hub direct uploads to another host.
func sendElsewhere(h *hub, how, base string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.fault
	h.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if before != nil && before(w, r) {
			return true
		}
		if r.Method == http.MethodHead { // let it be believed that nothing is there
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		switch {
		case how != "redirect" && r.Method == http.MethodPost:
			w.Header().Set("Location", base+"/upload")
			w.WriteHeader(http.StatusAccepted)
		case how == "redirect" && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, base+"/upload", http.StatusTemporaryRedirect)
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	}
}

// A token that runs out in the middle of an upload is renewed, and the blob sent
// again.
func TestPushRenewsItsToken(t *testing.T) {
	h := newHub(t)
	guard(h, "Bearer")
	made := imagetest.New(t, nil, bigLayer(t, 3<<20, 1))
	h.mu.Lock()
	before, expired := h.fault, 0
	h.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.ContentLength > 1<<20 && expired == 0 {
			expired++
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			r.Header.Set("Authorization", "Bearer expired")
		}
		return before(w, r)
	}
	h.mu.Unlock()
	s := newTarget(t)
	made.Add(t, s.Store, h.host()+"/app:1")
	c := newClientWith(t, registry.Options{ConfigDir: configWith(t, h.host(), "user", "secret")})
	if done, _, err := s.push(t.Context(), c, h.ref(t, "app:1")); err != nil || done.Digest != made.Digest() || expired != 1 {
		t.Errorf("pushed %+v, %v; expired %d times", done, err, expired)
	}
}

// What has no credentials is told where to get them.
func TestPushWithoutCredentials(t *testing.T) {
	for _, scheme := range []string{"Basic", "Bearer"} {
		h := newHub(t)
		guard(h, scheme)
		s := newTarget(t)
		imagetest.New(t, nil, bigLayer(t, 1000, 1)).Add(t, s.Store, h.host()+"/app:1")
		_, _, err := s.push(t.Context(), newClient(t, nil), h.ref(t, "app:1"))
		if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "cleat login") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}
