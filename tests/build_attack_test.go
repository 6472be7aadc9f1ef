package tests

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostileBuild builds a Dockerfile with a context of symbolic links to a directory
// of the host that no build may see or change.
func hostileBuild(t *testing.T, canary, dockerfile string, args ...string) result {
	t.Helper()
	dir := tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte(strings.ReplaceAll(dockerfile, "CANARY", canary)))
	writeBuildFile(t, filepath.Join(dir, "ok"), []byte("ok"))
	for name, target := range map[string]string{"abs": canary, "rel": "../../../../../.." + canary, "root": "/", "file": canary + "/shadow"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := shared().try(append(append([]string{"build", "--network", "none", "--progress", "plain"}, args...), dir)...)
	if strings.Contains(r.stderr+r.out, hostSecret) {
		t.Errorf("the host's secret came out: %v", r)
	}
	plain(t, strings.ReplaceAll(r.stderr, "ERROR", "error")) // as BuildKit has it
	return r
}

// Sources of COPY that are links out of the context, or out of a stage.
func TestBuildSourceLinks(t *testing.T) {
	canary := hostFiles(t)
	for _, source := range []string{"abs/shadow", "rel/shadow", "file", "root" + canary + "/shadow", "../../../.." + canary + "/shadow"} {
		r := hostileBuild(t, canary, "FROM busybox\nCOPY "+source+" /got\nRUN cat /got\n")
		if r.code == 0 || !strings.Contains(r.stderr, "not found") {
			t.Errorf("COPY %s: %v", source, r)
		}
		r = hostileBuild(t, canary, "FROM busybox AS s\nENV PATH=/bin\nRUN ln -s CANARY /abs; rm -rf /root; ln -s / /root; ln -s CANARY/shadow /file; ln -s ../../../../../../CANARY /rel\nFROM busybox\nCOPY --from=s /"+source+" /got\nRUN cat /got\n")
		if r.code == 0 || !strings.Contains(r.stderr, "not found") {
			t.Errorf("COPY --from %s: %v", source, r)
		}
	}
	// Links in a directory are copied as such.
	if r := hostileBuild(t, canary, "FROM busybox\nENV PATH=/bin\nCOPY . /all\nRUN test -L /all/abs && ! cat /all/file\n"); r.code != 0 {
		t.Error(r)
	}
}

// CVE-2024-1753, CVE-2024-9407: the source of a bind mount is a link to the host.
func TestCVE20241753BindMountSource(t *testing.T) {
	canary := hostFiles(t)
	for _, m := range []string{"source=abs", "source=rel", "source=file", "source=root" + canary, "source=../../../.." + canary, "from=s,source=/abs", "from=s,source=/root" + canary} {
		r := hostileBuild(t, canary, "FROM busybox AS s\nENV PATH=/bin\nRUN ln -s CANARY /abs; rm -rf /root; ln -s / /root\nFROM busybox\nENV PATH=/bin\nRUN --mount=type=bind,"+m+",target=/m,rw cat /m /m/shadow; echo gone > /m/f; true\n")
		if r.code == 0 || !strings.Contains(r.stderr, "not found") {
			t.Errorf("%s: %v", m, r)
		}
	}
	if r := hostileBuild(t, canary, "FROM busybox\nENV PATH=/bin\nRUN --mount=type=bind,source=root,target=/m,rw cat /m/ok && rm /m/ok\n"); r.code != 0 {
		t.Errorf("a link to the top of the context: %v", r)
	}
}

// CVE-2024-23652: what is made for mounts is taken away through links. CVE-2024-23653
// is about more rights for a step.
func TestCVE202423652MountTargets(t *testing.T) {
	canary := hostFiles(t)
	for _, run := range []string{
		"RUN --mount=type=tmpfs,target=/link/sub/x true",
		"RUN --mount=type=cache,target=/link true",
		"RUN --mount=type=tmpfs,target=/stub/deep rm -rf /other; mv /stub /other; ln -s CANARY /stub",
		"RUN --mount=type=bind,source=ok,target=/link/f true",
	} {
		hostileBuild(t, canary, "FROM busybox\nENV PATH=/bin\nRUN ln -s CANARY /link\n"+run+"\nRUN test ! -e CANARY/shadow\n")
	}
	if r := hostileBuild(t, canary, "FROM busybox\nRUN --security=insecure true\n"); r.code == 0 || !strings.Contains(r.stderr, "insecure") {
		t.Errorf("CVE-2024-23653: %v", r)
	}
	if r := shared().try("build", "--network", "none", "-q", "-"); r.code == 0 {
		t.Errorf("an empty Dockerfile: %v", r)
	}
}

