package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// exchange is an engine with some networks.
type exchange struct {
	backend
	created engine.NetworkCreateOptions
	filters map[string][]string
	removed []string
	pruned  *engine.PruneFilter
}

func (x *exchange) NetworkCreate(_ context.Context, opt engine.NetworkCreateOptions) (string, []string, error) {
	x.created = opt
	if opt.Name == "taken" {
		return "", nil, classError{"network with name taken already exists", spec.ErrExists}
	}
	if opt.Internal {
		return "i1", []string{"mind the gap"}, nil
	}
	return "c1", nil, nil
}

func (x *exchange) Networks(_ context.Context, filters map[string][]string) ([]engine.NetworkInspect, error) {
	x.filters = filters
	if filters["bad"] != nil {
		return nil, errors.New("invalid filter 'bad'")
	}
	return []engine.NetworkInspect{
		{Name: "bridge", ID: strings.Repeat("ab", 32), Driver: "bridge", Scope: "local", EnableIPv4: true, Created: now},
		{Name: "web", ID: strings.Repeat("cd", 32), Driver: "bridge", Scope: "local", EnableIPv6: true, Internal: true, Created: now, Labels: map[string]string{"b": "2", "a.x": "1"}},
	}, nil
}

func (x *exchange) NetworkInspect(_ context.Context, ref string) (*engine.NetworkInspect, error) {
	if ref != "web" {
		return nil, classError{"network " + ref + " not found", spec.ErrNotFound}
	}
	return &engine.NetworkInspect{Name: "web", ID: "n1"}, nil
}

func (x *exchange) NetworkRemove(_ context.Context, ref string) error {
	switch ref {
	case "gone":
		return classError{"network gone not found", spec.ErrNotFound}
	case "busy":
		return classError{"network busy has active endpoints: box", spec.ErrConflict}
	}
	x.removed = append(x.removed, ref)
	return nil
}

func (x *exchange) PruneNetworks(_ context.Context, f engine.PruneFilter) (engine.Pruned, error) {
	x.pruned = &f
	if len(f.Labels) > 0 {
		return engine.Pruned{Kinds: []engine.PrunedKind{{Name: "Networks"}}}, nil
	}
	return engine.Pruned{Kinds: []engine.PrunedKind{{Name: "Networks", Removed: []string{"a", "b"}}}}, errors.New("network c: bad luck")
}

func TestNetworkPrune(t *testing.T) {
	t.Parallel()
	const question = "WARNING! This will remove all custom networks not used by at least one container.\n"
	const sure = "Are you sure you want to continue? [y/N] "
	done := outcome{Out: "Deleted Networks:\na\nb\n\n", Err: "cleat: network c: bad luck\n", Code: 1}
	want(t, try(t, &exchange{}, "network", "prune", "-f"), done)
	want(t, tryWith(t, &exchange{}, "y\n", "network", "prune"), outcome{question + sure + done.Out, done.Err, 1})
	x := &exchange{}
	want(t, tryWith(t, x, "n\n", "network", "prune", "--filter", "label!=a", "--filter", "label=b"),
		outcome{Out: question + "\n  Items to be pruned will be filtered with:\n  - label!=a\n  - label=b\n\n" + sure})
	if x.pruned != nil {
		t.Error("pruned without consent")
	}
	want(t, try(t, x, "network", "prune", "-f", "--filter", "label!=a", "--filter", "label=b"), outcome{})
	if diff := cmp.Diff(&engine.PruneFilter{Labels: []string{"b"}, NotLabels: []string{"a"}}, x.pruned); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := try(t, &exchange{}, "network", "prune", "-f", "--filter", "driver=bridge"); got.Code != 1 || !strings.HasPrefix(got.Err, "cleat: invalid filter 'driver'") {
		t.Errorf("%+v", got)
	}
}

