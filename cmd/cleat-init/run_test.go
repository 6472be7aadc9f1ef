package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
)

// A container has what Docker gives it, field by field on the live process.
func TestDefaultContainer(t *testing.T) {
	r := newRig(t, "/bin/probe").create()
	host := hostState(t)
	p := r.probe()

	want := map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "00000000a80425fb", "CapEff": "00000000a80425fb",
		"CapBnd": "00000000a80425fb", "CapAmb": "0000000000000000",
		"NoNewPrivs": "0", "Seccomp": "2", "Seccomp_filters": "1", "Groups": "0", "NSpid": "1", "SigIgn": "0000000000000000", "SigBlk": "0000000000000000",
	}
	got := make(map[string]string)
	for name := range want {
		got[name] = p.field(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("/proc/1/status (-want +got):\n%s", diff)
	}
	if p.PID != 1 || p.Hostname != "testhost" || p.Cwd != "/" {
		t.Errorf("pid %d, host name %q, cwd %q", p.PID, p.Hostname, p.Cwd)
	}
	// HOST_SECRET, which the helper has in its environment, is not among them.
	if diff := cmp.Diff([]string{"PATH=/usr/local/bin:/bin", "GREETING=hello", "HOME=/root"}, p.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	for name, ns := range p.NS {
		if shared := host.ns[name] == ns; shared != (name == "user" || strings.HasPrefix(name, "time")) {
			t.Errorf("namespace %s: %s, host has %s", name, ns, host.ns[name])
		}
	}
	if diff := cmp.Diff([]string{"0", "1", "2"}, probeFDs(p)); diff != "" {
		t.Errorf("descriptors (-want +got):\n%s\n%v", diff, p.FDs)
	}
	if p.FDs["0"] != "/dev/null" {
		t.Errorf("stdin is %s", p.FDs["0"])
	}
	const devices = "/dev/core /dev/fd /dev/full /dev/mqueue /dev/null /dev/ptmx /dev/pts /dev/random /dev/shm /dev/stderr /dev/stdin /dev/stdout /dev/tty /dev/urandom /dev/zero"
	if diff := cmp.Diff(devices, p.Dev); diff != "" {
		t.Errorf("/dev (-want +got):\n%s", diff)
	}
	host.check(t)
}

// Every mount has the options, and every masked path the cover, of the plan.
func TestDefaultMounts(t *testing.T) {
	p := newRig(t, "/bin/probe").create().probe()
	// Mount options, a dash, the type and the source, as in proc_pid_mountinfo(5).
	want := map[string][]string{
		"/":                {"rw,", "- overlay "},
		"/proc":            {"rw,nosuid,nodev,noexec", "- proc "},
		"/dev":             {"rw,nosuid", "- tmpfs ", "mode=755", "size=65536k"},
		"/dev/pts":         {"rw,nosuid,noexec", "- devpts ", "gid=5,mode=620,ptmxmode=666"},
		"/dev/mqueue":      {"rw,nosuid,nodev,noexec", "- mqueue "},
		"/dev/shm":         {"rw,nosuid,nodev,noexec", "- tmpfs shm", "size=65536k"},
		"/sys":             {"ro,nosuid,nodev,noexec", "- sysfs "},
		"/sys/fs/cgroup":   {"ro,nosuid,nodev,noexec", "- cgroup2 "},
		"/proc/sys":        {"ro,nosuid,nodev,noexec", "- proc "},
		"/proc/bus":        {"ro,", "- proc "},
		"/proc/irq":        {"ro,", "- proc "},
		"/proc/kcore":      {"/null ", "- tmpfs "},
		"/proc/keys":       {"/null ", "- tmpfs "},
		"/proc/timer_list": {"/null ", "- tmpfs "},
		"/proc/scsi":       {"ro,", "- tmpfs "},
		"/sys/firmware":    {"ro,", "- tmpfs "},
	}
	for point, parts := range want {
		line := p.mount(point)
		if line == "" && !exists(point) {
			continue // not on this kernel
		}
		for _, part := range parts {
			if !strings.Contains(line, part) {
				t.Errorf("mount %s: %q lacks %q", point, line, part)
			}
		}
		if strings.Contains(line, "shared:") || strings.Contains(line, "master:") {
			t.Errorf("mount %s is tied to others: %q", point, line)
		}
	}
	if strings.Contains(p.Mountinfo, "/old") || strings.Count(p.Mountinfo, " / / ") != 1 {
		t.Errorf("the host's tree is still there:\n%s", p.Mountinfo)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestExitCodes(t *testing.T) {
	tests := map[string]struct {
		args []string
		want int
	}{
		"zero":                {[]string{"probe", "exit", "0"}, 0},
		"of the payload":      {[]string{"probe", "exit", "42"}, 42},
		"one of cleat's own":  {[]string{"probe", "exit", "243"}, 243},
		"a shell in PID 1":    {[]string{"sh", "-c", "exit 7"}, 7},
		"a script from PATH":  {[]string{"script", "a", "b"}, 0},
		"relative to the cwd": {[]string{"bin/probe", "exit", "3"}, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, ws := newRig(t, tt.args...).create().run()
			if got := exitCode(ws); got != tt.want {
				t.Errorf("exit code %d, want %d: %s", got, tt.want, stderr)
			}
		})
	}
}

// A command that cannot be run is reported in Docker's words, with the exit
// code that engine and systemd understand, and recorded.
func TestFailedStart(t *testing.T) {
	tests := map[string]struct {
		args   []string
		change func(*rig)
		exit   int
		code   int
		want   string
	}{
		"not in PATH":     {[]string{"nosuch"}, nil, sandbox.ExitNotFound, 127, `exec: "nosuch": executable file not found in $PATH`},
		"no such path":    {[]string{"/nosuch"}, nil, sandbox.ExitNotFound, 127, `exec: "/nosuch": stat /nosuch: no such file or directory`},
		"a directory":     {[]string{"/etc"}, nil, sandbox.ExitNotExecutable, 126, `exec: "/etc": is a directory`},
		"not executable":  {[]string{"/plain"}, func(r *rig) { write(r, "plain", "x", 0o644) }, sandbox.ExitNotExecutable, 126, `exec: "/plain": permission denied`},
		"not by the user": {[]string{"/mine"}, func(r *rig) { write(r, "mine", "x", 0o700); r.plan.Annex.User = "web" }, sandbox.ExitNotExecutable, 126, `exec: "/mine": permission denied`},
		"no program":      {[]string{"/plain"}, func(r *rig) { write(r, "plain", "\x00\x01", 0o755) }, sandbox.ExitNotExecutable, 126, `exec: "/plain": exec format error`},
		"no interpreter":  {[]string{"/plain"}, func(r *rig) { write(r, "plain", "#!/nosuch\n", 0o755) }, sandbox.ExitNotFound, 127, `exec /plain: no such file or directory`},
		"no command":      {nil, nil, sandbox.ExitNotFound, 127, "no command specified"},
		"unknown user":    {[]string{"probe"}, func(r *rig) { r.plan.Annex.User = "ghost" }, sandbox.ExitFailed, 125, "unable to find user ghost: no matching entries in passwd file"},
		"missing source":  {[]string{"probe"}, func(r *rig) { r.bind("/nosuch/dir", "/data") }, sandbox.ExitFailed, 125, "bind source path does not exist: /nosuch/dir"},
		"no broker":       {[]string{"probe"}, func(r *rig) { r.plan.Annex.Stdio.Socket = "/nosuch/sock" }, sandbox.ExitFailed, 125, "the stdio broker (cleat-stdiod) cannot be reached"},
		"over the root":   {[]string{"probe"}, func(r *rig) { r.bind("/etc", "/x/..") }, sandbox.ExitFailed, 125, "nothing can be mounted over the root"},
		"relative cwd":    {[]string{"probe"}, func(r *rig) { r.plan.Config.Process.Cwd = "here" }, sandbox.ExitFailed, 125, `working directory "here" is not absolute`},
		"user namespace": {[]string{"probe"}, func(r *rig) {
			r.plan.Config.Linux.Namespaces = append(r.plan.Config.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}, sandbox.ExitFailed, 125, "user namespace: not supported"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.args...)
			if tt.change != nil {
				tt.change(r)
			}
			host := hostState(t)
			s := r.create().start()
			if s.code != tt.exit || !strings.Contains(s.stderr, tt.want) || strings.Count(s.stderr, "\n") != 1 {
				t.Errorf("exit code %d, want %d; said %q, want %q", s.code, tt.exit, s.stderr, tt.want)
			}
			run, err := r.store.LoadRun(r.id)
			if err != nil || run.ExitCode != tt.code || !strings.Contains(run.Error, tt.want) {
				t.Errorf("record %+v, %v", run, err)
			}
			if s.pid > 0 && unix.Kill(s.pid, 0) == nil {
				t.Errorf("process %d is left", s.pid)
			}
			// Only the kernel knows what it does not execute.
			late := strings.HasPrefix(name, "no program") || strings.HasPrefix(name, "no interpreter")
			if strings.Contains(strings.Join(r.notify.messages(), " "), "READY") && !late {
				t.Errorf("systemd was told %q", r.notify.messages())
			}
			host.check(t)
		})
	}
}

// write puts a file into the image of r.
func write(r *rig, name, text string, perm os.FileMode) {
	path := filepath.Join(r.layer(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		r.t.Fatal(err)
	}
}

func TestBinds(t *testing.T) {
	r := newRig(t, "sh", "-c", "cat /in/file /single; echo new > /out/new; echo bad > /in/new; cat /a/b/c/file")
	for _, dir := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(r.dir, "in/file")
	if err := os.WriteFile(file, []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.bind(filepath.Join(r.dir, "in"), "/in", "ro").bind(filepath.Join(r.dir, "out"), "/out")
	// Targets that the image lacks are made, below directories that it lacks.
	r.bind(file, "/single").bind(filepath.Join(r.dir, "in"), "/a/b/c")
	stdout, stderr, _ := r.create().run()
	if stdout != "text\ntext\ntext\n" || !strings.Contains(stderr, "/in/new: Read-only file system") {
		t.Errorf("printed %q and %q", stdout, stderr)
	}
	if data, err := os.ReadFile(filepath.Join(r.dir, "out/new")); string(data) != "new\n" {
		t.Errorf("the host has %q in out/new, %v", data, err)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	r := newRig(t, "sh", "-c", "echo x > /file; echo y > /tmp/file && cat /tmp/file; echo z > /dev/shm/z && cat /dev/shm/z; pwd")
	r.plan.Config.Root.Readonly = true
	r.plan.Config.Process.Cwd = "/made/by/start"
	r.plan.Config.Mounts = append(r.plan.Config.Mounts,
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "size=1m", "mode=1777"}})
	stdout, stderr, _ := r.create().run()
	if stdout != "y\nz\n/made/by/start\n" || !strings.Contains(stderr, "can't create /file: Read-only file system") {
		t.Errorf("printed %q and %q", stdout, stderr)
	}
}

func TestUsers(t *testing.T) {
	type who struct {
		UID, GID int
		Groups   []int
		Home     string
	}
	tests := map[string]struct {
		user   string
		groups []string
		want   who
	}{
		"name with its groups":       {"web", nil, who{1000, 1001, []int{29, 44, 1001}, "HOME=/home/web"}},
		"uid with its groups":        {"1000", nil, who{1000, 1001, []int{29, 44, 1001}, "HOME=/home/web"}},
		"a group hides the others":   {"web:audio", nil, who{1000, 29, []int{29}, "HOME=/home/web"}},
		"numbers without entries":    {"4242:4343", nil, who{4242, 4343, []int{4343}, "HOME=/"}},
		"further groups":             {"web:5", []string{"video", "77"}, who{1000, 5, []int{5, 44, 77}, "HOME=/home/web"}},
		"a relative home is ignored": {"nohome", nil, who{1002, 1002, []int{44, 1002}, "HOME=/"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { // CVE-2022-36109, CVE-2023-25173, CVE-2022-2989
			r := newRig(t, "/bin/probe")
			r.plan.Annex.User, r.plan.Annex.Groups = tt.user, tt.groups
			p := r.create().probe()
			got := who{p.UID, p.GID, p.Groups, p.Env[len(p.Env)-1]}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("user %q (-want +got):\n%s", tt.user, diff)
			}
			caps := p.field("CapPrm") + p.field("CapEff") + p.field("CapInh") + p.field("CapAmb")
			if strings.Trim(caps, "0") != "" || p.field("CapBnd") != "00000000a80425fb" {
				t.Errorf("capabilities %s, bounding %s", caps, p.field("CapBnd"))
			}
			if p.field("Seccomp") != "2" {
				t.Error("no seccomp filter")
			}
		})
	}
}

func TestRlimits(t *testing.T) {
	r := newRig(t, "sh", "-c", "while read line; do echo $line; done < /proc/self/limits")
	r.plan.Config.Process.Rlimits = []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 4096}, {Type: "RLIMIT_FSIZE", Soft: 1 << 30, Hard: 1 << 31},
	}
	stdout, _, _ := r.create().run()
	for _, want := range []string{"Max open files 100 200", "Max core file size 0 4096", "Max file size 1073741824 2147483648"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("limits lack %q:\n%s", want, stdout)
		}
	}
}

