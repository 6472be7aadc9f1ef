package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/spec"
)

// newNetworkEngine returns an engine whose networks are its own. Its address pools
// are of the range for benchmarks (RFC 2544), which hosts have no routes to.
func newNetworkEngine(t *testing.T) *Engine {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "cleat.yaml")
	text := "address_pools: [{base: 198.18.0.0/24, size: 26}, {base: 198.19.5.0/24, size: 24}]\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Options{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Config: conf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func mustCreate(t *testing.T, e *Engine, opt NetworkCreateOptions) string {
	t.Helper()
	id, warnings, err := e.NetworkCreate(t.Context(), opt)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, warnings %q", err, warnings)
	}
	return id
}

func networkNames(t *testing.T, e *Engine, filters map[string][]string) string {
	t.Helper()
	all, err := e.Networks(t.Context(), filters)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	return strings.Join(names, " ")
}

func TestNetworkInspect(t *testing.T) {
	e := newNetworkEngine(t)
	before := time.Now()
	id := mustCreate(t, e, NetworkCreateOptions{
		Name: "web", IPv6: true, Internal: true, Attachable: true,
		Subnets: []NetworkSubnet{{
			Prefix: netip.MustParsePrefix("198.51.100.0/24"), Range: netip.MustParsePrefix("198.51.100.128/25"),
			Aux: map[string]netip.Addr{"router": netip.MustParseAddr("198.51.100.200")},
		}, {Prefix: netip.MustParsePrefix("2001:db8::/64")}},
		Labels: map[string]string{"tier": "front"}, Options: map[string]string{"com.docker.network.driver.mtu": "1400"},
	})
	want := &NetworkInspect{
		Name: "web", ID: id, Scope: "local", Driver: "bridge", EnableIPv4: true, EnableIPv6: true, Internal: true, Attachable: true,
		IPAM: NetworkIPAM{Driver: "default", Options: map[string]string{}, Config: []NetworkIPAMConfig{
			{Subnet: "198.51.100.0/24", IPRange: "198.51.100.128/25", Gateway: "198.51.100.1", AuxiliaryAddresses: map[string]string{"router": "198.51.100.200"}},
			{Subnet: "2001:db8::/64", Gateway: "2001:db8::1"},
		}},
		Containers: map[string]NetworkContainer{}, Labels: map[string]string{"tier": "front"},
		Options: map[string]string{"com.docker.network.driver.mtu": "1400"},
	}
	for _, ref := range []string{"web", id, id[:12]} {
		got, err := e.NetworkInspect(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got.Created.Before(before) || got.Created.After(time.Now()) {
			t.Errorf("created %s", got.Created)
		}
		got.Created = time.Time{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("inspect %s (-want +got):\n%s", ref, diff)
		}
	}
}

func TestNetworkInspectListsWhatRuns(t *testing.T) {
	e := newNetworkEngine(t)
	id := mustCreate(t, e, NetworkCreateOptions{Name: "web"})
	ct := strings.Repeat("ab", 32)
	makeContainer(t, e, ct, "box")
	live := netd.Live{ContainerID: ct, Cgroup: ownCgroup(t), Endpoints: []netd.Endpoint{{
		NetworkID: id, ContainerID: ct, Addr4: netip.MustParsePrefix("192.0.2.2/26"), Addr6: netip.MustParsePrefix("2001:db8::2/64"),
	}}}
	ended := netd.Live{ContainerID: strings.Repeat("cd", 32), Cgroup: "no/such", Endpoints: live.Endpoints}
	for _, l := range []netd.Live{live, ended} {
		if err := e.wires().Lives().Save(l); err != nil {
			t.Fatal(err)
		}
	}
	got, err := e.NetworkInspect(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]NetworkContainer{ct: {
		Name: "box", EndpointID: id[:32] + ct[:32], MacAddress: "02:42:c0:00:02:02", IPv4Address: "192.0.2.2/26", IPv6Address: "2001:db8::2/64",
	}}
	if diff := cmp.Diff(want, got.Containers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// ownCgroup returns the control group that the test runs in: one with processes.
func ownCgroup(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if ok && (netd.Live{Cgroup: path}).Running() {
			return path
		}
	}
	t.Skip("no control group of version 2 that says whether it has processes")
	return ""
}

// makeContainer stores a container that was never started.
func makeContainer(t *testing.T, e *Engine, id, name string, endpoints ...spec.Endpoint) {
	t.Helper()
	lock, err := e.state.Lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	c := spec.Container{Version: 1, ID: id, Name: name, Network: spec.Network{Mode: "bridge", Endpoints: endpoints}}
	if err := e.state.Create(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkCreateRefuses(t *testing.T) {
	prefix := netip.MustParsePrefix
	sub := func(s NetworkSubnet) NetworkCreateOptions {
		return NetworkCreateOptions{Name: "n", Subnets: []NetworkSubnet{s}}
	}
	tests := map[string]struct {
		opt   NetworkCreateOptions
		class error
		says  string
	}{
		"name taken":         {NetworkCreateOptions{Name: "old"}, spec.ErrExists, "network with name old already exists"},
		"default network":    {NetworkCreateOptions{Name: "bridge"}, spec.ErrConflict, "operation is not permitted on predefined bridge network"},
		"host":               {NetworkCreateOptions{Name: "host"}, spec.ErrConflict, "predefined host network"},
		"none":               {NetworkCreateOptions{Name: "none"}, spec.ErrConflict, "predefined none network"},
		"no name":            {NetworkCreateOptions{}, spec.ErrInvalid, `network name ""`},
		"bad name":           {NetworkCreateOptions{Name: "a b"}, spec.ErrInvalid, `network name "a b"`},
		"driver":             {NetworkCreateOptions{Name: "n", Driver: "nosuch"}, spec.ErrInvalid, `driver "nosuch"`},
		"option":             {NetworkCreateOptions{Name: "n", Options: map[string]string{"x": "y"}}, spec.ErrInvalid, "unknown key"},
		"overlap":            {sub(NetworkSubnet{Prefix: prefix("203.0.113.128/25")}), spec.ErrConflict, `overlaps 203.0.113.0/24 of network "old"`},
		"host bits":          {sub(NetworkSubnet{Prefix: prefix("192.0.2.1/24")}), spec.ErrInvalid, "did you mean 192.0.2.0/24"},
		"gateway outside":    {sub(NetworkSubnet{Prefix: prefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.3.1")}), spec.ErrInvalid, "gateway: address 192.0.3.1 is not within"},
		"range outside":      {sub(NetworkSubnet{Prefix: prefix("192.0.2.0/24"), Range: prefix("192.0.3.0/25")}), spec.ErrInvalid, "range 192.0.3.0/25 is not within"},
		"auxiliary outside":  {sub(NetworkSubnet{Prefix: prefix("192.0.2.0/24"), Aux: map[string]netip.Addr{"a": netip.MustParseAddr("192.0.3.1")}}), spec.ErrInvalid, "auxiliary address a=192.0.3.1"},
		"IPv6 without flag":  {sub(NetworkSubnet{Prefix: prefix("2001:db8::/64")}), spec.ErrInvalid, "without --ipv6"},
		"neither family":     {NetworkCreateOptions{Name: "n", NoIPv4: true}, spec.ErrInvalid, "needs --ipv6"},
		"IPv4 where none is": {NetworkCreateOptions{Name: "n", NoIPv4: true, IPv6: true, Subnets: []NetworkSubnet{{Prefix: prefix("192.0.2.0/24")}}}, spec.ErrInvalid, "no IPv4 subnet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := newNetworkEngine(t)
			mustCreate(t, e, NetworkCreateOptions{Name: "old", Subnets: []NetworkSubnet{{Prefix: prefix("203.0.113.0/24")}}})
			_, _, err := e.NetworkCreate(t.Context(), tt.opt)
			if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %v with %q", err, tt.class, tt.says)
			}
			if ids, err := e.state.NetworkIDs(); err != nil || len(ids) != 1 {
				t.Errorf("networks %q, %v", ids, err)
			}
		})
	}
}

func TestNetworkWithoutIPv4(t *testing.T) {
	e := newNetworkEngine(t)
	mustCreate(t, e, NetworkCreateOptions{Name: "six", IPv6: true, NoIPv4: true})
	n, err := e.NetworkInspect(t.Context(), "six")
	if err != nil || n.EnableIPv4 || !n.EnableIPv6 || len(n.IPAM.Config) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestNetworksAreFiltered(t *testing.T) {
	e := newNetworkEngine(t)
	id := mustCreate(t, e, NetworkCreateOptions{Name: "web", Labels: map[string]string{"a": "1", "b": "2"}})
	mustCreate(t, e, NetworkCreateOptions{Name: "other", Labels: map[string]string{"a": "2"}})
	makeContainer(t, e, strings.Repeat("ab", 32), "box", spec.Endpoint{NetworkID: id})
	type f = map[string][]string
	tests := map[string]struct {
		filters f
		want    string
	}{
		"none":                      {nil, "bridge host none other web"},
		"name is a pattern":         {f{"name": {"^o", "b$"}}, "other web"},
		"id by its beginning":       {f{"id": {"^" + id[:12]}}, "web"},
		"driver":                    {f{"driver": {"bridge"}}, "bridge other web"},
		"null driver":               {f{"driver": {"null", "host"}}, "host none"},
		"label":                     {f{"label": {"a"}}, "other web"},
		"all labels are needed":     {f{"label": {"a", "b=2"}}, "web"},
		"builtin":                   {f{"type": {"builtin"}}, "bridge host none"},
		"custom":                    {f{"type": {"custom"}}, "other web"},
		"both types":                {f{"type": {"custom", "builtin"}}, "bridge host none other web"},
		"scope":                     {f{"scope": {"swarm"}}, ""},
		"dangling":                  {f{"dangling": {"true"}}, "other"},
		"not dangling":              {f{"dangling": {"false"}}, "bridge host none web"},
		"all keys have to match":    {f{"type": {"custom"}, "label": {"b"}}, "web"},
		"dangling and nothing else": {f{"dangling": {"1"}, "name": {"web"}}, ""},
	}
	for name, tt := range tests {
		if got := networkNames(t, e, tt.filters); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	for _, bad := range []f{{"x": {"y"}}, {"type": {"some"}}, {"dangling": {"maybe"}}, {"dangling": {"1", "0"}}, {"name": {"("}}} {
		if _, err := e.Networks(t.Context(), bad); !errors.Is(err, spec.ErrInvalid) || !strings.HasPrefix(err.Error(), "invalid filter '") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestPredefinedNetworks(t *testing.T) {
	e := newNetworkEngine(t)
	n, err := e.NetworkInspect(t.Context(), netd.DefaultName)
	if err != nil || n.IPAM.Config[0].Subnet != "198.18.0.0/26" {
		t.Errorf("%+v, %v", n, err)
	}
	for _, ref := range []string{"bridge", n.ID, "host", "none"} {
		err := e.NetworkRemove(t.Context(), ref)
		if !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), "is a pre-defined network and cannot be removed") {
			t.Errorf("remove %s: %v", ref, err)
		}
	}
	if got := networkNames(t, e, nil); got != "bridge host none" {
		t.Error(got)
	}
	if e.pseudo("host").ID == e.pseudo("none").ID || len(e.pseudo("host").ID) != 64 {
		t.Error("ids of host and none")
	}
}

// ownNetns brings the test's goroutine into a network namespace of its own.
func ownNetns(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkRemove(t *testing.T) {
	ownNetns(t)
	e := newNetworkEngine(t)
	ct := strings.Repeat("ab", 32)
	id := mustCreate(t, e, NetworkCreateOptions{Name: "web"})
	makeContainer(t, e, ct, "box", spec.Endpoint{NetworkID: id})
	take := func(o netd.Owner) {
		t.Helper()
		if err := e.wires().Leases().Take(id, netip.MustParseAddr("192.0.2.2"), o); err != nil {
			t.Fatal(err)
		}
	}
	take(netd.Owner{ContainerID: ct, Cgroup: ownCgroup(t)})
	err := e.NetworkRemove(t.Context(), "web")
	if !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), "network web has active endpoints: box") {
		t.Errorf("in use: %v", err)
	}
	if got := networkNames(t, e, map[string][]string{"type": {"custom"}}); got != "web" {
		t.Errorf("in use: %q", got)
	}
	if err := e.wires().Leases().ReleaseAll(t.Context(), ct); err != nil {
		t.Fatal(err)
	}
	take(netd.Owner{ContainerID: ct, Cgroup: "no/such"}) // of a run that was killed together with its end
	n, err := e.network(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := link.EnsureBridge(&n); err != nil {
		t.Fatal(err)
	}
	if err := e.NetworkRemove(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(n.Device); err == nil {
		t.Errorf("device %s is left", n.Device)
	}
	if err := e.NetworkRemove(t.Context(), "web"); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("gone: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(e.opt.Root, "networks", "*"))
	leases, _ := filepath.Glob(filepath.Join(e.opt.RunRoot, "net/leases", "*"))
	if left = append(left, leases...); err != nil || len(left) != 1 || filepath.Base(left[0]) == id { // the default network's
		t.Errorf("left: %q, %v", left, err)
	}
}

// A removal that was killed is ended by the next command that looks for networks.
func TestKilledNetworkRemovalIsEnded(t *testing.T) {
	ownNetns(t)
	e := newNetworkEngine(t)
	used := mustCreate(t, e, NetworkCreateOptions{Name: "used"})
	free := mustCreate(t, e, NetworkCreateOptions{Name: "free"})
	o := netd.Owner{ContainerID: strings.Repeat("ab", 32), Cgroup: ownCgroup(t)}
	if err := e.wires().Leases().Take(used, netip.MustParseAddr("192.0.2.2"), o); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{used, free} {
		if err := e.state.HideNetwork(id); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := e.NetworkInspect(t.Context(), "used"); err != nil || n.ID != used {
		t.Errorf("used: %+v, %v", n, err)
	}
	if _, err := e.NetworkInspect(t.Context(), "free"); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("free: %v", err)
	}
	if ids, err := e.state.HiddenNetworkIDs(); err != nil || len(ids) > 0 {
		t.Errorf("hidden: %q, %v", ids, err)
	}
}

// Of two who make networks at a time, each gets a subnet of its own.
func TestNetworksMadeAtATimeDoNotOverlap(t *testing.T) {
	e := newNetworkEngine(t)
	errs := make(chan error, 5)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		go func() {
			_, _, err := e.NetworkCreate(context.WithoutCancel(t.Context()), NetworkCreateOptions{Name: name})
			errs <- err
		}()
	}
	for range 5 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if _, _, err := e.NetworkCreate(t.Context(), NetworkCreateOptions{Name: "f"}); !errors.Is(err, spec.ErrConflict) || !strings.Contains(err.Error(), "no free subnet") {
		t.Errorf("pools used up: %v", err)
	}
	all, err := e.networks()
	if err != nil {
		t.Fatal(err)
	}
	var subnets []string
	for _, n := range all {
		subnets = append(subnets, n.Subnets[0].Prefix.String())
	}
	slices.Sort(subnets)
	want := []string{"198.18.0.0/26", "198.18.0.128/26", "198.18.0.192/26", "198.18.0.64/26", "198.19.5.0/24"}
	if diff := cmp.Diff(want, subnets); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPruneNetworks(t *testing.T) {
	ownNetns(t)
	e := newNetworkEngine(t)
	mustCreate(t, e, NetworkCreateOptions{Name: "free"})
	mustCreate(t, e, NetworkCreateOptions{Name: "kept", Labels: map[string]string{"keep": ""}})
	id := mustCreate(t, e, NetworkCreateOptions{Name: "used"})
	makeContainer(t, e, strings.Repeat("ab", 32), "box", spec.Endpoint{NetworkID: id}) // which does not run
	if got := networkNames(t, e, nil); got != "bridge free host kept none used" {
		t.Error(got)
	}
	done, err := e.PruneNetworks(t.Context(), PruneFilter{NotLabels: []string{"keep"}})
	if diff := cmp.Diff([]PrunedKind{{Name: "Networks", Removed: []string{"free"}}}, done.Kinds); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got := networkNames(t, e, nil); got != "bridge host kept none used" {
		t.Error(got)
	}
}
