package profile

import (
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

func isHost(mode string) bool    { return mode == "host" }
func isPrivate(mode string) bool { return mode == "" || mode == "private" }

// joined returns the container whose namespace a mode such as
// "container:<id>" asks for, "" for other modes.
func joined(mode string) string {
	id, _ := strings.CutPrefix(mode, "container:")
	if id == mode {
		return ""
	}
	return id
}

// namespaces returns the namespaces that a container does not share with the
// host, in Docker's order, and among them those of other containers. Those are
// in both lists, so that a reader of config.json alone gets a namespace too many
// and never one too few.
func namespaces(c spec.Container) ([]specs.LinuxNamespace, []plan.Join, error) {
	list := []struct {
		kind  specs.LinuxNamespaceType
		mode  string
		modes string // that are possible beside private and host
	}{
		{specs.MountNamespace, "", ""},
		{specs.NetworkNamespace, networkMode(c.Network.Mode), "container"},
		{specs.UTSNamespace, c.UTSMode, ""},
		{specs.PIDNamespace, c.PIDMode, "container"},
		{specs.IPCNamespace, c.IPCMode, "container none shareable"},
		{specs.CgroupNamespace, c.CgroupnsMode, ""},
	}
	var own []specs.LinuxNamespace
	var joins []plan.Join
	for _, n := range list {
		if isHost(n.mode) {
			continue
		}
		kind, id, _ := strings.Cut(n.mode, ":")
		known := isPrivate(n.mode) || kind != "" && strings.Contains(n.modes, kind)
		if !known || (kind == "container") != (id != "") {
			return nil, nil, fmt.Errorf("%s namespace mode %q: %w", n.kind, n.mode, spec.ErrInvalid)
		}
		own = append(own, specs.LinuxNamespace{Type: n.kind})
		if id != "" {
			joins = append(joins, plan.Join{Namespace: n.kind, Container: id})
		}
	}
	return own, joins, nil
}

// networkMode reduces the modes that make no difference here: a container on a
// network, or on none, has a network namespace of its own.
func networkMode(mode string) string {
	if isHost(mode) || strings.HasPrefix(mode, "container:") {
		return mode
	}
	return "private"
}
