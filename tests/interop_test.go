package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestRegistryWithDocker pushes with each engine what the other pulls: the image
// has the same id, and runs. Docker and cleat are in different network namespaces,
// so each has a registry of its own, on the same files.
func TestRegistryWithDocker(t *testing.T) {
	docker, pid := startDockerd(t)
	s, dir := shared(), t.TempDir()
	inside := []string{"nsenter", "-t", strconv.Itoa(pid), "-n"}
	must(t, exec.Command(inside[0], append(inside[1:], "ip", "link", "set", "lo", "up")...).Run())
	ours, stop, err := runRegistry(dir)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(stop)
	theirs, stopTheirs, err := runRegistryWith(dir, "", inside...)
	must(t, err)
	t.Cleanup(stopTheirs)
	good := func(r result) string {
		t.Helper()
		if r.code != 0 {
			t.Fatal(r)
		}
		return r.out
	}
	const format = "{{.Id}} {{json .RootFS.Layers}} {{json .Config.Cmd}}"
	const made, back = "/inter/fromcleat:1", "/inter/fromdocker:1"
	t.Cleanup(func() { s.try("rmi", "-f", ours+made, ours+back) })

	good(s.try("tag", "busybox", ours+made))
	good(s.try("push", "-q", ours+made))
	good(finish(docker("pull", "-q", theirs+made)))
	good(finish(docker("tag", "busybox", theirs+back)))
	good(finish(docker("push", "-q", theirs+back)))
	good(s.try("pull", "-q", ours+back))
	for _, name := range []string{made, back} {
		want, got := good(finish(docker("image", "inspect", "-f", format, theirs+name))), good(s.try("image", "inspect", "-f", format, ours+name))
		if want != got {
			t.Errorf("%s: cleat has %s, Docker has %s", name, got, want)
		}
	}
	if got := good(finish(docker("run", "--rm", "--network", "none", theirs+made, "echo", "runs"))); got != "runs" {
		t.Errorf("docker run: %q", got)
	}
	if got := good(s.try("run", "--rm", "--network", "none", ours+back, "echo", "runs")); got != "runs" {
		t.Errorf("cleat run: %q", got)
	}
	pulled, pushed := good(finish(docker("image", "inspect", "-f", "{{index .RepoDigests 0}}", theirs+made))), good(s.try("image", "inspect", "-f", "{{json .RepoDigests}}", ours+made))
	if _, digest, ok := strings.Cut(pulled, "@"); !ok || !strings.Contains(pushed, digest) {
		t.Errorf("cleat has pushed %s, Docker has pulled %s", pushed, pulled)
	}
}

// TestArchivesAndRegistryWithPodman has podman load what cleat saves and pull what
// it pushes, and the other way round.
func TestArchivesAndRegistryWithPodman(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("no podman to exchange images with")
	}
	s, dir := shared(), tempDir(t)
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwX", dir).Run() }) // what vfs has copied may be closed
	podman := func(args ...string) string {
		t.Helper()
		global := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs", "--events-backend", "none"}
		r := finish(exec.Command("podman", append(global, args...)...))
		if r.code != 0 {
			t.Fatalf("podman %q: %v", args, r)
		}
		return r.out
	}
	id := strings.TrimPrefix(s.must(t, "image", "inspect", "-f", "{{.Id}}", "busybox"), "sha256:")
	same := func(what, got string) {
		t.Helper()
		if strings.TrimPrefix(got, "sha256:") != id {
			t.Errorf("%s is %s, want %s", what, got, id)
		}
	}
	const name = "podmans:1"
	t.Cleanup(func() { s.try("rmi", "-f", name) })
	for _, form := range []string{"docker-archive", "oci-archive"} {
		path := filepath.Join(dir, form+".tar")
		s.must(t, "tag", "busybox", name)
		s.must(t, "save", "--format", form, "-o", path, name)
		podman("load", "-i", path)
		same("podman's of "+form, podman("image", "inspect", "-f", "{{.Id}}", name))
		must(t, os.Remove(path))
		podman("save", "--format", form, "-o", path, name)
		s.must(t, "rmi", name)
		s.must(t, "load", "-q", "-i", path)
		same("cleat's of podman's "+form, s.must(t, "image", "inspect", "-f", "{{.Id}}", name))
		podman("rmi", name)
	}

	registry := startRegistry(t)
	t.Cleanup(func() { s.try("rmi", "-f", registry+"/a:1", registry+"/b:1") })
	s.must(t, "tag", "busybox", registry+"/a:1")
	s.must(t, "push", "-q", registry+"/a:1")
	podman("pull", "-q", "--tls-verify=false", registry+"/a:1")
	same("what podman pulled", podman("image", "inspect", "-f", "{{.Id}}", registry+"/a:1"))
	podman("push", "-q", "--tls-verify=false", registry+"/a:1", registry+"/b:1")
	s.must(t, "pull", "-q", registry+"/b:1")
	if got := s.must(t, "run", "--rm", "--network", "none", registry+"/b:1", "echo", "runs"); got != "runs" {
		t.Errorf("cleat run: %q", got)
	}
}

// htpasswd lets "me" in with the password "geheim".
const htpasswd = "me:$2b$05$gSIVIUj7/8zWrDV1lartd.5kaEFDOfkEUwbEHsodtElci5mYn6K/q\n"

// TestLogin logs in to a registry that wants a password, pushes, pulls, and logs
// out.
func TestLogin(t *testing.T) {
	s, dir := shared(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "users"), []byte(htpasswd), 0o600))
	registry, stop, err := runRegistryWith(dir, "auth:\n  htpasswd:\n    realm: test\n    path: "+filepath.Join(dir, "users")+"\n")
	must(t, err)
	t.Cleanup(stop)
	ref := registry + "/private:1"
	t.Cleanup(func() { s.try("rmi", "-f", ref) })
	config := filepath.Join(dir, "client")
	cleat := func(stdin string, args ...string) result {
		cmd := s.cmd(append([]string{"--config", config}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		return finish(cmd)
	}
	s.must(t, "tag", "busybox", ref)
	refused := func(what string, r result) {
		t.Helper()
		if plain(t, r.stderr); r.code != 1 || !strings.Contains(r.stderr, registry) {
			t.Errorf("%s: %v", what, r)
		}
	}
	refused("push without login", cleat("", "push", ref))
	refused("a wrong password", cleat("falsch\n", "login", "-u", "me", "--password-stdin", registry))
	refused("push after that", cleat("", "push", ref))
	if r := cleat("geheim\n", "login", "-u", "me", "--password-stdin", registry); r.code != 0 || r.out != "Login Succeeded" {
		t.Fatalf("login: %v", r)
	}
	if fi, err := os.Stat(filepath.Join(config, "config.json")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the credentials: %v, %v", fi, err)
	}
	for _, args := range [][]string{{"push", "-q", ref}, {"rmi", ref}, {"pull", "-q", ref}, {"run", "--rm", "--network", "none", ref, "true"}} {
		if r := cleat("", args...); r.code != 0 {
			t.Errorf("%q: %v", args, r)
		}
	}
	refused("push without the configuration", s.try("push", ref))
	if r := cleat("", "logout", registry); r.code != 0 || r.out != "Removing login credentials for "+registry {
		t.Errorf("logout: %v", r)
	}
	refused("push after logout", cleat("", "push", ref))
}