func TestNetworkCreate(t *testing.T) {
	t.Parallel()
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	tests := map[string]engine.NetworkCreateOptions{
		"n":                     {Name: "n", Driver: "bridge"},
		"-d macvlan n":          {Name: "n", Driver: "macvlan"},
		"--ipv4=false --ipv6 n": {Name: "n", Driver: "bridge", IPv6: true, NoIPv4: true},
		"--attachable --label a=1 --label b -o k=v --opt l= --ipam-driver default --scope local n": {
			Name: "n", Driver: "bridge", Attachable: true, Labels: map[string]string{"a": "1", "b": ""}, Options: map[string]string{"k": "v", "l": ""},
		},
		"--ipv6 --subnet 10.1.0.0/16,fd00:1::/64 --gateway fd00:1::9 --gateway 10.1.0.9 --ip-range 10.1.2.0/24 --aux-address r=10.1.0.7 --aux-address s=10.1.0.8 n": {
			Name: "n", Driver: "bridge", IPv6: true, Subnets: []engine.NetworkSubnet{
				{Prefix: prefix("10.1.0.0/16"), Gateway: addr("10.1.0.9"), Range: prefix("10.1.2.0/24"), Aux: map[string]netip.Addr{"r": addr("10.1.0.7"), "s": addr("10.1.0.8")}},
				{Prefix: prefix("fd00:1::/64"), Gateway: addr("fd00:1::9")},
			},
		},
	}
	for line, expect := range tests {
		x := &exchange{}
		want(t, try(t, x, append([]string{"network", "create"}, strings.Fields(line)...)...), outcome{Out: "c1\n"})
		if diff := cmp.Diff(expect, x.created, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	want(t, try(t, &exchange{}, "network", "create", "--internal", "n"), outcome{Out: "i1\n", Err: "WARNING: mind the gap\n"})
	want(t, try(t, &exchange{}, "network", "create", "taken"), outcome{Err: "cleat: network with name taken already exists\n", Code: 1})
}

func TestNetworkCreateRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"--gateway 10.0.0.1 n":                                                  "every ip-range, gateway or aux-address must have a corresponding subnet",
		"--aux-address a=10.0.0.1 n":                                            "every ip-range, gateway or aux-address must have a corresponding subnet",
		"--subnet 10.0.0.0/24 --gateway 10.0.1.1 n":                             "no matching subnet for gateway 10.0.1.1",
		"--subnet 10.0.0.0/24 --ip-range 10.0.1.0/25 n":                         "no matching subnet for range 10.0.1.0/25",
		"--subnet 10.0.0.0/24 --aux-address a=10.0.1.1 n":                       "no matching subnet for aux-address 10.0.1.1",
		"--subnet 10.0.0.0/24 --subnet 10.0.0.0/16 n":                           "multiple overlapping subnet configuration is not supported",
		"--subnet 10.0.0.0/24,10.1.0.0/24 --gateway 10.0.0.1,10.0.0.2 n":        "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/24)",
		"--subnet 10.0.0.0/24,10.1.0.0/24 --ip-range 10.0.0.0/25,10.0.0.8/29 n": "cannot configure multiple ranges (10.0.0.8/29, 10.0.0.0/25) on the same subnet (10.0.0.0/24)",
		"--subnet 10.0.0.0 n":                                                   "invalid subnet 10.0.0.0: it is an address and a length, such as 10.1.2.0/24",
		"--subnet 10.0.0.0/24 --ip-range 10.0.0.1 n":                            "invalid ip-range 10.0.0.1: it is an address and a length, such as 10.1.2.128/25",
		"--subnet 10.0.0.0/24 --gateway x n":                                    "invalid gateway x: it is an address",
		"--subnet 10.0.0.0/24 --aux-address a=x n":                              "invalid aux-address a=x: it is a name and an address",
	}
	for line, says := range tests {
		x := &exchange{}
		want(t, try(t, x, append([]string{"network", "create"}, strings.Fields(line)...)...), outcome{Err: "cleat: " + says + "\n", Code: 1})
		if x.created.Name != "" {
			t.Errorf("%s: the engine was called", line)
		}
	}
	for _, flag := range []string{"--ipam-driver=x", "--ipam-opt=a=b", "--scope=swarm", "--ingress", "--config-only", "--config-from=x"} {
		got := try(t, &exchange{}, "network", "create", flag, "n")
		name, _, _ := strings.Cut(flag, "=")
		if !strings.HasPrefix(got.Err, "cleat: "+name+" ") || got.Code != exitOwn {
			t.Errorf("%s: %+v", flag, got)
		}
	}
}

