package nft_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// needNft ends or skips tests that read the rules back by the nft program, which
// cleat itself does not need.
func needNft(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err == nil {
		return
	}
	if os.Getenv("CLEAT_TEST_ROOT") == "1" {
		t.Fatal("needs nft (Debian package nftables)")
	}
	t.Skip("needs nft (Debian package nftables)")
}

func list(t testing.TB, host *nstest.NS) string {
	t.Helper()
	needNft(t)
	return canonical(host.Run("nft", "list", "table", "inet", "cleat"))
}

// canonical sorts the elements of each set in a listing, which come in the order
// of the kernel's hash tables.
func canonical(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "elements = {")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		inner, after, _ := strings.Cut(rest, "}")
		es := strings.Split(inner, ",")
		for i := range es {
			es[i] = strings.TrimSpace(es[i])
		}
		slices.Sort(es)
		b.WriteString("elements = { " + strings.Join(es, ",\n\t\t\t     ") + " }")
		s = after
	}
}

// do runs f in the namespace; an error fails the test.
func do(t testing.TB, ns *nstest.NS, f func() error) {
	t.Helper()
	ns.Do(func() {
		if err := f(); err != nil {
			t.Error(err)
		}
	})
}

func mapping(t testing.TB, port, addr4, addr6 string) nft.Mapping {
	t.Helper()
	ports, err := netd.ParsePorts(port)
	if err != nil {
		t.Fatal(err)
	}
	m := nft.Mapping{Port: ports[0]}
	if addr4 != "" {
		m.Addr4 = netip.MustParseAddr(addr4)
	}
	if addr6 != "" {
		m.Addr6 = netip.MustParseAddr(addr6)
	}
	return m
}

func subnets(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func sample(t testing.TB) nft.State {
	const four, six = "172.17.0.2", "fd00::2"
	return nft.State{
		Unrouted4: true, Unrouted6: true,
		Networks: []nft.Network{
			{Device: "cleat0", Subnets: subnets("172.17.0.0/16", "fd00::/64")},
			{Device: "cl-inside", Subnets: subnets("172.18.0.0/20"), Internal: true},
			{Device: "cl-routed", Subnets: subnets("172.19.0.0/30"), NoMasq: true},
			{Device: "fifteen-letters", Subnets: subnets("10.0.0.0/9", "fd01::/56"), Isolated: true},
		},
		Ports: []nft.Mapping{
			mapping(t, "8080:80", four, six), mapping(t, "53:53/udp", four, ""), mapping(t, "9999:9/sctp", "", six),
			mapping(t, "127.0.0.1:81:80", four, six), mapping(t, "[::1]:82:80", four, six),
			mapping(t, "0.0.0.0:83:80", four, six), mapping(t, "[::]:84:80", four, six),
		},
	}
}

func TestTableIsAsDocumented(t *testing.T) {
	host := nstest.New(t, "host")
	do(t, host, func() error { return nft.New("").Set(sample(t)) })
	got := list(t, host)
	golden := filepath.Join("testdata", "table.nft")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("nft list table inet cleat (-want +got):\n%s", diff)
	}
	host.Run("nft", "delete", "table", "inet", "cleat")
	host.Run("nft", "-f", golden) // what the kernel shows is what nft would load
	if diff := cmp.Diff(got, list(t, host)); diff != "" {
		t.Errorf("after nft -f (-want +got):\n%s", diff)
	}
}

