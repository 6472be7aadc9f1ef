package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// mountOptions reads KEY=VALUE words.
func mountOptions(s string) map[string]string {
	m := map[string]string{}
	for w := range strings.FieldsSeq(s) {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}

func TestMountOf(t *testing.T) {
	t.Parallel()
	type mount = unitgen.MountInput
	for options, want := range map[string]mount{
		"type=tmpfs device=tmpfs o=size=1m,uid=7":            {What: "tmpfs", Type: "tmpfs", Options: "size=1m,uid=7"},
		"type=none device=/srv/x o=bind":                     {What: "/srv/x", Type: "none", Options: "bind"},
		"type=ext4 device=/dev/sdb1":                         {What: "/dev/sdb1", Type: "ext4"},
		"type=nfs device=:/export o=addr=192.0.2.1,rw":       {What: "192.0.2.1:/export", Type: "nfs", Options: "rw"},
		"type=nfs4 device=:/a:/b o=rw,addr=nfs.lan":          {What: "nfs.lan:/a:/b", Type: "nfs4", Options: "rw"},
		"type=nfs device=:/export o=addr=2001:db8::1":        {What: "[2001:db8::1]:/export", Type: "nfs"},
		"type=nfs device=[2001:db8::1]:/export o=soft":       {What: "[2001:db8::1]:/export", Type: "nfs", Options: "soft"},
		"type=nfs device=host:/export o=addr=192.0.2.1,hard": {What: "host:/export", Type: "nfs", Options: "hard"},
		"type=cifs device=//host/share o=username=a":         {What: "//host/share", Type: "cifs", Options: "username=a"},
	} {
		got, err := mountOf(mountOptions(options))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", options, err, diff)
		}
	}
	for options, msg := range map[string]string{
		"odd=1":                               `invalid option: "odd"`,
		"type=tmpfs":                          `missing required option: "device"`,
		"device=/x":                           `missing required option: "type"`,
		"type=none device=x o=bind":           "must be an absolute path",
		"type=none device=/x/../y o=ro,rbind": "must be an absolute path",
		"type=nfs device=/export o=addr=h":    "must be HOST:/PATH",
		"type=nfs device=:/export":            "no server given",
		"type=nfs device=:/export o=addr=":    "no server given",
	} {
		if _, err := mountOf(mountOptions(options)); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), msg) {
			t.Errorf("%s: %v, want %q", options, err, msg)
		}
	}
	if _, err := mountOf(mountOptions("size=1g type=xfs device=/dev/x")); !errors.Is(err, spec.ErrUnsupport) {
		t.Errorf("a quota: %v", err)
	}
}

func TestPruneFilter(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	labels := map[string]string{"a": "1", "b": ""}
	for name, tt := range map[string]struct {
		f    PruneFilter
		want bool
	}{
		"nothing asked":                {PruneFilter{}, true},
		"old enough":                   {PruneFilter{Until: at.Add(1)}, true},
		"made just then":               {PruneFilter{Until: at}, false},
		"with the labels":              {PruneFilter{Labels: []string{"a=1", "b"}}, true},
		"one label differs":            {PruneFilter{Labels: []string{"a=2", "b"}}, false},
		"without the label":            {PruneFilter{NotLabels: []string{"c", "a=2"}}, true},
		"with a label it may not have": {PruneFilter{NotLabels: []string{"c", "b"}}, false},
	} {
		if got := tt.f.match(labels, at); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