// The namespaces of another container can be joined, the host's kept.
func TestSharedNamespaces(t *testing.T) {
	first := newRig(t, "probe", "sleep")
	s := first.create().start()
	if s.code != 0 {
		t.Fatal(s.stderr)
	}
	host := hostState(t)
	r := newRig(t, "/bin/probe")
	r.store, r.id = first.store, r.id[:63]+"f"
	r.plan = defaultPlan(r, []string{"/bin/probe"})
	r.plan.Config.Hostname = ""
	r.plan.Config.Linux.Sysctl = nil
	r.plan.Config.Linux.Namespaces = []specs.LinuxNamespace{
		{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace, Path: "/proc/" + itoa(s.pid) + "/ns/ipc"}, {Type: specs.CgroupNamespace},
	}
	r.plan.Annex.Join = []plan.Join{{Namespace: specs.NetworkNamespace, Container: first.id}, {Namespace: specs.PIDNamespace, Container: first.id}}
	p := r.create().probe()
	for _, name := range []string{"net", "pid", "ipc"} {
		want, err := os.Readlink("/proc/" + itoa(s.pid) + "/ns/" + name)
		if err != nil || p.NS[name] != want {
			t.Errorf("namespace %s is %s, that of the other container %s, %v", name, p.NS[name], want, err)
		}
	}
	if p.NS["uts"] != host.ns["uts"] || p.PID == 1 {
		t.Errorf("uts %s, host %s; pid %d", p.NS["uts"], host.ns["uts"], p.PID)
	}
	host.check(t)
}

