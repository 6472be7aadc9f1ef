package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine"
)

// finder is an engine that finds things in registries.
type finder struct {
	backend
	list     []engine.SearchResult
	manifest engine.RemoteManifest
	call     string
	fail     error
}

func (f *finder) Search(_ context.Context, term string, opt engine.SearchOptions) ([]engine.SearchResult, error) {
	f.call = fmt.Sprint(term, " ", opt.Limit)
	return f.list, f.fail
}

func (f *finder) RemoteManifest(_ context.Context, name string, opt engine.RemoteManifestOptions) (engine.RemoteManifest, error) {
	f.call = fmt.Sprint(name, " ", opt.Insecure, " ", opt.Parts)
	return f.manifest, f.fail
}

func TestSearch(t *testing.T) {
	t.Parallel()
	newFinder := func() *finder {
		return &finder{list: []engine.SearchResult{
			{Name: "someone/nginx", Description: strings.Repeat("long ", 20), StarCount: 5},
			{Name: "nginx", Description: "Official build of Nginx.", StarCount: 20000, IsOfficial: true},
		}}
	}
	long := strings.Repeat("long ", 20)[:44] + "…"
	want(t, try(t, newFinder(), "search", "nginx"), outcome{Out: "" +
		"NAME            DESCRIPTION                                     STARS     OFFICIAL\n" +
		"nginx           Official build of Nginx.                        20000     [OK]\n" +
		"someone/nginx   " + long + "   5         \n"})
	tests := map[string]string{
		"":                                   "nginx someone/nginx",
		"-f stars=6":                         "nginx",
		"-f is-official=false":               "someone/nginx",
		"-f is-official=true -f stars=30000": "",
		"-f is-automated=true":               "",
	}
	for args, names := range tests {
		got := try(t, newFinder(), append([]string{"search", "--format", "{{.Name}}", "nginx"}, strings.Fields(args)...)...)
		if strings.Join(strings.Fields(got.Out), " ") != names || got.Code != 0 {
			t.Errorf("search %s: %+v, want %s", args, got, names)
		}
	}
	f := newFinder()
	got := try(t, f, "search", "--limit", "7", "--no-trunc", "--format", "json", "nginx")
	if f.call != "nginx 7" || !strings.HasPrefix(got.Out, `{"Description":"Official build of Nginx.","IsAutomated":"false","IsOfficial":"true","Name":"nginx","StarCount":"20000"}`+"\n") || !strings.Contains(got.Out, strings.Repeat("long ", 20)) {
		t.Errorf("called with %q: %+v", f.call, got)
	}
	want(t, try(t, &finder{fail: errors.New("search on index.docker.io: the server cannot be reached")}, "search", "x"), outcome{Err: "cleat: search on index.docker.io: the server cannot be reached\n", Code: 1})
	for _, filter := range []string{"x", "size=3", "stars=many", "is-official=maybe"} {
		if got := try(t, bystander{}, "search", "-f", filter, "x"); got.Code == 0 || !strings.Contains(got.Err, "filter") {
			t.Errorf("%s: %+v", filter, got)
		}
	}
}

func TestManifestInspect(t *testing.T) {
	t.Parallel()
	part := engine.RemoteManifest{Raw: []byte(`{"schemaVersion":2}`)}
	part.Descriptor.Digest, part.Descriptor.Size = pushedDigest, 19
	f := &finder{manifest: part}
	want(t, try(t, f, "manifest", "inspect", "--insecure", "nginx"), outcome{Out: "{\n\t\"schemaVersion\": 2\n}\n"})
	if f.call != "nginx true false" {
		t.Errorf("called with %q", f.call)
	}
	row := func(ref string) string {
		return `{"Ref":"` + ref + `","Descriptor":{"digest":"` + pushedDigest + `","size":19},"Raw":"eyJzY2hlbWFWZXJzaW9uIjoyfQ==","OCIManifest":{"schemaVersion":2}}`
	}
	flat := func(s string) string { return strings.NewReplacer("\n", "", "\t", "", `": `, `":`).Replace(s) }
	if got := try(t, f, "manifest", "inspect", "-v", "nginx"); flat(got.Out) != row("docker.io/library/nginx:latest") || f.call != "nginx false true" {
		t.Errorf("%+v", got)
	}
	index := engine.RemoteManifest{Raw: []byte(`{}`), Parts: []engine.RemoteManifest{part, part}}
	index.Manifest.MediaType = "application/vnd.oci.image.index.v1+json"
	one := row("docker.io/library/nginx:1@" + pushedDigest)
	if got := try(t, &finder{manifest: index}, "manifest", "inspect", "-v", "nginx:1"); flat(got.Out) != "["+one+","+one+"]" {
		t.Errorf("%+v", got)
	}
	want(t, try(t, &finder{fail: errors.New("manifest for nginx not found")}, "manifest", "inspect", "nginx"), outcome{Err: "cleat: manifest for nginx not found\n", Code: 1})
}
