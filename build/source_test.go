package build

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

// contextOf makes a context of files by name; names that end with "/" are
// directories, contents that begin with "->" are links.
func contextOf(t *testing.T, ignore []string, content map[string]string) *files {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, isLink := strings.CutPrefix(text, "->"); {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := &Context{dir: dir, ignore: ignore}
	f, err := c.open("build context")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

func names(items []item) []string {
	list := []string{}
	for _, it := range items {
		list = append(list, it.dst)
	}
	return list
}

func TestPick(t *testing.T) {
	content := map[string]string{
		"a.txt": "a", "b.txt": "b", "sub/s.md": "s", "sub/deep/d.md": "d", "link": "->a.txt", "dirlink": "->sub",
		"out": "->/etc/passwd", "up": "->../../../etc/passwd", "loop": "->loop", "empty/": "", "hidden/kept": "k", "hidden/lost": "l", "sneaky": "->hidden/lost",
	}
	f := contextOf(t, []string{"hidden", "!hidden/kept"}, content)
	tests := map[string]struct {
		sel  selection
		want []string // nil: not found
	}{
		"file":                {selection{pattern: "a.txt"}, []string{"a.txt"}},
		"absolute":            {selection{pattern: "/a.txt"}, []string{"a.txt"}},
		"dots stay inside":    {selection{pattern: "../../a.txt"}, []string{"a.txt"}},
		"content of a dir":    {selection{pattern: "sub"}, []string{"", "deep", "deep/d.md", "s.md"}},
		"dir as such":         {selection{pattern: "sub", whole: true}, []string{"sub", "sub/deep", "sub/deep/d.md", "sub/s.md"}},
		"wildcard":            {selection{pattern: "*.txt"}, []string{"a.txt", "b.txt"}},
		"wildcard in the way": {selection{pattern: "s*/deep/*"}, []string{"d.md"}},
		"no match":            {selection{pattern: "*.nope"}, []string{}},
		"link is followed":    {selection{pattern: "link"}, []string{"link"}},
		"link in the way":     {selection{pattern: "dirlink/s.md"}, []string{"s.md"}},
		"parents":             {selection{pattern: "sub/deep/d.md", parents: true}, []string{"sub", "sub/deep", "sub/deep/d.md"}},
		"parents with pivot":  {selection{pattern: "sub/./deep/d.md", parents: true}, []string{"deep", "deep/d.md"}},
		"excluded":            {selection{pattern: "sub", exclude: []string{"*.md"}}, []string{"", "deep", "deep/d.md"}},
		"excluded anywhere":   {selection{pattern: "sub", exclude: []string{"**/*.md"}}, []string{"", "deep"}},
		"ignored in part":     {selection{pattern: "hidden/kept"}, []string{"kept"}},
		"ignored":             {selection{pattern: "hidden/lost"}, nil},
		"ignored by a link":   {selection{pattern: "sneaky"}, nil},
		"missing":             {selection{pattern: "nope"}, nil},
		"below a file":        {selection{pattern: "a.txt/x"}, nil},
		"link to the host":    {selection{pattern: "out"}, nil},
		"link upwards":        {selection{pattern: "up"}, nil},
		"deep wildcard":       {selection{pattern: "**/d.md"}, []string{"d.md"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			items, err := f.pick(tt.sel)
			if tt.want == nil {
				if !errors.Is(err, spec.ErrNotFound) {
					t.Errorf("%q %v", names(items), err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, names(items)); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	if _, err := f.pick(selection{pattern: "loop"}); err == nil {
		t.Error("a link to itself was followed")
	}
	all, err := f.pick(selection{pattern: "."})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range all {
		if it.dst == "hidden/lost" {
			t.Error("what is ignored was taken")
		}
	}
}

func TestDigestFollowsContent(t *testing.T) {
	sum := func(f *files) string {
		items, err := f.pick(selection{pattern: "."})
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.sum(t.Context(), nil, items)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	base := sum(contextOf(t, nil, map[string]string{"a": "1", "b": "2"}))
	if same := sum(contextOf(t, nil, map[string]string{"a": "1", "b": "2"})); same != base {
		t.Error("times or places count")
	}
	for what, content := range map[string]map[string]string{
		"content": {"a": "1", "b": "3"}, "name": {"a": "1", "c": "2"}, "link": {"a": "1", "b": "->a"}, "more": {"a": "1", "b": "2", "c": ""}, "shifted": {"a": "12", "b": ""},
	} {
		if sum(contextOf(t, nil, content)) == base {
			t.Errorf("%s does not count", what)
		}
	}
	f := contextOf(t, nil, map[string]string{"a": "1", "b": "2"})
	before := sum(f)
	fd, err := f.tree.Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := fd.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	_ = fd.Close()
	if sum(f) == before {
		t.Error("the mode does not count")
	}
}

// A file that changes between its digest and its copy is not remembered under the
// digest of the old one.
func TestChangedFileIsNotPacked(t *testing.T) {
	f := contextOf(t, nil, map[string]string{"a": "1"})
	items, err := f.pick(selection{pattern: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.sum(t.Context(), nil, items); err != nil {
		t.Fatal(err)
	}
	items[0].sum = strings.Repeat("0", 64)
	if err := f.pack(t.Context(), discard{}, items, packing{}); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("%v", err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Redirects of ADD do not lead to other schemes or from https to http.
func TestAddRedirects(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("data")) })
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("u"))
		w.WriteHeader(http.StatusFound)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	b := &builder{newDir: func(context.Context) (string, func() error, error) {
		return t.TempDir(), func() error { return nil }, nil
	}}
	got, err := b.fetch(t.Context(), srv.URL+"/to?u="+url.QueryEscape(srv.URL+"/ok"))
	if err != nil {
		t.Fatal(err)
	}
	got.remove()
	for _, to := range []string{"file:///etc/passwd", "ftp://h.invalid/x", "unix:///run/x", srv.URL + "/to?u=/to"} {
		if d, err := b.fetch(context.Background(), srv.URL+"/to?u="+url.QueryEscape(to)); err == nil {
			d.remove()
			t.Errorf("redirect to %s was followed", to)
		}
	}
	insecure := &http.Request{URL: &url.URL{Scheme: "http", Host: "h"}}
	secure := &http.Request{URL: &url.URL{Scheme: "https", Host: "h"}}
	if checkRedirect(insecure, []*http.Request{secure}) == nil {
		t.Error("redirect from https to http was followed")
	}
}

func TestChecksums(t *testing.T) {
	if _, err := parseChecksum("sha256:" + strings.Repeat("a", 64)); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"sha256:", "md5:x", "sha256:../../x", strings.Repeat("a", 64), "sha512:" + strings.Repeat("a", 64)} {
		if _, err := parseChecksum(s); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestFileNames(t *testing.T) {
	for address, want := range map[string]string{"http://h/a/b.txt?x=1": "b.txt", "http://h/%2e%2e": "f", "http://h/": "f", "http://h/a/..": "f"} {
		if got, err := fileNameOf(address, "/d/f"); err != nil || got != want {
			t.Errorf("%s: %q %v", address, got, err)
		}
	}
	if _, err := fileNameOf("http://h/", "/d/"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("%v", err)
	}
}
