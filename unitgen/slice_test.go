package unitgen

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestSliceCarriesLimits(t *testing.T) {
	u, err := Slice("cleat-shop.slice", "Shop", spec.Limits{MemoryBytes: 64 << 20, CPUMillis: 1500, OOMScoreAdj: 5})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Made by cleat. Change it with "systemctl edit", which keeps changes apart.

[Unit]
Description=Shop
Documentation="man:cleat(1)"

[Slice]
CPUQuota=150%
MemoryMax=67108864
TasksMax=infinity
`
	if diff := cmp.Diff(want, Text(u)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSliceGroupNestsByDashes(t *testing.T) {
	for name, want := range map[string]string{
		"":                    "cleat.slice",
		"cleat.slice":         "cleat.slice",
		"cleat-shop.slice":    "cleat.slice/cleat-shop.slice",
		"cleat-my.shop.slice": "cleat.slice/cleat-my.shop.slice",
		"cleat-a-b.slice":     "cleat.slice/cleat-a.slice/cleat-a-b.slice",
	} {
		if got := SliceGroup(name); got != want {
			t.Errorf("SliceGroup(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestOnlySlicesOfCleatAreTaken(t *testing.T) {
	for _, name := range []string{"", "cleat.slice", "cleat-a.slice", "cleat-a-b.slice", "cleat-a.b_c.slice"} {
		if err := checkSlice(name); err != nil {
			t.Errorf("checkSlice(%q): %v", name, err)
		}
	}
	for _, name := range []string{"system.slice", "cleat-.slice", "cleat--a.slice", "cleat-a-.slice", "cleat-a--b.slice", "cleat-a/b.slice", "cleat-a.service", "cleat-a b.slice"} {
		if err := checkSlice(name); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("checkSlice(%q) = %v, want an error", name, err)
		}
	}
}
