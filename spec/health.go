package spec

import "time"

// HealthAction is what is done about a container that has become unhealthy.
type HealthAction string

// The actions.
const (
	HealthNone    HealthAction = "none"    // it is said, no more
	HealthRestart HealthAction = "restart" // stop and start it
	HealthStop    HealthAction = "stop"    // stop it for good
	HealthKill    HealthAction = "kill"    // SIGKILL; the restart policy says what follows
)

// Docker's defaults of a Healthcheck.
const (
	HealthInterval      = 30 * time.Second
	HealthTimeout       = 30 * time.Second
	HealthStartInterval = 5 * time.Second
	HealthRetries       = 3
)

// Healthcheck says how to find out whether a container does its work. Zero
// durations and retries mean Docker's defaults.
type Healthcheck struct {
	// Test is in Docker's form: {"NONE"} for no check, {"CMD", argument…}, or
	// {"CMD-SHELL", command}; empty means none as well.
	Test  []string `json:",omitempty"`
	Shell []string `json:",omitempty"` // of CMD-SHELL; nil means /bin/sh -c

	Interval      time.Duration `json:",omitempty"` // from the end of a check to the next; 30 s
	Timeout       time.Duration `json:",omitempty"` // after which a check has failed; 30 s
	StartPeriod   time.Duration `json:",omitempty"` // in which failures do not count; none
	StartInterval time.Duration `json:",omitempty"` // Interval within StartPeriod, before the first success; 5 s
	Retries       int           `json:",omitempty"` // failures in a row that make it unhealthy; 3

	OnFailure HealthAction `json:",omitempty"` // "" means HealthNone
}

// Argv returns the command of a check, nil if there is none.
func (h *Healthcheck) Argv() []string {
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:]
	case "CMD-SHELL":
		shell := h.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(append(make([]string, 0, len(shell)+1), shell...), h.Test[1])
	}
	return nil
}