func TestNetworkLs(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"": "NETWORK ID     NAME      DRIVER    SCOPE\n" +
			"abababababab   bridge    bridge    local\n" +
			"cdcdcdcdcdcd   web       bridge    local\n",
		"-q":                      "abababababab\ncdcdcdcdcdcd\n",
		"-q --no-trunc -f name=x": strings.Repeat("ab", 32) + "\n" + strings.Repeat("cd", 32) + "\n",
		"--format {{.Name}}={{.IPv4}}/{{.IPv6}}/{{.Internal}}/{{.Labels}}": "bridge=true/false/false/\nweb=false/true/true/a.x=1,b=2\n",
		"--format table_{{.Name}}\\t{{.Label_\"a.x\"}}":                    "NAME      x\nbridge    \nweb       1\n",
	}
	for line, out := range tests {
		args := strings.Fields("network ls " + line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		want(t, try(t, &exchange{}, args...), outcome{Out: out})
	}
	got := try(t, &exchange{}, "network", "list", "--format", "json")
	first := `{"CreatedAt":"` + now.Format("2006-01-02 15:04:05 -0700 MST") + `","Driver":"bridge","ID":"abababababab","IPv4":"true","IPv6":"false","Internal":"false","Labels":"","Name":"bridge","Scope":"local"}` + "\n"
	if !strings.HasPrefix(got.Out, first) {
		t.Errorf("%s, want %s", got.Out, first)
	}
	x := &exchange{}
	try(t, x, "network", "ls", "-f", "driver=bridge", "--filter", "label=a=b", "-f", "label=c")
	if diff := cmp.Diff(map[string][]string{"driver": {"bridge"}, "label": {"a=b", "c"}}, x.filters); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want(t, try(t, x, "network", "ls", "-f", "bad=1"), outcome{Err: "cleat: invalid filter 'bad'\n", Code: 1})
	if got := try(t, x, "network", "ls", "-f", "bad"); got.Code != exitOwn || !strings.Contains(got.Err, "bad format of filter") {
		t.Errorf("%+v", got)
	}
}

func TestNetworkInspect(t *testing.T) {
	t.Parallel()
	tests := map[string]outcome{
		"inspect -f {{.Id}} web":     {Out: "n1\n"},
		"inspect -f {{.Name}} x web": {Out: "web\n", Err: "cleat: network x not found\n", Code: 1},
		"inspect x":                  {Out: "[]\n", Err: "cleat: network x not found\n", Code: 1},
		"rm a b":                     {Out: "a\nb\n"},
		"remove a gone busy b":       {Out: "a\nb\n", Err: "cleat: network gone not found\ncleat: network busy has active endpoints: box\n", Code: 1},
		"rm -f gone a":               {Out: "a\n"},
		"rm -f busy":                 {Err: "cleat: network busy has active endpoints: box\n", Code: 1},
	}
	for line, expect := range tests {
		want(t, try(t, &exchange{}, strings.Fields("network "+line)...), expect)
	}
	if got := try(t, &exchange{}, "network", "inspect", "web"); !strings.HasPrefix(got.Out, "[\n    {\n        \"Name\": \"web\",\n        \"Id\": \"n1\",\n") {
		t.Errorf("%+v", got)
	}
}
