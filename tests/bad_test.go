package tests

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"
)

// badRegistry serves images that are broken in ways of its own: the path tells
// which.
func badRegistry(t *testing.T) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, asked := r.BasicAuth(); strings.Contains(r.URL.Path, "/locked/") && !asked || asked && password != "right" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		big := len(body) > 100_000 // the layer with busybox
		if big && strings.Contains(r.URL.Path, "/flipped/") {
			body[len(body)/2] ^= 0xff
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	images := killImages(t)
	ref, err := name.ParseReference(host + "/flipped:latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, images.image(t, "flipped")); err != nil {
		t.Fatal(err)
	}
	return host
}

// TestBadInput gives commands what cannot work. Each says in words what is wrong
// and where, with Docker's exit code, and leaves nothing behind.
func TestBadInput(t *testing.T) {
	s := shared()
	host := badRegistry(t)
	s.run(t, "bad-taken", "busybox", "sleep", "1000")
	before := s.tree(t)
	run := func(args ...string) []string { return append([]string{"run", "--rm", "--network", "none"}, args...) }
	garbage := strings.Repeat("this is not a tar archive. ", 1000)
	tests := map[string]struct {
		args  []string
		input string
		code  int
		says  []string // all of them, in any case
	}{
		"unknown image":                 {run(host+"/nosuch", "true"), "", 125, []string{host + "/nosuch"}},
		"unknown image, never pulled":   {run("--pull", "never", "nosuch", "true"), "", 125, []string{"nosuch", "never"}},
		"unknown image to pull":         {[]string{"pull", host + "/nosuch"}, "", 1, []string{host + "/nosuch"}},
		"unknown tag":                   {[]string{"pull", host + "/flipped:nosuch"}, "", 1, []string{"nosuch"}},
		"bad reference":                 {run("Bad/Reference", "true"), "", 125, []string{"Bad/Reference", "lower"}},
		"bad reference to pull":         {[]string{"pull", "a b"}, "", 1, []string{"a b"}},
		"bad digest":                    {[]string{"pull", "busybox@sha256:12"}, "", 1, []string{"sha256:12"}},
		"duplicate name":                {run("--name", "bad-taken", "busybox", "true"), "", 125, []string{"bad-taken", "taken"}},
		"command that is not there":     {run("busybox", "nosuch"), "", 127, []string{"nosuch"}},
		"command that is a directory":   {run("busybox", "/etc"), "", 126, []string{"/etc"}},
		"no command":                    {[]string{"run"}, "", 1, []string{"argument"}},
		"unreachable registry":          {[]string{"pull", "127.0.0.1:1/x"}, "", 1, []string{"127.0.0.1:1", "refused"}},
		"unreachable registry in run":   {run("127.0.0.1:1/x"), "", 125, []string{"127.0.0.1:1", "refused"}},
		"registry without a name":       {[]string{"pull", "no-such-host.invalid/x"}, "", 1, []string{"no-such-host.invalid"}},
		"wrong password":                {[]string{"login", "-u", "me", "-p", "wrong", host}, "", 1, []string{host}},
		"pull without login":            {[]string{"pull", host + "/locked/x"}, "", 1, []string{host, "login"}},
		"digest mismatch":               {[]string{"pull", host + "/flipped"}, "", 1, []string{"damaged"}},
		"import of garbage":             {[]string{"import", "-", "bad-import"}, garbage, 1, []string{"tar"}},
		"import of nothing":             {[]string{"import", "/no/such/file", "bad-import"}, "", 1, []string{"/no/such/file"}},
		"load of garbage":               {[]string{"load"}, garbage, 1, []string{"archive"}},
		"load of nothing":               {[]string{"load", "-i", "/no/such/file"}, "", 1, []string{"/no/such/file"}},
		"bind source that is not there": {run("--mount", "type=bind,src=/no/such/dir,dst=/x", "busybox", "true"), "", 125, []string{"/no/such/dir"}},
		"device that is not there":      {run("--device", "/dev/nosuch", "busybox", "true"), "", 125, []string{"/dev/nosuch"}},
		"container of another":          {run("--pid", "container:nosuch", "busybox", "true"), "", 125, []string{"nosuch"}},
		"volumes of another":            {run("--volumes-from", "nosuch", "busybox", "true"), "", 125, []string{"nosuch"}},
		"directory that is a file":      {run("-w", "/etc/passwd", "busybox", "true"), "", 125, []string{"/etc/passwd"}},
		"user that is not there":        {run("-u", "nosuch", "busybox", "true"), "", 125, []string{"nosuch"}},
		"group that is not there":       {run("-u", "0:nosuch", "busybox", "true"), "", 125, []string{"nosuch"}},
		"sysctl of the host":            {run("--sysctl", "kernel.panic=1", "busybox", "true"), "", 125, []string{"kernel.panic"}},
		"seccomp profile not there":     {run("--security-opt", "seccomp=/no/such.json", "busybox", "true"), "", 125, []string{"/no/such.json"}},
		"start of nothing":              {[]string{"start", "nosuch"}, "", 1, []string{"nosuch"}},
		"stop of nothing":               {[]string{"stop", "nosuch"}, "", 1, []string{"nosuch"}},
		"rm of nothing":                 {[]string{"rm", "nosuch"}, "", 1, []string{"nosuch"}},
		"rm of a running one":           {[]string{"rm", "bad-taken"}, "", 1, []string{"bad-taken", "running", "stop"}},
		"logs of nothing":               {[]string{"logs", "nosuch"}, "", 1, []string{"nosuch"}},
		"exec in nothing":               {[]string{"exec", "nosuch", "true"}, "", 1, []string{"nosuch"}},
		"exec of nothing":               {[]string{"exec", "bad-taken", "nosuch"}, "", 127, []string{"nosuch"}},
		"attach to nothing":             {[]string{"attach", "nosuch"}, "", 1, []string{"nosuch"}},
		"wait for nothing":              {[]string{"wait", "nosuch"}, "", 1, []string{"nosuch"}},
		"kill with nonsense":            {[]string{"kill", "-s", "NONSENSE", "bad-taken"}, "", 1, []string{"NONSENSE"}},
		"rmi of what is used":           {[]string{"rmi", "busybox"}, "", 1, []string{"busybox", "us"}},
		"inspect of nothing":            {[]string{"inspect", "nosuch"}, "", 1, []string{"nosuch"}},
		"unknown command":               {[]string{"nosuch"}, "", 1, []string{"nosuch"}},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			cmd := s.cmd(tt.args...)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			cmd.Stdin = strings.NewReader(tt.input)
			s.fails(t, cmd, tt.code, tt.says...)
		})
	}
	s.must(t, "system", "check", "--repair") // forgets what a repeated pull could have used
	s.clean(t)
	if diff := minus(s.tree(t), before); len(diff) > 0 {
		t.Errorf("left behind:\n  %s", strings.Join(diff, "\n  "))
	}
}

