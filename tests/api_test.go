package tests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// apiSite is a host of a test's own whose API is spoken to.
type apiSite struct {
	site
	socket string
	client *http.Client
}

// newAPISite starts such a host, with a network of its own and the image busybox.
func newAPISite(t *testing.T) apiSite {
	t.Helper()
	s := apiSite{site: newSite(t, "--private-network")}
	if err := importBusybox(s.site); err != nil {
		t.Fatal(err)
	}
	s.socket = fmt.Sprintf("/proc/%d/root/run/cleat/cleat.sock", s.hostPID(t))
	s.client = &http.Client{Transport: &http.Transport{DialContext: s.dial, MaxIdleConnsPerHost: 100}}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func (s apiSite) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
}

// docker returns a command of the Docker client that is installed.
func (s apiSite) docker(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker client here")
	}
	cmd := exec.Command(path, append([]string{"-H", "unix://" + s.socket}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+filepath.Join(s.root, "docker-config"), "DOCKER_CLI_HINTS=false")
	return cmd
}

// call makes a request, and returns the answer with its body read.
func (s apiSite) call(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://d"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(data)
}

// server runs a command of the shell about the server's process, $p.
func (s apiSite) server(t testing.TB, script string) string {
	t.Helper()
	return s.must(t, "host", "shell", "sh", "-c", "p=$(systemctl show -p MainPID --value cleat-apid.service); "+script)
}

// kill kills the server the hard way.
func (s apiSite) kill(t testing.TB) {
	t.Helper()
	s.server(t, "kill -9 $p")
	until(t, "the server is gone", func() bool { return s.server(t, "echo $p") == "0" })
}

// step is a command of the Docker client and what comes of it.
type step struct {
	line  string // words; "_" stands for a space within one, and \n for the end of a line
	stdin string
	code  int
	out   string // regular expression of all its output
	err   string // a part of what it complains
}

func (s apiSite) steps(t *testing.T, list []step) {
	t.Helper()
	for _, st := range list {
		cmd := s.docker(t, words(st.line)...)
		cmd.Stdin = strings.NewReader(st.stdin)
		r := finish(cmd)
		if r.code != st.code || !regexp.MustCompile("^(?s:"+st.out+")$").MatchString(r.out) || !strings.Contains(r.stderr, st.err) {
			t.Errorf("docker %s: %v\nwant exit code %d, output %q, complaint %q", st.line, r, st.code, st.out, st.err)
		}
		plain(t, r.stderr)
	}
}

func words(line string) []string {
	list := strings.Fields(line)
	for i := range list {
		list[i] = strings.NewReplacer("_", " ", `\n`, "\n").Replace(list[i])
	}
	return list
}

const anyID = "[0-9a-f]{64}"