// CVE-2024-9675: the id of a cache mount leads out of the cache.
func TestCVE20249675CacheMount(t *testing.T) {
	canary := hostFiles(t)
	for _, m := range []string{"id=../../../../.." + canary, "id=CANARY", "id=/", "from=s,source=/abs", "from=s,source=/root" + canary, "from=s,source=../../.."} {
		hostileBuild(t, canary, "FROM busybox AS s\nENV PATH=/bin\nRUN ln -s CANARY /abs; rm -rf /root; ln -s / /root\nFROM busybox\nENV PATH=/bin\nRUN --mount=type=cache,"+m+",target=/c cat /c/shadow; rm -rf /c/* && ln -s CANARY /c/out; true\n")
	}
	// A link that a step has left in a cache leads the next one nowhere else.
	r := hostileBuild(t, canary, "FROM busybox\nENV PATH=/bin\nRUN --mount=type=cache,id=x,target=/c ln -sf CANARY /c/out\nRUN --mount=type=cache,id=x,target=/c test -L /c/out && ! cat /c/out/shadow\n")
	if r.code != 0 {
		t.Error(r)
	}
	if r := shared().try("builder", "prune", "-a", "-f"); r.code != 0 {
		t.Error(r)
	}
}

// CVE-2024-24557: images of different configurations must not be taken for each
// other.
func TestCVE202424557CacheKey(t *testing.T) {
	s, ids := shared(), map[string]string{}
	for _, lines := range []string{
		"", "HEALTHCHECK CMD a", "HEALTHCHECK CMD b", "HEALTHCHECK --interval=1s CMD a", "HEALTHCHECK NONE", "ONBUILD RUN a", "ONBUILD RUN b",
		"USER a", "STOPSIGNAL 9", "EXPOSE 1", "VOLUME /v", "SHELL [\"x\"]", "LABEL a=b", "ENTRYPOINT [\"a\"]", "CMD [\"a\"]", "MAINTAINER m",
	} {
		cmd := s.cmd("build", "-q", "-")
		cmd.Stdin = strings.NewReader("FROM scratch\nENV X=1\n" + lines + "\n")
		r := finish(cmd)
		if r.code != 0 {
			t.Fatal(r)
		}
		if other, ok := ids[r.out]; ok {
			t.Errorf("%q and %q make one image", other, lines)
		}
		ids[r.out] = lines
	}
	for id := range ids {
		s.try("rmi", id)
	}
	if r := s.try("build", "--platform", "linux/s390x", tempDir(t)); r.code == 0 {
		t.Error("another platform was built for")
	}
}

// CVE-2024-21626: a working directory by way of a descriptor that was left open.
// CVE-2026-55686: one by way of a link in the image.
func TestCVE202421626BuildWorkdir(t *testing.T) {
	canary := hostFiles(t)
	for fd := range 12 {
		r := hostileBuild(t, canary, fmt.Sprintf("FROM busybox\nENV PATH=/bin\nWORKDIR /proc/self/fd/%d\nRUN cat ../../..CANARY/shadow\n", fd))
		if r.code == 0 {
			t.Errorf("descriptor %d: %v", fd, r)
		}
	}
	for _, dir := range []string{"/link/made", "/link/../made2", "/rel/x"} {
		r := hostileBuild(t, canary, "FROM busybox\nENV PATH=/bin\nRUN ln -s CANARY /link; ln -s ../../../../..CANARY /rel\nWORKDIR "+dir+"\nCOPY ok ./\nRUN test -e ok\n")
		if r.code != 0 {
			t.Errorf("WORKDIR %s: %v", dir, r)
		}
	}
}

