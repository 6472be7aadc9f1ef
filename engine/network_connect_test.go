package engine

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// makeOn stores a container that was never started and is on the given network.
func makeOn(t *testing.T, e *Engine, name, network string) (id string) {
	t.Helper()
	id = newID()
	c := spec.Container{Network: spec.Network{Mode: network}}
	if onNetworks(network) {
		if err := e.addEndpoint(t.Context(), &c, NetworkRequest{Name: network}); err != nil {
			t.Fatal(err)
		}
	}
	makeContainer(t, e, id, name, c.Network.Endpoints...)
	stored, err := e.state.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	stored.Network.Mode = network
	if err := e.state.Update(stored); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestConnectingAStoppedContainerChangesItsRecord(t *testing.T) {
	e := newNetworkEngine(t)
	mustCreate(t, e, NetworkCreateOptions{Name: "web"})
	mustCreate(t, e, NetworkCreateOptions{Name: "back", Internal: true})
	id := makeOn(t, e, "box", "web")
	networks := func() (names []string) {
		t.Helper()
		c, err := e.state.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, ep := range c.Network.Endpoints {
			names = append(names, ep.Network)
		}
		w, err := netd.LoadWiring(e.state.Dir(id))
		if err != nil && !isNotFound(err) {
			t.Fatal(err)
		}
		for i, conn := range w.Connections {
			if conn.NetworkID != c.Network.Endpoints[i].NetworkID || conn.Attachment.Index != c.Network.Endpoints[i].Index {
				t.Errorf("connection %d: %+v, recorded %+v", i, conn, c.Network.Endpoints[i])
			}
		}
		if len(w.Connections) != len(names) || e.state.Unsettled(id) {
			t.Errorf("%d connections, %d networks, unsettled %v", len(w.Connections), len(names), e.state.Unsettled(id))
		}
		return names
	}
	steps := []struct {
		verb, network string
		want          []string
	}{
		{"connect", "back", []string{"web", "back"}},
		{"disconnect", "web", []string{"back"}},
		{"connect", "bridge", []string{"back", "bridge"}}, // whose interface is eth0 again
		{"disconnect", "back", []string{"bridge"}},
		{"disconnect", "bridge", nil},
		{"connect", "web", []string{"web"}},
	}
	for _, s := range steps {
		var err error
		if s.verb == "connect" {
			err = e.NetworkConnect(t.Context(), s.network, "box", NetworkRequest{})
		} else {
			err = e.NetworkDisconnect(t.Context(), s.network, id[:12], NetworkDisconnectOptions{})
		}
		if err != nil {
			t.Fatalf("%s %s: %v", s.verb, s.network, err)
		}
		if diff := cmp.Diff(s.want, networks()); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", s.verb, s.network, diff)
		}
	}
}

