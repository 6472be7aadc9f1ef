package registry_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// serveManifest lets h answer every request for a manifest with data.
func serveManifest(h *hub, mediaType string, data []byte) {
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(data)
			return true
		}
		return false
	})
}

// edit changes the JSON of a manifest.
func edit(t *testing.T, manifest []byte, change func(m map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	return imagetest.JSON(t, m)
}

func firstLayer(m map[string]any) map[string]any { return m["layers"].([]any)[0].(map[string]any) }

// CVE-2024-3727: digests that are paths, too short, or upper case never become
// file names, wherever they stand.
func TestCVE20243727DigestsAreChecked(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	push(t, h.URL, "app", "latest", made)
	sum := image.DigestOf(made.Layers[0].Blob)
	for name, bad := range map[string]string{
		"path": "sha256:../../../../../../etc/passwd", "short": "sha256:abcdef", "upper case": "sha256:" + strings.ToUpper(sum.Hex()),
		"no algorithm": sum.Hex(), "other algorithm": "md5:d41d8cd98f00b204e9800998ecf8427e", "empty": "", "slash": "sha256:" + sum.Hex()[:62] + "/a",
	} {
		t.Run(name, func(t *testing.T) {
			for place, change := range map[string]func(m map[string]any){
				"layer":  func(m map[string]any) { firstLayer(m)["digest"] = bad },
				"config": func(m map[string]any) { m["config"].(map[string]any)["digest"] = bad },
				"index": func(m map[string]any) {
					m["manifests"] = []any{map[string]any{"digest": bad, "size": 1, "platform": image.Platform{}.OrDefault()}}
					m["mediaType"] = image.MediaTypeOCIIndex
					delete(m, "layers")
					delete(m, "config")
				},
			} {
				serveManifest(h, "", edit(t, made.Manifest, change))
				s := newTarget(t)
				if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app")); !errors.Is(err, spec.ErrInvalid) {
					t.Errorf("%s: pull: %v", place, err)
				}
				s.checkNothingVisible(t)
			}
			config := edit(t, made.Config, func(m map[string]any) { m["rootfs"].(map[string]any)["diff_ids"] = []string{bad} })
			pushBlob(t, h.URL, "app", image.DigestOf(config), config)
			serveManifest(h, "", edit(t, made.Manifest, func(m map[string]any) {
				m["config"] = map[string]any{"mediaType": image.MediaTypeOCIConfig, "digest": image.DigestOf(config), "size": len(config)}
			}))
			s := newTarget(t)
			if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app")); !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("diff id: pull: %v", err)
			}
			s.checkNothingVisible(t)
		})
	}
}

// CVE-2021-41190: what can be read as an index and as a manifest is neither, and
// the media type has to agree with the content.
func TestCVE202141190AmbiguousManifests(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	push(t, h.URL, "app", "latest", made)
	entry := []any{map[string]any{"mediaType": image.MediaTypeOCIManifest, "digest": made.Digest(), "size": len(made.Manifest), "platform": image.Platform{}.OrDefault()}}
	tests := map[string]struct {
		change      func(m map[string]any)
		contentType string
		class       error
	}{
		"layers and manifests":             {func(m map[string]any) { m["manifests"] = entry }, "", spec.ErrInvalid},
		"the same in other case":           {func(m map[string]any) { m["Manifests"] = entry }, "", spec.ErrInvalid},
		"the same, without media type":     {func(m map[string]any) { m["manifests"] = entry; delete(m, "mediaType") }, image.MediaTypeOCIManifest, spec.ErrInvalid},
		"manifest sent as index":           {func(map[string]any) {}, image.MediaTypeOCIIndex, spec.ErrInvalid},
		"manifest that calls itself index": {func(m map[string]any) { m["mediaType"] = image.MediaTypeOCIIndex }, "", spec.ErrInvalid},
		"docker sent as OCI":               {func(m map[string]any) { m["mediaType"] = image.MediaTypeDockerManifest }, image.MediaTypeOCIManifest, spec.ErrInvalid},
		"neither":                          {func(m map[string]any) { delete(m, "layers"); delete(m, "config") }, "", spec.ErrInvalid},
		"schema 1":                         {func(m map[string]any) { m["schemaVersion"] = 1; m["fsLayers"] = []any{} }, "", spec.ErrUnsupport},
		"unknown media type":               {func(m map[string]any) { m["mediaType"] = "text/html" }, "", spec.ErrUnsupport},
		"not an image": {func(m map[string]any) {
			m["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
		}, "", spec.ErrUnsupport},
		"negative size":      {func(m map[string]any) { firstLayer(m)["size"] = -1 }, "", spec.ErrInvalid},
		"one layer too many": {func(m map[string]any) { m["layers"] = append(m["layers"].([]any), firstLayer(m)) }, "", spec.ErrInvalid},
		"no layers":          {func(m map[string]any) { m["layers"] = []any{} }, "", spec.ErrInvalid},
		"huge config":        {func(m map[string]any) { m["config"].(map[string]any)["size"] = 1 << 40 }, "", spec.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			serveManifest(h, tt.contentType, edit(t, made.Manifest, tt.change))
			s := newTarget(t)
			if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app")); !errors.Is(err, tt.class) {
				t.Errorf("pull: %v, want %v", err, tt.class)
			}
			s.checkNothingVisible(t)
		})
	}
}

