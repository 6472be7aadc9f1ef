package profile

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// web is a container with nothing special.
func web() spec.Container {
	return spec.Container{
		Version: 1,
		ID:      strings.Repeat("0123456789abcdef", 4),
		Name:    "web",
		Image:   spec.Image{Reference: "nginx", DiffIDs: []string{"sha256:a", "sha256:b"}},
		Process: spec.Process{Cmd: []string{"nginx", "-g", "daemon off;"}, Env: []string{"NGINX_VERSION=1"}},
		Network: spec.Network{Mode: "bridge"},
	}
}

func with(change func(*spec.Container)) spec.Container {
	c := web()
	change(&c)
	return c
}

func testInput() Input {
	mode := os.FileMode(0o660)
	return Input{
		Host:          Host{Arch: "amd64", Kernel: Kernel{6, 18}, Hostname: "machine", MaskedPaths: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}},
		Layers:        []string{"/var/lib/cleat/layers/a", "/var/lib/cleat/layers/b"},
		ContainersDir: "/var/lib/cleat/containers",
		VolumesDir:    "/var/lib/cleat/volumes",
		StdioSocket:   "/run/cleat/stdiod.sock",
		InitBinary:    "/usr/libexec/cleat/cleat-init",
		Devices: map[string][]specs.LinuxDevice{
			"/dev/fuse": {{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode}},
			"/dev/snd":  {{Path: "/dev/snd/timer", Type: "c", Major: 116, Minor: 33}, {Path: "/dev/snd/seq", Type: "c", Major: 116, Minor: 1}},
		},
		HostDevices: []specs.LinuxDevice{{Path: "/dev/sda", Type: "b", Major: 8, Minor: 0}, {Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}},
	}
}

func build1(t *testing.T, c spec.Container) plan.Plan {
	t.Helper()
	p, err := Build(c, testInput())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBuildGolden(t *testing.T) {
	tests := map[string]spec.Container{
		"default":    web(),
		"privileged": with(func(c *spec.Container) { c.Security.Privileged = true }),
		"host": with(func(c *spec.Container) {
			c.Network.Mode, c.PIDMode, c.IPCMode, c.UTSMode, c.CgroupnsMode = "host", "host", "host", "host", "host"
		}),
		"everything": with(everything),
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := build1(t, c).Encode()
			if err != nil {
				t.Fatal(err)
			}
			for file, data := range files {
				golden(t, name+"."+file, data)
			}
		})
	}
}

func everything(c *spec.Container) {
	other := strings.Repeat("f", 64)
	c.Network.Mode, c.PIDMode, c.IPCMode = "container:"+other, "container:"+other, "container:"+other
	c.Hostname, c.Domainname = "www", "example.org"
	c.Process = spec.Process{
		Entrypoint: []string{"/entry"}, Cmd: []string{"x"}, Env: []string{"PATH=/bin", "FOO", "=x", "A=1"}, Dir: "/srv/", User: "www:www",
		Groups: []string{"audio"}, TTY: true, OpenStdin: true, TTYHeight: 24, TTYWidth: 80,
	}
	c.Mounts = []spec.Mount{
		{Type: spec.MountBind, Source: "/srv/a", Target: "/data/a/b", ReadOnly: true},
		{Type: spec.MountBind, Source: "/srv/b", Target: "/data/c", Propagation: "rslave", NonRecursive: true, ReadOnly: true},
		{Type: spec.MountVolume, Source: "vol", Target: "/data"},
		{Type: spec.MountVolume, Source: "vol", Target: "/part", Subpath: "x/y"},
		{Type: spec.MountTmpfs, Target: "/run", TmpfsBytes: 1 << 20, TmpfsMode: 0o750, Options: []string{"exec"}},
		{Type: spec.MountBind, Source: "/srv/hosts", Target: "/etc/hosts"},
	}
	c.ReadOnly, c.Init, c.AutoRemove = true, true, true
	c.Security = spec.Security{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"cap_mknod"}, NoNewPrivileges: true, Seccomp: "unconfined"}
	c.Devices = []spec.Device{{Host: "/dev/fuse", Container: "/dev/fuse2", Permissions: "rw"}, {Host: "/dev/snd"}}
	c.Sysctls = map[string]string{"net.core.somaxconn": "1024", "kernel.shmmax": "1"}
	c.StopSignal, c.StopTimeout = "SIGQUIT", new(time.Minute)
	c.Restart = spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 2}
	c.Log = spec.LogConfig{Tag: "tag", Fields: map[string]string{"TEAM": "a", "CONTAINER_ID": "forged"}}
}

