package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// machine is an engine that knows of the whole machine.
type machine struct {
	backend
	pruned []engine.PruneSystemOptions
}

func (*machine) Info(context.Context) (*engine.Info, error) {
	return &engine.Info{
		ID: "ABCD:EFGH", Containers: 6, ContainersRunning: 1, ContainersPaused: 2, ContainersStopped: 3, Images: 4, ServerVersion: "1.2",
		Driver: "overlay", DriverStatus: [][2]string{{"Backing Filesystem", "extfs"}}, LoggingDriver: "journald", CgroupDriver: "systemd", CgroupVersion: "2",
		Plugins: engine.InfoPlugins{Volume: []string{"local"}, Network: []string{"bridge", "host"}, Log: []string{"journald"}},
		Swarm:   engine.InfoSwarm{LocalNodeState: "inactive"}, Runtimes: map[string]engine.InfoRuntime{"cleat": {}}, DefaultRuntime: "cleat", InitBinary: "init",
		SystemdVersion: "252", SecurityOptions: []string{"name=seccomp,profile=builtin", "name=cgroupns"}, KernelVersion: "6.1", OperatingSystem: "Debian",
		OSType: "linux", Architecture: "x86_64", NCPU: 2, MemTotal: 2 << 30, Name: "host", DockerRootDir: "/root", HTTPProxy: "http://me:secret@proxy:80",
		RegistryConfig: engine.InfoRegistry{
			InsecureRegistryCIDRs: []string{"127.0.0.0/8"}, Mirrors: []string{"m.lan"},
			IndexConfigs: map[string]engine.InfoIndex{"r.lan": {}, "docker.io": {Secure: true}},
		},
		LiveRestoreEnabled: true, Warnings: []string{"WARNING: No cpu limit support"},
	}, nil
}

const infoWant = `Client:
 Version:    unknown
 Debug Mode: false

Server:
 Containers: 6
  Running: 1
  Paused: 2
  Stopped: 3
 Images: 4
 Server Version: 1.2
 Storage Driver: overlay
  Backing Filesystem: extfs
 Logging Driver: journald
 Cgroup Driver: systemd
 Cgroup Version: 2
 Plugins:
  Volume: local
  Network: bridge host
  Log: journald
 Swarm: inactive
 Runtimes: cleat
 Default Runtime: cleat
 Init Binary: init
 systemd version: 252
 Security Options:
  seccomp
   Profile: builtin
  cgroupns
 Kernel Version: 6.1
 Operating System: Debian
 OSType: linux
 Architecture: x86_64
 CPUs: 2
 Total Memory: 2GiB
 Name: host
 ID: ABCD:EFGH
 Docker Root Dir: /root
 Debug Mode: false
 HTTP Proxy: http://xxxxx:xxxxx@proxy:80
 Experimental: false
 Insecure Registries:
  r.lan
  127.0.0.0/8
 Registry Mirrors:
  m.lan
 Live Restore Enabled: true

`

func TestInfo(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"info", "system info"} {
		want(t, try(t, &machine{}, strings.Fields(line)...), outcome{Out: infoWant, Err: "WARNING: No cpu limit support\n"})
	}
	want(t, try(t, &machine{}, "info", "-f", "{{.Driver}} {{.ContainersStopped}} {{.Swarm.LocalNodeState}} {{.ClientInfo.Version}}"), outcome{Out: "overlay 3 inactive unknown\n"})
	if got := try(t, &machine{}, "info", "--format", "json"); !strings.HasPrefix(got.Out, `{"ID":"ABCD:EFGH","Containers":6,`) || !strings.Contains(got.Out, `"ClientInfo":{`) {
		t.Errorf("%+v", got)
	}
}

func (*machine) DiskUsage(context.Context) (*engine.DiskUsage, error) {
	u := &engine.DiskUsage{LayersBytes: 1000}
	ref, err := engine.ParseReference("app:1")
	for i, users := range []int{2, 0} {
		img := engine.ImageDisk{Image: engine.Image{ID: image.Digest("sha256:" + strings.Repeat("ab", 32)), SizeBytes: 700}, SharedBytes: 400, Containers: users}
		if i == 0 {
			img.References = []engine.Reference{ref}
		}
		u.Images = append(u.Images, img)
	}
	for i, status := range []engine.Status{engine.StatusRunning, engine.StatusExited} {
		ct := engine.ContainerDisk{Container: engine.Container{Status: status}, ContainerSize: engine.ContainerSize{WritableBytes: int64(i+1) * 100}}
		ct.ID, ct.Name, ct.Created = strings.Repeat("cd", 32), "web", time.Now().Add(-time.Hour)
		ct.Image, ct.Process.Cmd = spec.Image{Reference: "app:1"}, []string{"sh"}
		u.Containers = append(u.Containers, ct)
	}
	u.Volumes = []engine.VolumeDisk{{Volume: engine.Volume{Name: "v10"}, Bytes: 30}, {Volume: engine.Volume{Name: "v2", Users: []string{"a"}}, Bytes: 70}}
	u.BuildCache = []engine.BuildCacheDisk{{ID: "step", Bytes: 5, InUse: true}, {ID: "other", Bytes: 6}}
	return u, err
}

