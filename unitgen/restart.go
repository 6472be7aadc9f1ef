package unitgen

import (
	"fmt"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// The helper's exit codes after which systemd must not start the unit again:
// the start failed (125, 126, 127 to the user), or on-failure's restarts are
// used up. systemd itself uses 241 to 243 for settings that our units do not
// have.
var noRestart = []int32{241, 242, 243, 244}

// Signals whose death systemd counts as a clean exit and Docker as a failure:
// SIGHUP, SIGINT, SIGPIPE and SIGTERM.
var forceRestart = []int32{1, 2, 13, 15}

// restarting maps the restart policy. systemd restarts at once; the helper
// counts, and waits out Docker's backoff, because systemd's own
// (RestartSteps=) is never reset after a healthy run.
func restarting(c spec.Container, _ ServiceInput) ([]Property, error) {
	props := []Property{{"OOMPolicy", "continue"}}
	var mode string
	switch c.Restart.Mode {
	case "", spec.RestartNo:
		if c.Activated() { // each connection may be a start
			props = append(props, Property{"StartLimitIntervalUSec", uint64(0)})
		}
		return append(props, Property{"Restart", "no"}), nil
	case spec.RestartAlways, spec.RestartUnlessStopped:
		mode = "always"
	case spec.RestartOnFailure:
		mode = "on-failure"
		props = append(props, Property{"RestartForceExitStatus", ExitStatusSet{Codes: []int32{}, Signals: forceRestart}})
	default:
		return nil, fmt.Errorf("restart policy %q: %w", c.Restart.Mode, spec.ErrInvalid)
	}
	return append(props,
		Property{"Restart", mode},
		Property{"RestartPreventExitStatus", ExitStatusSet{Codes: noRestart, Signals: []int32{}}},
		Property{"RestartUSec", uint64(100 * time.Millisecond / time.Microsecond)},
		Property{"StartLimitIntervalUSec", uint64(0)}, // the default stops restarting after 5 in 10 s
	), nil
}
