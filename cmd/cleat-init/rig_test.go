package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/sandbox"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// built are the programs that the tests run and the image that holds them.
var built struct {
	init  string // cleat-init
	image string // a root filesystem with /bin/probe and busybox
	err   error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cleat-init-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Like systemd: what a container leaves behind becomes this process's.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	built.err = build(dir)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	built.init, built.image = filepath.Join(dir, "cleat-init"), filepath.Join(dir, "image")
	for _, d := range []string{"bin", "etc", "tmp", "root", "home"} {
		if err := os.MkdirAll(filepath.Join(built.image, d), 0o755); err != nil {
			return err
		}
	}
	probe := filepath.Join(built.image, "bin/probe")
	for out, pkg := range map[string]string{built.init: ".", probe: "./testdata/probe"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", pkg, err, text)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("package busybox-static is missing: %w", err)
	}
	files := map[string]string{
		"bin/sh":     string(busybox),
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:Web:/home/web:/bin/sh\nnohome:x:1002:1002::relative:/bin/sh\n",
		"etc/group":  "root:x:0:\nweb:x:1001:\naudio:x:29:web\nvideo:x:44:web,nohome\n",
		"bin/script": "#!/bin/sh\necho script $0 \"$@\"\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(built.image, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// rig is one container with everything that surrounds it.
type rig struct {
	t      testing.TB
	store  *state.Store
	id     string
	dir    string // for the test's own files, on the host
	plan   plan.Plan
	broker *broker
	notify *notifySocket
	env    []string // of cleat-init

	sockets []*os.File // that the service manager hands over
}

func newRig(t testing.TB, args ...string) *rig {
	t.Helper()
	testenv.NeedRoot(t)
	if built.err != nil {
		t.Fatal(built.err)
	}
	dir := t.TempDir()
	store, err := state.Open(filepath.Join(dir, "root"), filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: store, dir: dir, id: fmt.Sprintf("%064x", time.Now().UnixNano())}
	r.broker = newBroker(t, filepath.Join(dir, "stdio.sock"))
	r.notify = newNotifySocket(t, filepath.Join(dir, "notify.sock"))
	r.plan = defaultPlan(r, args)
	return r
}

// create writes the container to the store.
func (r *rig) create() *rig {
	r.t.Helper()
	files, err := r.plan.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	c := spec.Container{Version: 1, ID: r.id, Name: "c" + r.id[48:], AutoRemove: r.plan.Annex.AutoRemove}
	if err := r.store.Create(r.t.Context(), c, files); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// started is what came of "cleat-init start".
type started struct {
	code   int
	stderr string
	pid    int // of the payload, as systemd was told; 0 if it was not
}

// command returns cleat-init with args as systemd runs it.
func (r *rig) command(args ...string) *exec.Cmd {
	args = append([]string{"--root", r.store.Root(), "--runroot", r.store.RunRoot()}, args...)
	cmd := exec.Command(built.init, args...)
	if len(r.sockets) > 0 { // as systemd does it, who knows the process's number before it is cleat-init
		cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", built.init}, args...)...)
		cmd.ExtraFiles = r.sockets
		r.env = append(r.env, "LISTEN_FDS="+itoa(len(r.sockets)), "LISTEN_FDNAMES="+names(len(r.sockets)))
	}
	cmd.Env = append([]string{"NOTIFY_SOCKET=" + r.notify.path, "INVOCATION_ID=0123456789abcdef0123456789abcdef", "HOST_SECRET=leaked"}, r.env...)
	return cmd
}

// start runs "cleat-init start" to its end.
func (r *rig) start() started {
	r.t.Helper()
	if r.notify != nil {
		r.notify.reset()
	}
	cmd := r.command("start", r.id)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	s := started{cmd.ProcessState.ExitCode(), stderr.String(), r.notify.mainPID()}
	if s.code == 0 && s.pid > 0 {
		r.t.Cleanup(func() {
			_ = unix.Kill(s.pid, unix.SIGKILL)
			_, _ = unix.Wait4(s.pid, nil, 0, nil)
		})
	}
	if s.code == 0 && err != nil {
		r.t.Fatal(err)
	}
	if s.code != 0 && s.pid > 0 {
		// The main process ends with the same code, which systemd goes by.
		if code := exitCode(r.wait(s)); code != s.code {
			r.t.Errorf("start ended with %d, the main process with %d", s.code, code)
		}
	}
	return s
}

// wait waits for the end of the payload.
func (r *rig) wait(s started) unix.WaitStatus {
	r.t.Helper()
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(s.pid, &ws, 0, nil)
		if err == nil {
			return ws
		}
		if err != unix.EINTR {
			r.t.Fatalf("wait for payload %d: %v", s.pid, err)
		}
	}
}

// run starts the container, waits for its end and returns its output. It fails
// the test if the start fails.
func (r *rig) run() (stdout, stderr string, ws unix.WaitStatus) {
	r.t.Helper()
	s := r.start()
	if s.code != 0 {
		r.t.Fatalf("start: exit code %d, %s", s.code, s.stderr)
	}
	ws = r.wait(s)
	stdout, stderr = r.broker.output(r.t, r.id)
	return stdout, stderr, ws
}

// probed is what probe prints about itself.
type probed struct {
	Args, Env   []string
	UID, GID    int
	PID         int
	Groups      []int
	Cwd         string
	Hostname    string
	FDs, NS     map[string]string
	Status      string
	Mountinfo   string
	Cgroup      string
	Limits      string
	Dev         string
	OOMScoreAdj string `json:"oom_score_adj"`
}

func parseProbe(t testing.TB, text string) probed {
	t.Helper()
	var p probed
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("probe printed %q: %v", text, err)
	}
	return p
}

// field returns a line of /proc/self/status.
func (p probed) field(name string) string {
	for line := range strings.Lines(p.Status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// mount returns the line of mountinfo for a mount point, the topmost.
func (p probed) mount(point string) string {
	found := ""
	for line := range strings.Lines(p.Mountinfo) {
		if f := strings.Fields(line); len(f) > 5 && f[4] == point {
			found = strings.TrimSpace(line)
		}
	}
	return found
}

// probe runs the container, whose command is to print a probed.
func (r *rig) probe() probed {
	r.t.Helper()
	stdout, stderr, ws := r.run()
	if ws.ExitStatus() != 0 {
		r.t.Fatalf("probe ended with %v: %s", ws, stderr)
	}
	return parseProbe(r.t, stdout)
}

// exec runs a command in the rig's container, which runs as s, in a cgroup made
// for the test.
func (r *rig) exec(ctx context.Context, s started, req sandbox.ExecRequest) (stdout, stderr string, code int, err error) {
	r.t.Helper()
	req.PID, req.Dir, req.Helper = s.pid, r.store.Dir(r.id), built.init
	req.CgroupRoot = cgroupRoot
	req.Unit = r.cgroup(s.pid)
	var outR, errR *os.File
	null, err := os.Open(os.DevNull)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if !req.TTY {
		var outW, errW *os.File
		outR, outW = pipe(r.t)
		errR, errW = pipe(r.t)
		req.Stdio = [3]*os.File{null, outW, errW}
		defer func() { _ = outR.Close(); _ = errR.Close() }()
	}
	p, err := sandbox.Exec(ctx, req)
	for _, f := range req.Stdio[1:] {
		if f != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		return "", "", 0, err
	}
	defer p.Close()
	if req.TTY {
		outR, errR = p.Master, null
	}
	var wg sync.WaitGroup
	read := func(into *string, f *os.File) {
		wg.Go(func() {
			data, _ := io.ReadAll(f) // a terminal ends with EIO
			*into = string(data)
		})
	}
	read(&stdout, outR)
	read(&stderr, errR)
	code, err = p.Wait(ctx)
	wg.Wait()
	if p.Master != nil {
		_ = p.Master.Close()
	}
	return stdout, stderr, code, err
}

// cgroupRoot is where this machine has cgroups of version 2.
var cgroupRoot = func() string {
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/unified"
}()

// cgroup moves process pid into a cgroup of its own, which it returns the name
// of; the test removes it at its end.
func (r *rig) cgroup(pid int) string {
	r.t.Helper()
	name := "cleat-test-" + r.id[48:] + ".service"
	dir := filepath.Join(cgroupRoot, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		if os.IsExist(err) {
			return name
		}
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		for range 200 {
			if os.Remove(dir) == nil {
				return
			}
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			time.Sleep(5 * time.Millisecond)
		}
		r.t.Errorf("cgroup %s cannot be removed", dir)
	})
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		r.t.Fatal(err)
	}
	return name
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// exitCode returns what a shell would say.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