// CVE-2026-33747 and its like: a frontend that a Dockerfile names is not run.
func TestCVE202633747NoFrontend(t *testing.T) {
	r := hostileBuild(t, hostFiles(t), "# syntax=registry.invalid/evil:1\nFROM busybox\nENV PATH=/bin\nRUN true\n")
	if r.code != 0 || !strings.Contains(r.stderr, "is not fetched") {
		t.Error(r)
	}
}

// CVE-2019-13139: the reference of a git context is taken for an option.
// CVE-2017-1000117: so is its host. Other protocols run programs.
func TestCVE201913139GitContexts(t *testing.T) {
	canary := hostFiles(t)
	for _, where := range []string{
		"https://h.invalid/x.git#--upload-pack=touch", "git@h.invalid:x#-o", "ssh://-oProxyCommand=touch/x", "https://h.invalid/x.git#:../..",
		"https://h.invalid/x.git#a:b/../../..", "https://h.invalid/x.git#a;touch x", "github.com/a/b#:.git",
	} {
		if r := shared().try("build", where); r.code == 0 || !strings.Contains(r.stderr, "git repository") {
			t.Errorf("build %s: %v", where, r)
		}
		if r := hostileBuild(t, canary, "FROM scratch\nADD "+strings.ReplaceAll(where, ";touch x", "$(x)")+" /x\n"); r.code == 0 {
			t.Errorf("ADD %s: %v", where, r)
		}
	}
	for _, where := range []string{"ext::sh -c touch% x", "file:///etc", "--upload-pack=x"} {
		if r := shared().try("build", "--", where); r.code == 0 || !strings.Contains(r.stderr, "must be an existing directory") {
			t.Errorf("build %s: %v", where, r)
		}
	}
}

// An ignore file, or an archive, that leads out of the context.
func TestBuildContextEscapes(t *testing.T) {
	canary, s := hostFiles(t), shared()
	dir := tempDir(t)
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nCOPY link /x\n"))
	writeBuildFile(t, filepath.Join(dir, "secret"), []byte(hostSecret))
	if err := os.Symlink("secret", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	writeBuildFile(t, filepath.Join(dir, ".dockerignore"), []byte("secret\n"))
	if r := s.try("build", dir); r.code == 0 || !strings.Contains(r.stderr, "excluded by .dockerignore") {
		t.Errorf("a link to what is ignored: %v", r)
	}
	if err := os.Remove(filepath.Join(dir, ".dockerignore")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(canary+"/shadow", filepath.Join(dir, ".dockerignore")); err != nil {
		t.Fatal(err)
	}
	if r := s.try("build", dir); strings.Contains(r.stderr, hostSecret) {
		t.Errorf("a .dockerignore that is a link: %v", r)
	}
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	body := "FROM busybox\nENV PATH=/bin\nADD evil.tar /in/\nRUN ls /in\n"
	for _, e := range []tar.Header{
		{Name: "Dockerfile", Typeflag: tar.TypeReg, Size: int64(len(body)), Mode: 0o644},
		{Name: "out", Typeflag: tar.TypeSymlink, Linkname: canary},
		{Name: "out/f", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "../../../../../.." + canary + "/f", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "hard", Typeflag: tar.TypeLink, Linkname: "../../../../../.." + canary + "/shadow"},
	} {
		if err := tw.WriteHeader(&e); err != nil {
			t.Fatal(err)
		}
		if e.Size > 0 {
			if _, err := tw.Write([]byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := s.cmd("build", "--network", "none", "-")
	cmd.Stdin = bytes.NewReader(archive.Bytes())
	if r := finish(cmd); r.code == 0 {
		t.Errorf("a context that escapes: %v", r)
	}
	// The same archive, unpacked by ADD.
	writeBuildFile(t, filepath.Join(dir, "evil.tar"), archive.Bytes())
	writeBuildFile(t, filepath.Join(dir, "D"), []byte(body))
	if err := os.Remove(filepath.Join(dir, ".dockerignore")); err != nil {
		t.Fatal(err)
	}
	s.try("build", "--network", "none", "-f", filepath.Join(dir, "D"), dir)
}
