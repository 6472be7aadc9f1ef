package packaging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The scripts of the RPM package do what they should, as rpm would call them on a
// machine with systemd: with the number of packages that are there afterwards.
func TestRPMScripts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const sockets = "cleat-healthd.socket cleat-netd.socket cleat-network-restore.socket cleat-stdiod.socket cleat.socket"
	const services = "cleat-apid.service cleat-healthd.service cleat-netd.service cleat-network-restore.service cleat-stdiod.service"
	started := ""
	for _, s := range strings.Fields(sockets) {
		started += "systemctl --quiet is-enabled " + s + "\nsystemctl start " + s + "\n"
	}
	prepare := "systemd-sysusers cleat.conf\nsystemd-tmpfiles --create cleat.conf\n"
	for _, tt := range []struct{ name, tag, arg, want string }{
		{"installation", "POSTIN", "1", prepare + "systemctl --no-reload preset " + sockets + "\ncontainers recall\nsystemctl daemon-reload\n" + started},
		{"upgrade", "POSTIN", "2", prepare + "systemctl daemon-reload\n" + started + "systemctl try-restart " + services + "\n"},
		{"removal of the old package", "PREUN", "1", ""},
		{"removal", "PREUN", "0", "containers retire\nsystemctl --no-reload disable " + sockets + "\nsystemctl stop " + sockets + " " + services + "\n"},
		{"after a removal", "POSTUN", "0", "systemctl daemon-reload\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script := output(t, "rpm", "-qp", "--qf", "%{"+tt.tag+"}", built(t, "cleat-[0-9]*.rpm"))
			if got := recorded(t, script, tt.arg); got != tt.want {
				t.Errorf("%s %s does\n%s\nwant\n%s", tt.tag, tt.arg, got, tt.want)
			}
		})
	}
}

// recorded runs a script of a package and returns the commands that it calls, none
// of which does anything, one in each line.
func recorded(t *testing.T, script, arg string) string {
	t.Helper()
	dir := t.TempDir()
	stub := fmt.Sprintf("#!/bin/sh\necho \"${0##*/} $*\" >>%s/calls\n", dir)
	for _, name := range []string{"systemctl", "systemd-sysusers", "systemd-tmpfiles", "containers"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(stub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", `
		mount --make-rprivate /
		mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system
		mount -t tmpfs tmpfs /usr/libexec && mkdir /usr/libexec/cleat && cp "$0/containers" /usr/libexec/cleat
		PATH=$0:$PATH exec sh -e "$0/script" "$1"`, dir, arg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(calls)
}
