package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

func TestPathsFindTheirRoutes(t *testing.T) {
	tests := map[string]struct {
		want string
		vars map[string]string
		code int
	}{
		"GET /containers/json":              {want: "/containers/json", vars: map[string]string{}},
		"GET /containers/web/json":          {want: "/containers/{id}/json", vars: map[string]string{"id": "web"}},
		"GET /images/json":                  {want: "/images/json", vars: map[string]string{}},
		"GET /images/json/json":             {want: "/images/{name...}/json", vars: map[string]string{"name": "json"}},
		"GET /images/a.b:5/c/d:e/json":      {want: "/images/{name...}/json", vars: map[string]string{"name": "a.b:5/c/d:e"}},
		"DELETE /images/a/b":                {want: "/images/{name...}", vars: map[string]string{"name": "a/b"}},
		"POST /images/x/../y/push":          {want: "/images/{name...}/push", vars: map[string]string{"name": "x/../y"}},
		"GET /volumes":                      {want: "/volumes", vars: map[string]string{}},
		"GET /volumes/":                     {want: "/volumes", vars: map[string]string{}},
		"POST /swarm/init":                  {want: "/swarm/{rest...}", vars: map[string]string{"rest": "init"}},
		"GET /containers/../json":           {want: "/containers/{id}/json", vars: map[string]string{"id": ".."}},
		"GET /":                             {code: 404},
		"GET /nothing":                      {code: 404},
		"GET /containers//json":             {code: 404},
		"GET /images//json":                 {code: 405},
		"PUT /containers/json":              {code: 405},
		"GET /containers/a/b/json":          {code: 404},
		"GET /containers/web/archive/extra": {code: 404},
	}
	for in, tt := range tests {
		method, path, _ := strings.Cut(in, " ")
		row, vars, err := find(method, path)
		if tt.code != 0 {
			if err == nil || status(err) != tt.code {
				t.Errorf("%s: %v, want status %d", in, err, tt.code)
			}
			continue
		}
		if err != nil || row.path != tt.want || !cmp.Equal(tt.vars, vars) {
			t.Errorf("%s: %s %v %v, want %s %v", in, row.path, vars, err, tt.want, tt.vars)
		}
	}
}

func TestVersions(t *testing.T) {
	tests := map[string]struct {
		version version
		path    string
		err     string
	}{
		"/_ping":        {version: newest, path: "/_ping"},
		"/v1.24/_ping":  {version: 24, path: "/_ping"},
		"/v1.44/a/b":    {version: 44, path: "/a/b"},
		"/volumes":      {version: newest, path: "/volumes"},
		"/volumes/v1.2": {version: newest, path: "/volumes/v1.2"},
		"/v1.23/_ping":  {err: "too old"},
		"/v0.9/_ping":   {err: "too old"},
		"/v1.57/_ping":  {err: "too new"},
		"/v2.0/_ping":   {err: "too new"},
		"/v1.44":        {version: 44, path: "/"},
	}
	for in, tt := range tests {
		v, path, err := splitVersion(in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || status(err) != http.StatusBadRequest {
				t.Errorf("%s: error is %v, want one with %q", in, err, tt.err)
			}
			continue
		}
		if err != nil || v != tt.version || path != tt.path {
			t.Errorf("%s: %v %s %v, want %v %s", in, v, path, err, tt.version, tt.path)
		}
	}
}

// fake answers what a test wants; the rest of the engine is not there.
type fake struct {
	backend
	get     func(ref string) (engine.Container, error)
	created *engine.CreateOptions
}

func (f *fake) Get(_ context.Context, ref string) (engine.Container, error) { return f.get(ref) }

func (f *fake) Create(_ context.Context, opt engine.CreateOptions) (engine.Container, error) {
	f.created = &opt
	opt.Warn("careful")
	return engine.Container{Container: spec.Container{ID: "1234"}}, nil
}

func (f *fake) Start(context.Context, string) error { return nil }

func (f *fake) Image(_ context.Context, ref string) (engine.Image, error) {
	return engine.Image{}, spec.ErrNotFound
}

// ask makes a request and returns the answer.
func ask(t *testing.T, b backend, method, target, contentType, body string) (code int, answer string) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	newServer(b, Options{}).ServeHTTP(w, r)
	out, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, strings.TrimSpace(string(out))
}

