package registry_test

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/spec"
)

// A certificate is believed if its authority is in certs.d, or if it is not to be
// checked; else the pull ends at once and says why.
func TestTLS(t *testing.T) {
	h := newHub(t)
	push(t, h.URL, "app", "latest", imagetest.New(t, nil, bigLayer(t, 1000, 1)))
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	certs := t.TempDir()
	if err := os.Mkdir(filepath.Join(certs, host), 0o700); err != nil {
		t.Fatal(err)
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, host, "ca.crt"), authority, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		opt   registry.Options
		works bool
	}{
		"unknown authority":  {registry.Options{CertDir: t.TempDir()}, false},
		"authority in files": {registry.Options{CertDir: certs}, true},
		"not checked":        {registry.Options{CertDir: t.TempDir(), Hosts: map[string]registry.Host{host: {Insecure: true}}}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.opt.ConfigDir = t.TempDir()
			c := registry.New(tt.opt)
			defer c.Close()
			h.misbehave(nil)
			s := newTarget(t)
			_, err := s.pull(t.Context(), c, imagetest.Ref(t, host+"/app"))
			if tt.works && err != nil {
				t.Fatal(err)
			}
			if !tt.works && (!errors.Is(err, spec.ErrUnavail) || !strings.Contains(err.Error(), "certificate signed by unknown authority") || h.count("") > 0) {
				t.Errorf("pull: %v", err)
			}
		})
	}
}