func TestDf(t *testing.T) {
	t.Parallel()
	want(t, try(t, &machine{}, "system", "df"), outcome{Out: `TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images          2         1         1kB       700B (70%)
Containers      2         1         300B      200B (66%)
Local Volumes   2         1         100B      30B (30%)
Build Cache     2         1         11B       6B
`})
	want(t, try(t, &machine{}, "system", "df", "--format", "{{.Type}}={{.Active}}/{{.TotalCount}}"), outcome{Out: "Images=1/2\nContainers=1/2\nLocal Volumes=1/2\nBuild Cache=1/2\n"})
	if got := try(t, &machine{}, "system", "df", "--format", "json"); !strings.HasPrefix(got.Out, `{"Active":"1","Reclaimable":"700B (70%)","Size":"1kB","TotalCount":"2","Type":"Images"}`+"\n") {
		t.Errorf("%+v", got)
	}
	got := try(t, &machine{}, "system", "df", "-v")
	for _, part := range []string{
		"Images space usage:\n\nREPOSITORY   TAG       IMAGE ID       CREATED   SIZE      SHARED SIZE   UNIQUE SIZE   CONTAINERS\napp          1         abababababab   N/A       700B      400B          300B          2\n",
		"\nContainers space usage:\n\nCONTAINER ID   IMAGE     COMMAND   LOCAL VOLUMES   SIZE      CREATED             STATUS",
		"\nLocal Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\nv2            1         70B\nv10           0         30B\n",
		"\nBuild cache usage: 11B\n\nCACHE ID",
	} {
		if !strings.Contains(got.Out, part) {
			t.Errorf("lacks %q:\n%s", part, got.Out)
		}
	}
	want(t, try(t, &machine{}, "system", "df", "-v", "--format", "{{range .Volumes}}{{.Name}}:{{.Size}} {{end}}"), outcome{Out: "v2:70B v10:30B \n"})
}

func (m *machine) PruneSystem(_ context.Context, opt engine.PruneSystemOptions) (engine.Pruned, error) {
	m.pruned = append(m.pruned, opt)
	return engine.Pruned{}, nil
}

func TestSystemPrune(t *testing.T) {
	t.Parallel()
	const first = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
	const last = "\nAre you sure you want to continue? [y/N] "
	const done = "Total reclaimed space: 0B\n"
	type options = engine.PruneSystemOptions
	tests := map[string]struct {
		stdin string
		want  outcome
		got   []options
	}{
		"":             {"n\n", outcome{Out: first + "  - all dangling images\n  - unused build cache\n" + last}, nil},
		"-a --volumes": {"y\n", outcome{Out: first + "  - all anonymous volumes not used by at least one container\n  - all images without at least one container associated to them\n  - all build cache\n" + last + done}, []options{{AllImages: true, Volumes: true}}},
		"--filter label=x --filter label!=y": {
			"y\n", outcome{Out: first + "  - all dangling images\n  - unused build cache\n\n  Items to be pruned will be filtered with:\n  - label!=y\n  - label=x\n" + last + done},
			[]options{{Filter: engine.PruneFilter{Labels: []string{"x"}, NotLabels: []string{"y"}}}},
		},
		"-f":                             {"", outcome{Out: done}, []options{{}}},
		"-f --volumes --filter until=1h": {"", outcome{Err: "cleat: the \"until\" filter is not supported with \"--volumes\"\n", Code: 1}, nil},
		"-f --filter name=x":             {"", outcome{Err: "cleat: invalid filter 'name': the filters are label, label!, until\n", Code: 1}, nil},
	}
	for line, tt := range tests {
		m := &machine{}
		want(t, tryWith(t, m, tt.stdin, strings.Fields("system prune "+line)...), tt.want)
		if diff := cmp.Diff(tt.got, m.pruned); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://proxy:80": "http://proxy:80", "https://a:b@c@proxy": "https://xxxxx:xxxxx@proxy", "u:p@proxy:1": "xxxxx:xxxxx@proxy:1", "proxy": "proxy",
	} {
		if got := withoutPassword(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
