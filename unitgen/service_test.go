package unitgen

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testInput = ServiceInput{
	InitPath: "/usr/libexec/cleat/cleat-init",
	Root:     "/var/lib/cleat",
	RunRoot:  "/run/cleat",
}

// web is a container with nothing special.
func web() spec.Container {
	return spec.Container{
		Version: 1,
		ID:      strings.Repeat("0123456789abcdef", 4),
		Name:    "web",
		Image:   spec.Image{Reference: "nginx"},
	}
}

// with returns web after change.
func with(change func(*spec.Container)) spec.Container {
	c := web()
	change(&c)
	return c
}

func everything(c *spec.Container) {
	c.Restart = spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}
	c.StopSignal = "SIGRTMIN+3"
	c.StopTimeout = new(90 * time.Second)
	c.Mounts = []spec.Mount{
		{Type: spec.MountBind, Source: `/srv/my "site" 100%/$x\y`, Target: "/www"},
		{Type: spec.MountBind, Source: "/srv/line\nbreak/x", Target: "/l"},
		{Type: spec.MountVolume, Source: "data", Target: "/data"},
	}
	c.Devices = []spec.Device{{Host: "/dev/fuse", Container: "/dev/fuse", Permissions: "rwm"}}
	c.DeviceRules = []spec.DeviceRule{{Type: "a", Major: "*", Minor: "*", Permissions: "r"}, {Type: "c", Major: "189", Minor: "*", Permissions: "rw"}, {Type: "b", Major: "8", Minor: "17", Permissions: "m"}}
	c.Ulimits = []spec.Ulimit{{Name: "nofile", Soft: 1024, Hard: 4096}, {Name: "core", Soft: 0, Hard: -1}}
	c.Limits = spec.Limits{
		MemoryBytes: 64 << 20, ReservationBytes: 32 << 20, NoSwap: true, CPUMillis: 1505, CPUShares: 2048, CPUSet: "0-2,4,9", MemoryNodes: "0,3",
		Pids: 100, IOWeight: 1000, OOMScoreAdj: -500,
		IODeviceWeights: []spec.DeviceLimit{{Path: "/dev/sda", Rate: 500}, {Path: "/dev/sdb", Rate: 10}},
		ReadBPS:         []spec.DeviceLimit{{Path: "/dev/sda", Rate: 1 << 20}, {Path: "/dev/sdb", Rate: 2 << 20}}, WriteBPS: []spec.DeviceLimit{{Path: "/dev/sda", Rate: 5}},
		ReadIOPS: []spec.DeviceLimit{{Path: "/dev/sda", Rate: 100}}, WriteIOPS: []spec.DeviceLimit{{Path: "/dev/sda", Rate: 200}},
	}
}

// dump writes the D-Bus form for people.
func dump(u Unit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "unit %s\n", u.Name)
	for _, p := range u.Properties {
		fmt.Fprintf(&b, "%s = %T %+v\n", p.Name, p.Value, p.Value)
	}
	return b.String()
}