// TestDockerClient gives a session of ordinary commands to the Docker client.
func TestDockerClient(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	file := filepath.Join(s.root, "copied")
	s.steps(t, []step{
		{line: "version --format {{.Server.APIVersion}}", out: `1\.\d+`},
		{line: "info --format {{.OSType}}-{{.Swarm.LocalNodeState}}", out: "linux-inactive"},
		{line: "run --rm --network none busybox echo hello", out: "hello"},
		{line: "run --rm --network none busybox sh -c echo_out;echo_err_>&2;exit_42", out: "out", err: "err", code: 42},
		{line: "run --rm -i --network none busybox cat", stdin: "a\nb", out: "a\nb"},
		{line: "run --rm --network none busybox nosuch", code: 127, err: `exec: "nosuch": executable file not found`},
		{line: "run --rm --network none busybox /etc", code: 126, err: `exec: "/etc": is a directory`},
		{line: "run --rm --pull never nosuch:image", code: 125, err: "No such image: nosuch:image"},
		{line: "run --rm --network nosuch busybox true", code: 125, err: "nosuch"},
		{line: "create --name made -e A=1 -w /tmp -l tier=front -v vol:/data -p 127.0.0.1:8080:80 --memory-swappiness -1 busybox sleep 1000", out: anyID},
		{line: "create --name made busybox", code: 1, err: "made"},
		{line: "start made", out: "made"},
		{line: "start made", out: "made"},
		{line: "ps --format {{.Names}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.State}}", out: `made\|busybox\|"sleep 1000"\|127\.0\.0\.1:8080->80/tcp\|running`},
		{line: "ps -aq --no-trunc --filter label=tier=front", out: anyID},
		{line: "ps -aq --filter label=tier=back", out: ""},
		{line: "inspect -f {{.State.Status}}|{{.Config.WorkingDir}}|{{(index_.Mounts_0).Name}}|{{json_.Config.Env}} made", out: `running\|/tmp\|vol\|.*"A=1".*`},
		{line: "port made", out: `80/tcp -> 127\.0\.0\.1:8080`},
		{line: "run --rm -p 127.0.0.1:8080:80 busybox true", code: 125, err: "already allocated"}, // and does not wait for a run that is none
		{line: "exec made sh -c echo_$A;pwd;echo_err_>&2;exit_3", out: "1\n/tmp", err: "err", code: 3},
		{line: "exec -i made cat", stdin: "x", out: "x"},
		{line: "exec -e B=2 -u 1 -w / made sh -c echo_$B;id_-u;pwd", out: "2\n1\n/"},
		{line: "exec made nosuch", code: 127, out: `.*executable file not found.*`},
		{line: "exec -d made touch /tmp/detached", out: ""},
		{line: "top made -o pid,args", out: `(?s)PID.*sleep 1000.*`},
		{line: "stats --no-stream --format {{.Name}}|{{.PIDs}} made", out: `made\|1`},
		{line: "cp /etc/hostname made:/tmp/h", out: ""},
		{line: "cp made:/tmp/h " + file, out: ""},
		{line: "cp made:/nosuch -", code: 1, err: "nosuch"},
		{line: "diff made", out: `.*A /tmp/h.*`},
		{line: "pause made", out: "made"},
		{line: "exec made true", code: 1, err: "is paused"},
		{line: "unpause made", out: "made"},
		{line: "rename made renamed", out: ""},
		{line: "update --restart no --cpu-shares 512 renamed", out: "renamed"},
		{line: "rm renamed", code: 1, err: "is running"},
		{line: "commit -m why -c CMD_echo_committed renamed copy:1", out: "sha256:" + anyID},
		{line: "run --rm --network none copy:1", out: "committed"},
		{line: "kill -s KILL renamed", out: "renamed"},
		{line: "wait renamed", out: "137"},
		{line: "start -a renamed --detach-keys x_y", code: 1, err: ""},
		{line: "stop renamed", out: "renamed"},
		{line: "restart -t 0 renamed", out: "renamed"},
		{line: "rm -f -v renamed", out: "renamed"},
		{line: "rm renamed", code: 1, err: "No such container: renamed"},
		{line: "run -d --name talk --network none busybox sh -c echo_one;echo_two_>&2", out: anyID},
		{line: "wait talk", out: "0"},
		{line: "logs talk", out: "one", err: "two"},
		{line: "logs -t --tail 1 talk", out: "|20.*", err: ""},
		{line: "export talk -o " + file + ".tar", out: ""},
		{line: "import " + file + ".tar imported:1", out: "sha256:" + anyID},
		{line: "container prune -f", out: "Deleted Containers:\n" + anyID + "\n.*"},
		{line: "images --format {{.Repository}}:{{.Tag}} imported", out: "imported:1"},
		{line: "history -q busybox", out: `[0-9a-f]{12}.*`},
		{line: "tag busybox other:1", out: ""},
		{line: "image inspect -f {{json_.RepoTags}} other:1", out: `.*"other:1".*`},
		{line: "save -o " + file + ".image other:1", out: ""},
		{line: "rmi other:1", out: "Untagged: other:1"},
		{line: "load -i " + file + ".image", out: `(?:.*\n)?Loaded image: other:1`},
		{line: "rmi nosuch", code: 1, err: "nosuch"},
		{line: "network create --subnet 10.77.0.0/24 --label a=b net", out: anyID},
		{line: "network create net", code: 1, err: "net"},
		{line: "network ls --filter name=net --format {{.Name}}|{{.Driver}}", out: `net\|bridge`},
		{line: "run -d --name on --network net --ip 10.77.0.9 --network-alias al busybox sleep 1000", out: anyID},
		{line: "network inspect -f {{range_.Containers}}{{.Name}}|{{.IPv4Address}}{{end}} net", out: `on\|10\.77\.0\.9/24`},
		{line: "run --rm --network net busybox ping -c1 -W5 al", out: ".*1 packets received.*"},
		{line: "network connect bridge on", out: ""},
		{line: "network disconnect bridge on", out: ""},
		{line: "network rm net", code: 1, err: "net"},
		{line: "rm -f on", out: "on"},
		{line: "network rm net", out: "net"},
		{line: "network prune -f", out: ""},
		{line: "volume create --label a=b --name named", out: "named"},
		{line: "volume ls -q --filter label=a=b", out: "named"},
		{line: "volume inspect -f {{.Driver}}|{{.Scope}} named", out: `local\|local`},
		{line: "volume rm named", out: "named"},
		{line: "volume rm named", code: 1, err: "named"},
		{line: "volume prune -a -f", out: `Deleted Volumes:\nvol\n.*`},
		{line: "system df --format {{.Type}}", out: "Images\nContainers\nLocal Volumes\nBuild Cache"},
		{line: "system prune -f", out: ".*Total reclaimed space.*"},
		{line: "events --since 1h --until 0s --filter type=volume --filter volume=vol --filter event=create --format {{.Actor.ID}}", out: "vol"},
		{line: "run --rm --runtime kata busybox", code: 125, err: "Runtime is not supported"},
		{line: "swarm init", code: 1, err: "not a swarm manager"},
		{line: "run --rm --health-cmd true --network none busybox echo well", out: "well"},
	})
	if data, err := os.ReadFile(file); err != nil || len(data) == 0 {
		t.Errorf("what docker cp has brought out: %q, %v", data, err)
	}
	s.clean(t)
}

