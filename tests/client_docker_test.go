package tests

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDockerClientRuns gives the Docker client's flags of run, as far as they show
// in the container.
func TestDockerClientRuns(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"env": "F=1\n", "labels": "lab=el\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const run = "run --rm --network none "
	s.steps(t, []step{
		{line: "run -d --name xx --network none -l x=1 busybox sleep 1000", out: anyID},
		{line: run + "--env-file " + dir + "/env --label-file " + dir + "/labels --entrypoint sh busybox -c echo_$F", out: "1"},
		{line: run + "--cidfile " + dir + "/cid busybox true", out: ""},
		{line: run + "--mount type=bind,src=/etc,dst=/m,ro --mount type=volume,src=vv,dst=/v --mount type=tmpfs,dst=/t,tmpfs-mode=700 busybox sh -c stat_-c_%a_/t;touch_/m/x", out: "700", err: "Read-only file system", code: 1},
		{line: run + "--tmpfs /t:size=1m,mode=711 --read-only busybox sh -c stat_-c_%a_/t;touch_/x", out: "711", err: "Read-only file system", code: 1},
		{line: run + "--init busybox cat /proc/1/comm", out: "docker-init"},
		{line: run + "-u 1000:7 --group-add 9 busybox id", out: `uid=1000\(user\) gid=7 groups=7,9`},
		{line: run + "--ulimit nofile=50:60 busybox sh -c ulimit_-n", out: "50"},
		{line: run + "--ulimit nofile=10 busybox true", code: 125, err: "ulimit nofile: 10 open files are too few"},
		{line: run + "--device /dev/null:/dev/mynull busybox ls /dev/mynull", out: "/dev/mynull"},
		{line: "run --rm --add-host far:1.2.3.4 --dns 9.9.9.9 --dns-search d.e --hostname hh --domainname dd busybox sh -c grep_far_/etc/hosts;cat_/etc/resolv.conf;hostname_-f",
			out: "1\\.2\\.3\\.4\tfar\nsearch d\\.e\nnameserver 9\\.9\\.9\\.9\nhh\\.dd"},
		{line: run + "--sysctl kernel.msgmax=1234 busybox cat /proc/sys/kernel/msgmax", out: "1234"},
		{line: run + "--cap-drop ALL busybox grep CapEff /proc/self/status", out: "CapEff:\t0{16}"},
		{line: run + "--cap-add SYSLOG --security-opt no-new-privileges --security-opt seccomp=unconfined busybox grep -E NoNew|Seccomp: /proc/self/status", out: "NoNewPrivs:\t1\nSeccomp:\t0"},
		{line: run + "--pid container:xx busybox ps", out: ".*sleep 1000.*"},
		{line: "run --rm --network container:xx busybox ip -o link", out: "1: lo.*"},
		{line: run + "--ipc host --uts host --userns host --annotation a=b busybox true", out: ""},
		{line: run + "--volumes-from xx --log-driver none -a stdout busybox sh -c echo_o;echo_e_>&2", out: "o"},
		{line: run + "--shm-size 8m -w /new/dir busybox sh -c pwd;df_/dev/shm", out: "/new/dir\n.*shm +8192 .*"},
		{line: "run --rm --network bridge --mac-address 02:42:ac:11:00:99 busybox ip -o link show eth0", out: ".*02:42:ac:11:00:99.*"},
		{line: run + "--log-driver json-file busybox true", code: 125, err: `logging driver "json-file" is not supported`},
		{line: run + "--cgroup-parent x busybox true", code: 125, err: "CgroupParent is not supported"},
		{line: run + "--platform linux/arm64 --pull never busybox true", code: 125, err: "linux/arm64"},
		{line: "rm -f -v xx", out: "xx"},
		{line: "volume rm vv", out: "vv"},
	})
	if data, err := os.ReadFile(dir + "/cid"); err != nil || len(data) != 64 {
		t.Errorf("--cidfile: %q, %v", data, err)
	}
	s.clean(t)
}