func TestEveryWayLeadsToTheSameTable(t *testing.T) {
	host := nstest.New(t, "host")
	table := nft.New("")
	all := sample(t)
	do(t, host, func() error { return table.Set(all) })
	want := list(t, host)
	half := nft.State{Networks: all.Networks[:2], Ports: all.Ports[:3]}
	rest := nft.State{Networks: all.Networks[2:], Ports: all.Ports[3:]}
	for name, way := range map[string]func() error{
		"set again":         func() error { return table.Set(all) },
		"add what is there": func() error { return table.Add(all) },
		"remove and add":    func() error { return errors.Join(table.Remove(half), table.Add(half)) },
		"remove twice":      func() error { return errors.Join(table.Remove(half), table.Remove(half), table.Add(half)) },
		"remove overlapping": func() error {
			return errors.Join(table.Remove(half), table.Remove(all), table.Add(rest), table.Add(half))
		},
		"flush and add": func() error { host.Run("nft", "flush", "ruleset"); return table.Add(all) },
		"flush and set": func() error { host.Run("nft", "flush", "ruleset"); return table.Set(all) },
		"flush and remove": func() error {
			host.Run("nft", "flush", "ruleset")
			return errors.Join(table.Remove(all), table.Add(all))
		},
		"clean up and set": func() error { return errors.Join(table.CleanUp(), table.CleanUp(), table.Set(all)) },
		"too much before": func() error {
			return errors.Join(table.Add(nft.State{Ports: []nft.Mapping{mapping(t, "7:7", "172.17.0.9", "")}}), table.Set(all))
		},
		"older version": func() error {
			host.Run("nft", "flush", "chain", "inet", "cleat", "forward")
			host.Run("nft", "delete", "chain", "inet", "cleat", "version-2")
			host.Run("nft", "add", "chain", "inet", "cleat", "version-0")
			built, err := table.Ensure()
			if !built {
				t.Error("Ensure sees no need to build")
			}
			return err
		},
	} {
		out := make(chan error, 1)
		inNS(t, host, func() { out <- way() })
		if err := <-out; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, list(t, host)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	do(t, host, func() error {
		if built, err := table.Ensure(); built || err != nil {
			t.Errorf("Ensure builds again: %v, %v", built, err)
		}
		return nil
	})
}

// inNS runs f on a thread in the namespace that is not the namespace's own, so
// that f may use it.
func inNS(t testing.TB, ns *nstest.NS, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.Setns(ns.FD(), unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOthersTablesAndTheUsersChainStay(t *testing.T) {
	needNft(t)
	host := nstest.New(t, "host")
	table := nft.New("")
	host.Run("nft", "add table ip cleat; add chain ip cleat x; add table inet other; add chain inet other version-1; add table inet cleat2; add chain inet cleat2 version-1; add rule inet cleat2 version-1 accept")
	others := func() string {
		var all string
		for _, table := range []string{"ip cleat", "inet other", "inet cleat2"} { // in one command, nft 1.0.6 finds the first only
			all += host.Run("nft", "list table "+table)
		}
		return all
	}
	before := others()
	do(t, host, func() error { return table.Set(sample(t)) })
	host.Run("nft", "add", "rule", "inet", "cleat", "user", "tcp", "dport", "80", "counter", "drop")
	do(t, host, func() error {
		built, err := table.Ensure()
		return errors.Join(err, table.Set(nft.State{}), table.Add(sample(t)), table.Remove(sample(t)), truth(!built, "built again"))
	})
	if text := list(t, host); !strings.Contains(text, "tcp dport 80 counter") {
		t.Errorf("the administrator's rule is gone:\n%s", text)
	}
	do(t, host, table.CleanUp)
	if after := others(); before != after {
		t.Errorf("others' tables changed:\n%s\n%s", before, after)
	}
}

func truth(ok bool, otherwise string) error {
	if ok {
		return nil
	}
	return errors.New(otherwise)
}

func TestManyAtATime(t *testing.T) {
	host := nstest.New(t, "host")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			inNS(t, host, func() {
				table := nft.New("")
				mine := nft.State{Networks: []nft.Network{{Device: "cleat0"}}, Ports: []nft.Mapping{mapping(t, fmt.Sprint(8000+i, ":80"), "172.17.0.2", "")}}
				if err := table.Add(mine); err != nil {
					t.Error(err)
				}
				if i%2 == 1 {
					if err := table.Remove(nft.State{Ports: mine.Ports}); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
	wg.Wait()
	text := list(t, host)
	if n := strings.Count(text, ": 172.17.0.2 . 80"); n != 10 {
		t.Errorf("%d ports of 10:\n%s", n, text)
	}
	if n := strings.Count(text, "ct status dnat accept"); n != 1 {
		t.Errorf("the rules are there %d times", n)
	}
}

func TestAPortIsTakenOver(t *testing.T) {
	host := nstest.New(t, "host")
	table := nft.New("")
	do(t, host, func() error {
		return table.Add(nft.State{Ports: []nft.Mapping{mapping(t, "80:80", "172.17.0.2", "fd00::2")}})
	})
	do(t, host, func() error {
		return table.Add(nft.State{Ports: []nft.Mapping{mapping(t, "80:81", "172.17.0.3", "fd00::2")}})
	})
	text := list(t, host)
	if !strings.Contains(text, "tcp . 80 : 172.17.0.3 . 81") || strings.Contains(text, "172.17.0.2") {
		t.Error(text)
	}
}

func TestUnassignedPortsAreRefused(t *testing.T) {
	host := nstest.New(t, "host")
	wrong := mapping(t, "80:80", "172.17.0.2", "")
	wrong.Addr6 = wrong.Addr4
	for _, m := range []nft.Mapping{mapping(t, "80", "172.17.0.2", ""), mapping(t, "80-90:80", "172.17.0.2", ""), wrong, {}} {
		host.Do(func() {
			if err := nft.New("").Add(nft.State{Ports: []nft.Mapping{m}}); !errors.Is(err, spec.ErrInvalid) {
				t.Errorf("%+v: %v", m, err)
			}
		})
	}
}

func TestManyPorts(t *testing.T) {
	host := nstest.New(t, "host")
	table := nft.New("")
	var all nft.State
	for i := range 5000 {
		all.Ports = append(all.Ports, mapping(t, fmt.Sprint(10000+i, ":80"), "172.17.0.2", "fd00::2"))
	}
	do(t, host, func() error { return table.Set(all) })
	if n := strings.Count(list(t, host), ": 172.17.0.2 . 80"); n != 5000 {
		t.Errorf("%d ports", n)
	}
	do(t, host, func() error { return table.Remove(all) })
	if text := list(t, host); strings.Contains(text, ": 172.17.0.2") {
		t.Error("ports are left")
	}
}

func BenchmarkAddAndRemovePort(b *testing.B) {
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprint(n, "th"), func(b *testing.B) {
			host := nstest.New(b, "host")
			table := nft.New("")
			var others nft.State
			for i := range n - 1 {
				others.Ports = append(others.Ports, mapping(b, fmt.Sprint(10000+i, ":80"), "172.17.0.2", "fd00::2"))
			}
			do(b, host, func() error { return table.Set(others) })
			one := nft.State{Networks: []nft.Network{{Device: "cleat0"}}, Ports: []nft.Mapping{mapping(b, "9999:80", "172.17.0.3", "fd00::3")}}
			gone := nft.State{Ports: one.Ports}
			for b.Loop() {
				host.Do(func() {
					if err := table.Add(one); err != nil {
						b.Fatal(err)
					}
				})
				b.StopTimer()
				host.Do(func() {
					if err := table.Remove(gone); err != nil {
						b.Fatal(err)
					}
				})
				b.StartTimer()
			}
		})
	}
}