// TestDockerClientPulls pulls from, and pushes to, a registry on loopback.
func TestDockerClientPulls(t *testing.T) {
	t.Parallel()
	registry := startRegistry(t)
	s := apiSite{site: newSite(t)}
	if err := importBusybox(s.site); err != nil {
		t.Fatal(err)
	}
	s.socket = fmt.Sprintf("/proc/%d/root/run/cleat/cleat.sock", s.hostPID(t))
	name := registry + "/a/b:1"
	s.steps(t, []step{
		{line: "tag busybox " + name, out: ""},
		{line: "push " + name, out: `The push refers to repository \[.*/a/b\].*1: digest: sha256:` + anyID + ` size: \d+`},
		{line: "rmi " + name, out: "Untagged: .*"},
		{line: "pull " + name, out: `.*1: Pulling from a/b.*Digest: sha256:` + anyID + `\nStatus: .*`},
		{line: "pull " + name, out: `.*Status: Image is up to date for .*`},
		{line: "pull " + registry + "/a/nosuch", code: 1, out: ".*", err: "nosuch"},
		{line: "run --rm --network none " + name + " echo pulled", out: "pulled"},
	})
}

// TestDockerClientFollows follows logs and events, and attaches.
func TestDockerClientFollows(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	events := s.docker(t, "events", "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
	seen := follow(t, events)
	s.steps(t, []step{{line: "run -d -i --name chat --network none busybox sh -c while_read_l;do_echo_got_$l;[_$l_=_end_]&&exit_5;done", out: anyID}})
	logs := follow(t, s.docker(t, "logs", "-f", "chat"))
	attached := s.docker(t, "attach", "chat")
	stdin, err := attached.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	lines := follow(t, attached)
	for _, word := range []string{"first", "end"} {
		if _, err := io.WriteString(stdin, word+"\n"); err != nil {
			t.Fatal(err)
		}
		lines.expect(t, "got "+word)
		logs.expect(t, "got "+word)
	}
	if err := attached.Wait(); exitCodeOf(err) != 5 {
		t.Errorf("docker attach ends with %v, want code 5", err)
	}
	for _, action := range []string{"create chat", "start chat", "attach chat", "die chat"} {
		seen.expect(t, action)
	}
}

// lines are those that a command prints.
type lines struct{ ch chan string }

// follow starts a command, which ends with the test.
func follow(t *testing.T, cmd *exec.Cmd) lines {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	l := lines{make(chan string, 1000)}
	go func() {
		defer close(l.ch)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			l.ch <- sc.Text()
		}
	}()
	return l
}

// expect waits for a line.
func (l lines) expect(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case line, ok := <-l.ch:
			if !ok {
				t.Fatalf("ended without the line %q", want)
			}
			if line == want {
				return
			}
		case <-timeout:
			t.Fatalf("no line %q", want)
		}
	}
}

