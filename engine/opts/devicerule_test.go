package opts_test

import (
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine/opts"
)

func TestDeviceRules(t *testing.T) {
	for _, rule := range []string{"c 1:3 r", "b 8:* rwm", "a *:* m", "c *:* rw", "c 4095:1048575 mr"} {
		if r, err := opts.DeviceRule(rule); err != nil || r.String() != rule {
			t.Errorf("DeviceRule(%q) is %q, %v", rule, r, err)
		}
	}
	for rule, part := range map[string]string{
		"": "TYPE MAJOR:MINOR", "c 1:3": "TYPE MAJOR:MINOR", "c  1:3 r": "TYPE MAJOR:MINOR", "d 1:3 r": "type is a, b or c", "c 1 r": "MAJOR:MINOR",
		"c 4096:3 r": "MAJOR:MINOR", "c 1:x r": "MAJOR:MINOR", "c -1:3 r": "MAJOR:MINOR", "c *:3 r": "not supported",
		"c 1:3 x": "permissions", "c 1:3 ": "permissions", "c 1:3 rr": "permissions",
	} {
		if _, err := opts.DeviceRule(rule); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("DeviceRule(%q): %v, want something about %q", rule, err, part)
		}
	}
}

func TestDeviceWeights(t *testing.T) {
	if w, err := opts.DeviceWeight("/dev/sda:10"); err != nil || w.Path != "/dev/sda" || w.Rate != 10 {
		t.Errorf("%v, %v", w, err)
	}
	for _, bad := range []string{"", "/dev/sda", "/dev/sda:", "/dev/sda:9", "/dev/sda:1001", "/dev/sda:-1", "sda:100"} {
		if _, err := opts.DeviceWeight(bad); err == nil {
			t.Errorf("DeviceWeight(%q) succeeds", bad)
		}
	}
}

func TestAnnotations(t *testing.T) {
	for _, s := range []string{"a", "a=", "a=b=c"} {
		if got, err := opts.Annotation(s); err != nil || got != s {
			t.Errorf("Annotation(%q) is %q, %v", s, got, err)
		}
	}
	if _, err := opts.Annotation("=b"); err == nil {
		t.Error("an annotation without a key is accepted")
	}
}
