package compose

import (
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

const everything = `
services:
  web:
    image: nginx
    platform: linux/amd64
    command: [serve, now]
    entrypoint: [/bin/tini, --]
    environment: {B: "2", A: "1", GONE: }
    working_dir: /w
    user: "1000:1000"
    group_add: [video]
    tty: true
    stdin_open: true
    hostname: h
    domainname: d
    labels: {own: label}
    volumes:
      - data:/data:ro
      - /srv:/srv
      - /anonymous
      - {type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 0o700}}
    tmpfs: ["/run:size=1m"]
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    privileged: true
    read_only: true
    security_opt: ["no-new-privileges:true"]
    devices: ["/dev/fuse:/dev/fuse:rw"]
    ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
    sysctls: {net.core.somaxconn: "1024"}
    shm_size: 16m
    init: true
    pid: host
    ipc: shareable
    uts: host
    cgroup: host
    restart: on-failure:3
    stop_signal: SIGQUIT
    stop_grace_period: 1m30s
    mem_limit: 512m
    memswap_limit: 1g
    mem_reservation: 256m
    cpus: 1.5
    cpu_shares: 512
    cpuset: "0"
    pids_limit: 50
    oom_score_adj: 100
    blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: 1mb}]}
    logging: {driver: journald, options: {tag: t}}
    healthcheck: {test: [CMD, check], interval: 5s, timeout: 2s, retries: 4, start_period: 1s}
    ports: ["127.0.0.1:8080:80/tcp", "[::1]:53:53/udp", "9000"]
    expose: ["70"]
    dns: [1.1.1.1]
    dns_search: [example.org]
    dns_opt: ["ndots:2"]
    extra_hosts: ["other:10.0.0.1"]
    mac_address: "02:42:ac:11:00:05"
    networks:
      front: {ipv4_address: 10.5.0.9, aliases: [shop], gw_priority: 5}
networks: {front: {ipam: {config: [{subnet: 10.5.0.0/16}]}}}
volumes: {data: {name: other}}
`

func TestConvertEverything(t *testing.T) {
	p := load(t, everything)
	w, err := p.convert(p.model.Services["web"])
	if err != nil {
		t.Fatal(err)
	}
	grace := 90 * time.Second
	want := engine.CreateOptions{
		Image: "nginx", Platform: "linux/amd64", LogTag: "t",
		Networks: []engine.NetworkRequest{{
			Name: "shop_front", IPv4: netip.MustParseAddr("10.5.0.9"), MAC: "02:42:ac:11:00:05", Aliases: []string{"web", "shop"}, Priority: 5,
		}},
		Container: spec.Container{
			Slice: "cleat-shop.slice", Labels: map[string]string{"own": "label"}, Hostname: "h", Domainname: "d",
			Process: spec.Process{
				Entrypoint: []string{"/bin/tini", "--"}, Cmd: []string{"serve", "now"}, Env: []string{"A=1", "B=2"}, Dir: "/w",
				User: "1000:1000", Groups: []string{"video"}, TTY: true, OpenStdin: true,
			},
			Mounts: []spec.Mount{
				{Type: spec.MountVolume, Source: "other", Target: "/data", ReadOnly: true},
				{Type: spec.MountBind, Source: "/srv", Target: "/srv", CreateSource: true},
				{Type: spec.MountVolume, Target: "/anonymous"},
				{Type: spec.MountTmpfs, Target: "/t", TmpfsBytes: 64 << 20, TmpfsMode: 0o700},
				{Type: spec.MountTmpfs, Target: "/run", TmpfsBytes: 1 << 20},
			},
			Security: spec.Security{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"}, Privileged: true, NoNewPrivileges: true},
			ReadOnly: true, Devices: []spec.Device{{Host: "/dev/fuse", Container: "/dev/fuse", Permissions: "rw"}},
			Ulimits: []spec.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}, {Name: "nproc", Soft: 5, Hard: 5}},
			Sysctls: map[string]string{"net.core.somaxconn": "1024"}, ShmBytes: 16 << 20, Init: true,
			PIDMode: "host", IPCMode: "shareable", UTSMode: "host", CgroupnsMode: "host",
			Restart: spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}, StopSignal: "SIGQUIT", StopTimeout: &grace,
			Limits: spec.Limits{
				MemoryBytes: 512 << 20, SwapBytes: 512 << 20, ReservationBytes: 256 << 20, CPUMillis: 1500, CPUShares: 512, CPUSet: "0",
				Pids: 50, IOWeight: 300, OOMScoreAdj: 100, ReadBPS: []spec.DeviceLimit{{Path: "/dev/sda", Rate: 1 << 20}},
			},
			Log: spec.LogConfig{Driver: "journald"},
			Healthcheck: &spec.Healthcheck{
				Test: []string{"CMD", "check"}, Interval: 5 * time.Second, Timeout: 2 * time.Second, StartPeriod: time.Second, Retries: 4,
			},
			Network: spec.Network{
				Ports: []spec.Port{
					{Proto: spec.TCP, HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80},
					{Proto: spec.UDP, HostIP: netip.MustParseAddr("::1"), HostPort: 53, ContainerPort: 53},
					{Proto: spec.TCP, ContainerPort: 9000},
				},
				Exposed: []spec.Port{{Proto: spec.TCP, ContainerPort: 70}},
				DNS:     []string{"1.1.1.1"}, DNSSearch: []string{"example.org"}, DNSOptions: []string{"ndots:2"}, ExtraHosts: []string{"other:10.0.0.1"},
			},
		},
	}
	compare := []cmp.Option{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(want, w.create, compare...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Secrets are credentials of systemd, unless they are to lie elsewhere. The file of
// a config is mounted; what the compose file or a variable says is written into the
// container, and so is what is to be somebody's.
func TestSecretsAndConfigs(t *testing.T) {
	t.Setenv("TOKEN", "secret")
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := load(t, `
services:
  web:
    image: x
    secrets:
      - plain
      - {source: own, uid: "5", gid: "6", mode: 0o400}
      - {source: token, target: /run/secrets/tok}
      - {source: stored, target: of.store}
      - {source: plain, target: /elsewhere}
      - {source: token, target: "not a credential"}
    configs: [{source: inline, target: /etc/app.conf}, plain, {source: plain, target: /own, mode: 0o440}]
secrets: {plain: {file: `+file+`}, own: {file: `+file+`}, token: {environment: TOKEN}, stored: {external: true, name: db.password}}
configs: {inline: {content: hello}, plain: {file: `+file+`}}
`)
	w, err := p.convert(p.model.Services["web"])
	if err != nil {
		t.Fatal(err)
	}
	mounts := []spec.Mount{
		{Type: spec.MountBind, Source: file, Target: "/elsewhere", ReadOnly: true},
		{Type: spec.MountBind, Source: file, Target: "/plain", ReadOnly: true},
	}
	if diff := cmp.Diff(mounts, w.create.Container.Mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	files := []injected{
		{Target: "/run/secrets/not a credential", Data: []byte("secret"), Mode: 0o444},
		{Target: "/etc/app.conf", Data: []byte("hello"), Mode: 0o444},
		{Target: "/own", Data: []byte("text"), Mode: 0o440},
	}
	if diff := cmp.Diff(files, w.files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	secrets := []spec.Secret{
		{Source: file, Target: "plain", Mode: 0o444},
		{Source: file, Target: "own", UID: 5, GID: 6, Mode: 0o400},
		{Target: "tok", Mode: 0o444},
		{Source: "db.password", Target: "of.store", Mode: 0o444},
	}
	if diff := cmp.Diff(secrets, w.create.Container.Secrets); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"tok": []byte("secret")}, w.create.SecretData); diff != "" {
		t.Errorf("data of secrets (-want +got):\n%s", diff)
	}
}

func TestSecretRefusals(t *testing.T) {
	for ref, want := range map[string]string{
		"{source: s, target: /etc/x}":    "an external secret is a credential of systemd",
		"{source: s, mode: 0o7777}":      "mode 07777: must be from 1 to 0777",
		"{source: s, uid: root}":         `uid "root": must be a number`,
		"{source: s, gid: '9999999999'}": `gid "9999999999": must be a number`,
	} {
		p := load(t, "services: {web: {image: x, secrets: ["+ref+"]}}\nsecrets: {s: {external: true}}\n")
		_, err := p.convert(p.model.Services["web"])
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `compose.yaml:1: services.web.secrets: secret "s": `) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
}

// What changes a container changes its hash, and nothing else does.
func TestHash(t *testing.T) {
	hash := func(file string) string {
		p := load(t, file)
		w, err := p.convert(p.model.Services["web"])
		if err != nil {
			t.Fatal(err)
		}
		return w.hash
	}
	same := hash("services: {web: {image: x, volumes: ['vv:/v']}, db: {image: y}}\nvolumes: {vv: {}}\n")
	for name, file := range map[string]string{
		"its scale":        "services: {web: {image: x, scale: 3, volumes: ['vv:/v']}, db: {image: y}}\nvolumes: {vv: {}}\n",
		"its dependencies": "services: {web: {image: x, depends_on: [db], volumes: ['vv:/v']}, db: {image: y}}\nvolumes: {vv: {}}\n",
		"another service":  "services: {web: {image: x, volumes: ['vv:/v']}, db: {image: z}}\nvolumes: {vv: {}}\n",
	} {
		if hash(file) != same {
			t.Errorf("%s changes the hash of a service", name)
		}
	}
	for name, file := range map[string]string{
		"a variable":           "services: {web: {image: x, environment: [A=1], volumes: ['vv:/v']}, db: {image: y}}\nvolumes: {vv: {}}\n",
		"the name of a volume": "services: {web: {image: x, volumes: ['vv:/v']}, db: {image: y}}\nvolumes: {vv: {name: other}}\n",
		"the image":            "services: {web: {image: y, volumes: ['vv:/v']}, db: {image: y}}\nvolumes: {vv: {}}\n",
	} {
		if hash(file) == same {
			t.Errorf("%s does not change the hash of a service", name)
		}
	}
}
