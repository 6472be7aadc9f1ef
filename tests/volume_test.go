package tests

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mountUnit returns the state of the unit that mounts a volume.
func mountUnit(t *testing.T, s site, volume string) string {
	t.Helper()
	unit := s.must(t, "host", "shell", "systemd-escape", "--path", "--suffix=mount", filepath.Join(s.root, "volumes", volume, "_data"))
	return s.must(t, "host", "shell", "sh", "-c", `systemctl is-active "$1" || true`, "sh", unit)
}

// idle waits until a volume is unmounted.
func idle(t *testing.T, s site, volume string) {
	t.Helper()
	until(t, volume+" is unmounted", func() bool { return mountUnit(t, s, volume) == "inactive" })
}

// A volume with options is mounted while a container uses it, by a unit that the
// container's unit requires.
func TestMountedVolume(t *testing.T) {
	t.Parallel()
	s := shared()
	s.must(t, "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000", "mem-vol")
	t.Cleanup(func() { s.must(t, "volume", "rm", "mem-vol") })
	if got := mountUnit(t, s, "mem-vol"); got != "inactive" {
		t.Errorf("before its first use it is %s", got)
	}
	for _, name := range []string{"mem-a", "mem-b"} {
		s.run(t, name, "-v", "mem-vol:/data", "busybox", "sleep", "1000")
	}
	s.must(t, "exec", "mem-a", "sh", "-c", "echo shared >/data/file")
	if out := s.must(t, "exec", "mem-b", "sh", "-c", "cat /data/file; stat -c %u /data; mount | grep ' on /data '"); !strings.HasPrefix(out, "shared\n1000\ntmpfs on /data") || !strings.Contains(out, "size=1024k") {
		t.Errorf("the other container sees %q", out)
	}
	if r := s.try("volume", "rm", "mem-vol"); r.code != 1 || !strings.Contains(r.stderr, "volume is in use") {
		t.Error(r)
	}
	s.must(t, "rm", "-f", "mem-a")
	if got := mountUnit(t, s, "mem-vol"); got != "active" {
		t.Errorf("while it is used it is %s", got)
	}
	s.must(t, "rm", "-f", "mem-b")
	idle(t, s, "mem-vol")
	// A tmpfs is gone with its last user, and an image's files are not copied to it.
	if out := s.must(t, "run", "--rm", "--network", "none", "-v", "mem-vol:/etc", "busybox", "sh", "-c", "ls /etc; echo end"); strings.Contains(out, "passwd") || strings.Contains(out, "file") {
		t.Errorf("the volume has %q", out)
	}
	idle(t, s, "mem-vol")
}

func TestBoundVolume(t *testing.T) {
	t.Parallel()
	s := shared()
	dir := t.TempDir()
	for name, device := range map[string]string{"bound-vol": dir, "lost-vol": filepath.Join(dir, "lost")} {
		s.must(t, "volume", "create", "-o", "type=none", "-o", "device="+device, "-o", "o=bind", name)
	}
	// An empty one is filled from the image, as by Docker.
	s.must(t, "run", "--rm", "--network", "none", "-v", "bound-vol:/etc", "busybox", "sh", "-c", "echo more >/etc/more")
	idle(t, s, "bound-vol")
	for name, want := range map[string]string{"passwd": "root:", "more": "more"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(data), want) {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".cleat*")); left != nil {
		t.Errorf("left over: %v", left)
	}
	// A missing device is named, not made.
	r := s.try("run", "--rm", "--network", "none", "-v", "lost-vol:/x", "busybox", "true")
	if want := `mount volume "lost-vol": its device ` + filepath.Join(dir, "lost") + " does not exist"; r.code != 125 || !strings.Contains(r.stderr, want) {
		t.Errorf("want %q: %v", want, r)
	}
	plain(t, r.stderr)
	if _, err := os.Stat(filepath.Join(dir, "lost")); err == nil {
		t.Error("the device was made")
	}
	s.must(t, "volume", "rm", "bound-vol", "lost-vol")
	if _, err := os.Stat(filepath.Join(dir, "passwd")); err != nil {
		t.Error("the files of the device went with the volume:", err)
	}
}

