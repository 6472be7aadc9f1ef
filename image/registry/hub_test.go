package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// hub is an in-memory registry that can be made to misbehave.
type hub struct {
	*httptest.Server
	inner http.Handler

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	log   []string                                          // method, path and range of each request
	auths []string                                          // Authorization of each request, "" without
}

func newHub(tb testing.TB) *hub {
	tb.Helper()
	h := &hub{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	h.Server = httptest.NewServer(h)
	tb.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	fault := h.fault
	h.log = append(h.log, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	h.auths = append(h.auths, r.Header.Get("Authorization"))
	h.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	h.inner.ServeHTTP(w, r)
}

// misbehave lets fault see every request from now on, and forgets those before.
func (h *hub) misbehave(fault func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault, h.log, h.auths = fault, nil, nil
}

// count returns how many requests contained all parts.
func (h *hub) count(parts ...string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.log {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}

func (h *hub) host() string { return strings.TrimPrefix(h.URL, "http://") }

// ref returns a reference to a repository of the hub.
func (h *hub) ref(tb testing.TB, name string) image.Reference {
	return imagetest.Ref(tb, h.host()+"/"+name)
}

func put(tb testing.TB, method, url, mediaType string, body []byte) string {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		msg, _ := io.ReadAll(resp.Body)
		tb.Fatalf("%s %s: %s %s", method, url, resp.Status, msg)
	}
	return resp.Header.Get("Location")
}

// push uploads an image to a registry by the plain protocol.
func push(tb testing.TB, base, repository, tag string, img imagetest.Image) {
	tb.Helper()
	for d, data := range img.Blobs() {
		pushBlob(tb, base, repository, d, data)
	}
	pushManifest(tb, base, repository, tag, image.MediaTypeOCIManifest, img.Manifest)
}

func pushBlob(tb testing.TB, base, repository string, d image.Digest, data []byte) {
	tb.Helper()
	to := put(tb, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", "", nil)
	u, err := url.Parse(to)
	if err != nil {
		tb.Fatal(err)
	}
	if u.Host == "" {
		to = base + to
	}
	sep := "?"
	if u.RawQuery != "" {
		sep = "&"
	}
	put(tb, http.MethodPut, to+sep+"digest="+string(d), "application/octet-stream", data)
}

func pushManifest(tb testing.TB, base, repository, tag, mediaType string, data []byte) {
	tb.Helper()
	put(tb, http.MethodPut, base+"/v2/"+repository+"/manifests/"+tag, mediaType, data)
}

// random returns incompressible text.
func random(n int, seed uint64) string {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(data)
	return string(data)
}

// bigLayer makes a gzip layer of about n bytes.
func bigLayer(tb testing.TB, n int, seed uint64) imagetest.Layer {
	tb.Helper()
	return imagetest.GzipLayer(tb, map[string]string{"dir/big": random(n, seed), "small": "x"})
}

// newClient returns a client that knows no credentials and waits briefly.
func newClient(tb testing.TB, hosts map[string]registry.Host) *registry.Client {
	tb.Helper()
	return newClientWith(tb, registry.Options{Hosts: hosts, ConfigDir: tb.TempDir()})
}

func newClientWith(tb testing.TB, opt registry.Options) *registry.Client {
	tb.Helper()
	opt.CertDir = tb.TempDir()
	opt.RetryWait = time.Millisecond
	c := registry.New(opt)
	tb.Cleanup(c.Close)
	return c
}

// target is a store to pull into.
type target struct {
	*image.Store
	root string
}

func newTarget(tb testing.TB) target {
	tb.Helper()
	root := tb.TempDir()
	return target{image.New(root, image.Options{}), root}
}

func (t target) pull(ctx context.Context, c *registry.Client, ref image.Reference) (registry.Pulled, error) {
	return c.Pull(ctx, t.Store, ref, registry.PullOptions{Unpack: imagetest.Unpack})
}

// checkWhole fails unless every listed image is complete and right.
func (t target) checkWhole(tb testing.TB) {
	tb.Helper()
	imagetest.CheckWhole(tb, t.Store, func(path, _ string) (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		tb.Cleanup(func() { _ = f.Close() })
		r, _, err := compress.NewReader(f)
		return r, err
	})
}

// checkNothingVisible fails if an image is listed or a half-made thing is left.
func (t target) checkNothingVisible(tb testing.TB) {
	tb.Helper()
	list, err := t.List()
	if err != nil || len(list) > 0 {
		tb.Errorf("listed are %v, %v", list, err)
	}
	for _, pattern := range []string{"layers/.tmp-*", "images/staging/.tmp-*", "images/blobs/sha256/*", "layers/[0-9a-f]*"} {
		if left, _ := filepath.Glob(filepath.Join(t.root, pattern)); len(left) > 0 {
			tb.Errorf("left behind: %q", left)
		}
	}
}

// configWith writes a config.json with one password and returns its directory.
func configWith(tb testing.TB, host, user, password string) string {
	tb.Helper()
	dir := tb.TempDir()
	data := imagetest.JSON(tb, map[string]any{"auths": map[string]any{host: map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
	}}})
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// answer writes a registry's error.
func answer(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}})
}

// cutWriter closes the connection after some bytes of the body, or only sends
// nothing any more until silent is closed.
type cutWriter struct {
	http.ResponseWriter
	left   int
	silent <-chan struct{}
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left])
	if w.silent != nil {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		<-w.silent
		return 0, errors.New("silent")
	}
	conn, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return 0, err
	}
	_ = buf.Flush()
	_ = conn.Close()
	return 0, errors.New("cut off")
}

func isBlob(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}

func isNotFound(err error) bool { return errors.Is(err, spec.ErrNotFound) }