func TestConnectRefuses(t *testing.T) {
	e := newNetworkEngine(t)
	addr := netip.MustParseAddr
	mustCreate(t, e, NetworkCreateOptions{Name: "web", Subnets: []NetworkSubnet{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}})
	mustCreate(t, e, NetworkCreateOptions{Name: "other"})
	id := makeOn(t, e, "box", "other")
	for name, mode := range map[string]string{"hosted": "host", "lonely": "none", "guest": "container:" + id} {
		makeOn(t, e, name, mode)
	}
	tests := map[string]struct {
		network, container string
		r                  NetworkRequest
		class              error
		says               string
	}{
		"no such container":     {"web", "nosuch", NetworkRequest{}, spec.ErrNotFound, "no such container: nosuch"},
		"no such network":       {"nosuch", "box", NetworkRequest{}, spec.ErrNotFound, `network "nosuch" not found`},
		"twice":                 {"other", "box", NetworkRequest{}, spec.ErrConflict, `container "box" is on network "other" already`},
		"host network":          {"host", "box", NetworkRequest{}, spec.ErrConflict, "cannot be connected to or disconnected from network host"},
		"no network":            {"none", "box", NetworkRequest{}, spec.ErrConflict, "cannot be connected to or disconnected from network none"},
		"container on the host": {"web", "hosted", NetworkRequest{}, spec.ErrConflict, "shares the network of the host"},
		"container without":     {"web", "lonely", NetworkRequest{}, spec.ErrConflict, "was created with --network none"},
		"container of another":  {"web", "guest", NetworkRequest{}, spec.ErrConflict, "shares the network of the host or of another container"},
		"address outside":       {"web", "box", NetworkRequest{IPv4: addr("192.0.2.1")}, spec.ErrInvalid, "address 192.0.2.1 is not within subnet 203.0.113.0/24"},
		"the gateway's address": {"web", "box", NetworkRequest{IPv4: addr("203.0.113.1")}, spec.ErrInvalid, "is the gateway's"},
		"broadcast address":     {"web", "box", NetworkRequest{IPv4: addr("203.0.113.255")}, spec.ErrInvalid, "network or broadcast address"},
		"IPv6 where none is":    {"web", "box", NetworkRequest{IPv6: addr("2001:db8::1")}, spec.ErrInvalid, `network "web" has no IPv6`},
		"address on default":    {"bridge", "box", NetworkRequest{IPv4: addr("198.18.0.9")}, spec.ErrInvalid, "user-defined networks only"},
		"alias on default":      {"bridge", "box", NetworkRequest{Aliases: []string{"a"}}, spec.ErrInvalid, "aliases are for user-defined networks only"},
		"MAC address":           {"web", "box", NetworkRequest{MAC: "x"}, spec.ErrInvalid, `MAC address "x"`},
		"driver option":         {"web", "box", NetworkRequest{Options: map[string]string{"k": "v"}}, spec.ErrUnsupport, `driver option "k"`},
		"link to nobody":        {"web", "box", NetworkRequest{Links: []string{"nosuch:a"}}, spec.ErrNotFound, `link "nosuch:a"`},
	}
	before, err := os.ReadFile(filepath.Join(e.state.Dir(id), "container.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		err := e.NetworkConnect(t.Context(), tt.network, tt.container, tt.r)
		if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v with %q", name, err, tt.class, tt.says)
		}
	}
	for network, says := range map[string]string{"web": `container "box" is not connected to network web`, "nosuch": "not found", "host": "cannot be connected to or disconnected"} {
		if err := e.NetworkDisconnect(t.Context(), network, "box", NetworkDisconnectOptions{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("disconnect %s: %v", network, err)
		}
	}
	after, err := os.ReadFile(filepath.Join(e.state.Dir(id), "container.json"))
	if diff := cmp.Diff(string(before), string(after)); diff != "" || err != nil || e.state.Unsettled(id) {
		t.Errorf("%v, the record has changed (-want +got):\n%s", err, diff)
	}
}

// A network that is gone can still be disconnected, or its containers could not
// start any more.
func TestDisconnectFromANetworkThatIsGone(t *testing.T) {
	ownNetns(t)
	e := newNetworkEngine(t)
	mustCreate(t, e, NetworkCreateOptions{Name: "web"})
	mustCreate(t, e, NetworkCreateOptions{Name: "back"})
	id := makeOn(t, e, "box", "web")
	if err := e.NetworkConnect(t.Context(), "back", "box", NetworkRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"web", "back"} {
		if err := e.NetworkRemove(t.Context(), network); err != nil {
			t.Fatal(err)
		}
	}
	for _, network := range []string{"web", "back"} {
		c, err := e.state.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.checkNetworksOf(c); !isNotFound(err) || !strings.Contains(err.Error(), "'cleat network disconnect "+network+" box'") {
			t.Errorf("start: %v", err)
		}
		if err := e.NetworkDisconnect(t.Context(), network, "box", NetworkDisconnectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := e.state.Load(id); err != nil || len(c.Network.Endpoints) > 0 {
		t.Errorf("%+v, %v", c.Network, err)
	}
}

// A container can be on so many networks and not on one more.
func TestNetworksOfAContainerAreLimited(t *testing.T) {
	var have []spec.Endpoint
	for i := range netd.MaxNetworks {
		index, err := freeIndex(have)
		if err != nil || index != i {
			t.Fatalf("index %d, %v", index, err)
		}
		have = append(have, spec.Endpoint{Index: index})
	}
	if _, err := freeIndex(have); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("one more: %v", err)
	}
	if index, err := freeIndex(append(have[:3:3], have[4:]...)); err != nil || index != 3 {
		t.Errorf("the gap: %d, %v", index, err)
	}
}

func TestEditHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	addrs := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	tests := map[string]struct {
		text        string
		before, now []netip.Addr
		want        string
	}{
		"one comes":                {"127.0.0.1\tlocalhost\n", nil, addrs("10.0.0.2"), "127.0.0.1\tlocalhost\n10.0.0.2\tbox\n"},
		"one goes":                 {"10.0.0.2\tbox\n10.0.0.3\tbox\n", addrs("10.0.0.2", "10.0.0.3"), addrs("10.0.0.3"), "10.0.0.3\tbox\n"},
		"what is there stays once": {"10.0.0.2\tbox\n", nil, addrs("10.0.0.2"), "10.0.0.2\tbox\n"},
		"the container's own line": {"10.0.0.2 box mine\n# x", addrs("10.0.0.2"), addrs("fd00::2"), "10.0.0.2 box mine\n# x\nfd00::2\tbox\n"},
	}
	for name, tt := range tests {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := editHosts(path, "box", tt.before, tt.now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if err := os.Truncate(path, maxHosts+1); err != nil {
		t.Fatal(err)
	}
	if err := editHosts(path, "box", nil, addrs("10.0.0.2")); !errors.Is(err, spec.ErrConflict) {
		t.Errorf("a large file: %v", err)
	}
}
