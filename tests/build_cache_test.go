package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ranSteps lists the steps of a build with plain progress that were not cached.
func ranSteps(progress string) []string {
	titles, cached := map[string]string{}, map[string]bool{}
	var order, ran []string
	for line := range strings.Lines(progress) {
		number, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "[internal]") && titles[number] == "" {
			titles[number] = text
			order = append(order, number)
		}
		cached[number] = cached[number] || text == "CACHED"
	}
	for _, number := range order {
		if !cached[number] {
			ran = append(ran, titles[number])
		}
	}
	return ran
}

// What one machine has built, another one does not run again: by way of a registry or
// of a directory, with all stages or only those of the result.
func TestBuildCacheBetweenMachines(t *testing.T) {
	a, b := shared(), newSite(t, "--private-network")
	dir, store := tempDir(t), tempDir(t)
	a.must(t, "save", "-o", store+"/base.tar", "busybox")
	b.must(t, "load", "-q", "-i", store+"/base.tar")
	writeBuildFile(t, filepath.Join(dir, "f"), []byte("f"))
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte(`FROM busybox AS tools
ENV PATH=/bin
RUN echo tool > /tool
RUN rm -f /nothing
FROM busybox
ENV PATH=/bin
COPY --from=tools /tool /tool
COPY f /f
RUN cat /f /tool > /both
LABEL a=b
`))
	build := func(s site, args ...string) result {
		t.Helper()
		r := s.try(append([]string{"build", "--network", "none", "--progress", "plain", "--iidfile", store + "/id"}, append(args, dir)...)...)
		if r.code != 0 {
			t.Fatal(r)
		}
		id, err := os.ReadFile(store + "/id")
		if err != nil {
			t.Fatal(err)
		}
		r.out = string(id)
		return r
	}
	first := build(a, "--cache-to", "type=local,dest="+store+"/max,mode=max", "--cache-to", "type=local,dest="+store+"/min")
	if again := build(b, "--cache-from", "type=local,src="+store+"/max"); len(ranSteps(again.stderr)) != 0 || again.out != first.out {
		t.Errorf("the whole cache: %q ran for %s, not %s:\n%s", ranSteps(again.stderr), again.out, first.out, again.stderr)
	}
	if got := b.must(t, "run", "--rm", "--network", "none", first.out, "cat", "/both"); got != "ftool" {
		t.Errorf("%q", got)
	}
	// What the target does not need has not come.
	if got := b.must(t, "system", "df", "-v", "--format", "{{json .BuildCache}}"); strings.Contains(got, "echo tool") {
		t.Errorf("a layer came that nobody needs: %s", got)
	}
	b.must(t, "rmi", first.out)
	b.must(t, "builder", "prune", "-a", "-f")
	ran := ranSteps(build(b, "--cache-from", "type=local,src="+store+"/min").stderr)
	for _, step := range ran {
		if !strings.HasPrefix(step, "[tools") {
			t.Errorf("the cache of the result: %q ran", step)
		}
	}
	if len(ran) == 0 {
		t.Error("the cache of the result has all stages")
	}
	// A cache that is not there, is damaged or is something else costs time only.
	if err := os.WriteFile(store+"/max/index.json", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := build(b, "--no-cache", "--cache-from", "type=local,src="+store+"/max", "--cache-from", "type=local,src="+store+"/none", "--cache-from", "127.0.0.1:1/x:y")
	if n := strings.Count(r.stderr, "ERROR:"); n != 3 {
		t.Errorf("%d caches are told of: %s", n, r.stderr)
	}
	b.clean(t)
}

// The same by way of a registry, which takes the image, too.
func TestBuildCacheInRegistry(t *testing.T) {
	s, dir := shared(), tempDir(t)
	reg := startRegistry(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nENV PATH=/bin\nRUN echo in the registry > /r\n"))
	args := []string{"build", "--network", "none", "--progress", "plain", "-t", reg + "/x:1", "--metadata-file", dir + "/meta"}
	r := s.try(append(args, "--push", "--cache-to", "type=registry,ref="+reg+"/x:cache,mode=max", dir)...)
	if r.code != 0 {
		t.Fatal(r)
	}
	var meta map[string]string
	data, err := os.ReadFile(dir + "/meta")
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err != nil || meta["image.name"] != reg+"/x:1" {
		t.Errorf("%v: %s", err, data)
	}
	s.must(t, "pull", "-q", reg+"/x@"+meta["containerimage.digest"])
	b := newSite(t)
	if err := importBusybox(b); err != nil {
		t.Fatal(err)
	}
	r = b.try(append(args, "--cache-from", reg+"/x:cache", dir)...)
	if r.code != 0 || len(ranSteps(r.stderr)) != 0 {
		t.Errorf("%q ran: %v", ranSteps(r.stderr), r)
	}
	// An image is no cache, and is told to be none.
	if r = b.try("build", "--no-cache", "--network", "none", "--progress", "plain", "--cache-from", reg+"/x:1", dir); r.code != 0 || !strings.Contains(r.stderr, "is not a cache that cleat has exported") {
		t.Error(r)
	}
	if r = b.try("build", "--network", "none", "--cache-to", "127.0.0.1:1/x:y", dir); r.code == 0 {
		t.Error(r)
	}
	if r = b.try("build", "--network", "none", "--cache-to", "type=registry,ref=127.0.0.1:1/x:y,ignore-error=true", dir); r.code != 0 {
		t.Error(r)
	}
	s.must(t, "rmi", reg+"/x:1")
	s.clean(t)
}
