package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// describe writes a file that describes something, which is taken away with the
// test.
func (s site) describe(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(s.root, "quadlets", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
}

const quadletWeb = `# A web server.
[Container]
Image=busybox
Exec=sh -c "trap 'exit 0' TERM; echo up $$GREETING; while :; do usleep 50000; done"
Environment=GREETING=%s
Volume=qdata.volume:/data
Network=none
Label=owner=test "note=two words"
StopTimeout=5

[Service]
Restart=on-failure
MemoryMax=64M
`

// TestQuadlet describes a container by a file, and follows its life.
func TestQuadlet(t *testing.T) {
	s := shared()
	const name = "systemd-qweb"
	t.Cleanup(func() {
		s.try("rm", "-f", "-v", name)
		s.try("volume", "rm", "systemd-qdata")
		s.try("host", "shell", "systemctl", "stop", "qdata-volume.service")
	})
	s.describe(t, "qweb.container", fmt.Sprintf(quadletWeb, "hello"))
	s.describe(t, "qdata.volume", "[Volume]\nLabel=kind=quadlet\n")
	s.systemctl(t, "daemon-reload")
	s.systemctl(t, "start", "qweb.service")
	if got := s.must(t, "ps", "--filter", "name=qweb", "--format", "{{.Names}} {{.Image}} {{.Status}}"); !strings.HasPrefix(got, name+" busybox Up") {
		t.Errorf("ps: %s", got)
	}
	const facts = `{{.State.Status}} {{.Unit.FileState}} {{.Config.Labels.owner}} {{.Config.Labels.note}} {{.Config.StopTimeout}} {{.HostConfig.Memory}} {{(index .Mounts 0).Name}}`
	if got := s.inspect(t, name, facts); got != "running generated test two words 5 67108864 systemd-qdata" {
		t.Errorf("inspect: %s", got)
	}
	if got := s.must(t, "volume", "inspect", "-f", "{{.Labels.kind}}", "systemd-qdata"); got != "quadlet" {
		t.Errorf("label of the volume: %s", got)
	}
	until(t, "its output", func() bool { return s.must(t, "logs", name) == "up hello" })
	if got := s.systemctl(t, "status", "qweb.service"); !strings.Contains(got, "Active: active (running)") || !strings.Contains(got, "up hello") {
		t.Errorf("systemctl status:\n%s", got)
	}

	id := s.inspect(t, name, "{{.Id}}")
	s.systemctl(t, "restart", "qweb.service")
	if got := s.inspect(t, name, "{{.Id}} {{.State.Status}}"); got != id+" running" {
		t.Errorf("a restart without a change made %s of %s", got, id)
	}
	s.must(t, "stop", name)
	if r := s.try("host", "shell", "systemctl", "is-active", "qweb.service"); r.out != "inactive" {
		t.Errorf("cleat stop leaves the unit %s", r.out)
	}
	s.must(t, "start", name)
	if got := s.systemctl(t, "is-active", "qweb.service"); got != "active" {
		t.Errorf("cleat start leaves the unit %s", got)
	}
	for _, args := range [][]string{{"update", "-m", "64m", name}, {"rename", name, "other"}} {
		s.fails(t, s.cmd(args...), 1, "qweb.container", "change that")
	}

	s.describe(t, "qweb.container", fmt.Sprintf(quadletWeb, "again"))
	s.systemctl(t, "daemon-reload")
	if got := s.inspect(t, name, "{{.Id}} {{.State.Status}}"); got != id+" running" {
		t.Errorf("a change alone made %s of %s", got, id)
	}
	s.systemctl(t, "restart", "qweb.service")
	until(t, "the new output", func() bool { return s.must(t, "logs", name) == "up again" })
	if got := s.inspect(t, name, "{{.Id}}"); got == id {
		t.Error("the container is the old one after a change")
	}
	s.clean(t)

	if err := os.Remove(filepath.Join(s.root, "quadlets", "qweb.container")); err != nil {
		t.Fatal(err)
	}
	s.systemctl(t, "stop", "qweb.service")
	if r := s.try("inspect", name); r.code == 0 {
		t.Errorf("the container is there without its file: %v", r)
	}
	s.systemctl(t, "daemon-reload")
	if r := s.try("host", "shell", "systemctl", "start", "qweb.service"); r.code == 0 {
		t.Error("the unit is there without its file")
	}
	s.clean(t)
}

// TestQuadletTrouble has containers that cannot be made.
func TestQuadletTrouble(t *testing.T) {
	s := shared()
	t.Cleanup(func() { s.try("rm", "-f", "qtaken", "systemd-qgood") })
	s.must(t, "create", "--network", "none", "--name", "qtaken", "busybox", "true")
	s.describe(t, "qtaken.container", "[Container]\nContainerName=qtaken\nImage=busybox\nNetwork=none\n")
	s.describe(t, "qimage.container", "[Container]\nImage=127.0.0.1:1/nosuch\nPull=never\nNetwork=none\n")
	s.describe(t, "qbroken.container", "[Container]\nImage=busybox\nMemory=lots\n")
	s.describe(t, "qgood.container", "[Container]\nImage=busybox\nNetwork=none\nExec=sleep 1000\n[Service]\nKillSignal=SIGKILL\n")
	s.systemctl(t, "daemon-reload")
	for unit, says := range map[string]string{"qtaken.service": "qtaken.container describes", "qimage.service": "is not on this machine"} {
		if r := s.try("host", "shell", "systemctl", "start", unit); r.code == 0 {
			t.Errorf("%s starts", unit)
		}
		r := s.try("host", "shell", "journalctl", "--no-pager", "-u", "cleat-"+map[string]string{"qtaken.service": "qtaken", "qimage.service": "systemd-qimage"}[unit]+".service")
		if !strings.Contains(r.out, says) {
			t.Errorf("%s: the journal lacks %q:\n%s", unit, says, r.out)
		}
	}
	if r := s.try("host", "shell", "systemctl", "start", "qbroken.service"); r.code == 0 || !strings.Contains(r.stderr, "not found") {
		t.Errorf("a broken file: %v", r)
	}
	until(t, "the journal says why", func() bool {
		r := s.try("host", "shell", "journalctl", "--no-pager", "-q", "-o", "cat", "-t", "cleat-generator")
		return strings.Contains(r.out, "qbroken.container:3: Memory=")
	})
	s.systemctl(t, "start", "qgood.service")
	s.systemctl(t, "stop", "qgood.service")
	check := s.cmd("quadlet", "check", filepath.Join(s.root, "quadlets", "qbroken.container"))
	s.fails(t, check, 1, "qbroken.container:3: memory=")
	if got := s.must(t, "quadlet", "check", filepath.Join(s.root, "quadlets", "qgood.container")); got != "1 files are in order." {
		t.Errorf("quadlet check: %s", got)
	}
}

// TestQuadletBoot reboots: described containers come back, and those whose files are
// gone are gone.
func TestQuadletBoot(t *testing.T) {
	s := newNetSite(t)
	s.describe(t, "net.network", "[Network]\nSubnet=10.77.0.0/24\n")
	s.describe(t, "app.image", "[Image]\nImage=peer\n")
	s.describe(t, "served.container", "[Container]\nImage=app.image\nNetwork=net.network:ip=10.77.0.9\nPublishPort=8080:80\nHostName=served\n[Install]\nWantedBy=multi-user.target\nAlias=www.service\n")
	s.describe(t, "gone.container", "[Container]\nImage=peer\nNetwork=none\n[Install]\nWantedBy=multi-user.target\n")
	for range 2 {
		s.must(t, "host", "stop")
		s.must(t, "host", "start", "--private-network")
		until(t, "the container is there", func() bool { return s.try("inspect", "systemd-served").code == 0 })
		s.settledAs(t, "systemd-served", "{{.State.Status}}", "running")
		if err := os.Remove(filepath.Join(s.root, "quadlets", "gone.container")); err == nil {
			until(t, "the other container is there", func() bool { return s.try("inspect", "systemd-gone").code == 0 })
			s.settledAs(t, "systemd-gone", "{{.State.Status}}", "running")
		}
	}
	until(t, "the container of the file that is gone is gone", func() bool { return s.try("inspect", "systemd-gone").code != 0 })
	if got := s.address(t, "systemd-served", "systemd-net", false); got != "10.77.0.9" {
		t.Errorf("address %s", got)
	}
	if got := s.must(t, "port", "systemd-served"); !strings.Contains(got, "80/tcp -> 0.0.0.0:8080") {
		t.Errorf("ports: %s", got)
	}
	if got := s.systemctl(t, "list-sockets", "--no-legend", "cleat-systemd-served.socket"); !strings.Contains(got, "0.0.0.0:8080") {
		t.Errorf("sockets: %s", got)
	}
	if got := s.systemctl(t, "is-active", "www.service", "served.service", "net-network.service", "app-image.service"); got != "active\nactive\nactive\nactive" {
		t.Errorf("units are %s", got)
	}
	s.must(t, "system", "check", "--repair")
	s.clean(t)
}