func TestHugeManifestIsNotRead(t *testing.T) {
	h := newHub(t)
	serveManifest(h, image.MediaTypeOCIManifest, []byte(strings.Repeat(" ", image.MaxManifestBytes+1)))
	s := newTarget(t)
	_, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app"))
	if !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("pull: %v", err)
	}
}

// Content that is not what its digest says never becomes visible.
func TestForgedContentIsRefused(t *testing.T) {
	h := newHub(t)
	good := bigLayer(t, 200_000, 1)
	made := imagetest.New(t, nil, good, bigLayer(t, 10, 2))
	push(t, h.URL, "app", "latest", made)
	other := bigLayer(t, 200_000, 3)
	replace := func(d image.Digest, data []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, d.Hex()) {
				_, _ = w.Write(data)
				return true
			}
			return false
		}
	}
	blob := image.DigestOf(good.Blob)
	flipped := append([]byte{}, good.Blob...)
	flipped[len(flipped)/2] ^= 1
	tests := map[string]func(http.ResponseWriter, *http.Request) bool{
		"other layer":   replace(blob, other.Blob),
		"one bit":       replace(blob, flipped),
		"one byte more": replace(blob, append(append([]byte{}, good.Blob...), 0)),
		"recompressed":  replace(blob, imagetest.Zstd(t, good.Tar)),
		"configuration": replace(made.ID(), []byte(strings.Replace(string(made.Config), "step", "stop", 1))),
		"manifest header": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Docker-Content-Digest", string(blob))
			_, _ = w.Write(made.Manifest)
			return true
		},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			h.misbehave(fault)
			s := newTarget(t)
			_, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app"))
			if !errors.Is(err, spec.ErrInvalid) && !strings.Contains(err.Error(), "gzip") && !strings.Contains(err.Error(), "flate") {
				t.Errorf("pull: %v", err)
			}
			s.checkNothingVisible(t)
			h.misbehave(nil)
			if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app")); err != nil {
				t.Errorf("pull after the registry was mended: %v", err)
			}
			s.checkWhole(t)
		})
	}
	t.Run("manifest asked for by digest", func(t *testing.T) {
		serveManifest(h, "", append(made.Manifest, '\n'))
		s := newTarget(t)
		_, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "app@"+string(made.Digest())))
		if _, ok := errors.AsType[*image.Mismatch](err); !ok {
			t.Errorf("pull: %v", err)
		}
	})
	t.Run("diff id", func(t *testing.T) {
		lying := imagetest.New(t, func(c *image.ConfigFile) { c.RootFS.DiffIDs[0] = image.DigestOf(other.Tar) }, good)
		h.misbehave(nil)
		push(t, h.URL, "lying", "latest", lying)
		s := newTarget(t)
		_, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "lying"))
		if _, ok := errors.AsType[*image.Mismatch](err); !ok {
			t.Errorf("pull: %v", err)
		}
		s.checkNothingVisible(t)
		push(t, h.URL, "honest", "latest", imagetest.New(t, nil, other))
		if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "honest")); err != nil {
			t.Fatal(err)
		}
		// Now the claimed layer is in the store, and the blob still is not it.
		if _, err := s.pull(t.Context(), newClient(t, nil), h.ref(t, "lying")); err == nil {
			t.Error("a blob was taken for a layer that it is not")
		}
	})
}

// stranger is another host: auths returns what it has been sent so far.
func stranger(t *testing.T, handler http.HandlerFunc) (base string, auths func() []string) {
	t.Helper()
	var mu sync.Mutex
	var sent []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		sent = append(sent, r.Header.Get("Authorization"))
		mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "127.0.0.1", "localhost", 1), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(sent)
	}
}

