package tests

import (
	"strings"
	"testing"
)

// TestImagesToDockerAndBack saves images with each engine and loads them into the
// other, which must show the same ids, and everything else that inspect says of
// how they run.
func TestImagesToDockerAndBack(t *testing.T) {
	docker, s := startDocker(t), shared()
	const format = "{{.Id}} {{json .Config}} {{json .RootFS}} {{.Created}} {{.Comment}}"
	pipe := func(from, to func(...string) result) {
		t.Helper()
		if r := from(); r.code != 0 {
			t.Fatalf("save: %v", r)
		}
		if r := to(); r.code != 0 {
			t.Fatalf("load: %v", r)
		}
	}
	path := t.TempDir() + "/archive.tar"
	theirs := func(args ...string) func(...string) result {
		return func(...string) result { return finish(docker(args...)) }
	}
	ours := func(args ...string) func(...string) result {
		return func(...string) result { return s.try(args...) }
	}
	t.Cleanup(func() { s.try("rmi", "-f", "fromdocker:1", "fromcleat:1") })

	if r := finish(docker("tag", "busybox", "fromdocker:1")); r.code != 0 {
		t.Fatal(r)
	}
	pipe(theirs("save", "-o", path, "fromdocker:1"), ours("load", "-i", path))
	s.must(t, "tag", "busybox", "fromcleat:1")
	pipe(ours("save", "-o", path, "fromcleat:1"), theirs("load", "-i", path))
	for _, name := range []string{"fromdocker:1", "fromcleat:1"} {
		want := finish(docker("image", "inspect", "-f", format, name))
		if got := s.must(t, "image", "inspect", "-f", format, name); got != want.out || !strings.HasPrefix(got, "sha256:") {
			t.Errorf("%s: cleat says\n%s\nDocker says\n%s", name, got, want)
		}
	}
	if r := finish(docker("run", "--rm", "--network", "none", "fromcleat:1", "echo", "runs")); r.out != "runs" {
		t.Errorf("docker run: %v", r)
	}
	if got := s.must(t, "run", "--rm", "--network", "none", "fromdocker:1", "echo", "runs"); got != "runs" {
		t.Errorf("cleat run: %q", got)
	}
}
