package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// builderPID finds the program that "cleat build" has become, by the directory
// that it builds.
func builderPID(dir string) int {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err == nil && strings.HasPrefix(string(line), "cleat-build\x00") && strings.Contains(string(line), dir) {
			var pid int
			if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err == nil {
				return pid
			}
		}
	}
	return 0
}

// A build that is interrupted or killed leaves no unit, no secret, and nothing that
// the next build does not take away.
func TestBuildIsKilled(t *testing.T) {
	s := shared()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := tempDir(t)
			writeBuildFile(t, filepath.Join(dir, "tok"), []byte("x"))
			writeBuildFile(t, filepath.Join(dir, "Dockerfile"), fmt.Appendf(nil, "FROM busybox\nRUN --mount=type=secret,id=tok echo %d; sleep 1000\n", sig))
			cmd := s.cmd("build", "--network", "none", "--secret", "id=tok,src="+dir+"/tok", dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			units := func() string {
				return s.systemctl(t, "list-units", "--no-legend", "--plain", "cleat-build-*.service", "cleat-builder-*.scope")
			}
			until(t, "the step runs", func() bool {
				return strings.Contains(units(), "active running") && strings.Contains(units(), ".service")
			})
			if err := syscall.Kill(builderPID(dir), sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the build succeeded")
			}
			until(t, "its units are gone", func() bool { return units() == "" })
			if sig == syscall.SIGKILL { // the next build that runs something cleans up
				writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nENV PATH=/bin\nRUN echo after the kill\n"))
				s.must(t, "build", "--network", "none", "-q", "--no-cache", dir)
			}
			s.clean(t)
			if left := s.must(t, "host", "shell", "sh", "-c", "ls /run/cleat/build"); left != "" {
				t.Errorf("secrets are left: %s", left)
			}
		})
	}
}

// Builds at the same time do a common step once, and all get the same image.
func TestBuildsAtOnce(t *testing.T) {
	s, dir := shared(), tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nENV PATH=/bin\nRUN --mount=type=cache,id=atonce,target=/c echo ran >> /c/count\nRUN --mount=type=cache,id=atonce,target=/c cp /c/count /count\n"))
	const n = 6
	ids := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { ids[i] = s.try("build", "--network", "none", "-q", dir).out })
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("images %q", ids)
		}
	}
	if got := s.must(t, "run", "--rm", "--network", "none", ids[0], "cat", "/count"); got != "ran" {
		t.Errorf("the step ran as often: %q", got)
	}
	s.must(t, "rmi", ids[0])
	s.clean(t)
}

// With SOURCE_DATE_EPOCH two builds that share nothing make the same image.
func TestBuildIsReproducible(t *testing.T) {
	s, dir := shared(), tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "f"), []byte("f"))
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nENV PATH=/bin\nRUN mkdir /d; echo x > /d/f\nCOPY f /g\nCOPY <<E /h\nh\nE\nWORKDIR /w\n"))
	args := []string{"build", "--network", "none", "-q", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000", dir}
	first := s.must(t, args...)
	later := filepath.Join(dir, "f")
	if err := os.Remove(later); err != nil {
		t.Fatal(err)
	}
	writeBuildFile(t, later, []byte("f"))
	if second := s.must(t, args...); second != first {
		t.Errorf("%s and %s", first, second)
	}
	if got := s.must(t, "run", "--rm", "--network", "none", first, "stat", "-c", "%Y", "/d", "/d/f", "/g", "/w"); strings.Trim(got, "1\n0") != "" {
		t.Errorf("times %q", got)
	}
	if got := s.must(t, "image", "inspect", "-f", "{{.Created}}", first); !strings.HasPrefix(got, "2001-09-09T01:46:40") {
		t.Errorf("created %s", got)
	}
	s.must(t, "rmi", first)
}

// A prune takes away what builds have left, and no more.
func TestBuilderPrune(t *testing.T) {
	s := newSite(t, "--private-network")
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox AS a\nENV PATH=/bin\nRUN --mount=type=cache,target=/c test -e /sys/class/net/eth0 && echo a > /a; echo c > /c/c\nFROM busybox\nENV PATH=/bin\nCOPY --from=a /a /b\n"))
	s.must(t, "build", "-q", "-t", "kept", dir)
	if got := s.must(t, "system", "df", "--format", "{{.Type}} {{.TotalCount}}"); !strings.Contains(got, "Build Cache 3") {
		t.Errorf("system df: %s", got)
	}
	if left := s.must(t, "host", "shell", "sh", "-c", "ls /run/cleat/net/last /run/cleat/net/live /run/cleat/live /run/cleat/build 2>&1 || true"); strings.ContainsAny(left, "0123456789") {
		t.Errorf("a step is remembered: %s", left)
	}
	s.must(t, "builder", "prune", "-f", "-a", "--filter", "description=nothing has this")
	if got := s.must(t, "system", "df", "--format", "{{.Type}} {{.TotalCount}}"); !strings.Contains(got, "Build Cache 3") {
		t.Errorf("system df after a prune of nothing: %s", got)
	}
	if r := s.try("builder", "prune", "-f", "--filter", "shared=perhaps"); r.code == 0 || !strings.Contains(r.stderr, "want true or false") {
		t.Errorf("a filter that is none: %v", r)
	}
	s.must(t, "builder", "prune", "-f", "--filter", "type=regular")
	s.must(t, "builder", "prune", "-f", "--filter", "type=exec.cachemount")
	if got := s.must(t, "run", "--rm", "--network", "none", "kept", "cat", "/b"); got != "a" {
		t.Errorf("the image lost its files: %q", got)
	}
	if got := s.must(t, "system", "df", "--format", "{{.Type}} {{.TotalCount}}"); !strings.Contains(got, "Build Cache 1") {
		t.Errorf("system df after a prune: %s", got)
	}
	s.must(t, "rmi", "kept")
	s.must(t, "system", "prune", "-a", "-f")
	if left, _ := filepath.Glob(s.root + "/layers/*"); len(left) != 0 {
		t.Errorf("layers are left: %q", left)
	}
	if left, _ := filepath.Glob(s.root + "/images/blobs/sha256/*"); len(left) != 0 {
		t.Errorf("blobs are left: %q", left)
	}
	s.clean(t)
}