func TestServiceGolden(t *testing.T) {
	tests := map[string]spec.Container{
		"default":    web(),
		"boot":       with(func(c *spec.Container) { c.Restart.Mode = spec.RestartAlways }),
		"privileged": with(func(c *spec.Container) { c.Security.Privileged = true }),
		"everything": with(everything),
		"survivor":   with(func(c *spec.Container) { c.Restart.Mode, c.SurviveSoftReboot = spec.RestartAlways, true }),
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := Service(c, testInput)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".service.golden", Text(u))
			golden(t, name+".dbus.golden", dump(u))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// get returns the value of a property, nil if the unit does not have it.
func get(u Unit, name string) any {
	for _, p := range u.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return nil
}

func TestServiceProperties(t *testing.T) {
	tests := map[string]struct {
		change   func(*spec.Container)
		property string
		want     any
	}{
		"no policy does not restart":              {func(*spec.Container) {}, "Restart", "no"},
		"unless-stopped restarts":                 {func(c *spec.Container) { c.Restart.Mode = spec.RestartUnlessStopped }, "Restart", "always"},
		"on-failure restarts after SIGTERM":       {func(c *spec.Container) { c.Restart.Mode = spec.RestartOnFailure }, "RestartForceExitStatus", ExitStatusSet{Codes: []int32{}, Signals: []int32{1, 2, 13, 15}}},
		"always needs no forced restart":          {func(c *spec.Container) { c.Restart.Mode = spec.RestartAlways }, "RestartForceExitStatus", nil},
		"restarts are not limited by systemd":     {func(c *spec.Container) { c.Restart.Mode = spec.RestartAlways }, "StartLimitIntervalUSec", uint64(0)},
		"default grace is 10 s":                   {func(*spec.Container) {}, "TimeoutStopUSec", uint64(10_000_000)},
		"negative grace is for ever":              {func(c *spec.Container) { c.StopTimeout = new(-time.Second) }, "TimeoutStopUSec", Infinity},
		"no grace is SIGKILL":                     {func(c *spec.Container) { c.StopTimeout = new(time.Duration) }, "KillSignal", int32(9)},
		"no grace leaves time for ExecStopPost":   {func(c *spec.Container) { c.StopTimeout = new(time.Duration) }, "TimeoutStopUSec", uint64(10_000_000)},
		"stop signal is a number":                 {func(c *spec.Container) { c.StopSignal = "SIGQUIT" }, "KillSignal", int32(3)},
		"one and a half CPUs":                     {func(c *spec.Container) { c.Limits.CPUMillis = 1500 }, "CPUQuotaPerSecUSec", uint64(1_500_000)},
		"CPU quota is in whole percents":          {func(c *spec.Container) { c.Limits.CPUMillis = 1505 }, "CPUQuotaPerSecUSec", uint64(1_510_000)},
		"CPU quota is never nothing":              {func(c *spec.Container) { c.Limits.CPUMillis = 1 }, "CPUQuotaPerSecUSec", uint64(10_000)},
		"bind source that no file can name":       {func(c *spec.Container) { c.Mounts = []spec.Mount{{Type: "bind", Source: "/srv/a/b c\\/d"}} }, "RequiresMountsFor", []string{"/srv/a", "/var/lib/cleat"}},
		"normal shares are the normal weight":     {func(c *spec.Container) { c.Limits.CPUShares = 1024 }, "CPUWeight", uint64(100)},
		"least shares are the least weight":       {func(c *spec.Container) { c.Limits.CPUShares = 2 }, "CPUWeight", uint64(1)},
		"most shares are the most weight":         {func(c *spec.Container) { c.Limits.CPUShares = 262144 }, "CPUWeight", uint64(10000)},
		"normal I/O weight":                       {func(c *spec.Container) { c.Limits.IOWeight = 500 }, "IOWeight", uint64(100)},
		"CPU set is a bitmap":                     {func(c *spec.Container) { c.Limits.CPUSet = "0-2,8" }, "AllowedCPUs", []byte{7, 1}},
		"memory nodes are a bitmap":               {func(c *spec.Container) { c.Limits.MemoryNodes = "1" }, "AllowedMemoryNodes", []byte{2}},
		"no swap":                                 {func(c *spec.Container) { c.Limits.NoSwap = true }, "MemorySwapMax", uint64(0)},
		"swap without limit":                      {func(c *spec.Container) { c.Limits.SwapBytes = -1 }, "MemorySwapMax", Infinity},
		"swap is not mentioned by default":        {func(*spec.Container) {}, "MemorySwapMax", nil},
		"tasks have no limit by default":          {func(*spec.Container) {}, "TasksMax", Infinity},
		"ulimit without limit":                    {func(c *spec.Container) { c.Ulimits = []spec.Ulimit{{Name: "core", Soft: -1, Hard: -1}} }, "LimitCORE", Infinity},
		"many ports":                              {func(c *spec.Container) { c.Network.Ports = make([]spec.Port, 451) }, "LimitNOFILE", uint64(1 << 19)},
		"soft ulimit":                             {func(c *spec.Container) { c.Ulimits = []spec.Ulimit{{Name: "nofile", Soft: 50, Hard: 90}} }, "LimitNOFILESoft", uint64(50)},
		"description has no control character":    {func(c *spec.Container) { c.Image.Reference = "a\nExecStart=/bin/sh" }, "Description", "Container web (a?ExecStart=/bin/sh)"},
		"only privileged containers are delegate": {func(*spec.Container) {}, "Delegate", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := Service(with(tt.change), testInput)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, get(u, tt.property)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.property, diff)
			}
		})
	}
}