func TestAnswers(t *testing.T) {
	state := engine.StatusCreated
	b := &fake{get: func(ref string) (engine.Container, error) {
		if ref == "missing" {
			return engine.Container{}, engineError("no such container: missing", spec.ErrNotFound)
		}
		return engine.Container{Container: spec.Container{ID: "1234", Name: ref}, Status: state}, nil
	}}
	expect := func(code int, answer, method, target, contentType, body string) {
		t.Helper()
		gotCode, got := ask(t, b, method, target, contentType, body)
		if gotCode != code || !strings.Contains(got, answer) {
			t.Errorf("%s %s %s: %d %s, want %d %s", method, target, body, gotCode, got, code, answer)
		}
	}
	const js = "application/json"
	expect(200, "OK", "GET", "/_ping", "", "")
	expect(200, "", "HEAD", "/v1.24/_ping", "", "")
	expect(204, "", "POST", "/v1.44/containers/web/start", "", "")
	expect(404, `{"message":"No such container: missing"}`, "POST", "/v1.44/containers/missing/start", "", "")
	expect(304, "", "POST", "/containers/web/stop", "", "")
	expect(400, `not a number of seconds`, "POST", "/containers/web/stop?t=soon", "", "")
	expect(503, "not a swarm manager", "GET", "/v1.44/nodes", "", "")
	expect(501, "cleat-build is not there", "POST", "/build", "", "")
	expect(404, "page not found", "GET", "/nothing", "", "")
	expect(201, `{"Id":"1234","Warnings":["careful"]}`, "POST", "/containers/create?name=x", js, `{"Image":"busybox"}`)
	expect(400, "invalid JSON", "POST", "/containers/create", js, `{"Image":`)
	expect(400, "Image cannot be a number", "POST", "/containers/create", js, `{"Image":5}`)
	expect(400, "unexpected content after JSON", "POST", "/containers/create", js, `{"Image":"x"}{}`)
	expect(400, "config cannot be empty", "POST", "/containers/create", js, `{}`)
	expect(400, "must be 'application/json'", "POST", "/containers/create", "text/plain", `{"Image":"x"}`)
	expect(413, "too large", "POST", "/containers/create", js, `{"Image":"`+strings.Repeat("x", maxBody)+`"}`)
	expect(400, "invalid filter", "GET", "/containers/json?filters=%5B1", "", "")
	expect(400, "invalid filter 'colour'", "GET", `/containers/json?filters={"colour":["red"]}`, "", "")
	state = engine.StatusRunning
	expect(304, "", "POST", "/containers/web/start", "", "")
	expect(400, "invalid resize parameter h", "POST", "/containers/web/resize?h=x&w=80", "", "")
	expect(400, "invalid condition", "POST", "/containers/web/wait?condition=done", "", "")
	expect(400, "at least one stream", "GET", "/containers/web/logs", "", "")
	expect(400, "path cannot be empty", "GET", "/containers/web/archive", "", "")
}

// engineError is an error as the engine makes it.
func engineError(text string, class error) error { return wrapped{text + ": " + class.Error(), class} }

type wrapped struct {
	text  string
	class error
}

func (w wrapped) Error() string { return w.text }
func (w wrapped) Unwrap() error { return w.class }

// Every part of the table is one that Docker has.
func TestEveryRouteIsWellFormed(t *testing.T) {
	for _, r := range routes {
		if r.handle == nil || !strings.HasPrefix(r.path, "/") || strings.HasSuffix(r.path, "/") {
			t.Errorf("bad row %q %q", r.method, r.path)
		}
		path := strings.NewReplacer("{id}", "x", "{name}", "x", "{name...}", "x/y", "{rest...}", "x/y").Replace(r.path)
		method := strings.ReplaceAll(r.method, "*", "GET")
		if row, _, err := find(method, path); err != nil || row.path != r.path {
			t.Errorf("%s %s is hidden by %q: %v", r.method, r.path, row.path, err)
		}
	}
}

func TestReshape(t *testing.T) {
	shape := append(dropped(44, false, "", "Old"), append(dropped(45, true, "In.", "Empty", "Full"), dropped(50, false, "In.", "Gone")...)...)
	object := map[string]any{"A": 1, "In": map[string]any{"Empty": []int{}, "Full": "x", "Gone": 1}, "Old": map[string]int{"x": 1}}
	for v, want := range map[version]string{
		24: `{"A":1,"In":{"Empty":[],"Full":"x","Gone":1},"Old":{"x":1}}`,
		44: `{"A":1,"In":{"Empty":[],"Full":"x","Gone":1}}`,
		45: `{"A":1,"In":{"Full":"x","Gone":1}}`,
		50: `{"A":1,"In":{"Full":"x"}}`,
	} {
		w := httptest.NewRecorder()
		if err := shaped(w, object, shape, v); err != nil || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("version %s: %s, %v, want %s", v, w.Body, err, want)
		}
	}
}

func FuzzFilters(f *testing.F) {
	for _, s := range []string{"", `{"a":["b"]}`, `{"a":{"b":true}}`, `[`, `{"a":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseFilters(s); (err == nil) != (got != nil) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	})
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{"/", "//", "/images/a/b/json", "/v1.44/images/../json", "/v1.99999999/x"} {
		f.Add("GET", s)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		_, rest, err := splitVersion(path)
		if err != nil {
			return
		}
		if row, vars, err := find(method, rest); err == nil {
			for name, v := range vars {
				if v == "" {
					t.Errorf("%q is %s with an empty %s", path, row.path, name)
				}
			}
		}
	})
}

func FuzzCreate(f *testing.F) {
	for _, s := range []string{
		`{"Image":"x","Cmd":"sh","HostConfig":{"Binds":["/a:/b:ro"],"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}}`,
		`{"Image":"x","Entrypoint":[""],"HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/x"}],"Devices":[{"PathOnHost":"/dev/null"}]}}`,
		`{"Image":"x","NetworkingConfig":{"EndpointsConfig":{"n":null}}}`, `{"Image":"x","HostConfig":{"Ulimits":[null]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in createBody
		if json.Unmarshal(data, &in) != nil {
			return
		}
		opt, err := in.options(newest)
		if err != nil {
			return
		}
		for _, m := range opt.Container.Mounts {
			if !strings.HasPrefix(m.Target, "/") || m.Target == "/" {
				t.Errorf("%s: mount at %q", data, m.Target)
			}
		}
	})
}