func exitCodeOf(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// TestDockerClientOnATerminal runs and joins containers on a terminal.
func TestDockerClientOnATerminal(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	sh := s.terminal(t, "run", "-it", "--rm", "--name", "tty", "--network", "none", "busybox", "sh")
	sh.expect(t, "# ")
	sh.send(t, "stty size; echo is-$((1+1))\n")
	sh.expect(t, "33 77")
	sh.expect(t, "is-2")

	side := s.terminal(t, "exec", "-it", "tty", "sh")
	side.expect(t, "# ")
	side.send(t, "stty size\n")
	side.expect(t, "33 77")
	if err := pty.Setsize(side.file, &pty.Winsize{Rows: 44, Cols: 99}); err != nil {
		t.Fatal(err)
	}
	until(t, "the terminal of exec has its new size", func() bool {
		side.send(t, "stty size\n")
		return side.hears("44 99", time.Second)
	})
	side.send(t, "exit 9\n")
	if code := side.wait(); code != 9 {
		t.Errorf("docker exec -it ends with %d, want 9", code)
	}

	leave := s.terminal(t, "attach", "tty")
	leave.send(t, "echo on-$((2+2))\n")
	leave.expect(t, "on-4")
	leave.send(t, "\x10\x11")
	if leave.wait(); s.try("ps", "-q", "--filter", "name=tty").out == "" {
		t.Error("the container ended when a client detached")
	}
	sh.send(t, "exit 7\n")
	if code := sh.wait(); code != 7 {
		t.Errorf("docker run -it ends with %d, want 7", code)
	}
	if got := s.try("ps", "-aq").out; got != "" {
		t.Errorf("containers left: %s", got)
	}
}

// screen is a command on a pseudo terminal.
type screen struct {
	file *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (s apiSite) terminal(t *testing.T, args ...string) *screen {
	t.Helper()
	return onTerminal(t, s.docker(t, args...))
}

// onTerminal starts a command on a pseudo terminal.
func onTerminal(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
	if err != nil {
		t.Fatal(err)
	}
	return newScreen(t, f, cmd)
}

// newScreen reads what a command on a pseudo terminal shows.
func newScreen(t *testing.T, f *os.File, cmd *exec.Cmd) *screen {
	t.Helper()
	x := &screen{file: f, cmd: cmd, more: make(chan struct{}, 1)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = f.Close()
	})
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			x.mu.Lock()
			x.text.Write(buf[:n])
			x.mu.Unlock()
			select {
			case x.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return x
}

func (x *screen) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(x.file, text); err != nil {
		t.Fatal(err)
	}
}

// hears waits for text, and drops everything up to it.
func (x *screen) hears(want string, within time.Duration) bool {
	timeout := time.After(within)
	for {
		x.mu.Lock()
		at := strings.Index(x.text.String(), want)
		if at >= 0 {
			x.text.Next(at + len(want))
		}
		x.mu.Unlock()
		if at >= 0 {
			return true
		}
		select {
		case <-x.more:
		case <-timeout:
			return false
		}
	}
}

func (x *screen) expect(t *testing.T, want string) {
	t.Helper()
	if !x.hears(want, 60*time.Second) {
		x.mu.Lock()
		defer x.mu.Unlock()
		t.Fatalf("no %q on the terminal: %q", want, x.text.String())
	}
}

func (x *screen) wait() int { return exitCodeOf(x.cmd.Wait()) }

// TestAPIIsKilled kills the server at bad moments: containers go on, and the next
// client finds everything.
func TestAPIIsKilled(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	s.steps(t, []step{{line: "run -d -i --name lives --network none busybox sh -c while_read_l;do_echo_got_$l;done", out: anyID}})
	attached := s.docker(t, "attach", "lives")
	stdin, err := attached.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	seen := follow(t, attached)
	if _, err := io.WriteString(stdin, "one\n"); err != nil {
		t.Fatal(err)
	}
	seen.expect(t, "got one")
	s.kill(t)
	if got := s.inspect(t, "lives", "{{.State.Status}}"); got != "running" {
		t.Fatalf("the container is %s after its client's server was killed", got)
	}
	// Of a command that was created, the next server knows.
	code, answer := s.call(t, "POST", "/v1.44/containers/lives/exec", `{"Cmd":["sh","-c","exit 6"],"AttachStdout":true}`)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || code != http.StatusCreated {
		t.Fatalf("exec create: %d %s, %v", code, answer, err)
	}
	s.kill(t)
	s.client.CloseIdleConnections()
	if code, answer := s.call(t, "POST", "/v1.44/exec/"+made.ID+"/start", `{"Detach":true}`); code != http.StatusOK {
		t.Fatalf("exec start: %d %s", code, answer)
	}
	until(t, "the exit code of the command is known", func() bool {
		_, answer := s.call(t, "GET", "/v1.44/exec/"+made.ID+"/json", "")
		return strings.Contains(answer, `"ExitCode":6`) && strings.Contains(answer, `"Running":false`)
	})
	if code, answer := s.call(t, "POST", "/v1.44/exec/"+made.ID+"/start", `{"Detach":true}`); code != http.StatusConflict {
		t.Errorf("second exec start: %d %s, want 409", code, answer)
	}
	// A detached command outlives the server.
	s.steps(t, []step{{line: "exec -d lives sh -c sleep_1000", out: ""}})
	s.kill(t)
	if got := s.must(t, "top", "lives"); !strings.Contains(got, "sleep 1000") {
		t.Errorf("a detached command ended with the server: %s", got)
	}
	s.steps(t, []step{{line: "rm -f lives", out: "lives"}, {line: "ps -aq", out: ""}})
	s.clean(t)
}

// TestAPIIsIdle ends the server when nobody needs it.
func TestAPIEnds(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	dir := filepath.Join(s.root, "own.sock")
	s.must(t, "host", "shell", "systemd-run", "-q", "--unit=own", "--socket-property=ListenStream="+dir, "--socket-property=Accept=no",
		filepath.Join(env.bin, "cleat-apid"), "-root", s.root, "-idle", "300ms")
	own := s
	own.socket = dir
	own.client = &http.Client{Transport: &http.Transport{DialContext: own.dial}}
	for range 3 { // each time systemd starts it anew
		if code, answer := own.call(t, "GET", "/containers/json", ""); code != http.StatusOK {
			t.Fatalf("%d %s", code, answer)
		}
		own.client.CloseIdleConnections()
		until(t, "the server has ended", func() bool {
			return s.try("host", "shell", "systemctl", "is-active", "own.service").out == "inactive"
		})
	}
}

// TestAPIManyClients serves many clients at once, and keeps nothing of them.
func TestAPIManyClients(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	s.steps(t, []step{{line: "run -d --name busy --network none busybox sh -c while_:;do_echo_0123456789012345678901234567890123456789;done", out: anyID}})
	s.call(t, "GET", "/info", "")
	s.client.CloseIdleConnections()
	descriptors := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(s.server(t, "ls /proc/$p/fd | wc -l")))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := descriptors()
	// Clients that do not read, and some that are gone without a word.
	var stuck []net.Conn
	for i := range 20 {
		c, err := s.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		path := []string{"attach?stream=1&stdout=1", "logs?follow=1&stdout=1", "stats"}[i%3]
		method := []string{"POST", "GET", "GET"}[i%3]
		fmt.Fprintf(c, "%s /v1.44/containers/busy/%s HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n", method, path)
		stuck = append(stuck, c)
	}
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() { s.work(t, i) })
	}
	group.Wait()
	for _, c := range stuck {
		_ = c.Close()
	}
	s.client.CloseIdleConnections()
	s.steps(t, []step{{line: "rm -f busy", out: "busy"}})
	until(t, fmt.Sprintf("the server has no more than %d descriptors", before+2), func() bool { return descriptors() <= before+2 })
	s.clean(t)
}