// TestDockerClientLooks gives the Docker client's commands that only look, and those
// that clear up.
func TestDockerClientLooks(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	// Their names are no hexadecimal digits: filters take the beginning of an id, too.
	s.steps(t, []step{
		{line: "run -d --name xx --network none -l x=1 busybox sh -c echo_line;sleep_1000", out: anyID},
		{line: "create --name yy --network none -l y=1 busybox", out: anyID},
		{line: "container ls -q --no-trunc --filter label=x=1 --filter ancestor=busybox --filter network=none --filter status=running", out: anyID},
		{line: "ps -l --format {{.Names}}", out: "yy"},
		{line: "ps -n 2 -s --format {{.Names}}:{{.Size}}", out: `yy:0B \(virtual .*\)\nxx:.*`},
		{line: "ps -a --format json --filter since=xx", out: `\{.*"Names":"yy".*\}`},
		{line: "ps --filter nosuch=1", code: 1, err: "nosuch"},
		{line: "inspect --size -f {{.SizeRootFs}} xx", out: `\d+`},
		{line: "inspect --type image -f {{.Os}} busybox", out: "linux"},
		{line: "inspect nosuch", code: 1, out: `\[\]`, err: "No such object: nosuch"},
		{line: "container inspect -f {{.Name}} xx", out: "/xx"},
		{line: "logs --since 1h -n 1 --details -t xx", out: ".*line"},
		{line: "stats --no-stream --no-trunc --format {{.Name}}:{{.PIDs}} xx", out: "xx:1"},
		{line: "stats --no-stream -a --format {{.Name}}", out: "(xx\nyy|yy\nxx)"},
		{line: "top xx", out: "UID.*sleep 1000"},
		{line: "start xx nosuch", out: "xx", code: 1, err: "failed to start containers: nosuch"},
		{line: "commit -a me -m why -p=false yy im:1", out: "sha256:" + anyID},
		{line: "images --filter reference=im --format {{.Repository}}:{{.Tag}}:{{.Digest}} --digests", out: "im:1:<none>"},
		{line: "image ls -q --no-trunc im", out: "sha256:" + anyID},
		{line: "image history --no-trunc --format {{.Comment}} im:1", out: "why\n.*"},
		{line: "image inspect -f {{.Author}} im:1", out: "me"},
		{line: "image tag im:1 im:2", out: ""},
		{line: "rmi im:1 nosuch", out: "Untagged: im:1", code: 1, err: "No such image: nosuch"},
		{line: "image prune -f", out: "Total reclaimed space: 0B"},
		{line: "image prune -a -f --filter until=24h", out: "Total reclaimed space: 0B"},
		{line: "image rm im:2", out: "Untagged: im:2\nDeleted: .*"},
		{line: "search busybox", code: 1, err: "index.docker.io"},
		{line: "login -u me --password-stdin 127.0.0.1:1", stdin: "x", code: 1, err: "cannot be reached"},
		{line: "volume create --label a=b --opt type=tmpfs --opt device=tmpfs --opt o=size=1m tv", out: "tv"},
		{line: "run --rm --network none -v tv:/t busybox df /t", out: ".*tmpfs +1024 .*"},
		{line: "volume ls --filter dangling=true --filter label=a -q", out: "tv"},
		{line: "volume create --driver nosuch xx", code: 1, err: "nosuch"},
		{line: "volume rm -f tv", out: "tv"},
		{line: "network create --subnet 10.99.0.0/16 --ip-range 10.99.5.0/24 --gateway 10.99.5.254 --aux-address h=10.99.5.1 --label a=b nx", out: anyID},
		{line: "run --rm --network nx busybox ip -o -4 addr show eth0", out: `.* 10\.99\.5\.[0-9]+/16 .*`},
		{line: "network create --internal --ipv6 --subnet fd00:77::/64 n6", out: anyID},
		{line: "network ls --filter driver=bridge --filter label=a --format {{.Name}}", out: "nx"},
		{line: "network create --driver overlay x", code: 1, err: "overlay"},
		{line: "network rm bridge", code: 1, err: "pre-defined"},
		{line: "network prune -f --filter label=a", out: "Deleted Networks:\nnx\n?"},
		{line: "network prune -f", out: "Deleted Networks:\nn6\n?"},
		{line: "system df -v", out: "Images space usage:.*busybox.*Containers space usage:.*xx.*"},
		{line: "system df --format json", out: `\{.*"Type":"Images"\}.*`},
		{line: "system info -f {{.Driver}}_{{.LoggingDriver}}", out: "overlay journald"},
		{line: "system prune -f --filter label=y=1", out: "Deleted Containers:\n" + anyID + "\n.*"},
		{line: "system prune -f --filter label!=x=1", out: "Total reclaimed space: 0B"},
		{line: "plugin ls -q", out: ""},
		{line: "node ls", code: 1, err: "not a swarm manager"},
		{line: "context ls -q", out: "default"},
	})
	// The client asks for those before the whole second that it has.
	for _, tt := range []struct{ line, want string }{
		{"events --since 1h --until 0s --filter container=yy --filter event=create --format {{.Type}}_{{.Action}}", "container create"},
		{"events --since 1h --until 0s --filter event=die --filter image=busybox --format {{json_.}}", `"Action":"die"`},
	} {
		until(t, "docker "+tt.line+" tells "+tt.want, func() bool { return strings.Contains(finish(s.docker(t, words(tt.line)...)).out, tt.want) })
	}
	s.steps(t, []step{{line: "rm -f xx", out: "xx"}})
	s.clean(t)
}

