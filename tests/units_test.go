package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeUnit puts a unit of the host, or a drop-in, where an administrator would.
func (s site) writeUnit(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(s.root, "units", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Remove(path)
		if strings.Contains(name, "/") {
			_ = os.Remove(filepath.Dir(path)) // of a drop-in; the others' may still be there
		}
	})
}

// TestSystemctl changes a container with systemctl, and cleat knows.
func TestSystemctl(t *testing.T) {
	s := shared()
	const name, unit = "sysctl-web", "cleat-sysctl-web.service"
	s.run(t, name, "--restart=always", "busybox", "sh", "-c", handlesTERM)
	expect := func(after, format, want string) {
		t.Helper()
		if got := s.inspect(t, name, format); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	expect("run", "{{.State.Status}} {{.Unit.Name}} {{.Unit.FileState}}", "running "+unit+" enabled")
	if got := s.systemctl(t, "cat", unit); !strings.Contains(got, "X-Cleat-Id="+s.inspect(t, name, "{{.Id}}")) {
		t.Errorf("systemctl cat:\n%s", got)
	}

	s.systemctl(t, "stop", unit)
	expect("systemctl stop", "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}", "exited false 0")
	if got := s.must(t, "ps", "-a", "--filter", "name="+name, "--format", "{{.Status}}"); !strings.HasPrefix(got, "Exited (0)") {
		t.Errorf("ps after systemctl stop: %s", got)
	}
	s.systemctl(t, "start", unit)
	expect("systemctl start", "{{.State.Status}}", "running")
	s.must(t, "exec", name, "true")
	before := s.inspect(t, name, "{{.State.Pid}}")
	s.systemctl(t, "restart", unit)
	if got := s.inspect(t, name, "{{.State.Status}} {{.RestartCount}}"); got != "running 0" || s.inspect(t, name, "{{.State.Pid}}") == before {
		t.Errorf("after systemctl restart: %s", got)
	}
	if got := s.systemctl(t, "status", unit); !strings.Contains(got, "Active: active (running)") || !strings.Contains(got, "up") {
		t.Errorf("systemctl status:\n%s", got)
	}

	s.systemctl(t, "disable", unit)
	expect("systemctl disable", "{{.Unit.FileState}} {{.State.Status}}", "disabled running")
	s.must(t, "restart", name)
	expect("a restart of what was disabled", "{{.Unit.FileState}} {{.State.Status}}", "disabled running")
	s.must(t, "update", "--pids-limit", "77", name)
	expect("an update of what was disabled", "{{.Unit.FileState}} {{.HostConfig.PidsLimit}}", "disabled 77")
	s.must(t, "stop", name)
	s.must(t, "rename", name, name+"2")
	s.must(t, "rename", name+"2", name)
	s.must(t, "start", name)
	s.systemctl(t, "enable", unit)
	expect("systemctl enable", "{{.Unit.FileState}} {{.State.Status}}", "enabled running")
	s.must(t, "rm", "-f", name)
	s.clean(t)
}

// TestChangedProperties changes the unit of a container: inspect shows what is in
// force.
func TestChangedProperties(t *testing.T) {
	s := shared()
	const limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"
	for name, policy := range map[string]string{"props-boot": "always", "props-once": "no"} {
		t.Run(name, func(t *testing.T) {
			unit := "cleat-" + name + ".service"
			s.run(t, name, "--restart", policy, "--pids-limit", "50", "busybox", "sh", "-c", handlesTERM)
			if got := s.inspect(t, name, limits); got != "0 0 50" {
				t.Errorf("before: %s", got)
			}
			s.systemctl(t, "set-property", "--runtime", unit, "MemoryMax=64M", "CPUQuota=50%")
			if got := s.inspect(t, name, limits); got != "67108864 500000000 50" {
				t.Errorf("after set-property: %s", got)
			}
			s.writeUnit(t, unit+".d/tasks.conf", "[Service]\nTasksMax=99\n")
			s.systemctl(t, "daemon-reload")
			if got := s.inspect(t, name, limits+" {{len .Unit.DropInPaths}}"); !strings.HasPrefix(got, "67108864 500000000 99 ") {
				t.Errorf("after a drop-in: %s", got)
			}
			if got := s.inspect(t, name, "{{.Unit.DropInPaths}}"); !strings.Contains(got, "tasks.conf") {
				t.Errorf("drop-ins: %s", got)
			}
			s.must(t, "update", "--memory", "32m", "--memory-swap", "32m", name)
			s.systemctl(t, "daemon-reload")
			if got := s.inspect(t, name, limits); got != "33554432 500000000 99" {
				t.Errorf("after an update: %s", got)
			}
			if r := s.try("update", "--pids-limit", "33", name); policy == "always" && !strings.Contains(r.stderr, "TasksMax= is as a drop-in") {
				t.Errorf("an update of what a drop-in sets: %v, want a warning that it has no effect", r)
			}
			s.must(t, "rm", "-f", name)
			s.run(t, name, "--restart", policy, "busybox", "sh", "-c", handlesTERM)
			if got := s.inspect(t, name, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"); got != "0 0" {
				t.Errorf("another container of that name: %s", got)
			}
			s.must(t, "rm", "-f", name)
		})
	}
	s.systemctl(t, "daemon-reload")
	s.clean(t)
}

// TestRequires ties containers to units of the host, and units to containers.
func TestRequires(t *testing.T) {
	s := shared()
	s.writeUnit(t, "req-db.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
	s.writeUnit(t, "req-bad.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
	s.writeUnit(t, "req-user.service", "[Unit]\nRequires=cleat-req-web.service\nAfter=cleat-req-web.service\n[Service]\nExecStart=/bin/sleep 1000\n")
	t.Cleanup(func() { s.try("host", "shell", "systemctl", "stop", "req-user.service", "req-db.service") })

	for _, policy := range []string{"no", "always"} {
		s.run(t, "req-app", "--restart", policy, "--requires", "req-db.service", "--after", "req-nosuch.service", "busybox", "sh", "-c", handlesTERM)
		if got := s.systemctl(t, "is-active", "req-db.service"); got != "active" {
			t.Errorf("%s: what the container requires is %s", policy, got)
		}
		if got := s.inspect(t, "req-app", "{{.Unit.Requires}} {{.Unit.After}}"); got != "[req-db.service] [req-nosuch.service]" {
			t.Errorf("inspect: %s", got)
		}
		s.systemctl(t, "stop", "req-db.service")
		s.settledAs(t, "req-app", "{{.State.Status}} {{.State.ExitCode}}", "exited 0")
		s.must(t, "rm", "-f", "req-app")

		for unit, says := range map[string]string{"req-nosuch.service": "does not exist", "req-bad.service": "failed"} {
			r := s.try("run", "-d", "--rm", "--network", "none", "--requires", unit, "--name", "req-not", "busybox", "true")
			if policy == "always" {
				r = s.try("run", "-d", "--network", "none", "--restart=always", "--requires", unit, "--name", "req-not", "busybox", "true")
				s.must(t, "rm", "-f", "req-not")
			}
			if r.code != 125 || !strings.Contains(r.stderr, unit) || !strings.Contains(r.stderr, says) {
				t.Errorf("%s: a container that requires %s: %v", policy, unit, r)
			}
			plain(t, r.stderr)
		}
	}

	s.must(t, "create", "--network", "none", "--restart=always", "--name", "req-web", "busybox", "sh", "-c", handlesTERM)
	t.Cleanup(func() { s.try("rm", "-f", "req-web") })
	s.must(t, "start", "req-web") // its first start writes the unit
	s.must(t, "stop", "req-web")
	s.systemctl(t, "start", "req-user.service")
	if got := s.inspect(t, "req-web", "{{.State.Status}}"); got != "running" {
		t.Errorf("a unit that requires the container was started, and the container is %s", got)
	}
	s.must(t, "stop", "req-web")
	if r := s.try("host", "shell", "systemctl", "is-active", "req-user.service"); r.out != "inactive" {
		t.Errorf("the container was stopped, and the unit that requires it is %s", r.out)
	}
	s.must(t, "rm", "-f", "req-web")

	for _, bad := range []string{"postgresql", "a.service b.service", "a.service\nExecStartPre=/bin/touch /oops.service", "%h.service", "x@.service"} {
		s.fails(t, s.cmd("create", "--network", "none", "--requires", bad, "busybox"), 1, "unit")
	}
	s.clean(t)
}

// TestBootOnFailure reboots: what failed comes back, what succeeded does not.
func TestBootOnFailure(t *testing.T) {
	s := newSite(t)
	s.importImage(t, "busybox")
	begin := func(name, policy, script string) {
		s.must(t, "run", "-d", "--network", "none", "--name", name, "--restart", policy, "busybox", "sh", "-c", script)
	}
	const secondRunStays = `[ -e /ran ] || { touch /ran; exit $CODE; }; ` + handlesTERM
	begin("f-failed", "on-failure:1", `n=$(cat /n 2>/dev/null || echo 0); echo $((n+1)) >/n; [ $n -lt 2 ] && exit 3; `+handlesTERM)
	begin("f-done", "on-failure", strings.Replace(secondRunStays, "$CODE", "0", 1))
	begin("f-runs", "on-failure", "trap 'exit 9' TERM; "+strings.Replace(handlesTERM, "trap 'exit 0' TERM; ", "", 1))
	begin("f-disabled", "on-failure", "trap 'exit 9' TERM; "+strings.Replace(handlesTERM, "trap 'exit 0' TERM; ", "", 1))
	s.systemctl(t, "disable", "cleat-f-disabled.service")
	s.settledAs(t, "f-failed", "{{.State.Status}} {{.State.ExitCode}}", "exited 3")
	s.settledAs(t, "f-done", "{{.State.Status}} {{.State.ExitCode}}", "exited 0")
	for _, how := range [][]string{{"host", "stop"}, {"host", "stop", "-t", "0"}} { // a reboot, a power cut
		s.must(t, how...)
		s.must(t, "host", "start")
		s.settledAs(t, "f-runs", "{{.State.Status}}", "running")
		until(t, "the boot is over", func() bool { return s.try("host", "shell", "systemctl", "is-system-running").out != "starting" })
		for name, want := range map[string]string{"f-done": "exited 0", "f-disabled": "exited 9"} {
			if got := s.inspect(t, name, "{{.State.Status}} {{.State.ExitCode}}"); got != want {
				t.Errorf("%v: %s is %s, want %s", how, name, got, want)
			}
		}
		if got := s.systemctl(t, "list-units", "--failed", "--no-legend", "cleat-f-*"); got != "" {
			t.Errorf("%v: the boot left failed units:\n%s", how, got)
		}
	}
	// Restarts were used up, as in Docker.
	if got := s.inspect(t, "f-failed", "{{.State.Status}} {{.State.ExitCode}}"); got != "exited 3" {
		t.Errorf("f-failed is %s", got)
	}
	// By hand, what the boot passed over is started.
	s.systemctl(t, "start", "cleat-f-done.service")
	s.settledAs(t, "f-done", "{{.State.Status}}", "running")
	s.must(t, "start", "f-failed")
	s.settledAs(t, "f-failed", "{{.State.Status}}", "running")
	// Once it runs, a power cut is no success.
	s.must(t, "host", "stop", "-t", "0")
	s.must(t, "host", "start")
	for _, name := range []string{"f-done", "f-failed"} {
		s.settledAs(t, name, "{{.State.Status}}", "running")
	}
	s.must(t, "system", "check", "--repair")
	s.clean(t)
}

// TestBootInTrouble reboots a host where several things went wrong meanwhile. Each
// unit says what, and the others come up.
func TestBootInTrouble(t *testing.T) {
	s := newNetSite(t)
	source := t.TempDir() + "/source"
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	start := func(name string, args ...string) {
		s.must(t, append(append([]string{"run", "-d", "--restart=always", "--name", name}, args...), "busybox", "sh", "-c", handlesTERM)...)
	}
	start("t-good", "--network", "none")
	start("t-edited", "--network", "none")
	start("t-bind", "--network", "none", "--mount", "type=bind,src="+source+",dst=/x")
	start("t-port", "-p", "8080:80")
	s.must(t, "run", "-d", "--restart=always", "--network", "none", "--name", "t-image", "peer")
	layer := s.inspect(t, "t-image", "{{.GraphDriver.Data.LowerDir}}")
	s.must(t, "host", "stop")

	s.writeUnit(t, "cleat-t-edited.service.d/oops.conf", "[Service]\nExecStart=\nExecStart=no such thing\n")
	s.writeUnit(t, "t-squatter.socket", "[Socket]\nListenStream=0.0.0.0:8080\nAccept=yes\n")
	s.writeUnit(t, "t-squatter@.service", "[Service]\nExecStart=/bin/true\n")
	s.writeUnit(t, "cleat-t-port.socket.d/squatter.conf", "[Unit]\nWants=t-squatter.socket\nAfter=t-squatter.socket\n")
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(layer); err != nil || !strings.HasPrefix(layer, s.root) {
		t.Fatalf("remove layer %s: %v", layer, err)
	}
	s.must(t, "host", "start", "--private-network")
	until(t, "the boot is over", func() bool { return s.try("host", "shell", "systemctl", "is-system-running").out != "starting" })
	s.settledAs(t, "t-good", "{{.State.Status}}", "running")
	// What systemd itself has to say so early may be lost: the journal starts as well.
	if got := s.systemctl(t, "show", "-P", "Result", "cleat-t-port.socket"); got != "resources" {
		t.Errorf("the socket ends with %s", got)
	}
	for name, says := range map[string]string{"t-edited": "the unit is broken", "t-image": layer, "t-bind": source, "t-port": "cleat-t-port.socket"} {
		unit := "cleat-" + name + ".service"
		if got := s.inspect(t, name, "{{.State.Running}}"); got != "false" {
			t.Errorf("%s runs", name)
		}
		s.statusSays(t, unit, says)
		start := s.try("start", name)
		if start.code == 0 {
			t.Errorf("start %s succeeds", name)
		}
		t.Logf("%s: %s", name, start.stderr)
		plain(t, start.stderr)
	}
}

// statusSays waits for a text in "systemctl status", whatever its letters: journald
// takes its time.
func (s site) statusSays(t testing.TB, unit, text string) {
	t.Helper()
	until(t, "systemctl status of "+unit+" says "+text, func() bool {
		r := s.try("host", "shell", "systemctl", "status", "--no-pager", "-l", unit)
		return strings.Contains(strings.ToLower(r.out), strings.ToLower(text))
	})
}
