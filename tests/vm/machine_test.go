package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Nothing waits for longer than these. Without hardware virtualization everything
// in the machine takes ten times its time, and more where others compute as well.
const (
	bootTime    = 5 * time.Minute // until the agent answers
	endTime     = 4 * time.Minute // from the request to end until the machine has
	scriptTime  = 5 * time.Minute // of one script in the machine
	answerExtra = time.Minute     // for the answer of a script that was killed
)

// machine is a virtual machine with a disk that outlives its boots.
type machine struct {
	t     *testing.T
	image string // directory with kernel and disks
	disk  string

	qemu    *exec.Cmd
	ended   chan struct{} // closed when qemu is gone; its error is in end
	end     error
	console *console
	agent   net.Conn // nil while the machine does not run
	answers *bufio.Reader
	asked   int // number of the last request
}

// newMachine returns a machine that has never run.
func newMachine(t *testing.T, image string) *machine {
	t.Helper()
	m := &machine{t: t, image: image, disk: filepath.Join(t.TempDir(), "disk.img")}
	host(t, "cp", "--sparse=always", filepath.Join(image, "system.img"), m.disk)
	t.Cleanup(func() {
		m.cut()
		if t.Failed() && m.console != nil {
			t.Logf("the end of the console:\n%s", m.console.tail())
		}
	})
	return m
}

// start boots the machine and returns when its agent answers. A boot that fails
// or hangs is told of and tried once more: whether it is the emulation's fault is
// for who reads the console's log to say.
func (m *machine) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	err := m.boot()
	if err != nil {
		t.Logf("first attempt to boot, after %.0f s: %v", time.Since(began).Seconds(), err)
		m.cut()
		began = time.Now()
		err = m.boot()
	}
	if err != nil {
		t.Fatalf("second attempt to boot: %v", err)
	}
	t.Logf("booted in %.0f s", time.Since(began).Seconds())
}

// boot starts qemu and waits for the agent.
func (m *machine) boot() error {
	dir, err := os.MkdirTemp("", "cleat-vm-") // a socket's path must be short
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "agent")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	defer listener.Close()

	m.console, m.agent = newConsole(), nil
	qemu := exec.Command("qemu-system-x86_64", m.arguments(socket)...)
	qemu.Stdout, qemu.Stderr = m.console, m.console
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := qemu.Start(); err != nil {
		return err
	}
	m.qemu, m.ended = qemu, make(chan struct{})
	go func(ended chan struct{}) {
		m.end = qemu.Wait()
		close(ended)
	}(m.ended)

	if err := listener.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if m.agent, err = listener.Accept(); err != nil {
		return fmt.Errorf("qemu does not connect: %w\n%s", err, m.console.tail())
	}
	m.asked = 0
	m.answers = bufio.NewReader(m.agent)
	return m.ready()
}

// ready waits for the first word of an agent that has just started.
func (m *machine) ready() error {
	for deadline := time.Now().Add(bootTime); ; {
		line, err := m.answer(time.Until(deadline))
		if err != nil {
			return m.explain(err)
		}
		if line == "ready" { // else the last of the agent before a soft reboot
			return nil
		}
	}
}

// softReboot has everything but the kernel start anew, see
// systemd-soft-reboot.service(8).
func (m *machine) softReboot(t *testing.T) {
	t.Helper()
	m.ask(t, "systemctl soft-reboot")
	if err := m.ready(); err != nil {
		t.Fatalf("soft reboot: %v", err)
	}
}

// runs reports whether the machine has not ended.
func (m *machine) runs() bool {
	if m.qemu == nil {
		return false
	}
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// arguments describes the machine to qemu. Its disks are of two kinds, so that
// their names do not depend on which is found first.
//
// The CPU has no cmpxchg16b: qemu 7.2 damages the flags register when it emulates
// that, which ends in a double fault where Linux allocates memory. On a busy
// machine five of six boots ended so, and none of 22 without the instruction. The
// kernel must not look whether the timer ticks in time, which on a busy machine it
// does not. A kernel that panics ends the machine rather than keeping everybody
// waiting.
func (m *machine) arguments(agent string) []string {
	return []string{
		"-accel", "tcg,thread=multi", "-cpu", "max,cx16=off", "-smp", "2", "-m", "1024",
		"-nodefaults", "-display", "none", "-nic", "none", "-no-reboot",
		"-kernel", filepath.Join(m.image, "vmlinuz"),
		"-append", "root=/dev/nvme0n1 rootfstype=ext4 rw no_timer_check panic=-1 console=ttyS0 quiet systemd.show_status=no",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=agent,path=" + agent, "-serial", "chardev:agent",
		"-drive", fmt.Sprintf("id=system,if=none,format=raw,cache=unsafe,file=%s", m.disk),
		"-device", "nvme,drive=system,serial=system",
		"-drive", fmt.Sprintf("if=virtio,format=raw,readonly=on,file=%s", filepath.Join(m.image, "test.img")),
	}
}

// answer returns the agent's next line, or an error if there is none in time.
func (m *machine) answer(within time.Duration) (string, error) {
	if err := m.agent.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	line, err := m.answers.ReadString('\n')
	return strings.TrimSpace(line), err
}

// explain says why the agent does not answer.
func (m *machine) explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer in time; the console:\n%s", m.console.tail())
	}
	select {
	case <-m.ended: // a moment later than the connection
		err = errors.Join(m.end, err)
	case <-time.After(10 * time.Second):
	}
	return fmt.Errorf("the machine ended: %w; the console:\n%s", err, m.console.tail())
}

