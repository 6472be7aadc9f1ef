package opts

import (
	"fmt"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Activation parses --activate.
func Activation(s string) (spec.ActivationMode, error) {
	switch m := spec.ActivationMode(s); m {
	case spec.ActivateFD, spec.ActivateProxy:
		return m, nil
	}
	return "", fmt.Errorf("%q: must be fd or proxy", s)
}

// IdleTimeout parses --idle-timeout, a duration such as 10m; 0 means never.
func IdleTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: want a number with a unit, such as 90s, 10m or 1h30m", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%s: must not be negative", s)
	}
	return d, nil
}
