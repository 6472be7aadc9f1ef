package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// maker is an engine that creates containers and starts them.
type maker struct {
	backend
	got     []engine.CreateOptions
	started []string
	fail    error
}

func (m *maker) Create(_ context.Context, opt engine.CreateOptions) (engine.Container, error) {
	opt.Progress, opt.Missing = nil, nil // functions cannot be compared
	m.got = append(m.got, opt)
	return engine.Container{Container: spec.Container{ID: "4242", Name: "web"}}, m.fail
}

func (m *maker) Launch(_ context.Context, ref string) error {
	m.started = append(m.started, ref)
	return nil
}

func (m *maker) Start(_ context.Context, ref string) error {
	m.started = append(m.started, ref)
	return nil
}

// defaults are what create passes on for "create IMAGE".
func defaults() engine.CreateOptions {
	return engine.CreateOptions{Image: "img", Pull: engine.PullMissing, Container: spec.Container{Restart: spec.RestartPolicy{Mode: spec.RestartNo}}}
}

func TestCreateOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	envFile := write("env", "A=file\nB=file\nSET\nNOT\n")
	labelFile := write("labels", "a=file\nb\n")
	profile := write("seccomp.json", "{ }")

	tests := map[string]struct {
		args string // separated by spaces, an underscore is a space
		set  func(o *engine.CreateOptions, c *spec.Container)
	}{
		"the image alone": {"img", func(*engine.CreateOptions, *spec.Container) {}},
		"flags end at the image": {"img -it --name x", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Process.Cmd = []string{"-it", "--name", "x"}
		}},
		"name, labels, image": {"--name web -l a=1 --label b --label-file " + labelFile + " --pull always --platform linux/arm64 img", func(o *engine.CreateOptions, c *spec.Container) {
			o.Pull, o.Platform = engine.PullAlways, "linux/arm64"
			c.Name, c.Labels = "web", map[string]string{"a": "1", "b": ""}
		}},
		"health": {"--health-cmd curl --health-interval 1s --health-timeout 2s --health-retries 4 --health-start-period 1m --health-start-interval 5ms --health-on-failure kill img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Healthcheck = &spec.Healthcheck{
				Test: []string{"CMD-SHELL", "curl"}, Interval: time.Second, Timeout: 2 * time.Second, Retries: 4,
				StartPeriod: time.Minute, StartInterval: 5 * time.Millisecond, OnFailure: spec.HealthKill,
			}
		}},
		"health of the image, but often": {"--health-interval 1s --health-on-failure none img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Healthcheck = &spec.Healthcheck{Interval: time.Second}
		}},
		"no health": {"--no-healthcheck img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Healthcheck = &spec.Healthcheck{Test: []string{"NONE"}}
		}},
		"secrets": {"--secret db --secret /a/b,target=pw,mode=0400,uid=5,gid=6 img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Secrets = []spec.Secret{{Source: "db", Target: "db"}, {Source: "/a/b", Target: "pw", Mode: 0o400, UID: 5, GID: 6}}
		}},
		"ready when it says so": {"--sdnotify container img", func(_ *engine.CreateOptions, c *spec.Container) { c.Notify = spec.NotifyContainer }},
		"ready when healthy":    {"--sdnotify healthy img", func(_ *engine.CreateOptions, c *spec.Container) { c.Notify = spec.NotifyHealthy }},
		"ready when it runs":    {"--sdnotify conmon img", func(*engine.CreateOptions, *spec.Container) {}},
		"process": {"-ti -e B=flag -e NEW= -e SET -e NOT --env-file " + envFile + " -w /w -u 1:2 --group-add g --group-add 5 --entrypoint e img a b", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Process = spec.Process{
				Entrypoint: []string{"e"}, Cmd: []string{"a", "b"}, Env: []string{"A=file", "B=flag", "SET=value of SET", "NEW="},
				Dir: "/w", User: "1:2", Groups: []string{"g", "5"}, TTY: true, OpenStdin: true, StdinOnce: true,
			}
		}},
		"an empty entrypoint drops the image's": {"--entrypoint= img a", func(o *engine.CreateOptions, c *spec.Container) {
			o.NoEntrypoint, c.Process.Cmd = true, []string{"a"}
		}},
		"stdin is once only if it is attached": {"-i -a stdout img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Process.OpenStdin = true
		}},
		"mounts in the order of their flags": {"--tmpfs /t:size=1m -v vol:/v:ro -v ./x:/x -v /anon --mount type=bind,src=/s,dst=/m --volumes-from c1:ro --read-only --shm-size 128m img", func(o *engine.CreateOptions, c *spec.Container) {
			o.VolumesFrom, c.ReadOnly, c.ShmBytes = []string{"c1:ro"}, true, 128<<20
			c.Mounts = []spec.Mount{
				{Type: spec.MountVolume, Source: "vol", Target: "/v", ReadOnly: true},
				{Type: spec.MountBind, Source: "/here/x", Target: "/x", CreateSource: true},
				{Type: spec.MountVolume, Target: "/anon", Anonymous: true},
				{Type: spec.MountBind, Source: "/s", Target: "/m"},
				{Type: spec.MountTmpfs, Target: "/t", TmpfsBytes: 1 << 20},
			}
		}},
		"security": {"--cap-add net_admin --cap-add CAP_SYS_TIME --cap-drop all --privileged --security-opt no-new-privileges --security-opt seccomp=" + profile + " --security-opt apparmor=p img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Security = spec.Security{CapAdd: []string{"NET_ADMIN", "SYS_TIME"}, CapDrop: []string{"ALL"}, Privileged: true, NoNewPrivileges: true, Seccomp: "{}", AppArmor: "p"}
		}},
		"devices, ulimits, sysctls": {"--device /dev/fuse:r --ulimit nofile=10:20 --sysctl net.a=1 --sysctl net.b=2 --init img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Devices = []spec.Device{{Host: "/dev/fuse", Container: "/dev/fuse", Permissions: "r"}}
			c.Ulimits, c.Sysctls, c.Init = []spec.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}, map[string]string{"net.a": "1", "net.b": "2"}, true
		}},
		"memory": {"-m 64m --memory-swap 96m --memory-reservation 32m --oom-score-adj -5 img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Limits = spec.Limits{MemoryBytes: 64 << 20, SwapBytes: 32 << 20, ReservationBytes: 32 << 20, OOMScoreAdj: -5}
		}},
		"processor and disk": {"--cpus 1.5 -c 512 --cpuset-cpus 0-1 --pids-limit 9 --blkio-weight 300 --device-read-bps /dev/a:1m --device-write-bps /dev/a:2m --device-read-iops /dev/a:3 --device-write-iops /dev/a:4 img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Limits = spec.Limits{
				CPUMillis: 1500, CPUShares: 512, CPUSet: "0-1", Pids: 9, IOWeight: 300,
				ReadBPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 1 << 20}}, WriteBPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 2 << 20}},
				ReadIOPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 3}}, WriteIOPS: []spec.DeviceLimit{{Path: "/dev/a", Rate: 4}},
			}
		}},
		"a quota is a number of processors": {"--cpu-quota 25000 --cpu-period 50000 --pids-limit -1 img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Limits.CPUMillis = 500
		}},
		"host": {"--network host -h h --domainname d --add-host a:1.2.3.4 --dns 1.1.1.1 --dns-search s --dns-option o --dns-opt p img", func(o *engine.CreateOptions, c *spec.Container) {
			c.Hostname, c.Domainname = "h", "d"
			o.Networks = []engine.NetworkRequest{{Name: "host"}}
			c.Network = spec.Network{ExtraHosts: []string{"a:1.2.3.4"}, DNS: []string{"1.1.1.1"}, DNSSearch: []string{"s"}, DNSOptions: []string{"o", "p"}}
		}},
		"no network": {"--net none img", func(o *engine.CreateOptions, _ *spec.Container) { o.Networks = []engine.NetworkRequest{{Name: "none"}} }},
		"networks": {"--network a --network name=b,alias=X,alias=y,ip=10.0.0.9,ip6=fd00::9,mac-address=02:42:ac:11:00:09,driver-opt=k=v,gw-priority=-3 --ip 10.1.0.9 --ip6 fd01::9 --mac-address 02:42:ac:11:00:08 --network-alias Q --net-alias r --link db --link c:d img", func(o *engine.CreateOptions, _ *spec.Container) {
			addr := netip.MustParseAddr
			o.Networks = []engine.NetworkRequest{
				{Name: "a", IPv4: addr("10.1.0.9"), IPv6: addr("fd01::9"), MAC: "02:42:ac:11:00:08", Aliases: []string{"q", "r"}, Links: []string{"db", "c:d"}},
				{Name: "b", IPv4: addr("10.0.0.9"), IPv6: addr("fd00::9"), MAC: "02:42:ac:11:00:09", Aliases: []string{"x", "y"}, Priority: -3, Options: map[string]string{"k": "v"}},
			}
		}},
		"link alone is about the default network": {"--link db img", func(o *engine.CreateOptions, _ *spec.Container) {
			o.Networks = []engine.NetworkRequest{{Links: []string{"db"}}}
		}},
		"ports": {"-p 80 -p 127.0.0.1:8080:81/udp -p target=82,published=90 -P --expose 7000-7001 --expose 53/udp img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Network.Ports = []spec.Port{
				{Proto: "tcp", ContainerPort: 80}, {Proto: "udp", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 81},
				{Proto: "tcp", HostPort: 90, ContainerPort: 82},
			}
			c.Network.PublishAll = true
			c.Network.Exposed = []spec.Port{{Proto: "tcp", ContainerPort: 7000}, {Proto: "tcp", ContainerPort: 7001}, {Proto: "udp", ContainerPort: 53}}
		}},
		"namespaces": {"--pid host --ipc container:c --uts host --cgroupns host img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.PIDMode, c.IPCMode, c.UTSMode, c.CgroupnsMode = "host", "container:c", "host", "host"
		}},
		"end": {"--restart on-failure:3 --stop-signal SIGQUIT --stop-timeout -1 img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Restart = spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}
			c.StopSignal, c.StopTimeout = "SIGQUIT", new(-time.Second)
		}},
		"a soft reboot": {"--survive-soft-reboot img", func(_ *engine.CreateOptions, c *spec.Container) { c.SurviveSoftReboot = true }},
		"units of the host": {"--requires postgresql.service --requires a.mount --after chrony.service img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.Requires, c.After = []string{"postgresql.service", "a.mount"}, []string{"chrony.service"}
		}},
		"a stop timeout of zero is said": {"--stop-timeout 0 --rm img", func(_ *engine.CreateOptions, c *spec.Container) {
			c.AutoRemove, c.StopTimeout = true, new(time.Duration(0))
		}},
		"log": {"--log-driver journald --log-opt tag={{.Name}} --log-opt labels=a,b --log-opt env=C img", func(o *engine.CreateOptions, c *spec.Container) {
			c.Log.Driver, o.LogTag, o.LogLabels, o.LogEnv = "journald", "{{.Name}}", []string{"a", "b"}, []string{"C"}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect := defaults()
			tt.set(&expect, &expect.Container)
			m := &maker{}
			want(t, try(t, m, append([]string{"create"}, strings.Fields(tt.args)...)...), outcome{Out: "4242\n"})
			if diff := cmp.Diff([]engine.CreateOptions{expect}, m.got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreateRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"--network a --network a img":                        `network "a" is specified multiple times`,
		"--network name=a,alias=x --network-alias y img":     "conflicting options: cannot specify both --network-alias and per-network alias",
		"--network name=a,ip=10.0.0.1 --ip 10.0.0.2 img":     "conflicting options: cannot specify both --ip and per-network IPv4 address",
		"--network name=a,ip6=fd00::1 --ip6 fd00::2 img":     "conflicting options: cannot specify both --ip6 and per-network IPv6 address",
		"--network name=a,mac-address=x --mac-address y img": "conflicting options: cannot specify both --mac-address and per-network MAC address",
		"--restart always --rm img":                          "conflicting options: cannot specify both --restart and --rm",
		"--health-retries -1 img":                            "--health-retries cannot be negative",
		"--no-healthcheck --health-timeout 1s img":           "--no-healthcheck conflicts with --health-* options",
		"--health-on-failure no img":                         `--health-on-failure "no": must be one of none, restart, stop or kill`,
		"--sdnotify soon img":                                `--sdnotify "soon": must be one of container, healthy or ignore`,
		"--restart foo img":                                  "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
		"--restart always:3 img":                             "invalid restart policy: maximum retry count can only be used with 'on-failure'",
		"--pull foo img":                                     `invalid pull option: 'foo': must be one of "always", "missing" or "never"`,
		"--env-file /nonexist img":                           "open /nonexist: no such file or directory",
		"--memory-swap 1g img":                               "you should always set the Memory limit when using Memoryswap limit, see usage",
		"--cpus 1 --cpu-quota 5000 img":                      "conflicting options: --cpus and --cpu-quota cannot both be set",
		"--cpu-period 5000 img":                              "--cpu-period has no effect without --cpu-quota",
		"--security-opt foo img":                             `invalid --security-opt: "foo"`,
		"--log-driver syslog img":                            `logging driver "syslog" is not supported: output goes to the journal ("journald") or nowhere ("none")`,
		"--log-driver none --log-opt tag=x img":              "invalid logging opts for driver none",
	}
	for line, msg := range tests {
		m := &maker{}
		want(t, try(t, m, append([]string{"create"}, strings.Fields(line)...)...), outcome{Err: "cleat: " + msg + "\n\nRun 'cleat create --help' for more information\n", Code: 125})
		if len(m.got) > 0 {
			t.Errorf("%s: the engine is called", line)
		}
	}
	want(t, try(t, &maker{fail: errors.New("no space")}, "create", "img"), outcome{Err: "cleat: no space\n", Code: 1})
}

func TestCIDFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cid")
	want(t, try(t, &maker{}, "create", "--cidfile", path, "img"), outcome{Out: "4242\n"})
	if text, err := os.ReadFile(path); err != nil || string(text) != "4242" {
		t.Errorf("file has %q, error %v", text, err)
	}
	m := &maker{}
	want(t, try(t, m, "create", "--cidfile", path, "img"), outcome{Err: "cleat: container ID file found, make sure the other container isn't running or delete " + path + "\n", Code: 1})
	if len(m.got) > 0 {
		t.Error("a container is created although the file is there")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	try(t, &maker{fail: errors.New("no space")}, "create", "--cidfile", path, "img")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed create leaves the file: %v", err)
	}
}
