package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// CVE-2024-23651, CVE-2024-11218: of two stages that run at the same time and share a
// cache, one swaps directories for links to the host while the other has things
// mounted there, read and written.
func TestCVE202423651RacingMounts(t *testing.T) {
	canary := hostFiles(t)
	var victim strings.Builder
	for i := range 6 {
		fmt.Fprintf(&victim, "RUN --mount=type=cache,id=race,target=/c --mount=type=tmpfs,target=/c/x/stub%d/deep --mount=type=bind,source=ok,target=/c/x/file%d,rw cat /c/x/shadow /c/y/shadow 2>/dev/null; echo gone > /c/x/f; echo %d; true\n", i, i, i)
		fmt.Fprintf(&victim, "RUN --mount=type=cache,id=race,target=/c --mount=type=cache,id=race,target=/c/x cat /c/x/shadow 2>/dev/null; echo gone > /c/x/f; true\n")
		fmt.Fprintf(&victim, "RUN --mount=type=cache,id=other%d,from=racer,source=/seed,target=/d cat /d/x/shadow /d/shadow 2>/dev/null; true\n", i)
	}
	dockerfile := `FROM busybox AS racer
ENV PATH=/bin
RUN mkdir -p /seed/x; ln -s CANARY /seed/out; ln -s / /seed/root
FROM racer AS racing
RUN --mount=type=cache,id=race,target=/c for n in $(seq 400); do rm -rf /c/x /c/y; mkdir -p /c/x; ln -s CANARY /c/y; rm -rf /c/x; ln -s CANARY /c/x; rm -f /c/x; ln -s ../../../../../../../../CANARY /c/x; mv -f /c/y /c/x 2>/dev/null; done; true
FROM racer AS victim
` + victim.String() + `FROM scratch
COPY --from=racing /seed/out /a
COPY --from=victim /seed/out /b
`
	for range 2 {
		// A mount whose target is a link at that moment may make a step fail: what
		// counts is the canary, which the end of the test looks at.
		hostileBuild(t, canary, dockerfile, "--no-cache")
	}
	shared().clean(t)
}

// Builds with other arguments, hosts, networks, users or secrets that are missing do
// not get each other's results (CVE-2024-24557 and its like).
func TestBuildCacheIsNotPoisoned(t *testing.T) {
	s, dir := shared(), tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), fmt.Appendf(nil, "ARG BASE=busybox\nFROM $BASE\nENV PATH=/bin N=%d\nARG X\nARG UID=0\nUSER $UID\nRUN --mount=type=tmpfs,target=/t echo \"$X $(grep -c added /etc/hosts) $(id -u)\" > /t/o; cat /t/o\n", time.Now().UnixNano()))
	seen := map[string]string{}
	for _, args := range [][]string{
		{}, {"--build-arg", "X=1"}, {"--build-arg", "X=2"}, {"--build-arg", "X=1", "--add-host", "added:1.2.3.4"}, {"--build-arg", "UID=5"},
	} {
		r := s.try(append(append([]string{"build", "--network", "none", "--progress", "plain"}, args...), dir)...)
		if r.code != 0 {
			t.Fatal(r)
		}
		if strings.Contains(r.stderr, "RUN") && len(ranSteps(r.stderr)) == 0 {
			t.Errorf("%q: taken from another build: %s", args, r.stderr)
		}
		for line := range strings.Lines(r.stderr) {
			if _, said, ok := strings.Cut(line, " 0."); ok && strings.Count(said, " ") == 3 {
				_, said, _ = strings.Cut(said, " ")
				if other, ok := seen[said]; ok {
					t.Errorf("%q and %q say %q", args, other, said)
				}
				seen[said] = fmt.Sprint(args)
			}
		}
	}
	// A secret is no part of a key, as with BuildKit; that it has to be there is.
	writeBuildFile(t, filepath.Join(dir, "tok"), []byte("hush"))
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nENV PATH=/bin\nRUN --mount=type=secret,id=tok,required test -s /run/secrets/tok && echo poison > /p\n"))
	s.must(t, "build", "-q", "--network", "none", "--secret", "id=tok,src="+dir+"/tok", dir)
	if r := s.try("build", "-q", "--network", "none", dir); r.code == 0 || !strings.Contains(r.stderr, "secret tok: not found") {
		t.Errorf("without the secret: %v", r)
	}
	s.clean(t)
}

// A build that is killed at any moment leaves nothing that the next one does not take
// away, and nothing that it would trip over.
func TestBuildIsKilledAtRandom(t *testing.T) {
	s := newSite(t, "--private-network")
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	for i := range 300 {
		writeBuildFile(t, filepath.Join(dir, "many", fmt.Sprint(i)), []byte(strings.Repeat("x", 5000)))
	}
	writeBuildFile(t, filepath.Join(dir, "tok"), []byte("hush"))
	dockerfile := []byte("FROM busybox AS a\nENV PATH=/bin\nCOPY many /many\nRUN --mount=type=secret,id=tok --mount=type=cache,target=/c cat /many/* > /c/all; cp /c/all /all\nFROM busybox\nENV PATH=/bin\nRUN seq 1000 > /seq\nCOPY --from=a /all /all\n")
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), dockerfile)
	build := []string{"build", "--network", "none", "-q", "--no-cache", "-t", "made", "--secret", "id=tok,src=" + dir + "/tok", dir}
	s.must(t, build...)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 8 {
		cmd := s.cmd(build...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := 0
		until(t, "the builder runs", func() bool {
			pid = builderPID(dir)
			return pid != 0
		})
		kill := time.AfterFunc(time.Duration(random.IntN(500))*time.Millisecond, func() {
			_ = syscall.Kill(pid, []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGINT}[random.IntN(3)])
		})
		_ = cmd.Wait()
		kill.Stop()
	}
	units := func() string {
		return s.systemctl(t, "list-units", "--no-legend", "--plain", "cleat-build-*.service", "cleat-builder-*.scope")
	}
	until(t, "all units are gone", func() bool { return units() == "" })
	until(t, "a build has swept what killed ones have left", func() bool { // unless one of them is still dying
		s.must(t, build...)
		left, _ := filepath.Glob(s.root + "/layers/.tmp-*")
		return len(left) == 0
	})
	if got := s.must(t, "run", "--rm", "--network", "none", "made", "sh", "-c", "cat /all | wc -c; cat /seq | wc -l"); got != "1500000\n1000" {
		t.Errorf("%q", got)
	}
	s.clean(t)
	for _, pattern := range []string{"/containers/*", "/layers/.tmp-*"} {
		if left, _ := filepath.Glob(s.root + pattern); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
	if left := s.must(t, "host", "shell", "sh", "-c", "ls /run/cleat/build; grep -c "+s.root+"/containers /proc/self/mountinfo || true"); left != "0" {
		t.Errorf("secrets or mounts are left: %q", left)
	}
	s.must(t, "rmi", "made")
	s.must(t, "system", "prune", "-a", "-f")
	for _, pattern := range []string{"/layers/*", "/images/blobs/sha256/*", "/build/steps/*", "/build/mounts/*"} {
		if left, _ := filepath.Glob(s.root + pattern); len(left) > 0 {
			t.Errorf("a prune leaves %q", left)
		}
	}
	if _, err := os.Stat(s.root + "/images/staging"); err == nil {
		if left, _ := filepath.Glob(s.root + "/images/staging/*/*"); len(left) > 0 {
			t.Errorf("a prune leaves %q", left)
		}
	}
}
