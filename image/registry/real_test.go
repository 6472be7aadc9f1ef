package registry_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

// realRegistry starts Debian's docker-registry on a free loopback port.
func realRegistry(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed (Debian package docker-registry)")
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: 127.0.0.1:0\n", dir)
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "serve", path)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // t.Context ends before, which kills it
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() { // so that it never blocks on a full pipe
				}
			}()
			return m[1]
		}
	}
	t.Fatal("docker-registry did not start")
	return ""
}

func TestRealRegistry(t *testing.T) {
	host := realRegistry(t)
	shared := bigLayer(t, 3<<20, 1)
	first := imagetest.New(t, nil, shared, bigLayer(t, 500_000, 2))
	second := imagetest.New(t, nil, shared, bigLayer(t, 500, 3))
	push(t, "http://"+host, "team/app", "v1", first)
	push(t, "http://"+host, "team/app", "v2", second)
	s, c := newTarget(t), newClient(t, nil)
	for tag, made := range map[string]imagetest.Image{"v1": first, "v2": second} {
		got, err := s.pull(t.Context(), c, imagetest.Ref(t, host+"/team/app:"+tag))
		if err != nil {
			t.Fatal(err)
		}
		if got.Image.ID != made.ID() || got.Digest != made.Digest() {
			t.Errorf("%s: pulled %s", tag, got.Image.ID)
		}
	}
	s.checkWhole(t)
	if _, err := s.pull(t.Context(), c, imagetest.Ref(t, host+"/team/app:nosuch")); err == nil || !isNotFound(err) {
		t.Errorf("unknown tag: %v", err)
	}
	if _, err := s.Get(host + "/team/app@" + string(image.DigestOf(first.Manifest))); err != nil {
		t.Error(err)
	}
}
