package git

import (
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

// gitServer serves the repositories below a directory. Authorization is what it wants
// to see; "" is nothing.
func gitServer(t *testing.T, root, authorization string) string {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: strings.TrimSpace(string(path)) + "/git-http-backend",
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if authorization != "" && r.Header.Get("Authorization") != authorization {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// gitRepo makes a repository of files below root.
func gitRepo(t *testing.T, root, name string, files map[string]string) func(args ...string) string {
	t.Helper()
	dir := filepath.Join(root, name)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run("init", "-q", "-b", "main")
	for path, text := range files {
		if target, ok := strings.CutPrefix(text, "->"); ok {
			if err := os.Symlink(target, filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run("add", "-A")
	run("commit", "-q", "-m", "one")
	return run
}

func fetched(t *testing.T, address string, opt Options) (dir, commit string, err error) {
	t.Helper()
	src, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	commit, err = src.Fetch(t.Context(), dir, opt)
	return filepath.Join(dir, "tree"), commit, err
}

func TestFetch(t *testing.T) {
	root := t.TempDir()
	run := gitRepo(t, root, "a.git", map[string]string{"f": "one", "sub/g": "g"})
	first := run("rev-parse", "HEAD")
	run("tag", "-a", "-m", "v1", "v1")
	run("checkout", "-q", "-b", "other")
	if err := os.WriteFile(filepath.Join(root, "a.git/f"), []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	run("commit", "-q", "-a", "-m", "two")
	second := run("rev-parse", "HEAD")
	run("checkout", "-q", "main")
	url := gitServer(t, root, "") + "/a.git"
	for fragment, want := range map[string][2]string{
		"": {first, "one"}, "#main": {first, "one"}, "#v1": {first, "one"}, "#other": {second, "two"}, "#" + second: {second, "two"},
		"#" + second[:10]: {second, "two"}, "#refs/heads/other:sub": {second, "two"}, "?branch=other&checksum=" + second[:8]: {second, "two"},
	} {
		tree, commit, err := fetched(t, url+fragment, Options{})
		if err != nil || commit != want[0] {
			t.Errorf("%s: %s, %v", fragment, commit, err)
			continue
		}
		if data, err := os.ReadFile(tree + "/f"); err != nil || string(data) != want[1] {
			t.Errorf("%s: %q, %v", fragment, data, err)
		}
		if _, err := os.Stat(tree + "/.git"); err == nil {
			t.Errorf("%s: .git is left", fragment)
		}
		src, _ := Parse(url + fragment)
		if got, err := src.Resolve(t.Context(), t.TempDir(), Options{}); fragment != "#"+second[:10] && (err != nil || got != want[0]) {
			t.Errorf("resolve %s: %s, %v", fragment, got, err)
		}
	}
	for _, bad := range []string{"#nope", "#" + strings.Repeat("0", 40), "?branch=other&checksum=" + first} {
		if _, _, err := fetched(t, url+bad, Options{}); err == nil {
			t.Errorf("%s was found", bad)
		}
	}
	tree, _, err := fetched(t, url, Options{KeepDir: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tree + "/.git/HEAD"); err != nil {
		t.Error(err)
	}
}

func TestFetchAsSomebody(t *testing.T) {
	root := t.TempDir()
	gitRepo(t, root, "a.git", map[string]string{"f": "one"})
	url := gitServer(t, root, "Bearer hush") + "/a.git"
	if _, _, err := fetched(t, url, Options{}); !errors.Is(err, spec.ErrUnavail) || !strings.Contains(err.Error(), "GIT_AUTH_TOKEN") {
		t.Errorf("a stranger: %v", err)
	}
	if _, _, err := fetched(t, url, Options{Header: "Bearer hush"}); err != nil {
		t.Error(err)
	}
}

// Whatever a repository has, no program of it is run, and no file of the machine
// comes into the tree: hooks, filters, submodules by other protocols (CVE-2022-39253)
// and with options for names (CVE-2018-17456).
func TestHostileRepositories(t *testing.T) {
	root := t.TempDir()
	made := filepath.Join(t.TempDir(), "made")
	touch := "#!/bin/sh\ntouch " + made + "\n"
	gitRepo(t, root, "inner", map[string]string{"x": "x"})
	gitRepo(t, root, "filters.git", map[string]string{
		".gitattributes": "f filter=evil diff=evil\n", "f": "text", ".gitconfig": "[filter \"evil\"]\nsmudge = touch " + made + "\n",
		"hooks/post-checkout": touch, "link": "->/etc",
	})
	url := gitServer(t, root, "")
	tree, _, err := fetched(t, url+"/filters.git", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(tree + "/link"); err != nil || target != "/etc" {
		t.Errorf("link %q, %v", target, err)
	}
	for name, remote := range map[string]string{"file": "file://" + root + "/inner", "path": root + "/inner", "ext": "ext::touch% " + made, "option": "-u./touch"} {
		run := gitRepo(t, root, name+".git", map[string]string{"touch": touch, ".gitmodules": "[submodule \"s\"]\n\tpath = s\n\turl = " + remote + "\n"})
		commit := run("rev-parse", "HEAD")
		run("update-index", "--add", "--cacheinfo", "160000,"+commit+",s")
		run("commit", "-q", "-m", "sub")
		if tree, _, err := fetched(t, url+"/"+name+".git", Options{}); err == nil {
			t.Errorf("%s: the submodule was fetched into %s", name, tree)
		}
	}
	if _, err := os.Stat(made); err == nil {
		t.Error("a program of the repository was run")
	}
}

func TestSubmodules(t *testing.T) {
	root := t.TempDir()
	inner := gitRepo(t, root, "inner.git", map[string]string{"x": "inner"})
	commit := inner("rev-parse", "HEAD")
	run := gitRepo(t, root, "outer.git", map[string]string{".gitmodules": "[submodule \"s\"]\n\tpath = d/s\n\turl = ../inner.git\n"})
	run("update-index", "--add", "--cacheinfo", "160000,"+commit+",d/s")
	run("commit", "-q", "-m", "sub")
	tree, _, err := fetched(t, gitServer(t, root, "")+"/outer.git", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(tree + "/d/s/x"); err != nil || string(data) != "inner" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := os.Lstat(tree + "/d/s/.git"); err == nil {
		t.Error(".git is left in the submodule")
	}
}
