package netd_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// TestMain lets the test binary be one of many processes that take addresses.
func TestMain(m *testing.M) {
	if dir := os.Getenv("NETD_TEST_TAKE"); dir != "" {
		for i := range 10 {
			a, err := netd.NewLeases(dir).Next("n", small("10.1.0.0/24"), owner(fmt.Sprint(os.Getpid(), ".", i)))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(a)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func owner(id string) netd.Owner {
	return netd.Owner{ContainerID: id, Cgroup: "/cleat.slice/cleat-x.service"}
}

func small(s string) netd.Subnet {
	p := prefix(s)
	return netd.Subnet{Prefix: p, Gateway: p.Addr().Next()}
}

func TestNextGoesRound(t *testing.T) {
	l := netd.NewLeases(filepath.Join(t.TempDir(), "net"))
	s := small("10.1.0.0/29") // hosts 1 to 6, of which 1 is the gateway
	s.Aux = map[string]netip.Addr{"printer": netip.MustParseAddr("10.1.0.4")}
	var got []string
	for range 7 {
		a, err := l.Next("n", s, owner("c"))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.String())
		if err := l.Release(t.Context(), "n", a, "c"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"10.1.0.2", "10.1.0.3", "10.1.0.5", "10.1.0.6", "10.1.0.2", "10.1.0.3", "10.1.0.5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNextStaysInTheRange(t *testing.T) {
	for name, s := range map[string]netd.Subnet{
		"IPv4": {Prefix: prefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1"), Range: prefix("10.1.255.252/30")},
		"IPv6": {Prefix: prefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::1"), Range: prefix("fd00::/126")},
	} {
		l := netd.NewLeases(t.TempDir())
		n := 0
		for ; n < 10; n++ {
			a, err := l.Next("n", s, owner("c"))
			if err != nil {
				if !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), "no free address left in "+s.Range.String()) {
					t.Error(err)
				}
				break
			}
			if !s.Range.Contains(a) || s.CheckAddr(a) != nil || a == s.Gateway {
				t.Errorf("%s: got %s", name, a)
			}
		}
		if want := map[string]int{"IPv4": 3, "IPv6": 2}[name]; n != want { // without broadcast; without network and gateway
			t.Errorf("%s: %d addresses of four, want %d", name, n, want)
		}
	}
}

func TestTake(t *testing.T) {
	l := netd.NewLeases(t.TempDir())
	a := netip.MustParseAddr("10.1.0.9")
	for range 2 {
		if err := l.Take("n", a, owner("mine")); err != nil {
			t.Fatal(err)
		}
	}
	err := l.Take("n", a, owner("other"))
	inUse, ok := errors.AsType[*netd.InUse](err)
	if !ok || inUse.Owner != owner("mine") || !errors.Is(err, spec.ErrConflict) {
		t.Errorf("taken twice: %v", err)
	}
	if err := l.Release(t.Context(), "n", a, "other"); err != nil {
		t.Error(err)
	}
	leases, err := l.All()
	if diff := cmp.Diff([]netd.Lease{{NetworkID: "n", Addr: a, Owner: owner("mine")}}, leases, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("after somebody else's release: %v\n%s", err, diff)
	}
	for _, id := range []string{"", "..", "a/b"} {
		if err := l.Take(id, a, owner("x")); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("network %q: %v", id, err)
		}
	}
}

func TestSweepAndForget(t *testing.T) {
	l := netd.NewLeases(t.TempDir())
	s := small("10.1.0.0/24")
	for _, c := range []string{"alive", "dead", "alive", "dead"} {
		for _, n := range []string{"n1", "n2"} {
			if _, err := l.Next(n, s, owner(c)); err != nil {
				t.Fatal(err)
			}
		}
	}
	swept, err := l.Sweep(t.Context(), func(o netd.Owner) bool { return o.ContainerID == "alive" })
	if len(swept) != 4 || err != nil {
		t.Errorf("swept %v, %v", swept, err)
	}
	if err := l.Forget(t.Context(), "n1"); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("forget a network in use: %v", err)
	}
	if err := l.ReleaseAll(t.Context(), "alive"); err != nil {
		t.Error(err)
	}
	for _, n := range []string{"n1", "n2", "unknown"} {
		if err := l.Forget(t.Context(), n); err != nil {
			t.Errorf("forget %s: %v", n, err)
		}
	}
	if left, err := l.All(); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestNoAddressIsGivenTwice(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[string]bool{}
	note := func(addrs ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range addrs {
			if seen[a] {
				t.Errorf("%s was given twice", a)
			}
			seen[a] = true
		}
	}
	for range 5 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "NETD_TEST_TAKE="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			note(strings.Fields(string(out))...)
		})
	}
	for i := range 200 {
		wg.Go(func() {
			a, err := netd.NewLeases(dir).Next("n", small("10.1.0.0/24"), owner(fmt.Sprint("c", i)))
			if err != nil {
				t.Error(err)
				return
			}
			note(a.String())
		})
	}
	wg.Wait()
	if len(seen) != 250 {
		t.Errorf("%d addresses", len(seen))
	}
}

// The count of each address's holders shows whether two ever had it at a time,
// while some take, some release and some sweep.
func TestChurn(t *testing.T) {
	l := netd.NewLeases(t.TempDir())
	s := small("10.1.0.0/27")
	var mu sync.Mutex
	holder := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint("c", i)
			for range 30 {
				a, err := l.Next("n", s, owner(id))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if by := holder[a]; by != "" {
					t.Errorf("%s is %s's and %s's", a, by, id)
				}
				holder[a] = id
				mu.Unlock()
				mu.Lock()
				delete(holder, a)
				mu.Unlock()
				if err := l.Release(t.Context(), "n", a, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			if _, err := l.Sweep(t.Context(), func(netd.Owner) bool { return true }); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}
