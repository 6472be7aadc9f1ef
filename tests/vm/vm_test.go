// Package vm shows on virtual machines what the embedded host cannot: a real
// systemd as PID 1, the package on a system that has never heard of cleat, limits
// that bite, reboots, and power cuts.
package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// prelude precedes every script that runs in a machine.
const prelude = `
cd /opt/test
run() { cleat run --rm --network none "$@"; }
idle() { cleat run -d --network none --stop-signal KILL "$@" busybox sleep 10000; } # ends at once
code() { "$@" >/dev/null 2>&1; echo $?; }
state() { cleat inspect -f '{{.State.Status}}' "$@"; }
page() { ./hello get 127.0.0.1:8088 | cut -d' ' -f1; }
processes() { for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done 2>/dev/null | grep -E "$1" | grep -v grep; }
sleeps() { cleat ps -a -f "name=^$1$" --format '{{.State}}'; }
answer() { ./peer crowd tcp "127.0.0.1:$1" 1 && ./peer ask tcp "127.0.0.1:$1" | cut -d' ' -f1; }
ack() { printf '\nack %s\n' "$1" >/dev/ttyS0; }
says() { until cleat logs "$1" 2>&1 | grep -q "$2"; do sleep 0.2; done; }
pid() { systemctl show -P MainPID "$1"; }
shows() { systemctl show -P "$2" "cleat-$1"; }
cgroup() { cd "/sys/fs/cgroup/cleat.slice/cleat-$1.service"; shift; cat "$@"; cd /opt/test; }
`

// TestVM takes a machine of each distribution in CLEAT_VM_SUITES through a life
// with cleat. The parts build on each other.
func TestVM(t *testing.T) {
	images := os.Getenv("CLEAT_VM_IMAGES")
	if images == "" {
		t.Skip("no images: use 'make test-vm'")
	}
	for _, suite := range strings.Fields(os.Getenv("CLEAT_VM_SUITES")) {
		t.Run(suite, func(t *testing.T) {
			m := newMachine(t, filepath.Join(images, suite))
			for _, part := range []struct {
				name string
				test func(*testing.T, *machine)
			}{
				{"install", testInstall},
				{"basics", testBasics},
				{"limits", testLimits},
				{"changed limits", testChangedLimits},
				{"reload", testReload},
				{"networks", testNetworks},
				{"upgrade", testUpgrade},
				{"soft reboot", testSoftReboot},
				{"reboot", testReboot},
				{"bad boot", testBadBoot},
				{"quadlet", testQuadlet},
				{"power cut", testPowerCuts},
				{"removal", testRemoval},
				{"purge", testPurge},
			} {
				t.Run(part.name, func(t *testing.T) { part.test(t, m) })
				if !m.runs() {
					t.Fatal("the machine does not run any more")
				}
			}
			m.stop(t, "poweroff")
		})
	}
}

// settled waits until systemd has started everything.
func settled(t *testing.T, m *machine) {
	t.Helper()
	m.is(t, "running", "systemctl is-system-running --wait || systemctl list-units --failed --plain --no-legend")
}

// testBasics is what a user does first.
func testBasics(t *testing.T, m *machine) {
	m.is(t, "systemd", "cat /proc/1/comm")
	m.run(t, `cleat import -c 'CMD ["sh"]' busybox.tar busybox`)
	m.run(t, `tar -c hello | cleat import -c 'ENTRYPOINT ["/hello"]' - hello`)
	m.is(t, "hi", "run busybox echo hi")
	m.is(t, "42", "code run busybox sh -c 'exit 42'")
	m.is(t, "127", "code run busybox nosuch")
	m.is(t, "cleat-default (enforce)", "run busybox cat /proc/self/attr/apparmor/current")
	m.is(t, "1", "run busybox sh -c '(echo 1 > /proc/sys/vm/overcommit_memory) 2>&1 | wc -l'")

	m.run(t, "cleat run -d --restart=always --network host --name demo hello 127.0.0.1:8088")
	m.is(t, "hello", "page")
	m.run(t, "systemctl kill -s KILL cleat-demo")
	m.is(t, "hello", "page")
	m.is(t, "enabled", "systemctl is-enabled cleat-demo")

	m.run(t, `cleat run -d --network none --name term busybox sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'`)
	m.run(t, "says term up; systemctl stop cleat-term")
	m.is(t, "exited 3", "cleat inspect -f '{{.State.Status}} {{.State.ExitCode}}' term")
}
