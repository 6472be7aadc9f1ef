package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

func TestRegisteredLeader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text   string
		leader int
		err    error
	}{
		"ours":     {"# private\nNAME=cleat-web\nSCOPE=cleat-web.service\nSERVICE=cleat\nLEADER=4711\nCLASS=container\n", 4711, nil},
		"other":    {"NAME=cleat-web\nSERVICE=systemd-nspawn\nLEADER=4711\n", 0, spec.ErrConflict},
		"nonsense": {"SERVICE=cleat\nLEADER=x\n", 0, spec.ErrInvalid},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if leader, err := registeredLeader(path); leader != tt.leader || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d, %v", name, leader, err)
		}
	}
	if leader, err := registeredLeader(filepath.Join(dir, "none")); leader != 0 || err != nil {
		t.Errorf("no machine: %d, %v", leader, err)
	}
}

// Where there is no systemd-machined, or none that may be started, nobody is to be
// told of an error.
func TestMachinedError(t *testing.T) {
	t.Parallel()
	for name, unavail := range map[string]bool{
		"org.freedesktop.DBus.Error.ServiceUnknown": true, "org.freedesktop.systemd1.UnitMasked": true, "org.freedesktop.DBus.Error.Spawn.ExecFailed": true,
		"org.freedesktop.DBus.Error.FileExists": false,
	} {
		if err := machinedError(&BusError{Name: name}); errors.Is(err, spec.ErrUnavail) != unavail || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := machinedError(nil); err != nil {
		t.Error(err)
	}
}
