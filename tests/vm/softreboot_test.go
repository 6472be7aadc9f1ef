package vm

import (
	"strconv"
	"testing"
)

// testSoftReboot starts everything anew but the kernel, where systemd can. What is
// to survive does, with its ports, its name and its output; what is not comes back
// as after any other boot.
func testSoftReboot(t *testing.T, m *machine) {
	const first = 255 // version with what it takes
	version, err := strconv.Atoi(m.run(t, `systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p'`))
	if err != nil {
		t.Fatal(err)
	}
	if version < first {
		m.is(t, "1", "cleat create --survive-soft-reboot busybox 2>&1 | grep -c 'to survive a soft reboot takes systemd 255'")
		return
	}
	m.run(t, `cleat run -d --restart=always --survive-soft-reboot --network lan --hostname stays --name stays -p 8085:80 peer serve tcp::80
		cleat run -d --survive-soft-reboot --network none --name survivor busybox sh -c '
			i=0; while [ ! -e /stop ]; do i=$((i+1)); echo $i; usleep 50000; done; echo end'
		says survivor 20`)
	m.is(t, "stays", "answer 8085")
	const pids = "pid cleat-stays; pid cleat-survivor"
	before, demo := m.run(t, pids), m.run(t, "pid cleat-demo")
	m.softReboot(t)
	// It was told to stop and ended with 2, as Go programs do: systemd remembers that.
	m.run(t, "systemctl reset-failed cleat-waker.service")
	settled(t, m)
	if after := m.run(t, pids); after != before {
		t.Errorf("processes to survive before the soft reboot %q, after it %q", before, after)
	}
	if after := m.run(t, "pid cleat-demo"); after == demo {
		t.Errorf("process %s, which is not to survive, is there after the soft reboot", after)
	}
	m.is(t, "hello web waker stays", "page; answer 8081; answer 8082; answer 8085")
	m.is(t, "stays", "cleat run --rm --network lan peer ask tcp stays:80 | cut -d' ' -f1")
	m.is(t, "running running", "state stays survivor")
	m.is(t, "0", "cleat exec survivor touch /stop; cleat wait survivor")
	// journald itself does not survive, and with its socket go the lines that it has
	// not read. What is there is in order, nothing twice, up to the end.
	m.is(t, "end in order", `cleat logs survivor >/tmp/got
		tail -n 1 /tmp/got; head -n -1 /tmp/got | sort -n -u -c && echo in order`)
	m.is(t, "no problems found", "cleat system check")
	m.run(t, "cleat rm survivor")
}
