package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// farSite is another machine: a real ssh and a real sshd between two places of this
// one. Where sshd would listen, ssh starts it.
type farSite struct {
	site
	dir string // of the caller, who has nothing but ssh
}

const remoteName = "elsewhere.example"

func newFarSite(t *testing.T) farSite {
	t.Helper()
	for _, program := range []string{"ssh", "ssh-keygen", "/usr/sbin/sshd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("no %s: install openssh-server and openssh-client", program)
		}
	}
	r := farSite{newSite(t, "--private-network"), t.TempDir()}
	if err := importBusybox(r.site); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(r.dir, name) }
	for _, key := range []string{"hostkey", "userkey"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", in(key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	cleat := fmt.Sprintf("#!/bin/sh\nexec %s/cleat --root %s \"$@\"\n", env.bin, r.root)
	files := map[string]string{
		"there/cleat": cleat, "there/docker": cleat,
		// What sshd wants below /run is there for itself alone.
		"sshd": "#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs none /run && mkdir -m 0755 /run/sshd && exec /usr/sbin/sshd -i -f " + in("sshd.conf") + " -E " + in("sshd.log") + "'\n",
		"sshd.conf": "HostKey " + in("hostkey") + "\nAuthorizedKeysFile " + in("userkey.pub") + "\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n" +
			"SetEnv PATH=" + in("there") + ":/usr/sbin:/usr/bin:/sbin:/bin\nPrintMotd no\nPidFile none\n",
		"here/ssh": "#!/bin/sh\nexec /usr/bin/ssh -F " + in("ssh.conf") + " \"$@\"\n",
		"ssh.conf": "Host " + remoteName + "\n\tProxyCommand " + in("sshd") + "\n\tIdentityFile " + in("userkey") + "\n" +
			"Host *\n\tIdentitiesOnly yes\n\tBatchMode yes\n\tStrictHostKeyChecking no\n\tUserKnownHostsFile /dev/null\n\tLogLevel ERROR\n",
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(in(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// command returns a command line of a program that is on the caller's machine.
func (r farSite) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=" + filepath.Join(r.dir, "here") + ":/usr/bin:/bin", "HOME=" + r.dir, "TERM=vt100", "SET=from here", "DOCKER_CLI_HINTS=false"}
	return cmd
}

// cleat names a root of the test's own: were a command carried out on this side by
// mistake, it must not meet the machine's own containers.
func (r farSite) cleat(args ...string) *exec.Cmd {
	return r.command(filepath.Join(env.bin, "cleat"), append([]string{"--root", r.root, "-H", "ssh://root@" + remoteName}, args...)...)
}

// TestRemote works on another machine.
func TestRemote(t *testing.T) {
	t.Parallel()
	r := newFarSite(t)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("env", "A=from a file\nSET\n")
	write("ctx/Dockerfile", "FROM busybox\nCOPY . /all/\nRUN test ! -e /all/ignored -a ! -e /all/.cleat-dockerfile\n")
	write("ctx/.dockerignore", "ignored\n")
	write("ctx/ignored", "")
	write("ctx/it's here", "content\n")
	write("Elsewhere", "FROM busybox\nCOPY it* /x\nCMD cat /x\n")
	for _, tt := range []struct {
		line, stdin string
		code        int
		out, err    string
	}{
		{line: "ps -q"},
		{line: "run --rm --network none busybox sh -c echo_out;_echo_err_>&2;_exit_42", out: "out", err: "err", code: 42},
		{line: "run --rm -i --network none busybox cat", stdin: "a\nb", out: "a\nb"},
		{line: "run --rm --network none --env-file env -e B=$HOME -e SET busybox sh -c echo_$A-$B-$SET", out: "from a file-$HOME-from here"},
		{line: "run -d --name web --network none busybox sleep 1000", out: ""},
		{line: "exec web sh -c echo_in;exit_3", out: "in", code: 3},
		{line: "cp /etc/passwd web:/x", code: 1, err: "takes '-' alone"},
		{line: "build -q --network none -t built ctx", out: ""},
		{line: "run --rm --network none built cat /all/it's_here", out: "content"},
		{line: "build -q --network none -t other -f Elsewhere ctx", out: ""},
		{line: "run --rm --network none other", out: "content"},
		{line: "build nosuch", code: 1, err: "must be an existing directory"},
		{line: "save -o saved.tar built", out: ""},
		{line: "rmi built", out: ""},
		{line: "load -i saved.tar", out: "Loaded image: built:latest"},
		{line: "save -o nope.tar nosuch", code: 1, err: "nosuch"},
		{line: "nosuch", code: 1, err: "is not a cleat command"},
		{line: "rm nosuch", code: 1, err: "no such container: nosuch"},
		{line: "compose up", code: 1, err: "reads files of this machine"},
		{line: "rm -f web", out: "web"},
	} {
		cmd := r.cleat(words(tt.line)...)
		cmd.Stdin = strings.NewReader(tt.stdin)
		got := finish(cmd)
		if got.code != tt.code || tt.out != "" && got.out != tt.out || !strings.Contains(got.stderr, tt.err) {
			t.Errorf("cleat %s: %v\nwant code %d, output %q, complaint %q", tt.line, got, tt.code, tt.out, tt.err)
		}
		plain(t, strings.ReplaceAll(got.stderr, "ERROR: ", ""))
	}
	if _, err := os.Stat(filepath.Join(r.dir, "nope.tar")); err == nil {
		t.Error("a save that failed has left its file")
	}
	r.otherTargets(t)
	r.stdinStays(t)
	r.onATerminal(t)
	r.clean(t)
}

// otherTargets names the machine in other ways, and one that is not there.
func (r farSite) otherTargets(t *testing.T) {
	t.Helper()
	bin := filepath.Join(env.bin, "cleat")
	for _, args := range [][]string{{"context", "create", "there", "--docker", "host=ssh://" + remoteName}, {"context", "use", "there"}} {
		if got := finish(r.command(bin, args...)); got.code != 0 {
			t.Fatalf("%q: %v", args, got)
		}
	}
	if got := finish(r.command(bin, "--root", r.root, "images", "-q", "busybox")); got.code != 0 || got.out != r.must(t, "images", "-q", "busybox") {
		t.Errorf("in a context: %v", got)
	}
	if got := finish(r.command(bin, "--root", r.root, "-H", "ssh://nobody@"+remoteName, "ps")); got.code != 255 || got.stderr == "" {
		t.Errorf("who may not log in: %v", got)
	}
	if got := finish(r.command(bin, "--root", r.root, "-c", "nosuch", "ps")); got.code != 1 || !strings.Contains(got.stderr, `context "nosuch": not found`) {
		t.Errorf("no such context: %v", got)
	}
}

// stdinStays reads the caller's input only where the command does.
func (r farSite) stdinStays(t *testing.T) {
	t.Helper()
	cmd := r.command("/bin/sh", "-c", filepath.Join(env.bin, "cleat")+" --root "+r.root+" -H ssh://"+remoteName+" ps -q; cat")
	cmd.Stdin = strings.NewReader("left")
	if got := finish(cmd); got.out != "left" {
		t.Errorf("a command that reads nothing: %v", got)
	}
}

// onATerminal has a conversation with a container there.
func (r farSite) onATerminal(t *testing.T) {
	t.Helper()
	cmd := r.cleat("run", "--rm", "-it", "--network", "none", "busybox", "sh")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
	if err != nil {
		t.Fatal(err)
	}
	x := newScreen(t, f, cmd)
	x.expect(t, "# ")
	x.send(t, "stty size; echo is-$((1+1))\n")
	x.expect(t, "33 77")
	x.expect(t, "is-2")
	if err := pty.Setsize(f, &pty.Winsize{Rows: 44, Cols: 99}); err != nil {
		t.Fatal(err)
	}
	until(t, "the terminal there has its new size", func() bool {
		x.send(t, "stty size\n")
		return x.hears("44 99", time.Second)
	})
	x.send(t, "exit 9\n")
	if code := x.wait(); code != 9 {
		t.Errorf("cleat run -it ends with %d, want 9", code)
	}
}

// TestDockerOverSSH gives Docker's client a host that it reaches with ssh.
func TestDockerOverSSH(t *testing.T) {
	t.Parallel()
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker client here")
	}
	r := newFarSite(t)
	for _, tt := range []struct {
		line, stdin, out string
		code             int
	}{
		{line: "version --format {{.Server.Os}}", out: "linux"},
		{line: "run --rm --network none busybox sh -c echo_out;exit_42", out: "out", code: 42},
		{line: "run --rm -i --network none busybox cat", stdin: "a\nb", out: "a\nb"},
		{line: "ps -aq", out: ""},
	} {
		cmd := r.command(docker, append([]string{"-H", "ssh://root@" + remoteName}, words(tt.line)...)...)
		cmd.Stdin = strings.NewReader(tt.stdin)
		if got := finish(cmd); got.code != tt.code || got.out != tt.out {
			log, _ := os.ReadFile(filepath.Join(r.dir, "sshd.log"))
			t.Errorf("docker %s: %v\n%s", tt.line, got, log)
		}
	}
	if got := finish(r.command(filepath.Join(r.dir, "here", "ssh"), remoteName, "docker --runroot /nonexistent system dial-stdio")); got.code == 0 || !strings.Contains(got.stderr, "connect with the API") {
		t.Errorf("without a server: %v", got)
	}
	r.clean(t)
}
