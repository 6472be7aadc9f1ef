package profile

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/spec"
)

func TestCapabilities(t *testing.T) {
	const docker = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP " +
		"CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP"
	without := func(list, name string) string { return strings.ReplaceAll(list+" ", name+" ", "") }
	tests := map[string]struct {
		security spec.Security
		host     Host
		want     string
	}{
		"Docker's default":                 {spec.Security{}, Host{}, docker},
		"add":                              {spec.Security{CapAdd: []string{"NET_ADMIN"}}, Host{}, strings.Replace(docker, "CAP_NET_RAW", "CAP_NET_ADMIN CAP_NET_RAW", 1)},
		"add twice":                        {spec.Security{CapAdd: []string{"chown", "CAP_CHOWN"}}, Host{}, docker},
		"drop in lower case with prefix":   {spec.Security{CapDrop: []string{"cap_mknod"}}, Host{}, without(docker, "CAP_MKNOD")},
		"drop all":                         {spec.Security{CapDrop: []string{"all"}}, Host{}, ""},
		"drop all, then add":               {spec.Security{CapDrop: []string{"ALL"}, CapAdd: []string{"KILL"}}, Host{}, "CAP_KILL"},
		"add what is dropped":              {spec.Security{CapDrop: []string{"KILL"}, CapAdd: []string{"KILL"}}, Host{}, docker},
		"default that the machine lacks":   {spec.Security{}, Host{Capabilities: strings.Fields(without(docker, "CAP_MKNOD"))}, without(docker, "CAP_MKNOD")},
		"all that the machine has":         {spec.Security{CapAdd: []string{"ALL"}}, Host{Capabilities: []string{"CAP_KILL", "CAP_SYSLOG"}}, "CAP_KILL CAP_SYSLOG"},
		"all but one":                      {spec.Security{CapAdd: []string{"ALL", "KILL"}, CapDrop: []string{"KILL"}}, Host{Capabilities: []string{"CAP_KILL", "CAP_SYSLOG"}}, "CAP_SYSLOG"},
		"privileged is not asked":          {spec.Security{Privileged: true, CapDrop: []string{"KILL"}}, Host{Capabilities: []string{"CAP_KILL"}}, "CAP_KILL"},
		"drop all, add all is all, Docker": {spec.Security{CapDrop: []string{"ALL"}, CapAdd: []string{"ALL"}}, Host{Capabilities: []string{"CAP_KILL"}}, "CAP_KILL"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := capabilities(tt.security, tt.host)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(tt.want), got); diff != "" {
				t.Errorf("capabilities (-want +got):\n%s", diff)
			}
		})
	}
	_, err := capabilities(spec.Security{CapAdd: []string{"SYS_RESOURCE"}}, Host{Capabilities: []string{"CAP_KILL"}})
	if !errors.Is(err, spec.ErrUnsupport) {
		t.Errorf("capability that the machine lacks: error is %v", err)
	}
}

