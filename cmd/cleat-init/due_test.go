package main

import (
	"testing"
	"time"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func TestDue(t *testing.T) {
	onFailure := spec.RestartPolicy{Mode: spec.RestartOnFailure}
	twice := spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 2}
	ended := time.Unix(1, 0)
	tests := map[string]struct {
		policy         spec.RestartPolicy
		run            state.Run
		since, enabled bool
		want           bool
	}{
		"the boot passes over success":            {onFailure, state.Run{FinishedAt: ended}, false, true, false},
		"the boot starts after a failure":         {onFailure, state.Run{FinishedAt: ended, ExitCode: 3}, false, true, true},
		"failures that are used up":               {twice, state.Run{FinishedAt: ended, ExitCode: 3, RestartCount: 2}, false, true, false},
		"a power cut in the first run":            {onFailure, state.Run{}, false, true, true},
		"a power cut in a run after a success":    {onFailure, state.Run{FinishedAt: ended, UnderWay: true}, false, true, true},
		"a person starts it after the boot":       {onFailure, state.Run{FinishedAt: ended}, true, true, true},
		"a person starts what is disabled":        {onFailure, state.Run{FinishedAt: ended}, false, false, true},
		"the policy has become another meanwhile": {spec.RestartPolicy{Mode: spec.RestartAlways}, state.Run{FinishedAt: ended}, false, true, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := isDue(tt.policy, tt.run, tt.since, tt.enabled); got != tt.want {
				t.Errorf("due is %v", got)
			}
		})
	}
}
