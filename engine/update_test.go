package engine

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestUpdated(t *testing.T) {
	t.Parallel()
	const mib = int64(1 << 20)
	have := spec.Limits{MemoryBytes: 100 * mib, SwapBytes: 50 * mib, CPUMillis: 500, Pids: 10, CPUSet: "0"}
	with := func(l spec.Limits, change func(*spec.Limits)) spec.Limits { change(&l); return l }
	for what, tt := range map[string]struct {
		have spec.Limits
		opt  UpdateOptions
		want spec.Limits
		err  error
	}{
		"nothing is changed by zeros":              {have: have, want: have},
		"less memory, the total stays":             {have: have, opt: UpdateOptions{MemoryBytes: 60 * mib}, want: with(have, func(l *spec.Limits) { l.MemoryBytes, l.SwapBytes = 60*mib, 90*mib })},
		"memory up to the total":                   {have: have, opt: UpdateOptions{MemoryBytes: 150 * mib}, want: with(have, func(l *spec.Limits) { l.MemoryBytes, l.SwapBytes, l.NoSwap = 150*mib, 0, true })},
		"memory beyond the total":                  {have: have, opt: UpdateOptions{MemoryBytes: 200 * mib}, err: spec.ErrConflict},
		"both":                                     {have: have, opt: UpdateOptions{MemoryBytes: 200 * mib, TotalBytes: 300 * mib}, want: with(have, func(l *spec.Limits) { l.MemoryBytes, l.SwapBytes = 200*mib, 100*mib })},
		"the total alone":                          {have: have, opt: UpdateOptions{TotalBytes: 100 * mib}, want: with(have, func(l *spec.Limits) { l.SwapBytes, l.NoSwap = 0, true })},
		"a total below the memory":                 {have: have, opt: UpdateOptions{TotalBytes: 99 * mib}, err: spec.ErrInvalid},
		"a total without memory":                   {opt: UpdateOptions{TotalBytes: 99 * mib}, err: spec.ErrInvalid},
		"unlimited swap":                           {have: have, opt: UpdateOptions{TotalBytes: -1}, want: with(have, func(l *spec.Limits) { l.SwapBytes = -1 })},
		"unlimited swap stays":                     {have: spec.Limits{MemoryBytes: 7 * mib, SwapBytes: -1}, opt: UpdateOptions{MemoryBytes: 9 * mib}, want: spec.Limits{MemoryBytes: 9 * mib, SwapBytes: -1}},
		"the first limit, with as much swap":       {opt: UpdateOptions{MemoryBytes: 9 * mib}, want: spec.Limits{MemoryBytes: 9 * mib, SwapBytes: 9 * mib}},
		"too little memory":                        {opt: UpdateOptions{MemoryBytes: mib}, err: spec.ErrInvalid},
		"no limit on CPU":                          {have: have, opt: UpdateOptions{CPUMillis: -1}, want: with(have, func(l *spec.Limits) { l.CPUMillis = 0 })},
		"no limit on processes":                    {have: have, opt: UpdateOptions{Pids: new(int64)}, want: with(have, func(l *spec.Limits) { l.Pids = 0 })},
		"a weight that is none":                    {have: have, opt: UpdateOptions{IOWeight: 5}, err: spec.ErrInvalid},
		"weights, CPUs and a reservation, at once": {have: have, opt: UpdateOptions{IOWeight: 50, CPUShares: 5, CPUSet: "1", ReservationBytes: 50 * mib}, want: with(have, func(l *spec.Limits) { l.IOWeight, l.CPUShares, l.CPUSet, l.ReservationBytes = 50, 5, "1", 50*mib })},
	} {
		got, err := updated(spec.Container{Limits: tt.have}, tt.opt)
		if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
			t.Errorf("%s: error %v", what, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got.Limits); tt.err == nil && diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	always := spec.RestartPolicy{Mode: spec.RestartAlways}
	if got, err := updated(spec.Container{}, UpdateOptions{Restart: &always}); err != nil || got.Restart != always {
		t.Errorf("restart policy is %v, %v", got.Restart, err)
	}
	if _, err := updated(spec.Container{AutoRemove: true}, UpdateOptions{Restart: &always}); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("restart policy of a container that removes itself: %v", err)
	}
}
