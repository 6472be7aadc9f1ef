package main

import (
	"context"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

func (r *recorder) Update(_ context.Context, ref string, opt engine.UpdateOptions) error {
	return r.call(ref, "update", opt)
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	for line, opt := range map[string]engine.UpdateOptions{
		"-m 64m --memory-swap -1 --memory-reservation 32m": {MemoryBytes: 64 << 20, TotalBytes: -1, ReservationBytes: 32 << 20},
		"--cpus 1.5 -c 512 --cpuset-cpus 0,1":              {CPUMillis: 1500, CPUShares: 512, CPUSet: "0,1"},
		"--cpu-quota 50000 --cpu-period 100000":            {CPUMillis: 500},
		"--cpu-quota -1":                                   {CPUMillis: -1},
		"--cpus 0":                                         {},
		"--pids-limit -1":                                  {Pids: new(int64)},
		"--pids-limit 7 --blkio-weight 20":                 {Pids: new(int64(7)), IOWeight: 20},
		"--restart on-failure:3":                           {Restart: &spec.RestartPolicy{Mode: spec.RestartOnFailure, MaxRetries: 3}},
		"--restart no":                                     {Restart: &spec.RestartPolicy{Mode: spec.RestartNo}},
	} {
		r := &recorder{}
		want(t, try(t, r, append(strings.Fields("update "+line), "a", "bad", "b")...), outcome{Out: "a\nb\n", Err: "cleat: no such container: bad\n", Code: 1})
		r.expect(t, []any{"a", "update", opt}, []any{"bad", "update", opt}, []any{"b", "update", opt})
	}
	for line, msg := range map[string]string{
		"":                          "you must provide one or more flags when using this command",
		"--cpus 1 --cpu-quota 5000": "conflicting options: --cpus cannot be set with --cpu-quota or --cpu-period",
		"--cpu-period 100000":       "--cpu-period has no effect without --cpu-quota",
		"--restart soon":            "invalid restart policy: unknown policy 'soon'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
	} {
		want(t, try(t, &recorder{}, append(strings.Fields("update "+line), "a")...), outcome{Err: "cleat: " + msg + "\n", Code: 1})
	}
	if got := try(t, &recorder{}, "update", "--kernel-memory", "4m", "a"); got.Code != 125 || !strings.Contains(got.Err, "--kernel-memory is not supported") {
		t.Errorf("%+v", got)
	}
}