// Whoever joins the IPC namespace of another container has its shared memory.
func TestSharedMemory(t *testing.T) {
	first := newRig(t, "sh", "-c", "echo shared > /dev/shm/file; exec probe sleep")
	s := first.create().start()
	if s.code != 0 {
		t.Fatal(s.stderr)
	}
	awaitOutput(t, first, "sleeping\n")
	host := hostState(t)
	r := newRig(t)
	r.store, r.id = first.store, r.id[:63]+"f"
	r.plan = defaultPlan(r, []string{"sh", "-c", "cat /dev/shm/file; echo more > /dev/shm/more"})
	r.plan.Config.Mounts = r.plan.Config.Mounts[:len(r.plan.Config.Mounts)-1]
	r.plan.Annex.Join = []plan.Join{{Namespace: specs.IPCNamespace, Container: first.id}}
	if err := linkBusybox(r, "cat"); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, _ := r.create().run(); stdout != "shared\n" {
		t.Errorf("printed %q, %q", stdout, stderr)
	}
	if !exists("/proc/" + itoa(s.pid) + "/root/dev/shm/more") {
		t.Error("the first container does not see what the second one wrote")
	}
	host.check(t)
}

// A volume is filled from the image by package rootfs before it hides the
// directory there.
func TestCopyUp(t *testing.T) {
	r := newRig(t, "sh", "-c", "cat /data/file; echo more > /data/more")
	write(r, "data/file", "from the image\n", 0o644)
	volume := filepath.Join(r.dir, "volumes/v/_data")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	r.bind(volume, "/data")
	r.plan.Annex.CopyUp = []plan.CopyUp{{Target: "/data", Volume: volume}, {Target: "/nosuch", Volume: volume}}
	if stdout, stderr, _ := r.create().run(); stdout != "from the image\n" {
		t.Errorf("printed %q, %q", stdout, stderr)
	}
	for _, name := range []string{"file", "more"} {
		if !exists(filepath.Join(volume, name)) {
			t.Errorf("the volume lacks %s", name)
		}
	}
}

