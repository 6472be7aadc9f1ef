package vm

import (
	"strings"
	"testing"
)

// testInstall is the first boot: the package comes onto a plain system.
func testInstall(t *testing.T, m *machine) {
	m.start(t)
	settled(t, m)
	m.run(t, "dpkg -i cleat.deb")
	m.is(t, "enabled active", "systemctl is-enabled cleat-stdiod.socket; systemctl is-active cleat-stdiod.socket")
	m.is(t, "cleat", "getent group cleat | cut -d: -f1")
	// There is no man, and systemd 252 does not know two keys yet.
	m.is(t, "", `systemd-analyze verify cleat-stdiod.service cleat-stdiod.socket cleat.slice 2>&1 |
		grep cleat | grep -v -e 'Command .man ' -e FileDescriptorStorePreserve -e SurviveFinalKillSignal`)
	m.is(t, "no problems found", "cleat system check")
}

// testUpgrade replaces cleat while a container writes and others serve: one on the
// host's network, one behind a published port, and one that connections have woken.
// Nobody may notice, neither they nor those who ask them.
func testUpgrade(t *testing.T, m *machine) {
	m.run(t, `cleat run -d --network none --name counter busybox sh -c '
			i=0; while [ ! -e /stop ]; do i=$((i+1)); echo $i; usleep 5000; done; echo end'
		says counter 20`)
	const pids = "pid cleat-counter; pid cleat-demo; pid cleat-web; pid cleat-waker"
	m.is(t, "waker", "answer 8082")
	before, broker := m.run(t, pids), m.run(t, "pid cleat-stdiod")
	load := strings.Fields(m.run(t, `mkfifo /run/hold
		for port in 8081 8082; do
			{ ./peer storm 127.0.0.1:$port 2 20ms </run/hold >/run/load.$port; echo $? >>/run/load.$port; } &
		done
		exec 9>/run/hold
		dpkg -i next.deb >/run/dpkg.log 2>&1 || cat /run/dpkg.log
		sleep 1
		exec 9>&-
		wait
		cat /run/load.*; rm /run/load.* /run/hold`))
	// Of each port: how many have asked, how many were cut off, and whether all got
	// through.
	if len(load) != 6 || load[0] == "0" || load[1] != "0" || load[2] != "0" || load[3] == "0" || load[4] != "0" || load[5] != "0" {
		t.Errorf("requests, those cut off, exit code, of two ports: %q", load)
	}
	t.Logf("requests during the upgrade: %s", load)
	m.is(t, "1", "dpkg-query -W -f '${Version}' cleat | grep -c next")
	if after := m.run(t, pids); after != before {
		t.Errorf("processes of containers before the upgrade %q, after it %q", before, after)
	}
	if after := m.run(t, "pid cleat-stdiod"); after == broker || after == "0" {
		t.Errorf("process of the broker before the upgrade %s, after it %s: want another", broker, after)
	}
	m.is(t, "hello web waker", "page; answer 8081; answer 8082")
	m.is(t, "0", "cleat exec counter touch /stop; cleat wait counter")
	// Every number once, in order, and the end.
	m.is(t, "complete", `cleat logs counter >/tmp/got
		n=$(($(wc -l </tmp/got) - 1)); { seq $n; echo end; } | diff - /tmp/got && [ $n -gt 100 ] && echo complete`)
	m.run(t, "cleat rm counter")
}

// testRemoval takes cleat away and brings it back.
func testRemoval(t *testing.T, m *machine) {
	m.run(t, "dpkg --remove cleat")
	m.is(t, "", "processes 'hello|cleat|sleep 10000'")
	m.is(t, "disabled", "systemctl is-enabled cleat-demo")
	m.is(t, "", "systemctl list-units --plain --no-legend --state=active 'cleat*'")
	m.run(t, "dpkg -i cleat.deb")
	m.is(t, "enabled disabled", "systemctl is-enabled cleat-demo cleat-stopped-unless")
	m.is(t, "no problems found", "cleat system check")
	m.run(t, "cleat start demo")
	m.is(t, "hello", "page")
}

// testPurge wants the system as it was before cleat came.
func testPurge(t *testing.T, m *machine) {
	m.run(t, `systemctl set-property cleat-demo CPUWeight=50
		mkdir -p /etc/systemd/system/cleat-.service.d && echo '[Service]' >/etc/systemd/system/cleat-.service.d/site.conf
		cleat run -d --network none -v data:/data --stop-signal KILL --name volume busybox sh -c 'echo x >/data/x; sleep 10000'`)
	m.run(t, "dpkg --purge cleat")
	m.is(t, "", "processes 'hello|cleat|sleep 10000'")
	m.is(t, "", "find / -xdev -name '*cleat*' ! -path '/opt/test/*' ! -path '/proc/*' ! -path '/sys/kernel/*'")
	m.is(t, "", "find /run /tmp /sys/fs/cgroup -name '*cleat*' ! -path '/run/agent.*'")
	m.is(t, "", "grep -rl cleat /etc | grep -v '^/etc/[a-z]*-$'")
	m.is(t, "", "systemctl list-units --all --plain --no-legend 'cleat*'; systemctl list-unit-files --no-legend 'cleat*'")
	m.is(t, "", "getent group cleat")
	m.is(t, "", "grep cleat /proc/self/mountinfo")
	m.is(t, "lo", "ls /sys/class/net")
	m.is(t, "", "nft list tables")
	m.is(t, "0", "cat /proc/sys/net/ipv4/ip_forward")
	m.is(t, "running", "systemctl is-system-running")
}
