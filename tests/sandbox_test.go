package tests

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// probe is a script that prints what a process of a container is and sees, one
// "key<TAB>value" a line. It needs nothing but busybox.
const probe = `
awk -F'[:\t]+' '/^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Sig(Blk|Ign)):/ {k=$1; sub(/^[^:]*:[ \t]*/, ""); gsub(/[ \t]+/, " "); sub(/ $/, ""); print "status " k "\t" $0}' /proc/self/status
awk '{i=7; while ($i != "-") i++; print "mount " $5 "\t" $(i+1) " " $6}' /proc/self/mountinfo
awk '{i=7; while ($i != "-") i++; if ($(i+1) ~ /tmpfs|devpts/) print "super " $5 "\t" $(i+3)}' /proc/self/mountinfo
ls -lAn /dev | awk '/^[cb]/ {print "dev " $NF "\t" $1 " " $3 ":" $4 " " $5 $6} /^l/ {print "dev " $(NF-2) "\t-> " $NF}'
awk '/^Max/ {n=substr($0,1,26); sub(/ +$/, "", n); r=substr($0,27); split(r, v, " "); print "limit " n "\t" v[1] " " v[2]}' /proc/self/limits
for f in kcore keys timer_list interrupts sched_debug scsi acpi sysrq-trigger asound latency_stats; do
  [ -e /proc/$f ] && echo "path /proc/$f	$(stat -c '%F %t:%T' /proc/$f) $( (: >/proc/$f) 2>/dev/null && echo w) $(head -c1 /proc/$f 2>/dev/null | wc -c)"
done
for f in /proc/sys/kernel/domainname /sys/kernel/uevent_helper /sys/firmware /proc/bus /proc/irq /sys/fs/cgroup / /tmp; do
  if [ -d $f ]; then (mkdir $f/.w && rmdir $f/.w) 2>/dev/null; else (: >>$f) 2>/dev/null; fi && w=writable || w=closed
  [ -e $f ] && echo "path $f	$w"
done
for n in ipc net pid uts mnt cgroup user; do echo "ns $n	$(readlink /proc/self/ns/$n)"; done
for k in net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range kernel/shm_rmid_forced net/core/somaxconn; do echo "sysctl $k	$(cat /proc/sys/$k)"; done
env | awk -F= '{k=$1; sub(/^[^=]*=/, ""); print "env " k "\t" $0}'
echo "other cwd	$(pwd)"; echo "other umask	$(umask)"; echo "other oom	$(cat /proc/self/oom_score_adj)"; echo "other hostname	$(hostname)"
echo "other domain	$(cat /proc/sys/kernel/domainname)"; echo "other pid1	$(tr '\0' ' ' </proc/1/cmdline | cut -c1-40)"
ls -ln /etc/hosts /etc/hostname /etc/resolv.conf | awk '{print "mode " $NF "\t" $1}'
awk '{print "hosts " $2 "\t" $1}' /etc/hosts; awk '{k=$1; $1=""; print "resolv " k "\t" $0}' /etc/resolv.conf
`

// facts is what the probe prints.
type facts map[string]string

func readFacts(text string) facts {
	f := facts{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			if have, twice := f[k]; twice {
				v = have + " | " + v
			}
			f[k] = v
		}
	}
	return f
}

// writeProbe writes the script where containers can mount it.
func writeProbe(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-probe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "probe")
	if err := os.WriteFile(path, []byte(probe), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	dockerCaps = "00000000a80425fb"
	noCaps     = "0000000000000000"
)

// caps are the lines of a process with the set of capabilities given.
func caps(effective, bounding string) facts {
	return facts{
		"status CapInh": noCaps, "status CapPrm": effective, "status CapEff": effective,
		"status CapBnd": bounding, "status CapAmb": noCaps,
	}
}

// absent is the value of what must not be there.
const absent = "-"

