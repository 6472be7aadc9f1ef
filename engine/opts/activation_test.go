package opts

import (
	"testing"
	"time"

	"github.com/cleat-project/cleat/spec"
)

func TestActivation(t *testing.T) {
	for in, want := range map[string]spec.ActivationMode{"fd": spec.ActivateFD, "proxy": spec.ActivateProxy, "": "", "FD": "", "yes": ""} {
		if got, err := Activation(in); got != want || (err == nil) != (want != "") {
			t.Errorf("Activation(%q) = %q, %v", in, got, err)
		}
	}
}

func TestIdleTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{"10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "0": 0, "1500ms": 1500 * time.Millisecond} {
		if got, err := IdleTimeout(in); got != want || err != nil {
			t.Errorf("IdleTimeout(%q) = %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "10", "-1s", "soon"} {
		if got, err := IdleTimeout(in); err == nil {
			t.Errorf("IdleTimeout(%q) = %s", in, got)
		}
	}
}