// ask sends a script to the agent.
func (m *machine) ask(t *testing.T, script string) {
	t.Helper()
	m.asked++
	request := fmt.Sprintf("%d %d %s\n", m.asked, int(scriptTime.Seconds()), base64.StdEncoding.EncodeToString([]byte(prelude+script)))
	if _, err := io.WriteString(m.agent, request); err != nil {
		t.Fatalf("ask: %v", m.explain(err))
	}
}

// try runs a script in the machine and returns its output and exit code.
func (m *machine) try(t *testing.T, script string) (string, int) {
	t.Helper()
	output, code := m.exchange(t, script)
	if code == 124 {
		state, _ := m.exchange(t, "systemctl list-jobs; systemd-cgls --no-pager -l | tail -n 60; journalctl -q --no-pager -n 30")
		t.Fatalf("%s: it took longer than %s; its output:\n%s\nthe machine's state:\n%s", script, scriptTime, output, state)
	}
	return output, code
}

// exchange asks the agent and waits for its answer.
func (m *machine) exchange(t *testing.T, script string) (string, int) {
	t.Helper()
	m.ask(t, script)
	line, err := m.answer(scriptTime + answerExtra)
	if err != nil {
		t.Fatalf("%s: %v", script, m.explain(err))
	}
	fields := strings.Split(line+" ", " ")
	if len(fields) < 3 || fields[0] != strconv.Itoa(m.asked) {
		t.Fatalf("%s: the agent answers %.100q", script, line)
	}
	code, err1 := strconv.Atoi(fields[1])
	output, err2 := base64.StdEncoding.DecodeString(fields[2])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatalf("%s: the agent answers %.100q: %v", script, line, err)
	}
	return string(output), code
}

// run is try for a script that has to succeed.
func (m *machine) run(t *testing.T, script string) string {
	t.Helper()
	output, code := m.try(t, script)
	if code != 0 {
		t.Fatalf("%s: exit code %d\n%s", script, code, output)
	}
	return strings.TrimSpace(output)
}

// is fails unless the script's output, with all space squeezed, is as wanted.
func (m *machine) is(t *testing.T, want, script string) {
	t.Helper()
	output, _ := m.try(t, script)
	if got := strings.Join(strings.Fields(output), " "); got != want {
		t.Errorf("%s\n got %q\nwant %q", script, got, want)
	}
}

// stop asks the system to end, by "reboot" or "poweroff", and waits until it has:
// with -no-reboot, qemu ends in both cases.
func (m *machine) stop(t *testing.T, how string) {
	t.Helper()
	m.ask(t, "systemctl "+how)
	select {
	case <-m.ended:
	case <-time.After(endTime):
		t.Fatalf("the machine does not end; the console:\n%s", m.console.tail())
	}
	if m.end != nil || m.console.has("Kernel panic") {
		t.Fatalf("the machine ended badly (%v); the console:\n%s", m.end, m.console.tail())
	}
	m.agent.Close()
	m.qemu = nil
}

// cut is a power cut: what the system has not written yet is lost. A machine that
// does not run does not mind.
func (m *machine) cut() {
	if m.qemu == nil {
		return
	}
	_ = m.qemu.Process.Kill()
	<-m.ended
	if m.agent != nil {
		m.agent.Close()
	}
	m.qemu = nil
}

// checkDisk replays the file system's journal, as the next boot would, and fails
// if anything is wrong then.
func (m *machine) checkDisk(t *testing.T) {
	t.Helper()
	host(t, "e2fsck", "-p", "-E", "journal_only", m.disk)
	host(t, "e2fsck", "-f", "-n", m.disk)
}

// host runs a command on this machine.
func host(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// console keeps what the machine prints, and tells those who wait for a line.
type console struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string // each complete line that begins with "ack "
	seen  int         // bytes of text that were looked at
}

func newConsole() *console { return &console{lines: make(chan string, 1000)} }

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	for {
		line, _, whole := bytes.Cut(c.text.Bytes()[c.seen:], []byte("\n"))
		if !whole {
			return len(p), nil
		}
		c.seen += len(line) + 1
		if ack, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "ack "); ok {
			c.lines <- ack
		}
	}
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.ReplaceAll(c.text.String(), "\r", "")
	return s[max(0, len(s)-4000):]
}

func (c *console) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.text.String(), text)
}