// fails runs a command that has to fail, and to say why.
func (s site) fails(t *testing.T, cmd *exec.Cmd, code int, says ...string) {
	t.Helper()
	r := finish(cmd)
	t.Logf("%s", r.stderr)
	if r.code != code {
		t.Errorf("%v, want exit code %d", r, code)
	}
	for _, word := range says {
		if !strings.Contains(strings.ToLower(r.stderr), strings.ToLower(word)) {
			t.Errorf("%q is not in: %s", word, r.stderr)
		}
	}
	plain(t, r.stderr)
}

// TestNoPrivileges runs commands as a user who may not.
func TestNoPrivileges(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "cleat-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "cleat")
	data, err := os.ReadFile(filepath.Join(env.bin, "cleat"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run", "busybox"}, {"ps"}, {"pull", "x"}, {"host", "start"}} {
		cmd := exec.Command(program, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		code := 1
		if args[0] == "run" {
			code = 125
		}
		shared().fails(t, cmd, code, "root")
	}
	cmd := exec.Command(program, "--help")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if r := finish(cmd); r.code != 0 || !strings.Contains(r.out, "Usage") {
		t.Errorf("help for everybody: %v", r)
	}
}

// small mounts a small file system for a root directory, that of the host
// included, and returns the host on it.
func small(t *testing.T, options string) site {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-small-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("cleat-small", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	s := site{dir}
	t.Cleanup(func() {
		if r := s.try("host", "stop", "-t", "0"); r.code != 0 {
			t.Errorf("host stop: %v", r)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		_ = os.Remove(dir)
	})
	return s
}

// TestFullDisk fills the disk in the middle of what commands do. Afterwards,
// with room again, everything works.
func TestFullDisk(t *testing.T) {
	s := small(t, "size=64m")
	s.must(t, "host", "start")
	if err := noteGroup(s); err != nil {
		t.Fatal(err)
	}
	s.importImage(t, "busybox")
	before := s.tree(t)
	ballast := filepath.Join(s.root, "ballast")
	fillDisk(t, ballast, 256<<10)
	other := s.cmd("import", "-", "second")
	other.Stdin = bytes.NewReader(bigTar(t, 8<<20))
	s.fails(t, other, 1, "no space left")
	fillDisk(t, ballast, 0)
	s.fails(t, s.cmd("run", "-d", "--restart=always", "--network", "none", "--name", "full", "busybox", "sleep", "1000"), 125, "no space left")
	s.fails(t, s.cmd("create", "--network", "none", "-v", "/data", "busybox"), 1, "no space left")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.must(t, "system", "check", "--repair")
	s.clean(t)
	if diff := minus(s.tree(t), before); len(diff) > 0 {
		t.Errorf("left behind:\n  %s", strings.Join(diff, "\n  "))
	}
	if got := s.must(t, "run", "--rm", "--network", "none", "busybox", "echo", "works"); got != "works" {
		t.Errorf("with room again: %q", got)
	}
}

// fillDisk writes a file until no more than about spare bytes are free.
func fillDisk(t *testing.T, path string, spare int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail)*st.Bsize - spare
	for chunk := make([]byte, 4096); free > 0; free -= 4096 {
		if _, err := f.Write(chunk); err != nil {
			return // full, which is as well
		}
	}
}

// bigTar is a tar of one file of n bytes.
func bigTar(t *testing.T, n int) []byte {
	t.Helper()
	content, err := io.ReadAll(&pattern{left: uint64(n)})
	if err != nil {
		t.Fatal(err)
	}
	return tarOf(t, "big", content)
}

// TestReadOnlyRoot has a root directory that nobody can write to.
func TestReadOnlyRoot(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "cleat-readonly-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH); _ = os.Remove(dir) })
	if err := unix.Mount("cleat-readonly", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := site{dir}
	s.fails(t, s.cmd("run", "--network", "none", "busybox", "true"), 125, "read-only", dir)
	s.fails(t, s.cmd("ps"), 1, "read-only", dir)
}