// work is what one of many clients does.
func (s apiSite) work(t *testing.T, i int) {
	if i%10 != 0 {
		for _, path := range []string{"/_ping", "/containers/json?all=1", "/v1.24/images/json", "/networks", "/containers/busy/json"} {
			if code, answer := s.call(t, "GET", path, ""); code != http.StatusOK {
				t.Errorf("%s: %d %s", path, code, answer)
			}
		}
		return
	}
	name := fmt.Sprintf("many%d", i)
	code, answer := s.call(t, "POST", "/v1.44/containers/create?name="+name, `{"Image":"busybox","Cmd":["sh","-c","exit 3"],"HostConfig":{"NetworkMode":"none"}}`)
	if code != http.StatusCreated {
		t.Errorf("create: %d %s", code, answer)
		return
	}
	if code, answer := s.call(t, "POST", "/v1.44/containers/"+name+"/start", ""); code != http.StatusNoContent {
		t.Errorf("start: %d %s", code, answer)
	}
	if code, answer := s.call(t, "POST", "/v1.44/containers/"+name+"/wait", ""); code != http.StatusOK || !strings.Contains(answer, `"StatusCode":3`) {
		t.Errorf("wait: %d %s", code, answer)
	}
	if code, answer := s.call(t, "DELETE", "/v1.44/containers/"+name, ""); code != http.StatusNoContent {
		t.Errorf("remove: %d %s", code, answer)
	}
}