// TestDockerClientCopies copies into and out of a container that runs and one that
// does not, and through pipes.
func TestDockerClientCopies(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/in/sub", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/in/sub/file", []byte("data"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/file", dir+"/in/link"); err != nil {
		t.Fatal(err)
	}
	s.steps(t, []step{
		{line: "run -d --name on --network none -v vol:/v busybox sleep 1000", out: anyID},
		{line: "create --name off --network none busybox", out: anyID},
		{line: "cp " + dir + "/in on:/tmp/dir", out: ""},
		{line: "exec on sh -c cat_/tmp/dir/sub/file;readlink_/tmp/dir/link;stat_-c_%a_/tmp/dir/sub/file", out: "datasub/file\n640"},
		{line: "cp -L " + dir + "/in/link on:/v/copied", out: ""},
		{line: "exec on cat /v/copied", out: "data"},
		{line: "cp " + dir + "/in/. off:/tmp", out: ""},
		{line: "cp off:/tmp/sub " + dir + "/out", out: ""},
		{line: "cp on:/nosuch " + dir, code: 1, err: "/nosuch"},
		{line: "cp " + dir + "/in/link on:/nosuch/dir/", code: 1, err: "no such directory"},
		{line: "cp " + dir + "/nosuch on:/tmp", code: 1, err: "nosuch"},
	})
	if data, err := os.ReadFile(dir + "/out/file"); err != nil || string(data) != "data" {
		t.Errorf("copied out: %q, %v", data, err)
	}
	// From one container to another, through tar on both sides.
	var archive bytes.Buffer
	out := s.docker(t, "cp", "on:/tmp/dir", "-")
	out.Stdout = &archive
	if r := out.Run(); r != nil {
		t.Fatal(r)
	}
	in := s.docker(t, "cp", "-a", "-", "off:/home")
	in.Stdin = bytes.NewReader(archive.Bytes())
	if r := finish(in); r.code != 0 {
		t.Fatalf("docker cp -: %v", r)
	}
	if names := tarNames(t, s.docker(t, "export", "off")); !strings.Contains(names, "\nhome/dir/sub/file\n") {
		t.Errorf("exported:\n%s", names)
	}
	s.steps(t, []step{{line: "rm -f on off", out: "on\noff"}, {line: "volume rm vol", out: "vol"}})
	s.clean(t)
}

// tarNames runs a command that writes an archive, and returns the names in it, one a
// line.
func tarNames(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	names := "\n"
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names += strings.TrimPrefix(h.Name, "./") + "\n"
	}
}

// TestDockerClientPipes saves, loads, exports and imports through pipes.
func TestDockerClientPipes(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	s.steps(t, []step{{line: "tag busybox one:1", out: ""}, {line: "tag busybox two:2", out: ""}})
	save := s.docker(t, "save", "one:1", "two:2")
	data, err := save.Output()
	if err != nil {
		t.Fatal(err)
	}
	s.steps(t, []step{
		{line: "rmi one:1 two:2", out: "Untagged: one:1\nUntagged: two:2"},
		{line: "load", stdin: string(data), out: "(?s:.*)Loaded image: one:1\nLoaded image: two:2"},
		{line: "load -q", stdin: "no archive", code: 1, err: "archive"},
		{line: "run --name xx --network none one:1 touch /made", out: ""},
	})
	tree, err := s.docker(t, "export", "xx").Output()
	if err != nil {
		t.Fatal(err)
	}
	s.steps(t, []step{
		{line: "import -m why -c CMD_ls_/made - three:3", stdin: string(tree), out: "sha256:" + anyID},
		{line: "run --rm --network none three:3", out: "/made"},
		{line: "rm xx", out: "xx"},
		{line: "rmi one:1 two:2 three:3", out: "Untagged: .*"},
	})
	s.clean(t)
}

// TestDockerClientLiveTable shows docker stats as it is on a terminal, and docker's
// own signals.
func TestDockerClientLiveTable(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	s.steps(t, []step{{line: "run -d --name live --network none busybox sleep 1000", out: anyID}})
	table := s.terminal(t, "stats", "live")
	table.expect(t, "CPU %")
	table.expect(t, "live")
	s.must(t, "exec", "-d", "live", "sleep", "999")
	table.expect(t, " 2") // the processes, in a later sample
	// A signal to the client of a foreground run reaches the container.
	run := s.docker(t, "run", "--rm", "--name", "trap", "--network", "none", "busybox", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
	follow(t, run).expect(t, "ready")
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCodeOf(run.Wait()); code != 9 {
		t.Errorf("docker run, terminated, ends with %d, want 9", code)
	}
	s.steps(t, []step{{line: "rm -f live", out: "live"}})
	s.clean(t)
}
