package tests

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// writePEM writes a certificate and its key.
func writePEM(t *testing.T, dir, name string, cert []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*pem.Block{
		name + ".pem":     {Type: "CERTIFICATE", Bytes: cert},
		name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: private},
	}
	for file, block := range files {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newAuthority(t *testing.T, dir string) authority {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := authority{dir: dir}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority " + filepath.Base(dir)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(t, "ca", template)
	a.sign(t, "server", x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	a.sign(t, "client", x509.Certificate{SerialNumber: big.NewInt(3), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return a
}

func (a authority) sign(t *testing.T, name string, template x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = &template, key
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.dir, name, der, key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// TestAPIOverTLS serves TCP to those who have a certificate, and to nobody else:
// from a command, and on systemd's socket.
func TestAPIOverTLS(t *testing.T) {
	t.Parallel()
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker client here")
	}
	s := newSite(t, "--private-network") // the port is in there
	if err := importBusybox(s); err != nil {
		t.Fatal(err)
	}
	ours, theirs := newAuthority(t, filepath.Join(s.root, "tls-ours")), newAuthority(t, filepath.Join(s.root, "tls-theirs"))
	// client gives Docker's client a command, in the host's network.
	client := func(host string, line string) result {
		args := append([]string{"host", "shell", docker, "--config", filepath.Join(s.root, "docker-config"), "-H", host}, words(line)...)
		return finish(s.cmd(args...))
	}
	with := func(server, client authority) string {
		return "--tlsverify --tlscacert " + server.file("ca") + " --tlscert " + client.file("client") + " --tlskey " + client.file("client-key")
	}
	check := func(host string) {
		t.Helper()
		for _, tt := range []struct {
			line, out string
			code      int
		}{
			{with(ours, ours) + " version --format {{.Server.Os}}", "linux", 0},
			{with(ours, ours) + " run --rm --network none busybox sh -c echo_out;exit_42", "out", 42},
			{with(ours, theirs) + " version --format {{.Server.Os}}", "", 1}, // a certificate of somebody else
			{with(theirs, ours) + " version --format {{.Server.Os}}", "", 1}, // the client does not trust the server
			{"--tls --tlscacert " + ours.file("ca") + " version --format {{.Server.Os}}", "", 1},
			{"version --format {{.Server.Os}}", "", 1}, // no TLS
		} {
			if r := client(host, tt.line); r.code != tt.code || strings.TrimSpace(r.out) != tt.out {
				t.Errorf("docker %s at %s: %v, want %d %q", tt.line, host, r, tt.code, tt.out)
			}
		}
		cat := s.cmd(append([]string{"host", "shell", docker, "--config", filepath.Join(s.root, "docker-config"), "-H", host},
			words(with(ours, ours)+" run --rm -i --network none busybox cat")...)...)
		cat.Stdin = strings.NewReader("through and through")
		if r := finish(cat); r.code != 0 || r.out != "through and through" {
			t.Errorf("input over TLS: %v", r)
		}
	}
	server := s.cmd("serve", "--host", "tcp://127.0.0.1:2377", "--tlsverify", "--tlscacert", ours.file("ca"), "--tlscert", ours.file("server"), "--tlskey", ours.file("server-key"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	})
	until(t, "the server listens", func() bool {
		return client("tcp://127.0.0.1:2377", with(ours, ours)+" version").code == 0
	})
	check("tcp://127.0.0.1:2377")

	// An administrator's drop-ins; without the files of /etc/cleat/tls, the service has
	// to be told of others.
	dropIn := func(unit, text string) {
		t.Helper()
		dir := filepath.Join(s.root, "units", unit+".d")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tcp.conf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dropIn("cleat.socket", "[Socket]\nListenStream=127.0.0.1:2376\n")
	dropIn("cleat-apid.service", "[Service]\nExecStart=\nExecStart="+filepath.Join(env.bin, "cleat-apid")+" -root "+s.root+
		" -tlscacert "+ours.file("ca")+" -tlscert "+ours.file("server")+" -tlskey "+ours.file("server-key")+"\n")
	s.systemctl(t, "daemon-reload")
	s.systemctl(t, "stop", "cleat-apid.service")
	s.systemctl(t, "restart", "cleat.socket")
	check("tcp://127.0.0.1:2376")
	if r := client("unix:///run/cleat/cleat.sock", "version --format {{.Server.Os}}"); r.out != "linux" {
		t.Errorf("the unix socket beside: %v", r)
	}
	if r := s.try("serve", "--host", "tcp://127.0.0.1:2378"); r.code != 1 || !strings.Contains(r.stderr, "as good as root") {
		t.Errorf("plain TCP: %v", r)
	}
	s.clean(t)
}
