package sandbox

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLimitsAreThoseOfTheKernel(t *testing.T) {
	got, err := rlimitsOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	want := make([]unix.Rlimit, len(rlimitNames))
	for n := range want {
		if err := unix.Prlimit(0, n, nil, &want[n]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

func FuzzParseLimits(f *testing.F) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for _, table := range []string{
		head + "Max cpu time              unlimited            unlimited            seconds   \n",
		head + "Max open files            1024                 20000                files     \n",
		head + "short\n", "",
	} {
		f.Add(table)
	}
	f.Fuzz(func(t *testing.T, table string) {
		if limits, err := parseLimits(table); err == nil && len(limits) > len(rlimitNames) {
			t.Errorf("%d limits", len(limits))
		}
	})
}
