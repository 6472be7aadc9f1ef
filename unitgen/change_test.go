package unitgen

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestChangedLimits(t *testing.T) {
	t.Parallel()
	full := spec.Limits{MemoryBytes: 64 << 20, SwapBytes: 1 << 20, ReservationBytes: 32 << 20, CPUMillis: 500, CPUShares: 2048, CPUSet: "0", MemoryNodes: "0", Pids: 9, IOWeight: 100}
	for what, tt := range map[string]struct {
		from, to spec.Limits
		want     []Property
	}{
		"nothing":     {full, full, []Property{}},
		"one of many": {full, func() spec.Limits { l := full; l.Pids = 10; return l }(), []Property{{"TasksMax", uint64(10)}}},
		"from none": {spec.Limits{}, spec.Limits{MemoryBytes: 7 << 20, NoSwap: true}, []Property{
			{"MemoryMax", uint64(7 << 20)}, {"MemorySwapMax", uint64(0)},
		}},
		"to none":                       {full, spec.Limits{}, unlimited()},
		"what a start alone can change": {full, func() spec.Limits { l := full; l.OOMScoreAdj = 5; return l }(), []Property{}},
	} {
		got, err := ChangedLimits(spec.Container{Limits: tt.from}, spec.Container{Limits: tt.to})
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", what, err, diff)
		}
	}
	if _, err := ChangedLimits(spec.Container{}, spec.Container{Limits: spec.Limits{CPUSet: "x"}}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("a set of CPUs that is none: %v", err)
	}
}