// golden compares data, JSON, with a file.
func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if annex, ok := v.(map[string]any); ok && annex["Seccomp"] != nil {
		annex["Seccomp"] = "(compiled)"
	}
	got, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func find(p plan.Plan, dest string) *specs.Mount {
	for i, m := range p.Config.Mounts {
		if m.Destination == dest {
			return &p.Config.Mounts[i]
		}
	}
	return nil
}

func TestMounts(t *testing.T) {
	mount := func(m spec.Mount) func(*spec.Container) {
		return func(c *spec.Container) { c.Mounts = []spec.Mount{m} }
	}
	tests := map[string]struct {
		change func(*spec.Container)
		dest   string
		want   *specs.Mount
	}{
		"bind is recursive and private":     {mount(spec.Mount{Type: "bind", Source: "/a", Target: "/x/"}), "/x", &specs.Mount{Destination: "/x", Type: "bind", Source: "/a", Options: []string{"rbind", "rprivate"}}},
		"read-only goes all the way down":   {mount(spec.Mount{Type: "bind", Source: "/a", Target: "/x", ReadOnly: true}), "/x", &specs.Mount{Destination: "/x", Type: "bind", Source: "/a", Options: []string{"rbind", "rro", "rprivate"}}},
		"volume is a bind of its data":      {mount(spec.Mount{Type: "volume", Source: "v", Target: "/x"}), "/x", &specs.Mount{Destination: "/x", Type: "bind", Source: "/var/lib/cleat/volumes/v/_data", Options: []string{"rbind"}}},
		"tmpfs defaults":                    {mount(spec.Mount{Type: "tmpfs", Target: "/x"}), "/x", &specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "nosuid", "nodev", "rprivate"}}},
		"tmpfs option replaces its default": {mount(spec.Mount{Type: "tmpfs", Target: "/x", TmpfsBytes: 5, Options: []string{"exec", "size=1m"}}), "/x", &specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "rprivate", "exec", "size=1m"}}},
		"user's /dev/shm replaces ours":     {mount(spec.Mount{Type: "tmpfs", Target: "/dev/shm"}), "/dev/shm", &specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "nosuid", "nodev", "rprivate"}}},
		"user's /dev has nothing of ours":   {mount(spec.Mount{Type: "bind", Source: "/dev", Target: "/dev"}), "/dev/pts", nil},
		"size of /dev/shm":                  {func(c *spec.Container) { c.ShmBytes = 7 }, "/dev/shm", &specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=7"}}},
		"no IPC, no /dev/shm":               {func(c *spec.Container) { c.IPCMode = "none" }, "/dev/shm", nil},
		"read-only root, read-only files":   {func(c *spec.Container) { c.ReadOnly = true }, "/etc/hosts", &specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: "/var/lib/cleat/containers/" + web().ID + "/hosts", Options: []string{"rbind", "ro", "rprivate"}}},
		"read-only root, writable /dev/shm": {func(c *spec.Container) { c.ReadOnly = true }, "/dev/shm", &specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}}},
		"LXCFS may cover files of procfs":   {mount(spec.Mount{Type: "bind", Source: "/a", Target: "/proc/meminfo"}), "/proc/meminfo", &specs.Mount{Destination: "/proc/meminfo", Type: "bind", Source: "/a", Options: []string{"rbind", "rprivate"}}},
		"host's procfs":                     {mount(spec.Mount{Type: "bind", Source: "/proc", Target: "/proc"}), "/proc", &specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind", "rprivate"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, find(build1(t, with(tt.change)), tt.dest)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.dest, diff)
			}
		})
	}
}

func TestParentsAreMountedFirst(t *testing.T) {
	p := build1(t, with(everything))
	seen := map[string]bool{}
	for _, m := range p.Config.Mounts {
		for other := range seen {
			if strings.HasPrefix(other, m.Destination+"/") {
				t.Errorf("%s is mounted after %s", m.Destination, other)
			}
		}
		seen[m.Destination] = true
	}
	old := testInput()
	old.Host.Kernel = Kernel{5, 10}
	q, err := Build(with(everything), old)
	if err != nil {
		t.Fatal(err)
	}
	if got := find(q, "/data/a/b").Options; !slices.Equal(got, []string{"rbind", "ro", "rprivate"}) {
		t.Errorf("options on Linux 5.10 are %q", got)
	}
	if p.Config.Linux.RootfsPropagation != "rslave" {
		t.Errorf("propagation of the root is %q", p.Config.Linux.RootfsPropagation)
	}
}

