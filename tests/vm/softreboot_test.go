package vm

import (
	"strconv"
	"testing"
)

// testSoftReboot starts everything anew but the kernel, where systemd can. /run
// and the devices of networks are still there when the containers come back.
func testSoftReboot(t *testing.T, m *machine) {
	const first = 254 // version with soft reboots
	if v, err := strconv.Atoi(m.run(t, "systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p'")); err != nil || v < first {
		t.Skipf("systemd %d (%v) has no soft reboot", v, err)
	}
	before := m.run(t, "pid cleat-demo")
	m.softReboot(t)
	settled(t, m)
	m.is(t, "hello web waker", "page; answer 8081; answer 8082")
	if after := m.run(t, "pid cleat-demo"); after == before {
		t.Errorf("process %s is there after the soft reboot too", after)
	}
	m.is(t, "no problems found", "cleat system check")
}
