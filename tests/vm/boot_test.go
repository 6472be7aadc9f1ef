package vm

import (
	"fmt"
	"strings"
	"testing"
)

// testNetworks starts what the following parts ask: a server on a network of its
// own with a published port and a name, and one that connections wake.
func testNetworks(t *testing.T, m *machine) {
	m.run(t, `tar -c peer | cleat import -c 'ENTRYPOINT ["/peer"]' - peer
		cleat network create lan
		cleat run -d --restart=always --network lan --hostname web --name web -p 8081:80 peer serve tcp::80
		cleat run -d --restart=always --hostname waker --name waker -p 8082:80 --activate proxy --idle-timeout 1h peer serve tcp::80`)
	m.is(t, "web", "answer 8081")
	m.is(t, "web", "cleat run --rm --network lan peer ask tcp web:80 | cut -d' ' -f1")
	m.is(t, "sleeping", "sleeps waker")
	m.is(t, "waker running", "answer 8082; state waker")
}

// testReboot is about which containers come back.
func testReboot(t *testing.T, m *machine) {
	m.run(t, `
		idle --restart=always --name stopped-always
		idle --restart=unless-stopped --name stopped-unless
		idle --restart=unless-stopped --name running-unless
		cleat stop stopped-always stopped-unless`)
	m.is(t, "no problems found", "cleat system check")
	for range 2 {
		m.stop(t, "reboot")
		m.start(t)
		settled(t, m)
		m.is(t, "hello web", "page; answer 8081")
		m.is(t, "running exited running exited running sleeping", "state stopped-always stopped-unless running-unless term web; sleeps waker")
		m.is(t, "woken running", "./peer crowd tcp 127.0.0.1:8082 20 && echo woken; state waker")
		m.is(t, "no problems found", "cleat system check")
	}
}

// testBadBoot boots with containers that cannot start, each for a reason that is
// told where an administrator looks. The others start, and so do these when the
// reason is gone.
func testBadBoot(t *testing.T, m *machine) {
	m.run(t, `
		idle --restart=always --name bad-unit
		idle --restart=always -v /srv/bad:/srv/bad --name bad-bind
		mkdir -p /tmp/i/bin && cp busybox.tar /tmp/i && cp hello /tmp/i/bin && tar -C /tmp/i -c . | cleat import - own && rm -r /tmp/i
		cleat run -d --restart=always --network host --name bad-image own hello 127.0.0.1:8084
		cleat run -d --restart=always -p 127.0.0.1:8083:80 --name bad-port peer serve tcp::80

		mkdir /etc/systemd/system/cleat-bad-unit.service.d
		printf '[Service]\nExecStart=/bin/true\n' >/etc/systemd/system/cleat-bad-unit.service.d/override.conf
		rm -r "$(cleat inspect -f '{{.GraphDriver.Data.LowerDir}}' bad-image)"
		rmdir /srv/bad
		cp peer /usr/local/bin/peer
		printf '[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\nBefore=sockets.target
			[Service]\nExecStart=/usr/local/bin/peer serve tcp:127.0.0.1:8083\n[Install]\nWantedBy=sysinit.target\n' >/etc/systemd/system/squatter.service
		systemctl -q enable squatter`)
	m.stop(t, "reboot")
	m.start(t)
	m.is(t, "degraded", "systemctl is-system-running --wait")
	m.is(t, "hello web waker", "page; answer 8081; answer 8082")
	m.is(t, "running running", "state stopped-always running-unless")
	for _, bad := range []struct {
		unit   string
		status string // what systemctl status says, as a pattern
		start  string // what cleat start says
		mend   string // makes it start
	}{
		{"bad-unit.service", "bad unit file setting", "has a bad unit file setting", "systemctl revert cleat-bad-unit 2>/dev/null"},
		{"bad-bind.service", "cleat-init: .*/srv/bad", "bind source path does not exist: /srv/bad", "mkdir /srv/bad"},
		{"bad-port.socket", "Address already in use", "already allocated", "systemctl -q disable --now squatter; rm /etc/systemd/system/squatter.service /usr/local/bin/peer"},
		{"bad-image.service", "cleat-init: .*/layers/.*no such file", "/layers/", ""},
	} {
		name, _, _ := strings.Cut(bad.unit, ".")
		m.is(t, "told", fmt.Sprintf("systemctl status --no-pager -l cleat-%s 2>/dev/null | grep -q '%s' && echo told", bad.unit, bad.status))
		m.is(t, "told", fmt.Sprintf("cleat start %s 2>&1 | grep -q '%s' && echo told", name, bad.start))
		if bad.mend != "" {
			m.is(t, "running", fmt.Sprintf("%s; cleat start %[2]s >/dev/null; state %[2]s", bad.mend, name))
		}
	}
	m.is(t, "", "cleat rm -f bad-unit bad-bind bad-port bad-image >/dev/null; cleat rmi own >/dev/null; rmdir /srv/bad; systemctl --failed --plain --no-legend")
	m.is(t, "no problems found", "cleat system check")
}
