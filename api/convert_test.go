package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// create decodes the request for a container.
func create(t *testing.T, body string, v version) (engine.CreateOptions, error) {
	t.Helper()
	var in createBody
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return in.options(v)
}

func TestCreate(t *testing.T) {
	c := func(c spec.Container) engine.CreateOptions { return engine.CreateOptions{Image: "x", Container: c} }
	network := func(r ...engine.NetworkRequest) engine.CreateOptions {
		return engine.CreateOptions{Image: "x", Networks: r}
	}
	tests := map[string]struct {
		body string // within {"Image":"x",…}
		want engine.CreateOptions
	}{
		"nothing": {want: engine.CreateOptions{Image: "x"}},
		"process": {
			`"Cmd":["a","b"],"Entrypoint":["e"],"Env":["A=1"],"WorkingDir":"/w","User":"u","Tty":true,"OpenStdin":true,"StdinOnce":true,
			 "HostConfig":{"GroupAdd":["g"],"ConsoleSize":[24,80],"Init":true},"Labels":{"l":"v"},"Hostname":"h","Domainname":"d","StopSignal":"INT","StopTimeout":5`,
			c(spec.Container{
				Process: spec.Process{
					Cmd: []string{"a", "b"}, Entrypoint: []string{"e"}, Env: []string{"A=1"}, Dir: "/w", User: "u", Groups: []string{"g"},
					TTY: true, OpenStdin: true, StdinOnce: true, TTYHeight: 24, TTYWidth: 80,
				},
				Labels: map[string]string{"l": "v"}, Hostname: "h", Domainname: "d", StopSignal: "INT", StopTimeout: new(5 * time.Second), Init: true,
			}),
		},
		"words of old clients": {`"Cmd":"a b","Entrypoint":"e"`, c(spec.Container{Process: spec.Process{Cmd: []string{"a b"}, Entrypoint: []string{"e"}}})},
		"no entrypoint":        {`"Entrypoint":[""]`, engine.CreateOptions{Image: "x", NoEntrypoint: true}},
		"mounts": {
			`"Volumes":{"/v":{},"/b":{}},"HostConfig":{"Binds":["/s:/b:ro","name:/n"],"Tmpfs":{"/t":"size=64m"},"Mounts":[
			 {"Type":"bind","Source":"/m","Target":"/mb","BindOptions":{"Propagation":"rslave","CreateMountpoint":true}},
			 {"Type":"volume","Target":"/mv"},{"Type":"tmpfs","Target":"/mt","TmpfsOptions":{"SizeBytes":5,"Mode":448}}]}`,
			c(spec.Container{Mounts: []spec.Mount{
				{Type: spec.MountBind, Source: "/s", Target: "/b", ReadOnly: true, CreateSource: true},
				{Type: spec.MountBind, Source: "/m", Target: "/mb", Propagation: "rslave", CreateSource: true},
				{Type: spec.MountTmpfs, Target: "/mt", TmpfsBytes: 5, TmpfsMode: 0o700},
				{Type: spec.MountVolume, Target: "/mv", Anonymous: true},
				{Type: spec.MountVolume, Source: "name", Target: "/n"},
				{Type: spec.MountTmpfs, Target: "/t", TmpfsBytes: 64 << 20},
				{Type: spec.MountVolume, Target: "/v", Anonymous: true},
			}}),
		},
		"limits": {
			`"HostConfig":{"Memory":100,"MemorySwap":150,"NanoCpus":1500000000,"CpuShares":5,"CpusetCpus":"0","PidsLimit":-1,"BlkioWeight":10,
			 "BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":7}],"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],
			 "Devices":[{"PathOnHost":"/dev/null"}],"OomScoreAdj":5,"MemorySwappiness":-1,"OomKillDisable":false}`,
			c(spec.Container{
				Limits: spec.Limits{
					MemoryBytes: 100, SwapBytes: 50, CPUMillis: 1500, CPUShares: 5, CPUSet: "0", IOWeight: 10, OOMScoreAdj: 5,
					ReadBPS: []spec.DeviceLimit{{Path: "/dev/sda", Rate: 7}},
				},
				Ulimits: []spec.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}},
				Devices: []spec.Device{{Host: "/dev/null", Container: "/dev/null", Permissions: "rwm"}},
			}),
		},
		"security": {
			`"HostConfig":{"CapAdd":["cap_net_admin"],"CapDrop":["ALL"],"SecurityOpt":["no-new-privileges","seccomp={ \"a\": 1 }"],"MaskedPaths":[],"ReadonlyPaths":[]}`,
			c(spec.Container{Security: spec.Security{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"}, NoNewPrivileges: true, Seccomp: `{"a":1}`, Unmask: true}}),
		},
		"namespaces and restart": {
			`"HostConfig":{"PidMode":"host","IpcMode":"private","UTSMode":"host","CgroupnsMode":"private","RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}}`,
			c(spec.Container{PIDMode: "host", UTSMode: "host", Restart: spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}}),
		},
		"log": {
			`"HostConfig":{"LogConfig":{"Type":"journald","Config":{"tag":"t","labels":"a,b"}}}`,
			engine.CreateOptions{Image: "x", Container: spec.Container{Log: spec.LogConfig{Driver: "journald"}}, LogTag: "t", LogLabels: []string{"a", "b"}},
		},
		"ports": {
			`"ExposedPorts":{"80/tcp":{},"53/udp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"},{"HostPort":""}],"53/udp":null},
			 "PublishAllPorts":true,"Dns":["1.2.3.4"],"DnsSearch":["x.y"],"ExtraHosts":["a:1.2.3.4"]}`,
			c(spec.Container{Network: spec.Network{
				Exposed: []spec.Port{{Proto: spec.UDP, ContainerPort: 53}, {Proto: spec.TCP, ContainerPort: 80}},
				Ports: []spec.Port{
					{Proto: spec.UDP, ContainerPort: 53},
					{Proto: spec.TCP, HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80}, {Proto: spec.TCP, ContainerPort: 80},
				},
				PublishAll: true, DNS: []string{"1.2.3.4"}, DNSSearch: []string{"x.y"}, ExtraHosts: []string{"a:1.2.3.4"},
			}}),
		},
		"default network":   {`"HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{}}}`, engine.CreateOptions{Image: "x"}},
		"mode":              {`"HostConfig":{"NetworkMode":"none"}`, network(engine.NetworkRequest{Name: "none"})},
		"container network": {`"HostConfig":{"NetworkMode":"container:abc"}`, network(engine.NetworkRequest{Name: "container:abc"})},
		"several networks": {
			`"HostConfig":{"NetworkMode":"b","Links":["c:d"]},"NetworkingConfig":{"EndpointsConfig":{"a":null,"b":{"Aliases":["N"],"MacAddress":"02:00:00:00:00:01",
			 "IPAMConfig":{"IPv4Address":"10.0.0.5"},"GwPriority":2}}}`,
			network(engine.NetworkRequest{Name: "b", Aliases: []string{"n"}, MAC: "02:00:00:00:00:01", IPv4: netip.MustParseAddr("10.0.0.5"), Priority: 2, Links: []string{"c:d"}},
				engine.NetworkRequest{Name: "a"}),
		},
		"health": {
			`"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"Retries":2}`,
			c(spec.Container{Healthcheck: &spec.Healthcheck{Test: []string{"CMD", "x"}, Interval: time.Second, Retries: 2}}),
		},
	}
	for name, tt := range tests {
		body := `{"Image":"x"`
		if tt.body != "" {
			body += "," + tt.body
		}
		got, err := create(t, body+"}", newest)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMACOfOldClients(t *testing.T) {
	const body = `{"Image":"x","MacAddress":"02:00:00:00:00:01"}`
	for v, want := range map[version]int{43: 1, 51: 1, 52: 0} {
		got, err := create(t, body, v)
		if err != nil || len(got.Networks) != want {
			t.Errorf("version %s: networks %v, %v, want %d", v, got.Networks, err, want)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	tests := map[string]struct {
		code int
		text string
	}{
		`"HostConfig":{"Runtime":"kata"}`:                                                                {501, "Runtime"},
		`"HostConfig":{"Umask":18}`:                                                                      {501, "Umask"},
		`"HostConfig":{"UsernsMode":"private"}`:                                                          {501, "UsernsMode"},
		`"HostConfig":{"CgroupParent":"/x"}`:                                                             {501, "CgroupParent"},
		`"HostConfig":{"MemorySwappiness":5}`:                                                            {501, "MemorySwappiness"},
		`"HostConfig":{"DeviceRequests":[{"Count":-1}]}`:                                                 {501, "DeviceRequests"},
		`"HostConfig":{"MaskedPaths":["/x"]}`:                                                            {501, "MaskedPaths"},
		`"HostConfig":{"LogConfig":{"Type":"fluentd"}}`:                                                  {400, "fluentd"},
		`"HostConfig":{"PidMode":"x"}`:                                                                   {400, "PID mode"},
		`"HostConfig":{"Binds":["../x:/y"]}`:                                                             {400, "absolute"},
		`"HostConfig":{"Binds":["/x:/"]}`:                                                                {400, "can't be '/'"},
		`"HostConfig":{"Mounts":[{"Type":"bind","Source":"x","Target":"/y"}]}`:                           {400, "absolute"},
		`"HostConfig":{"Mounts":[{"Type":"volume","Source":"../x","Target":"/y"}]}`:                      {400, "volume"},
		`"HostConfig":{"Mounts":[{"Type":"image","Source":"x","Target":"/y"}]}`:                          {501, "image"},
		`"HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/y","BindOptions":{}}]}`:                      {400, "cannot have the options"},
		`"HostConfig":{"RestartPolicy":{"Name":"sometimes"}}`:                                            {400, "unknown policy"},
		`"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}`:                             {400, "AutoRemove"},
		`"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"x"}]}}`:                                    {400, "port"},
		`"HostConfig":{"NanoCpus":1000000000,"CpuQuota":5000}`:                                           {400, "conflicting"},
		`"HostConfig":{"Memory":100,"MemorySwap":50}`:                                                    {400, "memoryswap"},
		`"NetworkingConfig":{"EndpointsConfig":{"a":{"Links":[":x"]}}},"HostConfig":{"NetworkMode":"a"}`: {400, "links"},
	}
	for body, tt := range tests {
		_, err := create(t, `{"Image":"x",`+body+"}", newest)
		if err == nil || status(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want status %d and %q", body, err, tt.code, tt.text)
		}
	}
}

// What we answer is what moby's own types read.
func TestAnswersAreDockers(t *testing.T) {
	c := engine.Container{Container: spec.Container{
		ID: strings.Repeat("a", 64), Name: "web", Created: time.Unix(5, 0), Image: spec.Image{Reference: "busybox", ID: "sha256:1"},
		Process: spec.Process{Cmd: []string{"sh", "-c", "a b"}}, Network: spec.Network{Mode: "bridge"},
	}, Status: engine.StatusRunning, Ports: []spec.Port{{Proto: spec.TCP, HostPort: 8080, ContainerPort: 80}, {Proto: spec.TCP, ContainerPort: 81}}}
	var sum container.Summary
	reread(t, newSummary(engine.Summary{Container: c, Networks: map[string]*engine.EndpointInspect{"bridge": {IPAddress: "10.0.0.2"}}}, time.Unix(10, 0)), &sum)
	if sum.Command != "sh -c 'a b'" || sum.State != "running" || sum.Ports[0].PublicPort != 8080 || sum.Ports[0].IP.String() != "0.0.0.0" ||
		sum.NetworkSettings.Networks["bridge"].IPAddress.String() != "10.0.0.2" || sum.HostConfig.NetworkMode != "bridge" || sum.Created != 5 {
		t.Errorf("summary is %+v", sum)
	}
	var stats container.StatsResponse
	reread(t, convertStats(engine.Stats{
		ID: "x", Name: "web", CPU: engine.CPUStats{Usage: 5, Online: 2}, Memory: &engine.MemoryStats{UsageBytes: 7},
		Networks: map[string]engine.NetworkStats{"eth0": {RxBytes: 3}}, BlockIO: []engine.BlockStats{{ReadBytes: 9}},
	}, 52), &stats)
	if stats.CPUStats.CPUUsage.TotalUsage != 5 || stats.MemoryStats.Usage != 7 || stats.Networks["eth0"].RxBytes != 3 ||
		stats.BlkioStats.IoServiceBytesRecursive[0].Value != 9 || stats.OSType != "linux" {
		t.Errorf("stats are %+v", stats)
	}
	var ev events.Message
	reread(t, convertEvent(engine.Event{Type: "container", Action: "start", Object: "x", Attributes: map[string]string{"image": "i"}, Time: time.Unix(5, 7)}), &ev)
	if ev.Action != "start" || ev.Actor.ID != "x" || ev.TimeNano != 5_000_000_007 {
		t.Errorf("event is %+v", ev)
	}
	var vol volume.Volume
	reread(t, convertVolume(engine.Volume{Name: "v", Mountpoint: "/m"}), &vol)
	if vol.Name != "v" || vol.Driver != "local" || vol.Mountpoint != "/m" {
		t.Errorf("volume is %+v", vol)
	}
	var exec container.ExecInspectResponse
	reread(t, execAnswer(engine.ExecRecord{ID: "e", ExitCode: new(3), Options: engine.ExecOptions{Argv: []string{"a", "b"}, TTY: true}}), &exec)
	if *exec.ExitCode != 3 || exec.ProcessConfig.Entrypoint != "a" || exec.ProcessConfig.Arguments[0] != "b" || !exec.ProcessConfig.Tty {
		t.Errorf("exec is %+v", exec)
	}
}

// reread encodes what we answer and decodes it as a client does, strictly.
func reread(t *testing.T, answer, into any) {
	t.Helper()
	data, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
}

func TestEventForms(t *testing.T) {
	ev := engine.Event{Type: "container", Action: "start", Object: "x", Attributes: map[string]string{"image": "i"}}
	if got := convertEvent(ev); got.Status != "start" || got.ID != "x" || got.From != "i" {
		t.Errorf("without what docker-compose needs: %+v", got)
	}
	for accept, want := range map[string]string{"application/json-seq": "\x1e", "application/x-ndjson": "", "": ""} {
		if _, prefix := eventForm(accept, 52); prefix != want {
			t.Errorf("%s begins with %q, want %q", accept, prefix, want)
		}
	}
}

func TestImagesOfOldVersions(t *testing.T) {
	img := engine.Image{ID: "sha256:1", SizeBytes: 5}
	for v, want := range map[version]string{
		42: `"RepoDigests":["<none>@<none>"],"RepoTags":["<none>:<none>"],"SharedSize":-1,"Size":5,"VirtualSize":5`,
		43: `"RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":5,"VirtualSize":5`,
		44: `"RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":5}`,
	} {
		w := httptest.NewRecorder()
		writeJSON(w, http.StatusOK, newImageSummary(img, nil, v))
		data := w.Body.Bytes()
		if !strings.Contains(string(data), want) {
			t.Errorf("%s: %s", v, data)
		}
		var back image.Summary
		if err := json.Unmarshal(data, &back); err != nil || back.ID != "sha256:1" {
			t.Errorf("%s: %+v, %v", v, back, err)
		}
	}
}

func TestDiskOfVersions(t *testing.T) {
	u := &engine.DiskUsage{LayersBytes: 10, Images: []engine.ImageDisk{{Image: engine.Image{SizeBytes: 10}, Containers: 1}}}
	all := func(string) bool { return true }
	for _, tt := range []struct {
		v       version
		verbose bool
		has     []string
		hasNot  []string
	}{
		{41, false, []string{"LayersSize", "BuilderSize"}, []string{"ImageUsage"}},
		{51, false, []string{"LayersSize"}, []string{"ImageUsage", "BuilderSize"}},
		{52, false, []string{"LayersSize", "ImageUsage"}, []string{"Items"}},
		{52, true, []string{"ImageUsage", "Items"}, []string{"LayersSize"}},
		{53, false, []string{"ImageUsage"}, []string{"LayersSize", "Items"}},
	} {
		data, err := json.Marshal(newDiskAnswer(u, nil, tt.v, tt.verbose, all))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.has {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s, verbose %v: no %s in %s", tt.v, tt.verbose, want, data)
			}
		}
		for _, bad := range tt.hasNot {
			if strings.Contains(string(data), bad) {
				t.Errorf("%s, verbose %v: %s in %s", tt.v, tt.verbose, bad, data)
			}
		}
	}
}

func TestNetworkOptions(t *testing.T) {
	var in network.CreateRequest
	const body = `{"Name":"n","EnableIPv6":true,"IPAM":{"Config":[{"Subnet":"10.1.0.0/16","Gateway":"10.1.0.1","IPRange":"10.1.2.0/24","AuxiliaryAddresses":{"a":"10.1.0.9"}}]}}`
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	got, err := networkOptions(in)
	want := engine.NetworkCreateOptions{Name: "n", IPv6: true, Subnets: []engine.NetworkSubnet{{
		Prefix: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1"), Range: netip.MustParsePrefix("10.1.2.0/24"),
		Aux: map[string]netip.Addr{"a": netip.MustParseAddr("10.1.0.9")},
	}}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []network.CreateRequest{
		{Ingress: true}, {ConfigOnly: true}, {Scope: "swarm"}, {IPAM: &network.IPAM{Driver: "dhcp"}},
	} {
		if _, err := networkOptions(bad); err == nil || status(err) != http.StatusNotImplemented {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestUpdateOptions(t *testing.T) {
	var in container.UpdateConfig
	if err := json.Unmarshal([]byte(`{"Memory":5,"MemorySwap":-1,"CpuQuota":-1,"PidsLimit":-1,"RestartPolicy":{"Name":"always"}}`), &in); err != nil {
		t.Fatal(err)
	}
	got, err := updateOptions(in)
	want := engine.UpdateOptions{MemoryBytes: 5, TotalBytes: -1, CPUMillis: -1, Pids: new(int64), Restart: &spec.RestartPolicy{Mode: spec.RestartAlways}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestJoinTag(t *testing.T) {
	for want, in := range map[string][2]string{"": {"", "x"}, "a": {"a", ""}, "a:b": {"a", "b"}, "a@sha256:12": {"a", "sha256:12"}} {
		if got := joinTag(in[0], in[1]); got != want {
			t.Errorf("joinTag(%q) = %q, want %q", in, got, want)
		}
	}
}
