package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

func TestSearch(t *testing.T) {
	var asked []string
	answer := `{"num_results":2,"results":[{"name":"nginx","description":"Official\nbuild \u001b[31m","star_count":20000,"is_official":true},{"name":"a/b"}]}`
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+"?"+r.URL.RawQuery+" "+r.Header.Get("Authorization"))
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	c := newClientWith(t, registry.Options{ConfigDir: configWith(t, host, "user", "secret"), Attempts: 1})
	got, err := c.Search(t.Context(), "web server", registry.SearchOptions{Server: server.URL, Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := []registry.SearchResult{{Name: "nginx", Description: "Official build  [31m", StarCount: 20000, IsOfficial: true}, {Name: "a/b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, term := range []string{host + "/x/y", "docker.io/x"} {
		if got, err := c.Search(t.Context(), term, registry.SearchOptions{Server: server.URL, Limit: 1}); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", term, got, err)
		}
	}
	if diff := cmp.Diff([]string{"/v1/search?n=2&q=web+server ", "/v1/search?n=1&q=x%2Fy ", "/v1/search?n=1&q=x "}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	tests := map[string]struct {
		term   string
		limit  int
		status int
		answer string
		class  error
		says   string
	}{
		"no words":        {"", 0, 200, answer, spec.ErrInvalid, "want words"},
		"only a registry": {host + "/", 0, 200, answer, spec.ErrInvalid, "want words"},
		"limit too high":  {"x", 101, 200, answer, spec.ErrInvalid, "outside the range of [1, 100]"},
		"limit too low":   {"x", -1, 200, answer, spec.ErrInvalid, "outside the range"},
		"no search there": {"x", 0, 404, "page not found", spec.ErrUnsupport, "cannot be searched"},
		"server fails":    {"x", 0, 500, "", spec.ErrUnavail, "answers 500"},
		"no JSON":         {"x", 0, 200, "<html>", spec.ErrInvalid, "decode answer"},
		"endless":         {"x", 0, 200, strings.Repeat(" ", 5<<20), spec.ErrInvalid, "larger than"},
		"nobody there":    {"127.0.0.1:1/x", 0, 200, answer, spec.ErrUnavail, "cannot be reached"},
	}
	for name, tt := range tests {
		status, answer = tt.status, tt.answer
		_, err := c.Search(t.Context(), tt.term, registry.SearchOptions{Server: server.URL, Limit: tt.limit})
		if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Search(t.Context(), "x", registry.SearchOptions{Server: "http://198.51.100.1"}); !errors.Is(err, spec.ErrDenied) {
		t.Errorf("plain HTTP elsewhere: %v", err)
	}
}

func TestFetch(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			fmt.Fprint(w, "content", r.Header.Get("Authorization"))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "short")
		case "/away":
			http.Redirect(w, r, "http://198.51.100.1/file", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	c := newClientWith(t, registry.Options{ConfigDir: configWith(t, strings.TrimPrefix(server.URL, "http://"), "user", "secret")})
	get := func(address string) (string, error) {
		r, err := c.Fetch(t.Context(), address)
		if err != nil {
			return "", err
		}
		data, err := io.ReadAll(r)
		return string(data), errors.Join(err, r.Close())
	}
	if got, err := get(server.URL + "/file"); err != nil || got != "content" {
		t.Errorf("fetched %q, %v", got, err)
	}
	for address, class := range map[string]error{
		server.URL + "/cut": io.ErrUnexpectedEOF, server.URL + "/nosuch": spec.ErrNotFound, server.URL + "/away": spec.ErrDenied,
		"http://127.0.0.1:1/x": spec.ErrUnavail, "http://198.51.100.1/x": spec.ErrDenied, "file:///etc/passwd": spec.ErrInvalid, "https://": spec.ErrInvalid,
	} {
		if _, err := get(address); !errors.Is(err, class) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestManifest(t *testing.T) {
	h := newHub(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	push(t, h.URL, "app", "one", made)
	attestation := imagetest.JSON(t, map[string]any{"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest,
		"config": map[string]any{"mediaType": image.MediaTypeOCIConfig, "digest": made.ID(), "size": len(made.Config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.in-toto+json", "digest": made.ID(), "size": len(made.Config)}}})
	pushManifest(t, h.URL, "app", string(image.DigestOf(attestation)), image.MediaTypeOCIManifest, attestation)
	platform := image.Platform{}.OrDefault()
	index := imagetest.JSON(t, image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIIndex, Manifests: []image.Descriptor{
		{MediaType: image.MediaTypeOCIManifest, Digest: made.Digest(), Size: int64(len(made.Manifest)), Platform: &platform},
		{MediaType: image.MediaTypeOCIManifest, Digest: image.DigestOf(attestation), Size: int64(len(attestation)), Platform: &image.Platform{OS: "unknown", Architecture: "unknown"}},
	}})
	pushManifest(t, h.URL, "app", "many", image.MediaTypeOCIIndex, index)
	c := newClient(t, nil)
	many, err := c.Manifest(t.Context(), h.ref(t, "app:many"), registry.ManifestOptions{Parts: true})
	if err != nil || many.Descriptor.Digest != image.DigestOf(index) || len(many.Parts) != 2 || string(many.Parts[1].Raw) != string(attestation) || many.Parts[0].Descriptor.Platform.Architecture != platform.Architecture {
		t.Errorf("index: %+v, %v", many, err)
	}
	h.misbehave(nil)
	one, err := c.Manifest(t.Context(), h.ref(t, "app:one"), registry.ManifestOptions{})
	if err != nil || string(one.Raw) != string(made.Manifest) || one.Descriptor.Platform != nil || h.count("/blobs/") > 0 {
		t.Errorf("manifest: %+v, %v", one, err)
	}
	one, err = c.Manifest(t.Context(), h.ref(t, "app@"+string(made.Digest())), registry.ManifestOptions{Parts: true})
	if err != nil || one.Descriptor.Platform == nil || *one.Descriptor.Platform != platform {
		t.Errorf("manifest with its platform: %+v, %v", one, err)
	}
	if _, err := c.Manifest(t.Context(), h.ref(t, "app:nosuch"), registry.ManifestOptions{}); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("unknown tag: %v", err)
	}
}

func TestTags(t *testing.T) {
	h := newHub(t)
	serve := func(link func(r *http.Request) string, body string) {
		h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/v2/team/app/tags/list") {
				return false
			}
			if l := link(r); l != "" {
				w.Header().Set("Link", l)
			}
			fmt.Fprint(w, strings.ReplaceAll(body, "LAST", "v"+r.URL.Query().Get("last")))
			return true
		})
	}
	next := func(r *http.Request) string {
		if r.URL.Query().Get("last") == "" {
			return `<http://198.51.100.1/elsewhere?last=2&n=1>; rel="next"`
		}
		return ""
	}
	serve(next, `{"name":"team/app","tags":["LAST","sha256-`+strings.Repeat("a", 64)+`.sig"]}`)
	got, err := newClient(t, nil).Tags(t.Context(), h.ref(t, "team/app"))
	if err != nil || len(got) != 2 || got[0].Tag() != "v" || got[1].Tag() != "v2" || got[1].Repository() != h.ref(t, "team/app").Repository() {
		t.Errorf("tags are %v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		link func(*http.Request) string
		body string
	}{
		"endless":  {func(*http.Request) string { return "</x?last=1>" }, `{"tags":[]}`},
		"no JSON":  {next, "<html>"},
		"bad tag":  {next, `{"tags":["../x"]}`},
		"bad link": {func(*http.Request) string { return "nothing" }, `{"tags":[]}`},
	} {
		serve(tt.link, tt.body)
		if _, err := newClient(t, nil).Tags(t.Context(), h.ref(t, "team/app")); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