// TestAPIHostileInput sends what no client should.
func TestAPIHostileInput(t *testing.T) {
	t.Parallel()
	s := newAPISite(t)
	a := s.must(t, "create", "--name", "aa", "--network", "none", "busybox")
	for _, tt := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "/containers/create", `{"Image":`, 400},
		{"POST", "/containers/create", `[]`, 400},
		{"POST", "/containers/create", `null`, 400},
		{"POST", "/containers/create?name=../../etc", `{"Image":"busybox"}`, 400},
		{"POST", "/containers/create", `{"Image":"../../etc/passwd"}`, 400},
		{"POST", "/containers/create", `{"Image":"busybox","HostConfig":{"Binds":["/nosuch\u0000:/x"]}}`, 400},
		{"POST", "/containers/create", `{"Image":"` + strings.Repeat("x", 9<<20) + `"}`, 413},
		{"GET", "/containers/..%2f..%2fnames/json", "", 404},
		{"GET", "/containers/%00/json", "", 404},
		{"GET", "/images/..%2F..%2Fetc/json", "", 400},
		{"GET", "/networks/..", "", 404},
		{"GET", "/volumes/..", "", 404},
		{"DELETE", "/volumes/..", "", 404},
		{"DELETE", "/volumes/..%2fcontainers", "", 404},
		{"GET", "/exec/..%2flive/json", "", 404},
		{"POST", "/exec/" + strings.Repeat("a", 64) + "/start", `{}`, 404},
		{"POST", "/containers/aa/exec", `{"Cmd":["true"]}`, 409},
		{"GET", "/containers/aa/archive?path=/../../../../etc/shadow", "", 404},
		{"GET", "/containers/aa/logs?stdout=1&tail=99999999999999999999&since=yesterday", "", 400},
		{"POST", "/containers/aa/kill?signal=BOGUS", "", 400},
		{"POST", "/containers/aa/stop?t=99999999999999", "", 400},
		{"POST", "/containers/aa/resize?h=-1&w=99999999", "", 400},
		{"GET", "/v9.99/info", "", 400},
		{"GET", "/v1.1/info", "", 400},
		{"TRACE", "/info", "", 405},
	} {
		code, answer := s.call(t, tt.method, tt.path, tt.body)
		var told struct{ Message string }
		if code != tt.code || json.Unmarshal([]byte(answer), &told) != nil || told.Message == "" {
			t.Errorf("%s %s %s: %d %s, want %d and a message", tt.method, tt.path, clip(tt.body), code, clip(answer), tt.code)
		}
		plain(t, told.Message)
	}
	c, err := s.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(bytes.Repeat([]byte{0xff, 0, '\n'}, 1000)); err != nil {
		t.Log(err) // it may have hung up already
	}
	// The beginning of an id is enough, if there is one container alone that has it.
	if code, answer := s.call(t, "GET", "/containers/"+a[:12]+"/json", ""); code != http.StatusOK {
		t.Errorf("by the beginning of its id: %d %s", code, answer)
	}
	s.ambiguous(t)
}

// ambiguous makes containers until two ids begin with the same digit.
func (s apiSite) ambiguous(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	for range 17 {
		id := s.must(t, "create", "--network", "none", "busybox")
		if !seen[id[:1]] {
			seen[id[:1]] = true
			continue
		}
		code, answer := s.call(t, "DELETE", "/containers/"+id[:1], "")
		if code < 400 || code >= 500 {
			t.Errorf("remove by a beginning that two ids have: %d %s", code, answer)
		}
		return
	}
}
