package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestTCPIsGuarded(t *testing.T) {
	tests := map[string]struct {
		opt            tlsOptions
		used, verified bool
		err            string
	}{
		"by itself":                           {used: true, verified: true},
		"--tlsverify":                         {opt: tlsOptions{verify: true}, used: true, verified: true},
		"--tls --tlsverify":                   {opt: tlsOptions{tls: true, verify: true}, used: true, verified: true},
		"--tls":                               {opt: tlsOptions{tls: true}, used: true, verified: true, err: "as good as root"},
		"--tls, and anybody":                  {opt: tlsOptions{tls: true, insecure: true}, used: true},
		"anybody":                             {opt: tlsOptions{insecure: true}},
		"anybody, but with certificates only": {opt: tlsOptions{verify: true, insecure: true}, used: true, verified: true},
	}
	for name, tt := range tests {
		err := tt.opt.check("192.0.2.1:2376")
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error is %v, want one with %q", name, err, tt.err)
		}
		if tt.opt.used() != tt.used || tt.opt.verified() != tt.verified {
			t.Errorf("%s: TLS %v, certificates %v", name, tt.opt.used(), tt.opt.verified())
		}
	}
}

// Without certificates nobody is let in over TCP; unix sockets need none.
func TestGuardWithoutCertificates(t *testing.T) {
	missing := tlsOptions{ca: "/nonexistent/ca", cert: "/nonexistent/cert", key: "/nonexistent/key"}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if l, err := missing.guard(tcp); err == nil || !strings.Contains(err.Error(), "/nonexistent/cert") {
		t.Errorf("%v, %v", l, err)
	}
	if l, err := (tlsOptions{insecure: true}).guard(tcp); err != nil || l.TLS != nil {
		t.Errorf("%v, %v", l, err)
	}
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	if l, err := missing.guard(unix); err != nil || l.TLS != nil {
		t.Errorf("%v, %v", l, err)
	}
	if _, err := (options{socket: "/x", tcp: "127.0.0.1:1"}).own(); err == nil {
		t.Error("two sockets were taken")
	}
	if _, err := (options{tcp: "127.0.0.1:0", tls: tlsOptions{tls: true}}).own(); err == nil || !strings.Contains(err.Error(), "as good as root") {
		t.Errorf("%v", err)
	}
}