func with(parts ...facts) facts {
	all := facts{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}

// sandboxCase is one way to start a container. Docker takes the same flags.
type sandboxCase struct {
	flags string
	want  facts
}

// allCaps is every capability that the kernel knows, which is what root on the
// host has.
func allCaps(t testing.TB) string {
	t.Helper()
	status, err := os.ReadFile("/proc/1/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapBnd:\t")
	bounding, _, _ := strings.Cut(rest, "\n")
	return bounding
}

func sandboxCases(t testing.TB) []sandboxCase {
	all := allCaps(t)
	return []sandboxCase{
		{"", with(caps(dockerCaps, dockerCaps), facts{
			"status NoNewPrivs": "0", "status Seccomp": "2", "status Uid": "0 0 0 0", "status Gid": "0 0 0 0",
			"status SigBlk": noCaps, "status SigIgn": noCaps,
			"mount /proc": "proc rw,nosuid,nodev,noexec,relatime", "mount /dev": "tmpfs rw,nosuid",
			"mount /dev/pts": "devpts rw,nosuid,noexec,relatime", "mount /sys": "sysfs ro,nosuid,nodev,noexec,relatime",
			"mount /dev/mqueue": "mqueue rw,nosuid,nodev,noexec,relatime", "mount /dev/shm": "tmpfs rw,nosuid,nodev,noexec,relatime",
			"super /dev/shm": "rw,size=65536k", "super /dev": "rw,size=65536k,mode=755",
			"mount /sys/fs/cgroup": "cgroup2 ro,nosuid,nodev,noexec,relatime",
			"mount /proc/bus":      "proc ro,nosuid,nodev,noexec,relatime", "mount /proc/fs": "proc ro,nosuid,nodev,noexec,relatime",
			"mount /proc/irq": "proc ro,nosuid,nodev,noexec,relatime", "mount /proc/sys": "proc ro,nosuid,nodev,noexec,relatime",
			"mount /sys/firmware": "tmpfs ro,relatime",
			"dev null":            "crw-rw-rw- 0:0 1,3", "dev zero": "crw-rw-rw- 0:0 1,5", "dev full": "crw-rw-rw- 0:0 1,7",
			"dev random": "crw-rw-rw- 0:0 1,8", "dev urandom": "crw-rw-rw- 0:0 1,9", "dev tty": "crw-rw-rw- 0:0 5,0",
			"dev ptmx": "-> pts/ptmx", "dev fd": "-> /proc/self/fd", "dev stdin": "-> /proc/self/fd/0", "dev vda": absent, "dev fuse": absent, "dev kmsg": absent,
			"path /proc/keys": "character special file 1:3 w 0", "path /proc/timer_list": "character special file 1:3 w 0",
			"path /proc/sys/kernel/domainname": "closed", "path /sys/firmware": "closed", "path /sys/fs/cgroup": "closed",
			"path /proc/irq": "closed", "path /": "writable",
			"sysctl net/ipv4/ip_unprivileged_port_start": "0", "sysctl net/ipv4/ping_group_range": "0\t2147483647",
			"mode /etc/hosts": "-rw-r--r--", "mode /etc/hostname": "-rw-r--r--", "mode /etc/resolv.conf": "-rw-r--r--",
			"other cwd": "/", "other umask": "0022", "other oom": "0", "env HOME": "/root",
			"env PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		})},
		{"--privileged", with(caps(all, all), facts{
			"status Seccomp": "0", "mount /sys": "sysfs rw,nosuid,nodev,noexec,relatime", "mount /proc/sys": absent, "mount /proc/keys": absent,
			"mount /sys/firmware": absent, "path /proc/sys/kernel/domainname": "writable", "dev kmsg": absent, "dev full": "crw-rw-rw- 0:0 1,7",
			"mount /sys/fs/cgroup": "cgroup2 rw,nosuid,nodev,noexec,relatime",
		})},
		{"--cap-drop ALL", caps(noCaps, noCaps)},
		{"--cap-drop ALL --cap-add NET_BIND_SERVICE", caps("0000000000000400", "0000000000000400")},
		{"--cap-drop CAP_CHOWN --cap-add SYS_TIME", caps("00000000aa0425fa", "00000000aa0425fa")},
		{"--cap-add ALL", with(caps(all, all), facts{"status Seccomp": "2"})},
		{"--security-opt no-new-privileges", with(caps(dockerCaps, dockerCaps), facts{"status NoNewPrivs": "1"})},
		{"--security-opt seccomp=unconfined", with(caps(dockerCaps, dockerCaps), facts{"status Seccomp": "0"})},
		{"-u user", with(caps(noCaps, dockerCaps), facts{"status Uid": "1000 1000 1000 1000", "status Gid": "1000 1000 1000 1000", "status Groups": "1000 2000", "env HOME": "/home", "path /": "closed", "path /tmp": "writable"})},
		{"-u 1000", facts{"status Uid": "1000 1000 1000 1000", "status Gid": "1000 1000 1000 1000", "status Groups": "1000 2000"}},
		{"-u user:extra", facts{"status Uid": "1000 1000 1000 1000", "status Gid": "2000 2000 2000 2000", "status Groups": "2000"}},
		{"-u 4242", facts{"status Uid": "4242 4242 4242 4242", "status Gid": "0 0 0 0", "status Groups": "0", "env HOME": "/"}},
		{"-u 4242:4343 --group-add 7 --group-add extra", facts{"status Uid": "4242 4242 4242 4242", "status Gid": "4343 4343 4343 4343", "status Groups": "7 2000 4343"}},
		{"-u :2000", facts{"status Uid": "0 0 0 0", "status Gid": "2000 2000 2000 2000"}},
		{"-u user --cap-add NET_ADMIN", caps(noCaps, "00000000a80435fb")},
		{"--sysctl net.core.somaxconn=321 --sysctl net.ipv4.ip_unprivileged_port_start=99", facts{"sysctl net/core/somaxconn": "321", "sysctl net/ipv4/ip_unprivileged_port_start": "99"}},
		{"--ulimit nofile=100:200 --ulimit core=0", facts{"limit Max open files": "100 200", "limit Max core file size": "0 0"}},
		{"--device /dev/zero:/dev/nought:r", facts{"dev nought": "crw-rw-rw- 0:0 1,5"}},
		{"--read-only", facts{"path /": "closed", "path /tmp": "closed"}},
		{"--read-only --tmpfs /tmp --tmpfs /data:size=1m,mode=700", facts{"path /": "closed", "path /tmp": "writable", "mount /tmp": "tmpfs rw,nosuid,nodev,noexec,relatime", "super /data": "rw,size=1024k,mode=700"}},
		{"--shm-size 8m", facts{"super /dev/shm": "rw,size=8192k"}},
		{"--init", facts{"other pid1": "/sbin/docker-init -- sh /probe "}},
		{"--oom-score-adj 321", facts{"other oom": "321"}},
		{"-h box --domainname example.org", facts{"other hostname": "box", "other domain": "example.org", "env HOSTNAME": "box"}},
		{"--add-host db:10.1.2.3 --dns 192.0.2.1 --dns-search example.net --dns-option ndots:2", facts{"hosts db": "10.1.2.3", "resolv nameserver": " 192.0.2.1", "resolv search": " example.net", "resolv options": " ndots:2"}},
		{"-w /var/new -e A=b", facts{"other cwd": "/var/new", "env A": "b"}},
	}
}

// TestSandbox looks at live processes, started in many ways. What is executed in
// a container later has the same sandbox as its first process.
func TestSandbox(t *testing.T) {
	s, path := shared(), writeProbe(t)
	for i, tt := range sandboxCases(t) {
		t.Run(tt.flags, func(t *testing.T) {
			t.Parallel()
			name := fmt.Sprintf("box-%d", i)
			flags := append(strings.Fields(tt.flags), "-v", path+":/probe:ro", "busybox", "sh", "/probe")
			t.Cleanup(func() { s.try("rm", "-f", name) })
			got := readFacts(s.must(t, append([]string{"run", "--network", "none", "--name", name + "x", "--rm"}, flags...)...))
			for _, k := range slices.Sorted(maps.Keys(tt.want)) {
				have, ok := got[k]
				if !ok {
					have = absent
				}
				if have != tt.want[k] {
					t.Errorf("%s is %q, want %q", k, have, tt.want[k])
				}
			}
			// A process that is executed later: the probe, in a container that waits.
			flags = slices.Concat(flags[:len(flags)-2], []string{"sleep", "1000"})
			s.run(t, name, flags...)
			var late facts
			const files = "limit Max open files" // docker-init has another one until it has started the command
			until(t, "exec has "+files+" of the first process", func() bool {
				late = readFacts(s.must(t, "exec", name, "sh", "/probe"))
				return late[files] == got[files]
			})
			for _, k := range differing(got, late) {
				if !strings.HasPrefix(k, "ns ") && k != "env HOSTNAME" && !strings.HasPrefix(k, "hosts ") && k != "other pid1" && k != "other hostname" {
					t.Errorf("exec: %s is %q, of the first process %q", k, late[k], got[k])
				}
			}
		})
	}
}

// differing returns the keys whose values differ.
func differing(a, b facts) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(with(a, b))), func(k string) bool { return a[k] == b[k] })
}

// TestSharedNamespaces starts containers in the namespaces of others and of the
// host.
func TestSharedNamespaces(t *testing.T) {
	s, path := shared(), writeProbe(t)
	probed := func(flags ...string) facts {
		t.Helper()
		return readFacts(s.must(t, slices.Concat([]string{"run", "--rm", "-v", path + ":/probe:ro"}, flags, []string{"busybox", "sh", "/probe"})...))
	}
	cmd := s.must(t, "host", "shell", "sh", "-c", `for n in ipc net pid uts; do readlink /proc/1/ns/$n; done`)
	host := strings.Fields(cmd)
	s.run(t, "other", "--ipc", "shareable", "busybox", "sleep", "1000")
	other := readFacts(s.must(t, "exec", "other", "sh", "-c", `for n in ipc net pid; do echo "ns $n	$(readlink /proc/self/ns/$n)"; done`))
	own := probed("--network", "none")
	for i, k := range []string{"ns ipc", "ns net", "ns pid", "ns uts"} {
		if own[k] == host[i] || own[k] == "" {
			t.Errorf("%s is the host's: %s", k, own[k])
		}
	}
	for _, tt := range []struct {
		flags []string
		key   string
		want  string
	}{
		{[]string{"--network", "none", "--pid", "host"}, "ns pid", host[2]},
		{[]string{"--network", "none", "--ipc", "host"}, "ns ipc", host[0]},
		{[]string{"--network", "none", "--uts", "host"}, "ns uts", host[3]},
		{[]string{"--network", "host"}, "ns net", host[1]},
		{[]string{"--network", "none", "--pid", "container:other"}, "ns pid", other["ns pid"]},
		{[]string{"--network", "none", "--ipc", "container:other"}, "ns ipc", other["ns ipc"]},
		{[]string{"--network", "container:other"}, "ns net", other["ns net"]},
	} {
		got := probed(tt.flags...)
		if got[tt.key] != tt.want || tt.want == "" {
			t.Errorf("%v: %s is %s, want %s", tt.flags, tt.key, got[tt.key], tt.want)
		}
		if got["status CapEff"] != dockerCaps || got["status Seccomp"] != "2" {
			t.Errorf("%v: capabilities %s, seccomp %s", tt.flags, got["status CapEff"], got["status Seccomp"])
		}
	}
	// A container with the host's processes can be stopped like any.
	s.run(t, "hostpid", "--pid", "host", "busybox", "sh", "-c", "sleep 1000 & sleep 1000")
	s.must(t, "stop", "-t", "1", "hostpid")
	if out := s.try("host", "shell", "systemctl", "is-active", "cleat-hostpid").out; out == "active" {
		t.Errorf("hostpid is %s", out)
	}
	s.clean(t)
}
