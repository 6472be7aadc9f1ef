package unitgen

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestEffectiveLimits(t *testing.T) {
	tests := map[string]struct {
		limits spec.Limits
		actual map[string]any
		want   spec.Limits
	}{
		"nothing is known":              {spec.Limits{MemoryBytes: 64 << 20}, nil, spec.Limits{MemoryBytes: 64 << 20}},
		"a value of a strange type":     {spec.Limits{}, map[string]any{"MemoryMax": "64M"}, spec.Limits{}},
		"a drop-in limits memory":       {spec.Limits{}, map[string]any{"MemoryMax": uint64(64 << 20)}, spec.Limits{MemoryBytes: 64 << 20}},
		"a drop-in lifts a limit":       {spec.Limits{MemoryBytes: 64 << 20, Pids: 5}, map[string]any{"MemoryMax": Infinity, "TasksMax": Infinity}, spec.Limits{}},
		"what was rounded is unchanged": {spec.Limits{CPUMillis: 1505}, map[string]any{"CPUQuotaPerSecUSec": uint64(1_510_000)}, spec.Limits{CPUMillis: 1505}},
		"half a CPU":                    {spec.Limits{}, map[string]any{"CPUQuotaPerSecUSec": uint64(500_000)}, spec.Limits{CPUMillis: 500}},
		"CPUs":                          {spec.Limits{CPUSet: "0-1"}, map[string]any{"AllowedCPUs": []byte{0b1101, 0}}, spec.Limits{CPUSet: "0,2-3"}},
		"the same CPUs, longer":         {spec.Limits{CPUSet: "0,1"}, map[string]any{"AllowedCPUs": []byte{3, 0, 0}}, spec.Limits{CPUSet: "0,1"}},
		"no swap":                       {spec.Limits{MemoryBytes: 8 << 20}, map[string]any{"MemorySwapMax": uint64(0)}, spec.Limits{MemoryBytes: 8 << 20, NoSwap: true}},
		"weights": {
			spec.Limits{},
			map[string]any{"CPUWeight": uint64(200), "IOWeight": uint64(50)},
			spec.Limits{CPUShares: 2048, IOWeight: 250},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := EffectiveLimits(with(func(c *spec.Container) { c.Limits = tt.limits }), tt.actual)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("limits (-want +got):\n%s", diff)
			}
		})
	}
}

// Shares that were read from a weight have to make that weight again.
func TestEffectiveWeights(t *testing.T) {
	for weight := uint64(1); weight <= 10000; weight++ {
		var l spec.Limits
		setLimit(&l, "CPUWeight", weight)
		if got := cpuWeight(l.CPUShares); got != weight {
			t.Fatalf("weight %d became %d shares and then %d", weight, l.CPUShares, got)
		}
	}
}