func TestPrivilegedTakesFromTheHost(t *testing.T) {
	c := with(func(c *spec.Container) {
		c.Security.Privileged = true
		c.Devices = []spec.Device{{Host: "/dev/fuse", Container: "/dev/sda"}}
	})
	p := build1(t, c)
	if n := len(p.Config.Linux.MaskedPaths) + len(p.Config.Linux.ReadonlyPaths) + len(p.Annex.Seccomp); n != 0 || p.Config.Linux.Seccomp != nil {
		t.Error("a privileged container is restricted")
	}
	if n := len(p.Config.Process.Capabilities.Bounding); n < 41 {
		t.Errorf("%d capabilities", n)
	}
	for _, dest := range []string{"/sys", "/sys/fs/cgroup"} {
		if slices.Contains(find(p, dest).Options, "ro") {
			t.Errorf("%s is read-only", dest)
		}
	}
	if d := p.Config.Linux.Devices; len(d) != 2 || d[1].Path != "/dev/sda" || d[1].Major != 10 {
		t.Errorf("devices are %+v", d)
	}
}

func TestBuildRefuses(t *testing.T) {
	mount := func(m ...spec.Mount) func(*spec.Container) {
		return func(c *spec.Container) { c.Mounts = m }
	}
	tests := map[string]struct {
		change func(*spec.Container)
		want   string
	}{
		"no command":                 {func(c *spec.Container) { c.Process.Cmd = nil }, "no command"},
		"relative working directory": {func(c *spec.Container) { c.Process.Dir = "x" }, "not an absolute path"},
		"unknown capability":         {func(c *spec.Container) { c.Security.CapAdd = []string{"SYS_ADMNI"} }, `"SYS_ADMNI"`},
		"sysctl of the host":         {func(c *spec.Container) { c.Sysctls = map[string]string{"kernel.core_pattern": "x"} }, "kernel.core_pattern"},
		"network sysctl of the host": {func(c *spec.Container) {
			c.Sysctls, c.Network.Mode = map[string]string{"net.core.somaxconn": "1"}, "host"
		}, "network"},
		"IPC sysctl of the host":      {func(c *spec.Container) { c.Sysctls, c.IPCMode = map[string]string{"kernel.shmmax": "1"}, "host" }, "IPC"},
		"sysctl that climbs":          {func(c *spec.Container) { c.Sysctls = map[string]string{"net.//.kernel.core_pattern": "x"} }, "bad name"},
		"sysctl with dots":            {func(c *spec.Container) { c.Sysctls = map[string]string{"net.../../kernel": "x"} }, "bad name"},
		"relative mount target":       {mount(spec.Mount{Type: "tmpfs", Target: "x"}), "not an absolute path"},
		"mount over the root":         {mount(spec.Mount{Type: "tmpfs", Target: "/x/.."}), "can't be /"},
		"volume over procfs":          {mount(spec.Mount{Type: "volume", Source: "v", Target: "/proc"}), "procfs"},
		"tmpfs inside procfs":         {mount(spec.Mount{Type: "tmpfs", Target: "/proc/self/attr"}), "procfs"},
		"bind over procfs":            {mount(spec.Mount{Type: "bind", Source: "/tmp", Target: "/proc"}), "procfs"},
		"two mounts on one target":    {mount(spec.Mount{Type: "tmpfs", Target: "/x"}, spec.Mount{Type: "volume", Source: "v", Target: "/x/"}), "duplicate mount point: /x"},
		"relative bind source":        {mount(spec.Mount{Type: "bind", Source: "x", Target: "/x"}), "not an absolute path"},
		"unknown propagation":         {mount(spec.Mount{Type: "bind", Source: "/a", Target: "/x", Propagation: "wide"}), "propagation"},
		"volume that climbs":          {mount(spec.Mount{Type: "volume", Source: "../x", Target: "/x"}), "volume name"},
		"volume named dots":           {mount(spec.Mount{Type: "volume", Source: "..", Target: "/x"}), "volume name"},
		"subpath that climbs":         {mount(spec.Mount{Type: "volume", Source: "v", Target: "/x", Subpath: "a/../../b"}), "leads out"},
		"unknown mount type":          {mount(spec.Mount{Type: "nfs", Target: "/x"}), "unknown type"},
		"unknown tmpfs option":        {mount(spec.Mount{Type: "tmpfs", Target: "/x", Options: []string{"huge=always"}}), "tmpfs option"},
		"tmpfs options in a value":    {mount(spec.Mount{Type: "tmpfs", Target: "/x", Options: []string{"size=1,exec"}}), "tmpfs option"},
		"unknown device":              {func(c *spec.Container) { c.Devices = []spec.Device{{Host: "/dev/nothing"}} }, "/dev/nothing"},
		"device target is relative":   {func(c *spec.Container) { c.Devices = []spec.Device{{Host: "/dev/fuse", Container: "x"}} }, "not an absolute path"},
		"unknown PID mode":            {func(c *spec.Container) { c.PIDMode = "shareable" }, "pid namespace mode"},
		"joining nobody":              {func(c *spec.Container) { c.IPCMode = "container:" }, "ipc namespace mode"},
		"joining another UTS":         {func(c *spec.Container) { c.UTSMode = "container:x" }, "uts namespace mode"},
		"unknown stop signal":         {func(c *spec.Container) { c.StopSignal = "SIGFOO" }, "SIGFOO"},
		"seccomp profile not JSON":    {func(c *spec.Container) { c.Security.Seccomp = "strict" }, "decode seccomp profile"},
		"seccomp profile with agent":  {func(c *spec.Container) { c.Security.Seccomp = `{"defaultAction":"SCMP_ACT_NOTIFY"}` }, "agent"},
		"name server is a name":       {func(c *spec.Container) { c.Network.DNS = []string{"dns.example"} }, "name server"},
		"search domain with newline":  {func(c *spec.Container) { c.Network.DNSSearch = []string{"a\nnameserver 6.6.6.6"} }, "DNS setting"},
		"extra host without address":  {func(c *spec.Container) { c.Network.ExtraHosts = []string{"a"} }, "NAME:ADDRESS"},
		"extra host with newline":     {func(c *spec.Container) { c.Network.ExtraHosts = []string{"a\nb:1.1.1.1"} }, "NAME:ADDRESS"},
		"layers that do not fit":      {func(c *spec.Container) { c.Image.DiffIDs = nil }, "0 layers"},
		"target with a NUL character": {mount(spec.Mount{Type: "tmpfs", Target: "/x\x00"}), "mount target"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Build(with(tt.change), testInput())
			if !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want spec.ErrInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestLoadedProfile(t *testing.T) {
	for list, want := range map[string]string{
		"": "",
		"lsb_release (enforce)\ndocker-default (enforce)\n":            "docker-default",
		"docker-default (enforce)\ncleat-default (enforce)\n":          "cleat-default",
		"my-cleat-default (enforce)\ncleat-default-2 (complain)\n":     "",
		"/usr/bin/man (enforce)\ncleat-default (complain)\nx (kill)\n": "cleat-default",
	} {
		if got := loadedProfile(list); got != want {
			t.Errorf("default profile of %q is %q, want %q", list, got, want)
		}
	}
}

func TestAppArmor(t *testing.T) {
	on := Host{AppArmor: true, AppArmorProfile: "docker-default"}
	tests := map[string]struct {
		security spec.Security
		host     Host
		want     string
		err      error
	}{
		"default":                        {spec.Security{}, on, "docker-default", nil},
		"default is not loaded":          {spec.Security{}, Host{AppArmor: true}, "", nil},
		"privileged":                     {spec.Security{Privileged: true}, on, "unconfined", nil},
		"named":                          {spec.Security{AppArmor: "mine", Privileged: true}, on, "mine", nil},
		"kernel without":                 {spec.Security{}, Host{}, "", nil},
		"unconfined, kernel without":     {spec.Security{AppArmor: "unconfined"}, Host{}, "", nil},
		"named profile, kernel lacks it": {spec.Security{AppArmor: "mine"}, Host{}, "", spec.ErrUnsupport},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := appArmor(tt.security, tt.host)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("profile %q, error %v", got, err)
			}
		})
	}
}