func TestServiceRefuses(t *testing.T) {
	tests := map[string]func(*spec.Container){
		"name of another directory":    func(c *spec.Container) { c.Name = "../x" },
		"name of a template":           func(c *spec.Container) { c.Name = "a@b" },
		"name with a newline":          func(c *spec.Container) { c.Name = "a\nb" },
		"name of our own service":      func(c *spec.Container) { c.Name = "netd" },
		"no name":                      func(c *spec.Container) { c.Name = "" },
		"very long name":               func(c *spec.Container) { c.Name = strings.Repeat("a", 201) },
		"id that is not hex":           func(c *spec.Container) { c.ID = "$HOME" },
		"unknown signal":               func(c *spec.Container) { c.StopSignal = "SIGFOO" },
		"unknown policy":               func(c *spec.Container) { c.Restart.Mode = "sometimes" },
		"unknown ulimit":               func(c *spec.Container) { c.Ulimits = []spec.Ulimit{{Name: "FILE=1\nUser"}} },
		"too few open files":           func(c *spec.Container) { c.Ulimits = []spec.Ulimit{{Name: "nofile", Soft: 39, Hard: 90}} },
		"soft ulimit above the hard":   func(c *spec.Container) { c.Ulimits = []spec.Ulimit{{Name: "core", Soft: -1, Hard: 5}} },
		"device outside /dev":          func(c *spec.Container) { c.Devices = []spec.Device{{Host: "/tmp/x"}} },
		"device with dots":             func(c *spec.Container) { c.Limits.ReadBPS = []spec.DeviceLimit{{Path: "/dev/../etc"}} },
		"device with a newline":        func(c *spec.Container) { c.Devices = []spec.Device{{Host: "/dev/x\nUser=root"}} },
		"permissions of a device":      func(c *spec.Container) { c.Devices = []spec.Device{{Host: "/dev/fuse", Permissions: "rx"}} },
		"CPU list backwards":           func(c *spec.Container) { c.Limits.CPUSet = "3-1" },
		"CPU list without end":         func(c *spec.Container) { c.Limits.CPUSet = "0-99999" },
		"CPU list with text":           func(c *spec.Container) { c.Limits.CPUSet = "a" },
		"memory nodes with text":       func(c *spec.Container) { c.Limits.MemoryNodes = "0,x" },
		"weight of no device":          func(c *spec.Container) { c.Limits.IODeviceWeights = []spec.DeviceLimit{{Path: "sda"}} },
		"negative memory":              func(c *spec.Container) { c.Limits.MemoryBytes = -1 },
		"OOM score out of range":       func(c *spec.Container) { c.Limits.OOMScoreAdj = 1001 },
		"bind source that is relative": func(c *spec.Container) { c.Mounts = []spec.Mount{{Type: spec.MountBind, Source: "x"}} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			if u, err := Service(with(change), testInput); !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("error is %v, want spec.ErrInvalid\n%s", err, dump(u))
			}
		})
	}
	for _, root := range []string{"relative", "/a/../b", "/a$b", "/a;b", `/a"b`, "/a\nb", "/a\xff"} {
		in := testInput
		in.Root = root
		if _, err := Service(web(), in); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("root %q: error is %v", root, err)
		}
	}
	in := testInput
	in.SystemdVersion = 243
	if _, err := Service(web(), in); !errors.Is(err, spec.ErrUnsupport) {
		t.Errorf("systemd 243: error is %v", err)
	}
}