// What mount(8) refuses is said with the volume's name, and leaves nothing.
func TestVolumeThatCannotBeMounted(t *testing.T) {
	t.Parallel()
	s := shared()
	s.must(t, "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=bogus=1", "bogus-vol")
	for range 2 {
		r := s.try("run", "--rm", "--network", "none", "-v", "bogus-vol:/x", "busybox", "true")
		if want := `volume "bogus-vol" cannot be mounted (device=tmpfs o=bogus=1 type=tmpfs): see 'journalctl -u `; r.code != 125 || !strings.Contains(r.stderr, want) {
			t.Errorf("want %q: %v", want, r)
		}
		plain(t, r.stderr)
	}
	s.must(t, "volume", "rm", "bogus-vol")
	if out := s.systemctl(t, "list-units", "--all", "--plain", "--no-legend", "*bogus*"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// After a boot there is no command of cleat's that could mount a volume: the
// units do it.
func TestMountedVolumeAtBoot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s.must(t, "volume", "create", "-o", "type=none", "-o", "device="+dir, "-o", "o=bind", "boot-vol")
	s.must(t, "run", "-d", "--name", "web", "--restart", "always", "--network", "none", "-v", "boot-vol:/data", "busybox",
		"sh", "-c", "echo run >>/data/runs; exec sleep 1000")
	runs := func() int {
		data, _ := os.ReadFile(filepath.Join(dir, "runs"))
		return strings.Count(string(data), "run")
	}
	until(t, "the first run", func() bool { return runs() == 1 })
	s.must(t, "host", "stop")
	s.must(t, "host", "start")
	until(t, "the run after the boot", func() bool { return runs() == 2 })
	if got := mountUnit(t, s, "boot-vol"); got != "active" {
		t.Errorf("after the boot it is %s", got)
	}
	s.must(t, "rm", "-f", "web")
	s.must(t, "volume", "rm", "boot-vol")
	s.clean(t)
}

// A container swaps a file of its volume with a link to a file of the host, again
// and again, while the volume is exported: CVE-2019-10152, CVE-2023-0778.
func TestVolumeExportFollowsNoLink(t *testing.T) {
	t.Parallel()
	s := shared()
	secret := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(secret, []byte("the host's secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	const swap = `cd /v; mkdir real other; echo mine >real/canary; mkdir d; echo mine >f
		while :; do ln -sf "$1" l; mv l f; echo mine >g; mv g f; mv d r; ln -s "${1%/*}" d; rm d; mv r d; done`
	s.run(t, "swapper", "-v", "swap-vol:/v", "busybox", "sh", "-c", swap, "sh", secret)
	links, files := 0, 0
	for range 60 {
		r := s.try("volume", "export", "swap-vol")
		if r.code != 0 {
			t.Fatal(r.stderr)
		}
		if strings.Contains(r.out, "the host's secret") {
			t.Fatal("the export has a file of the host")
		}
		names := archiveTypes(t, r.out)
		if names["./f"] == tar.TypeSymlink || names["./d"] == tar.TypeSymlink {
			links++
		}
		if names["./f"] == tar.TypeReg {
			files++
		}
	}
	if links == 0 || files == 0 {
		t.Errorf("the race did not take place: %d links, %d files", links, files)
	}
	s.must(t, "rm", "-f", "swapper")
	s.must(t, "volume", "rm", "swap-vol")
}

// archiveTypes returns the types of the entries of an archive.
func archiveTypes(t *testing.T, archive string) map[string]byte {
	t.Helper()
	types := map[string]byte{}
	for tr := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return types
		}
		if err != nil {
			t.Fatal(err)
		}
		types[h.Name] = h.Typeflag
	}
}
