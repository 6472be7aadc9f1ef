package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const quadletProject = `
name: described
services:
  web:
    image: nginx
    command: [serve, "a b", 'say "hi" $$USER 100%']
    entrypoint: [/init, --fast]
    environment: {A: "1", TEXT: "two words and $$x"}
    labels: {note: "100% sure"}
    depends_on: {db: {condition: service_healthy}}
    ports: ["8080:80", "127.0.0.1:53:53/udp", "9000"]
    expose: ["70"]
    networks: {front: {aliases: [www]}, back: {ipv4_address: 10.5.0.9}}
    restart: unless-stopped
    user: "1000:7"
    working_dir: /srv
    hostname: w
    read_only: true
    init: true
    tmpfs: ["/tmp", "/run:size=1m"]
    volumes: ["data:/data", "/etc/hostname:/h:ro", {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o700}}, {type: volume, source: data, target: /n, volume: {nocopy: true}}]
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    sysctls: {net.core.somaxconn: "1"}
    ulimits: {nofile: {soft: 1000, hard: 2000}, nproc: 5}
    devices: ["/dev/null:/dev/nichts:r"]
    dns: [1.1.1.1]
    dns_search: [example.net]
    dns_opt: ["ndots:2"]
    extra_hosts: ["a:10.0.0.1"]
    group_add: ["5"]
    mem_limit: 64m
    cpus: 1.5
    pids_limit: 50
    shm_size: 1m
    stop_signal: SIGINT
    stop_grace_period: 3s
    logging: {driver: journald, options: {tag: "{{.Name}}"}}
    pull_policy: always
    secrets: [{source: key, mode: 0o400, uid: "5"}, stored]
  db:
    image: postgres
    scale: 2
    networks: [back]
    healthcheck: {test: [CMD, pg_isready, -q], interval: 5s, timeout: 1s, retries: 4, start_period: 1m}
    deploy: {resources: {limits: {memory: 128m}}}
  side: {image: busybox, network_mode: "service:web", healthcheck: {disable: true}}
  built: {build: {context: ., args: {V: "1"}, target: last, labels: {l: v}}, network_mode: none}
networks:
  front: {}
  back: {internal: true, ipam: {config: [{subnet: 10.5.0.0/16, gateway: 10.5.0.1}]}, driver_opts: {com.docker.network.bridge.name: back0}, labels: {n: w}}
volumes: {data: {labels: {x: y}}}
secrets: {key: {file: /etc/hostname}, stored: {external: true}}
`

// What compose writes as files for systemd, cleat reads as such.
func TestComposeQuadlet(t *testing.T) {
	s, dir := shared(), t.TempDir()
	file := filepath.Join(dir, "compose.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(quadletProject)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM busybox AS last\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "files")
	files := strings.Fields(s.must(t, "compose", "-f", file, "generate", "quadlet", "-o", out))
	want := "described_back.network described_front.network described_data.volume described-built.build described-built-1.container " +
		"described-db-1.container described-db-2.container described-side-1.container described-web-1.container"
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("files are %s, want %s", got, want)
	}
	if r := s.try(append([]string{"quadlet", "check"}, files...)...); r.code != 0 {
		t.Errorf("quadlet check: %v", r)
		for _, f := range files {
			text, _ := os.ReadFile(f)
			t.Logf("%s\n%s", f, text)
		}
	}
	web, err := os.ReadFile(filepath.Join(out, "described-web-1.container"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`Exec="serve" "a b" "say \"hi\" $$USER 100%%"`, `Environment="TEXT=two words and $x"`, `Label="note=100%% sure"`, "After=described-db-2.service",
		"Volume=described_data.volume:/data", "Volume=described_data.volume:/n:nocopy", "Tmpfs=/t:size=1048576,mode=700", "Network=described_front.network:alias=web,alias=www",
		"Secret=stored,target=stored,uid=0,gid=0,mode=0444", "Restart=always", "CPUQuota=150%", "WantedBy=multi-user.target",
	} {
		if !strings.Contains(string(web), "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, web)
		}
	}
	if text := s.must(t, "compose", "-f", file, "generate", "quadlet", "side"); strings.Count(text, "# described") != 7 { // with what it depends on, through web
		t.Errorf("of one service:\n%s", text)
	}
	for name, tt := range map[string]struct{ service, want string }{
		"a key":          {"{image: x, privileged: true}", ":1: services.web.privileged: no .container file can say it"},
		"a value":        {"{image: x, healthcheck: {test: a, start_interval: 1s}}", ":1: services.web.healthcheck.start_interval: "},
		"a line":         {`{image: x, hostname: "a\nb"}`, "services.web: "},
		"a condition":    {"{image: x, depends_on: {db: {condition: service_completed_successfully}}}, db: {image: y}", "services.web.depends_on: "},
		"a swarm's part": {"{image: x, deploy: {restart_policy: {condition: any}}}", "services.web.deploy: "},
	} {
		write("services: {web: " + tt.service + "}\n")
		r := s.try("compose", "-f", file, "-p", "refused", "generate", "quadlet")
		if r.code != 1 || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: %v, want %q", name, r, tt.want)
		}
		plain(t, r.stderr)
	}
}
