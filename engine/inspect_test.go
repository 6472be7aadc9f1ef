package engine

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

var updateInspect = flag.Bool("update", false, "rewrite the golden files")

// goldenJSON compares v's JSON with a file in testdata.
func goldenJSON(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
	if *updateInspect {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

var inspectTime = time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))

func facts() inspectFacts {
	return inspectFacts{
		dir: "/r/containers/x", volumeDir: func(name string) string { return "/r/volumes/" + name + "/_data" },
		rootfs: plan.Rootfs{Lower: []string{"/r/layers/b", "/r/layers/a"}, Upper: "/r/containers/x/upper", Work: "/r/containers/x/work"},
		masked: []string{"/proc/kcore"}, readonly: []string{"/proc/sys"},
	}
}

// fullContainer sets every field that inspect shows.
func fullContainer() Container {
	return Container{
		Status: StatusRunning, PID: 4242,
		Container: spec.Container{
			ID: strings.Repeat("ab", 32), Name: "web", Created: inspectTime,
			Image: spec.Image{Reference: "nginx", ID: "sha256:" + strings.Repeat("0", 64)},
			Process: spec.Process{
				Entrypoint: []string{"/entry"}, Cmd: []string{"a", "b c"}, Env: []string{"A=1"}, Dir: "/w", User: "1:2", Groups: []string{"5"},
				TTY: true, OpenStdin: true, StdinOnce: true, TTYHeight: 24, TTYWidth: 80,
			},
			Labels: map[string]string{"l": "v"}, Hostname: "h", Domainname: "d",
			Mounts: []spec.Mount{
				{Type: spec.MountBind, Source: "/src", Target: "/b", CreateSource: true, ReadOnly: true, Propagation: "rslave"},
				{Type: spec.MountBind, Source: "/src2", Target: "/m"},
				{Type: spec.MountVolume, Source: "vol", Target: "/v", NoCopy: true, Subpath: "sub"},
				{Type: spec.MountVolume, Source: strings.Repeat("c", 64), Target: "/anon", Anonymous: true},
				{Type: spec.MountTmpfs, Target: "/t", TmpfsBytes: 1 << 20, TmpfsMode: 0o1770, Options: []string{"noexec"}},
			},
			Network:  spec.Network{Mode: "host", ExtraHosts: []string{"a:1.2.3.4"}, DNS: []string{"1.1.1.1"}, DNSSearch: []string{"s"}, DNSOptions: []string{"o"}},
			Security: spec.Security{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"}, Privileged: true, NoNewPrivileges: true, Seccomp: "unconfined", AppArmor: "p"},
			Limits: spec.Limits{
				MemoryBytes: 64 << 20, SwapBytes: 32 << 20, ReservationBytes: 16 << 20, CPUMillis: 1500, CPUShares: 512, CPUSet: "0", Pids: 9, IOWeight: 300,
				ReadBPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 1}}, WriteBPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 2}},
				ReadIOPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 3}}, WriteIOPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 4}}, OOMScoreAdj: -5,
			},
			Devices: []spec.Device{{Host: "/dev/x", Container: "/dev/y", Permissions: "rw"}}, Ulimits: []spec.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
			Sysctls: map[string]string{"net.a": "1"}, ReadOnly: true, ShmBytes: 1 << 20, Init: true,
			PIDMode: "host", IPCMode: "host", UTSMode: "host", CgroupnsMode: "host",
			Restart: spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}, StopSignal: "SIGQUIT", StopTimeout: new(7 * time.Second), AutoRemove: true,
			Log: spec.LogConfig{Driver: "journald", Tag: "tag"},
		},
	}
}

func TestInspectContainer(t *testing.T) {
	t.Parallel()
	c := fullContainer()
	c.Run.StartedAt, c.Run.RestartCount, c.Run.ExitCode = inspectTime, 2, 9
	goldenJSON(t, "inspect_full.json", inspectContainer(c, facts()))
	goldenJSON(t, "inspect_empty.json", inspectContainer(Container{Status: StatusCreated, Container: spec.Container{ID: strings.Repeat("cd", 32), Name: "x", Network: spec.Network{Mode: "none"}}}, facts()))
}

func TestInspectState(t *testing.T) {
	t.Parallel()
	for status, want := range map[Status]ContainerState{
		StatusCreated:    {ExitCode: 3},
		StatusRunning:    {Running: true},
		StatusPaused:     {Running: true, Paused: true},
		StatusRestarting: {Running: true, Restarting: true, ExitCode: 3},
		StatusExited:     {ExitCode: 3},
		StatusDead:       {Dead: true, ExitCode: 3},
	} {
		c := Container{Status: status}
		c.Run.ExitCode = 3
		want.Status, want.StartedAt, want.FinishedAt = status, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"
		if diff := cmp.Diff(&want, inspectState(c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", status, diff)
		}
	}
}

func TestInspectSwapIsATotal(t *testing.T) {
	t.Parallel()
	for want, l := range map[int64]spec.Limits{
		0: {}, 150: {MemoryBytes: 100, SwapBytes: 50}, 100: {MemoryBytes: 100, NoSwap: true}, -1: {MemoryBytes: 100, SwapBytes: -1},
	} {
		var h HostConfig
		h.setLimits(l)
		if h.MemorySwap != want || h.PidsLimit != nil {
			t.Errorf("%+v: MemorySwap %d, want %d; PidsLimit %v", l, h.MemorySwap, want, h.PidsLimit)
		}
	}
}

func TestInspectImage(t *testing.T) {
	t.Parallel()
	ref, err := image.ParseReference("nginx")
	if err != nil {
		t.Fatal(err)
	}
	digest := image.Digest("sha256:" + strings.Repeat("1", 64))
	img := image.Image{
		ID: digest, ManifestDigest: digest, References: []image.Reference{ref}, RepoDigests: []image.Reference{ref.WithDigest(digest)},
		Created: inspectTime, SizeBytes: 5, Platform: image.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, Author: "a", Comment: "c",
		Layers: []image.Digest{digest},
	}
	out, err := inspectImage(img, []byte(`{"config":{"Cmd":["x"],"Env":["A=1"]}}`), []string{"/r/layers/a", "/r/layers/b"}, inspectTime)
	if err != nil {
		t.Fatal(err)
	}
	goldenJSON(t, "inspect_image.json", out)
	got, err := inspectImage(image.Image{}, []byte("{}"), nil, time.Time{})
	if err != nil || got.Created != "" || got.RepoTags == nil || got.RepoDigests == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// The same image as dockerd 20.10 shows it: what differs is what the daemon
// knows of its own storage.
func TestInspectImageLikeDocker(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	config := read("docker_image_config.json")
	c, err := image.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := image.ParseReference("built:1")
	if err != nil {
		t.Fatal(err)
	}
	out, err := inspectImage(image.Image{
		ID: image.DigestOf(config), References: []image.Reference{ref}, Created: c.Created, SizeBytes: 1982256,
		Platform: c.Platform, Author: c.Author, Comment: c.Comment, Layers: c.RootFS.DiffIDs,
	}, config, nil, inspectTime)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(data []byte) (m map[string]any) {
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{"Parent", "GraphDriver", "Metadata"} {
			m[own] = m[own] != nil
		}
		return m
	}
	data, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decode(read("docker_image_inspect.json")), decode(data)); diff != "" {
		t.Errorf("(-docker +cleat):\n%s", diff)
	}
}
