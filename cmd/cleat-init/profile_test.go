package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/sandbox/profile"
	"github.com/cleat-project/cleat/spec"
)

// profiled gives the rig the plan that cleat itself makes of c.
func profiled(t testing.TB, c spec.Container) *rig {
	t.Helper()
	r := newRig(t)
	host, err := profile.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.Name, c.Network.Mode = r.id, "c"+r.id[48:], "none"
	c.Image.DiffIDs = []string{"sha256:x"}
	r.plan, err = profile.Build(c, profile.Input{
		Host: host, Layers: []string{built.image}, ContainersDir: filepath.Dir(r.store.Dir(r.id)),
		VolumesDir: filepath.Join(r.dir, "volumes"), StdioSocket: r.broker.path, InitBinary: built.init,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.create()
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if err := os.WriteFile(filepath.Join(r.store.Dir(r.id), name), []byte("# "+name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// What cleat plans by default is what a container gets, with the compiled
// seccomp profile in force.
func TestProfile(t *testing.T) {
	host := hostState(t)
	c := spec.Container{Process: spec.Process{Cmd: []string{"probe"}, Env: []string{"PATH=/bin"}}}
	r := profiled(t, c)
	p := r.probe()
	want := map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "00000000a80425fb", "CapEff": "00000000a80425fb",
		"CapBnd": "00000000a80425fb", "CapAmb": "0000000000000000", "NoNewPrivs": "0", "Seccomp": "2", "NSpid": "1",
	}
	got := make(map[string]string)
	for name := range want {
		got[name] = p.field(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("/proc/1/status (-want +got):\n%s", diff)
	}
	for point, part := range map[string]string{
		"/etc/hosts": " rw", "/etc/hostname": " rw", "/etc/resolv.conf": " rw", "/sys": " ro,", "/proc/sys": " ro,",
		"/sys/fs/cgroup": "cgroup2", "/dev/shm": "size=65536k",
	} {
		if line := p.mount(point); !strings.Contains(line, part) {
			t.Errorf("mount %s: %q lacks %q", point, line, part)
		}
	}
	host.check(t)

	// Unprivileged: not even the name of its own host, nor a mount.
	c.Process.Cmd = []string{"sh", "-c", "hostname evil; mount -t tmpfs x /tmp; unshare -m true; dmesg; cat /etc/hosts"}
	r = profiled(t, c)
	_ = os.MkdirAll(filepath.Join(r.store.Dir(r.id), "upper/bin"), 0o755)
	for _, name := range []string{"hostname", "mount", "unshare", "dmesg", "cat"} {
		if err := os.Symlink("sh", filepath.Join(r.store.Dir(r.id), "upper/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, _ := r.run()
	if stdout != "# hosts\n" || strings.Count(stderr, "\n") != 4 || strings.Count(strings.ToLower(stderr), "not permitted")+strings.Count(strings.ToLower(stderr), "permission denied") != 4 {
		t.Errorf("printed %q, %q", stdout, stderr)
	}
	host.check(t)
}

// The variants that change the sandbox most.
func TestProfileVariants(t *testing.T) {
	base := spec.Process{Cmd: []string{"probe"}, Env: []string{"PATH=/bin"}}
	all := hostBounding(t)
	tests := map[string]struct {
		change func(*spec.Container)
		check  func(p probed) bool
	}{
		"privileged": {func(c *spec.Container) { c.Security.Privileged = true }, func(p probed) bool {
			return p.field("CapEff") == all && p.field("CapInh") == "0000000000000000" && p.field("Seccomp") == "0" && p.mount("/proc/sys") == ""
		}},
		"a user without privileges": {func(c *spec.Container) { c.Process.User = "web"; c.Security.NoNewPrivileges = true }, func(p probed) bool {
			return p.UID == 1000 && p.field("CapEff") == "0000000000000000" && p.field("NoNewPrivs") == "1" && p.field("Seccomp") == "2"
		}},
		"capabilities by name": {func(c *spec.Container) {
			c.Security.CapDrop, c.Security.CapAdd = []string{"ALL"}, []string{"NET_ADMIN"}
		}, func(p probed) bool {
			return p.field("CapEff") == "0000000000001000" && p.field("CapBnd") == "0000000000001000"
		}},
		"the host's namespaces": {func(c *spec.Container) { c.PIDMode, c.IPCMode, c.UTSMode = "host", "host", "host" }, func(p probed) bool {
			pid, _ := os.Readlink("/proc/self/ns/pid")
			uts, _ := os.Readlink("/proc/self/ns/uts")
			return p.NS["pid"] == pid && p.NS["uts"] == uts && p.PID != 1
		}},
		"read-only": {func(c *spec.Container) { c.ReadOnly = true }, func(p probed) bool { return strings.Contains(p.mount("/"), " ro,") }},
		"an init":   {func(c *spec.Container) { c.Init = true }, func(p probed) bool { return p.PID != 1 && p.mount("/sbin/docker-init") != "" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			host := hostState(t)
			c := spec.Container{Process: base}
			tt.change(&c)
			if p := profiled(t, c).probe(); !tt.check(p) {
				t.Errorf("status:\n%s\nmounts:\n%s\nnamespaces: %v", p.Status, p.Mountinfo, p.NS)
			}
			host.check(t)
		})
	}
}
