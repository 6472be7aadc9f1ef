package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cleat-project/cleat/sandbox/plan"
)

// A payload that is not root can open its own /dev/stdout, as nginx's image does.
func TestReopenStdout(t *testing.T) {
	for _, user := range []string{"", "web"} {
		r := newRig(t, "probe", "reopen")
		r.plan.Annex.User = user
		stdout, stderr, ws := r.create().run()
		if stdout != "reopened\n" || stderr != "reopened stderr\n" || ws.ExitStatus() != 0 {
			t.Errorf("user %q printed %q and %q, %v", user, stdout, stderr, ws)
		}
	}
}

func TestStdin(t *testing.T) {
	r := newRig(t, "probe", "echo")
	r.plan.Annex.Stdio.OpenStdin = true
	s := r.create().start()
	if s.code != 0 {
		t.Fatal(s.stderr)
	}
	run := r.broker.run(r.id)
	if _, err := run.stdin.WriteString("through the pipe"); err != nil {
		t.Fatal(err)
	}
	if err := run.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	r.wait(s)
	if stdout, _ := r.broker.output(t, r.id); stdout != "through the pipe" {
		t.Errorf("printed %q", stdout)
	}
	if run.reg.PID != s.pid || run.reg.Unit != r.plan.Annex.Unit || !run.reg.Log {
		t.Errorf("registration %+v", run.reg)
	}
}

func TestTerminal(t *testing.T) {
	for _, user := range []string{"", "web"} {
		r := newRig(t, "sh", "-c", `tty; ls -l /proc/self/fd/0 >/dev/null && stat -c '%t:%T %u' /dev/console; stty size; test -e /dev/tty && echo x > /dev/tty; grep -c . /proc/self/stat`)
		r.plan.Annex.Stdio = plan.Stdio{Socket: r.broker.path, TTY: true, Height: 33, Width: 44}
		r.plan.Annex.User = user
		if err := linkBusybox(r, "tty", "ls", "stat", "stty", "grep"); err != nil {
			t.Fatal(err)
		}
		stdout, _, ws := r.create().run()
		uid := "0"
		if user != "" {
			uid = "1000"
		}
		want := "/dev/pts/0\r\n88:0 " + uid + "\r\n33 44\r\nx\r\n1\r\n"
		if stdout != want || ws.ExitStatus() != 0 {
			t.Errorf("printed %q, want %q (%v)", stdout, want, ws)
		}
	}
}

// linkBusybox gives the image further commands.
func linkBusybox(r *rig, names ...string) error {
	dir := filepath.Join(r.layer(), "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Symlink("sh", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