// The init reaps orphans, forwards signals and ends as the command does.
func TestInit(t *testing.T) {
	r := newRig(t, "sh", "-c", "cat /proc/1/comm; probe orphan; trap 'exit 9' TERM; echo ready; while :; do read x < /fifo; done")
	r.plan.Annex.Init = built.init
	if err := linkBusybox(r, "cat"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(r.layer(), "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	host := hostState(t)
	s := r.create().start()
	if s.code != 0 {
		t.Fatal(s.stderr)
	}
	awaitOutput(t, r, "docker-init\nready\n")
	if err := unix.Kill(s.pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(r.wait(s)); code != 9 {
		t.Errorf("exit code %d, want 9", code)
	}
	host.check(t)
}

func TestRemovedWithItsRun(t *testing.T) {
	r := newRig(t, "probe", "exit", "5")
	r.plan.Annex.AutoRemove = true
	s := r.create().start()
	r.wait(s)
	r.env = []string{"EXIT_CODE=exited", "EXIT_STATUS=5", "SERVICE_RESULT=exit-code"}
	if out, err := r.command("post", r.id).CombinedOutput(); err != nil {
		t.Fatalf("post: %v: %s", err, out)
	}
	if exists(r.store.Dir(r.id)) {
		t.Error("the container is still there")
	}
	exit, err := r.store.LoadExit(r.id)
	if err != nil || exit.Code != 5 {
		t.Errorf("announced %+v, %v", exit, err)
	}
}

// Mounts pass between host and container as the propagation of a bind mount
// says, and never by accident.
func TestPropagation(t *testing.T) {
	tests := map[string]struct {
		propagation     string
		toHost, toGuest bool
	}{
		"private by wish":    {"rprivate", false, false},
		"slave":              {"rslave", false, true},
		"shared":             {"rshared", true, true},
		"slave if not given": {"", false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "sh", "-c", "mount -t tmpfs guest /vol/guest; echo > /vol/up; read x < /vol/fifo; grep -c ' /vol/host ' /proc/self/mountinfo")
			if err := linkBusybox(r, "mount", "grep"); err != nil {
				t.Fatal(err)
			}
			vol := filepath.Join(r.dir, "vol")
			for _, d := range []string{"guest", "host"} {
				if err := os.MkdirAll(filepath.Join(vol, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Mkfifo(filepath.Join(vol, "fifo"), 0o600); err != nil {
				t.Fatal(err)
			}
			options := []string{"rbind"}
			if tt.propagation != "" {
				options = append(options, tt.propagation)
			}
			r.plan.Config.Mounts = append(r.plan.Config.Mounts, specs.Mount{Destination: "/vol", Type: "bind", Source: vol, Options: options})
			r.plan.Config.Process.Capabilities = allCaps()
			r.plan.Annex.Seccomp = nil
			host := hostState(t)
			// A host of its own, whose mounts are shared as systemd makes them.
			script := `mount --make-rshared / && mount --bind "$VOL" "$VOL" && mount --make-shared "$VOL" || exit 9
				"$@" || exit 8
				while [ ! -e "$VOL/up" ]; do sleep 0.01; done
				mount -t tmpfs host "$VOL/host" || exit 7
				echo > "$VOL/fifo"
				for m in " $VOL/guest " " $RUNROOT"; do grep -q "$m" /proc/self/mountinfo && echo 1 || echo 0; done`
			cmd := r.create().command("start", r.id)
			cmd.Args = append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/usr/bin/unshare"
			cmd.Env = append(cmd.Env, "VOL="+vol, "RUNROOT="+r.store.RunRoot(), "PATH=/usr/bin:/bin")
			out, _ := cmd.CombinedOutput() // grep may find nothing
			want := count(tt.toHost) + "\n0\n"
			if string(out) != want {
				t.Errorf("on the host: %q, want %q", out, want)
			}
			// The payload is the shell's child, so its end is that of its output.
			if stdout, stderr := r.broker.output(t, r.id); stdout != count(tt.toGuest)+"\n" {
				t.Errorf("in the container: %q, %q", stdout, stderr)
			}
			host.check(t)
		})
	}
}

func count(yes bool) string {
	if yes {
		return "1"
	}
	return "0"
}

func TestNoNewPrivileges(t *testing.T) {
	r := newRig(t, "/bin/probe")
	r.plan.Config.Process.NoNewPrivileges = true
	r.plan.Annex.User = "web"
	p := r.create().probe()
	if p.field("NoNewPrivs") != "1" || p.field("Seccomp") != "2" {
		t.Errorf("NoNewPrivs %s, Seccomp %s", p.field("NoNewPrivs"), p.field("Seccomp"))
	}
}