// Moby's own code resolves profiles for the running machine; for that machine
// the result must be the same.
func TestSeccompIsResolvedAsInMoby(t *testing.T) {
	host, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	host.Capabilities = nil
	custom, err := os.ReadFile("testdata/custom.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]spec.Security{
		"default":   {},
		"SYS_ADMIN": {CapAdd: []string{"SYS_ADMIN", "PERFMON"}},
		"ALL":       {CapAdd: []string{"ALL"}},
		"custom":    {Seccomp: string(custom)},
	} {
		c := with(func(c *spec.Container) { c.Security = s })
		got, filter, err := Seccomp(c, host)
		if err != nil {
			t.Fatal(err)
		}
		caps, err := capabilities(s, host)
		if err != nil {
			t.Fatal(err)
		}
		rs := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
		want, err := seccomp.GetDefaultProfile(rs)
		if s.Seccomp != "" {
			want, err = seccomp.LoadProfile(s.Seccomp, rs)
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(filter.Program) == 0 {
			t.Errorf("%s: %d instructions (-moby +cleat):\n%s", name, len(filter.Program), diff)
		}
	}
}

func TestSeccompDependsOnKernelAndArchitecture(t *testing.T) {
	names := func(h Host) (list []string) {
		p, _, err := Seccomp(web(), h)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range p.Syscalls {
			list = append(list, call.Names...)
		}
		return list
	}
	if got := names(Host{Arch: "amd64", Kernel: Kernel{4, 7}}); slices.Contains(got, "ptrace") || !slices.Contains(got, "arch_prctl") {
		t.Error("Linux 4.7 on amd64: ptrace is allowed, or arch_prctl is not")
	}
	if got := names(Host{Arch: "arm64", Kernel: Kernel{4, 8}}); !slices.Contains(got, "ptrace") || slices.Contains(got, "arch_prctl") {
		t.Error("Linux 4.8 on arm64: ptrace is not allowed, or arch_prctl is")
	}
}

func TestSeccompSources(t *testing.T) {
	tests := map[string]struct {
		security spec.Security
		none     bool
		unknown  []string
	}{
		"builtin":                {spec.Security{Seccomp: "builtin"}, false, nil},
		"unconfined":             {spec.Security{Seccomp: "unconfined"}, true, nil},
		"privileged":             {spec.Security{Privileged: true}, true, nil},
		"empty profile":          {spec.Security{Seccomp: "{}"}, true, nil},
		"profile for privileged": {spec.Security{Privileged: true, Seccomp: `{"defaultAction":"SCMP_ACT_ERRNO"}`}, false, nil},
		"unknown names are told": {spec.Security{Seccomp: `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["raed"],"action":"SCMP_ACT_ALLOW"}]}`}, false, []string{"raed"}},
		"old form with one name": {spec.Security{Seccomp: `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"raed","action":"SCMP_ACT_ALLOW"}]}`}, false, []string{"raed"}},
		"OCI form":               {spec.Security{Seccomp: `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"flags":["SECCOMP_FILTER_FLAG_LOG"]}`}, false, nil},
		"null among the rules":   {spec.Security{Seccomp: `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[null]}`}, false, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, filter, err := Seccomp(with(func(c *spec.Container) { c.Security = tt.security }), Host{Arch: "amd64"})
			if err != nil {
				t.Fatal(err)
			}
			if (p == nil) != tt.none || (len(filter.Bytes()) == 0) != tt.none {
				t.Errorf("profile %+v, %d instructions", p, len(filter.Program))
			}
			if name != "builtin" {
				if diff := cmp.Diff(tt.unknown, filter.Unknown); diff != "" {
					t.Errorf("unknown names (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestHosts(t *testing.T) {
	c := with(func(c *spec.Container) {
		c.Network.ExtraHosts = []string{"db:10.0.0.1", "six:[::1]", "seven:fe80::1", "eight=1.2.3.4"}
		c.Domainname = "example.org"
	})
	got, err := Hosts(c, "web", netip.MustParseAddr("172.17.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	want := hostsHead + "10.0.0.1\tdb\n::1\tsix\nfe80::1\tseven\n1.2.3.4\teight\n172.17.0.2\tweb.example.org web\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	got, err = HostsOnHost("127.0.0.1 me", c)
	if want := "127.0.0.1 me\n10.0.0.1\tdb\n::1\tsix\nfe80::1\tseven\n1.2.3.4\teight\n"; err != nil || string(got) != want {
		t.Errorf("hosts in the host's network, %v:\n%s", err, got)
	}
	c.Network.ExtraHosts = []string{"gw:host-gateway"}
	if err := checkNetwork(c.Network); err != nil {
		t.Errorf("host-gateway is refused: %v", err)
	}
	if _, err := Hosts(c, "web"); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("host-gateway without its address: error is %v", err)
	}
}

func TestResolverConf(t *testing.T) {
	const host = "search lan corp\nnameserver 10.0.0.1\noptions edns0\n"
	tests := map[string]struct {
		network spec.Network
		want    string
	}{
		"the host's": {spec.Network{}, "search lan corp\nnameserver 127.0.0.11\noptions edns0 ndots:0\n"},
		"the user's": {
			spec.Network{DNS: []string{"1.1.1.1"}, DNSSearch: []string{"x"}, DNSOptions: []string{"ndots:2", "rotate"}},
			"search x\nnameserver 127.0.0.11\noptions ndots:2 rotate\n",
		},
		"none": {spec.Network{DNSSearch: []string{"."}}, "nameserver 127.0.0.11\noptions edns0 ndots:0\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(ResolverConf(host, tt.network))); diff != "" {
				t.Errorf("resolv.conf (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolvConf(t *testing.T) {
	const host = "# local\ndomain a\nsearch old\nsearch lan corp\nnameserver 127.0.0.53\nnameserver 10.0.0.1 # x\nnameserver ::1\noptions edns0\n"
	tests := map[string]struct {
		network spec.Network
		host    string
		want    string
	}{
		"loopback is left out":     {spec.Network{Mode: "bridge"}, host, "# local\ndomain a\nsearch old\nsearch lan corp\nnameserver 10.0.0.1 # x\noptions edns0\n"},
		"host network is the same": {spec.Network{Mode: "host"}, host, host},
		"no public fallback":       {spec.Network{Mode: "none"}, "nameserver 127.0.0.1\n", ""},
		"servers are replaced":     {spec.Network{DNS: []string{"1.1.1.1", "2.2.2.2"}}, host, "search lan corp\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions edns0\n"},
		"a loopback may be named":  {spec.Network{DNS: []string{"127.0.0.1"}}, "", "nameserver 127.0.0.1\n"},
		"search is replaced":       {spec.Network{DNSSearch: []string{"x"}}, host, "search x\nnameserver 10.0.0.1\noptions edns0\n"},
		"a dot means no search":    {spec.Network{DNSSearch: []string{"."}}, host, "nameserver 10.0.0.1\noptions edns0\n"},
		"options are replaced":     {spec.Network{DNSOptions: []string{"ndots:2"}}, host, "search lan corp\nnameserver 10.0.0.1\noptions ndots:2\n"},
		"no second line":           {spec.Network{DNSOptions: []string{"a\nnameserver 6.6.6.6", "b"}}, "", "options b\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(ResolvConf(tt.host, tt.network))); diff != "" {
				t.Errorf("resolv.conf (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzEtcFiles(f *testing.F) {
	f.Add("a:1.1.1.1", "x", "nameserver 127.0.0.1\nsearch a b\n")
	f.Add("a=[::1]\n", "x\ny", "options")
	f.Fuzz(func(t *testing.T, line, word, host string) {
		n := spec.Network{ExtraHosts: []string{line}, DNSSearch: []string{word}, DNSOptions: []string{word}}
		conf := string(ResolvConf(host, n))
		if len(strings.Fields(word)) != 1 && plainWord(word) {
			t.Errorf("%q is not one word", word)
		}
		for l := range strings.Lines(conf) {
			if key := strings.Fields(l)[0]; key != "search" && key != "nameserver" && key != "options" || loopbackServer(l) {
				t.Errorf("line %q", l)
			}
		}
		text, err := Hosts(spec.Container{Network: n}, "h")
		if err == nil && strings.Count(string(text), "\n") != strings.Count(hostsHead, "\n")+1 {
			t.Errorf("hosts:\n%s", text)
		}
	})
}

func FuzzSysctl(f *testing.F) {
	for _, s := range []string{"net.ipv4.conf.eth0/100.forwarding", "net.//.kernel", "net/ipv4", "fs.mqueue.x", "net./", "kernel.sem"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkSysctl(name, web()) != nil {
			return
		}
		path := strings.NewReplacer(".", "/", "/", ".").Replace(name)
		if clean := filepath.Clean(path); clean != path || !filepath.IsLocal(path) || slices.Contains(strings.Split(name, "/"), "..") {
			t.Errorf("%q becomes %q", name, path)
		}
	})
}

func FuzzSeccompProfile(f *testing.F) {
	f.Add(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_KILL"],"minKernel":"4.8"}}]}`)
	f.Add(`{"defaultAction":"SCMP_ACT_LOG","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]}`)
	f.Fuzz(func(t *testing.T, profile string) {
		c := with(func(c *spec.Container) { c.Security.Seccomp = profile })
		p, filter, err := Seccomp(c, Host{Arch: "amd64"})
		if err != nil && !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("error is %v", err)
		}
		if (p == nil) != (len(filter.Program) == 0) {
			t.Errorf("profile %+v, %d instructions", p, len(filter.Program))
		}
	})
}

func TestReadHost(t *testing.T) {
	h, err := ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	if h.Kernel.Major < 4 || h.Hostname == "" || h.Capabilities == nil {
		t.Errorf("host is %+v", h)
	}
	if _, err := parseKernel("six"); err == nil {
		t.Error("a release without numbers is accepted")
	}
}

func TestDeviceNodes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	got, err := DeviceNodes([]spec.Device{{Host: "/dev/zero"}, {Host: link}})
	if err != nil {
		t.Fatal(err)
	}
	if n := got[link]; len(n) != 1 || n[0].Path != link || n[0].Major != 1 || n[0].Minor != 3 || n[0].Type != "c" {
		t.Errorf("link to /dev/null is %+v", n)
	}
	if n := got["/dev/zero"]; len(n) != 1 || n[0].Minor != 5 || n[0].FileMode == nil {
		t.Errorf("/dev/zero is %+v", n)
	}
	if _, err := DeviceNodes([]spec.Device{{Host: "/dev/no-such-device"}}); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("missing device: error is %v", err)
	}
	if _, err := DeviceNodes([]spec.Device{{Host: dir}}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("directory without devices: error is %v", err)
	}
}

func TestHostDevices(t *testing.T) {
	testenv.NeedRoot(t)
	nodes, err := HostDevices()
	if err != nil {
		t.Fatal(err)
	}
	has := func(path string) bool {
		return slices.ContainsFunc(nodes, func(d specs.LinuxDevice) bool { return strings.HasPrefix(d.Path, path) })
	}
	if !has("/dev/null") || has("/dev/pts/") || has("/dev/console") {
		t.Errorf("devices are %+v", nodes)
	}
}

func BenchmarkBuild(b *testing.B) {
	in := testInput()
	in.Host.Arch = runtime.GOARCH
	for b.Loop() {
		p, err := Build(web(), in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
