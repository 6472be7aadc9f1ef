package tests

import (
	"archive/tar"
	"bytes"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitRepository makes a repository of files, which begin with "->" if they are links.
func gitRepository(t *testing.T, dir string, files map[string]string) (commit string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if target, ok := strings.CutPrefix(text, "->"); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		writeBuildFile(t, path, []byte(text))
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "x"}, {"tag", "v1"}, {"rev-parse", "HEAD"}} {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %s", args, out)
		}
		commit = strings.TrimSpace(string(out))
	}
	return commit
}

// serveGit serves repositories below a directory, and plain files.
func serveGit(t *testing.T, dir string) string {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: strings.TrimSpace(string(path)) + "/git-http-backend",
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, ".git/") {
			backend.ServeHTTP(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Contexts that are fetched: repositories, archives, and Dockerfiles alone.
func TestBuildRemoteContexts(t *testing.T) {
	s, dir := shared(), tempDir(t)
	commit := gitRepository(t, filepath.Join(dir, "r.git"), map[string]string{
		"Dockerfile": "FROM scratch\nCOPY f /f\n", "f": "top", "sub/Dockerfile": "FROM scratch\nCOPY f /f\n", "sub/f": "sub", "sub/.dockerignore": "x", "out": "->/etc", "sub/x": "x",
		"dockerfiles/Other": "FROM scratch\nCOPY sub/f /f\n", "link": "->sub",
	})
	url := serveGit(t, dir)
	writeBuildFile(t, filepath.Join(dir, "plain"), []byte("FROM scratch\nCOPY <<E /f\nalone\nE\n"))
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY f /f\n", "f": "packed"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	writeBuildFile(t, filepath.Join(dir, "c.tar"), archive.Bytes())
	for _, c := range []struct {
		name, stdin, want string
		args              []string
	}{
		{"a repository", "", "top", []string{url + "/r.git"}},
		{"its tag and directory", "", "sub", []string{url + "/r.git#v1:sub"}},
		{"its commit and a link in it", "", "sub", []string{url + "/r.git#" + commit + ":link"}},
		{"another Dockerfile", "", "sub", []string{"-f", "dockerfiles/Other", url + "/r.git"}},
		{"a Dockerfile from stdin", "FROM scratch\nCOPY sub/f /f\n", "sub", []string{"-f", "-", url + "/r.git"}},
		{"an archive", "", "packed", []string{url + "/c.tar"}},
		{"a Dockerfile alone", "", "alone\n", []string{url + "/plain"}},
		{"named ones", "FROM repo AS r\nFROM scratch\nCOPY --from=tarball f /t\nCOPY --from=r sub/f /f\n", "sub", []string{"--build-context", "repo=" + url + "/r.git#main", "--build-context", "tarball=" + url + "/c.tar", "-"}},
		{"ADD", "FROM scratch AS a\nADD " + url + "/r.git#v1:sub /\nFROM scratch\nCOPY --from=a f /f\n", "sub", []string{"-"}},
		{"ADD with a checksum", "FROM scratch AS a\nADD --keep-git-dir=true --checksum=" + commit + " " + url + "/r.git#v1 /x/\nFROM scratch\nCOPY --from=a /x/.git/HEAD /head\nCOPY --from=a /x/f /f\n", "top", []string{"-"}},
	} {
		out := filepath.Join(tempDir(t), "out")
		cmd := s.cmd(append([]string{"build", "--progress", "plain", "-o", out}, c.args...)...)
		cmd.Stdin = strings.NewReader(c.stdin)
		if r := finish(cmd); r.code != 0 {
			t.Errorf("%s: %v", c.name, r)
		} else if data, err := os.ReadFile(out + "/f"); err != nil || string(data) != c.want {
			t.Errorf("%s: %q, %v", c.name, data, err)
		}
	}
	for _, c := range []struct{ want, flag, where string }{
		{"not found in the repository", "", "/r.git#:nope"}, {"not found", "", "/nope.git"}, {"find remote ref", "", "/r.git#nope"},
		{"404 Not Found", "", "/nope"}, {"not found in the repository", "", "/r.git#:out"}, {"Other: not found in the build context", "-fOther", "/r.git"},
	} {
		args := []string{"build", url + c.where}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		if r := s.try(args...); r.code == 0 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s: %v", args, r)
		}
	}
	s.clean(t)
}

// The socket of an agent is there while a step runs, and is no part of its layer.
func TestBuildSSHAgent(t *testing.T) {
	s, dir := shared(), tempDir(t)
	l, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	writeBuildFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nENV PATH=/bin\nRUN --mount=type=ssh,mode=0666 test -S $SSH_AUTH_SOCK && test \"$(stat -c %a $SSH_AUTH_SOCK)\" = 666\nRUN test ! -e /run/buildkit && test -z \"$SSH_AUTH_SOCK\"\n"))
	s.must(t, "build", "-q", "--network", "none", "--no-cache", "--ssh", "default="+dir+"/agent", dir)
	s.clean(t)
}
