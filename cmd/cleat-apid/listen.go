package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cleat-project/cleat/api"
	"github.com/cleat-project/cleat/internal/fdstore"
)

// tlsDir has the certificates unless flags name others.
const tlsDir = "/etc/cleat/tls"

// tlsOptions say how clients that come over TCP are told from others.
type tlsOptions struct {
	tls, verify   bool
	ca, cert, key string
	insecure      bool // who reaches the port may do everything
}

// listen takes over the sockets that systemd passed, or makes one of its own, where
// the server stays for ever.
func listen(o options) (list []api.Listener, idle time.Duration, err error) {
	passed, err := fdstore.Take(os.Getenv)
	if err != nil {
		return nil, 0, err
	}
	var raw []net.Listener
	for _, p := range passed {
		f := os.NewFile(uintptr(p.FD), "socket")
		l, err := net.FileListener(f)
		_ = f.Close() // the listener has its own
		if err != nil {
			return nil, 0, fmt.Errorf("take over the socket from systemd: %w", err)
		}
		raw = append(raw, l)
	}
	idle = o.idle
	if len(passed) == 0 {
		idle = -1
		l, err := o.own()
		if err != nil {
			return nil, 0, err
		}
		raw = append(raw, l)
	}
	for _, l := range raw {
		guarded, err := o.tls.guard(l)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, guarded)
	}
	return list, idle, nil
}

// own makes the socket that the flags ask for.
func (o options) own() (net.Listener, error) {
	switch {
	case o.socket != "" && o.tcp != "":
		return nil, errors.New("-socket and -tcp cannot both be given")
	case o.tcp != "":
		if err := o.tls.check(o.tcp); err != nil { // before anybody can connect
			return nil, err
		}
		l, err := net.Listen("tcp", o.tcp)
		if err != nil {
			return nil, fmt.Errorf("listen at %s: %w", o.tcp, err)
		}
		return l, nil
	case o.socket != "":
		return listenAt(o.socket)
	}
	return nil, errors.New("no socket was passed by systemd, and neither -socket nor -tcp was given")
}

// guard sees to it that who comes over TCP shows a certificate.
func (t tlsOptions) guard(l net.Listener) (api.Listener, error) {
	if _, ok := l.Addr().(*net.TCPAddr); !ok {
		return api.Listener{Listener: l}, nil
	}
	if err := t.check(l.Addr().String()); err != nil {
		return api.Listener{}, err
	}
	if !t.used() {
		program.Warn("%s is served without TLS: who reaches it is as good as root here", l.Addr())
		return api.Listener{Listener: l}, nil
	}
	if _, err := t.load(); err != nil {
		return api.Listener{}, err
	}
	// Certificates that were renewed count from the next client on.
	again := func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.load() }
	return api.Listener{Listener: l, TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: again}}, nil
}

// used reports whether there is TLS at all: it is what a TCP socket of systemd's gets
// if nothing else is said.
func (t tlsOptions) used() bool { return t.tls || t.verify || !t.insecure }

// verified reports whether clients have to show a certificate.
func (t tlsOptions) verified() bool { return t.verify || !t.insecure }

// check refuses to let in whoever comes, unless that is what is wanted.
func (t tlsOptions) check(address string) error {
	if t.tls && !t.verify && !t.insecure {
		return fmt.Errorf("%s would be served to clients without certificates, and whoever reaches it would be as good as root: "+
			"use -tlsverify, or say -insecure-no-client-certificates", address)
	}
	return nil
}

// load reads the certificates.
func (t tlsOptions) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(orIn(t.cert, "cert.pem"), orIn(t.key, "key.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the server: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if !t.verified() {
		return c, nil
	}
	path := orIn(t.ca, "ca.pem")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the authority that clients have to have theirs from: %w", err)
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate", path)
	}
	return c, nil
}

func orIn(path, name string) string {
	if path != "" {
		return path
	}
	return filepath.Join(tlsDir, name)
}

// listenAt makes a socket that its owner and its group may use. One that is left
// behind by a process that has ended is replaced.
func listenAt(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close() // somebody answers there
		return nil, fmt.Errorf("listen at %s: another server does already", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // else the next call tells
	}
	old := syscall.Umask(0o117)
	defer syscall.Umask(old)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return l, nil
}