// CVE-2020-15157: credentials stay with the registry that they are for.
func TestCVE202015157CredentialsStayHome(t *testing.T) {
	l := bigLayer(t, 5000, 1)
	made := imagetest.New(t, nil, l)
	setup := func(t *testing.T, scheme string) (*hub, *registry.Client) {
		h := newHub(t)
		push(t, h.URL, "app", "latest", made)
		guard(h, scheme)
		return h, newClientWith(t, registry.Options{ConfigDir: configWith(t, h.host(), "user", "secret")})
	}
	for _, scheme := range []string{"Basic", "Bearer"} {
		t.Run("redirect drops them, "+scheme, func(t *testing.T) {
			h, c := setup(t, scheme)
			base, auths := stranger(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(l.Blob) })
			redirectLayers(h, l, base)
			s := newTarget(t)
			if _, err := s.pull(t.Context(), c, h.ref(t, "app")); err != nil {
				t.Fatal(err)
			}
			if len(auths()) != 1 || auths()[0] != "" {
				t.Errorf("the other host was sent %q", auths())
			}
			s.checkWhole(t)
		})
		t.Run("a challenge of another host gets none, "+scheme, func(t *testing.T) {
			h, c := setup(t, scheme)
			var base string
			var auths func() []string
			base, auths = stranger(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "token") {
					_, _ = w.Write([]byte(`{"token":"any"}`))
					return
				}
				w.Header().Add("WWW-Authenticate", `Basic realm="give"`)
				w.Header().Add("WWW-Authenticate", `Bearer realm="`+base+`/token",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
			redirectLayers(h, l, base)
			s := newTarget(t)
			if _, err := s.pull(t.Context(), c, h.ref(t, "app")); err == nil {
				t.Error("pull succeeded")
			}
			for _, a := range auths() {
				if strings.HasPrefix(a, "Basic") || strings.Contains(a, "good-token") {
					t.Errorf("the other host was sent %q", auths())
				}
			}
			s.checkNothingVisible(t)
		})
	}
	t.Run("foreign layers are not fetched", func(t *testing.T) {
		base, auths := stranger(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
		h, c := setup(t, "Basic")
		for _, change := range []func(map[string]any){
			func(l map[string]any) { l["urls"] = []string{base + "/layer"} },
			func(l map[string]any) { l["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" },
			func(l map[string]any) {
				l["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
			},
		} {
			serveManifest(h, "", edit(t, made.Manifest, func(m map[string]any) { change(firstLayer(m)) }))
			s := newTarget(t)
			_, err := s.pull(t.Context(), c, h.ref(t, "app"))
			if !errors.Is(err, spec.ErrUnsupport) || !strings.Contains(err.Error(), "foreign layer") || len(auths()) > 0 {
				t.Errorf("pull: %v, requests to the other host: %q", err, auths())
			}
		}
	})
	t.Run("no redirect to plain HTTP elsewhere", func(t *testing.T) {
		h, c := setup(t, "Basic")
		redirectLayers(h, l, "http://198.51.100.1")
		s := newTarget(t)
		_, err := s.pull(t.Context(), c, h.ref(t, "app"))
		if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "plain HTTP to 198.51.100.1 is not allowed") {
			t.Errorf("pull: %v", err)
		}
	})
}

// redirectLayers sends requests for the layer to another host.
func redirectLayers(h *hub, l imagetest.Layer, base string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.fault
	h.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if before != nil && before(w, r) {
			return true
		}
		if strings.HasSuffix(r.URL.Path, image.DigestOf(l.Blob).Hex()) {
			http.Redirect(w, r, base+"/layer", http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
}

// Plain HTTP is for loopback and configured hosts, also where a library tries it
// by itself, as for private addresses.
func TestPlainHTTPIsRefused(t *testing.T) {
	c := newClient(t, map[string]registry.Host{"listed:5000": {PlainHTTP: true}})
	for host, refused := range map[string]bool{"10.0.0.1:5000": true, "registry.example": true, "x.localhost:1": true, "listed": true, "listed:5000": false, "127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false} {
		ctx := t.Context()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !refused {
			continue // shown by pulls from loopback; a request to the others would leave the machine
		}
		resp, err := c.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "plain_http") {
			t.Errorf("%s: %v", host, err)
		}
	}
}
