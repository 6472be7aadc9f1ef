package compose

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
	"gopkg.in/yaml.v3"

	"github.com/cleat-project/cleat/spec"
)

// finding is an attribute of a file that cannot be done.
type finding struct {
	path   string // "services.web.gpus"
	reason string
}

// Why attributes are refused.
const (
	noCgroup   = "the kernel's cgroup v2 has no such control"
	windows    = "is for Windows containers only"
	swarm      = "is for Docker Swarm only"
	notYet     = "is not supported by this version"
	ownSlice   = "a container is a unit in its project's slice: limit that with x-cleat-slice, or use a drop-in below cleat-.service.d"
	noCache    = "the cache of builds is a local one"
	noAttests  = "images have no attestations"
	fixedDisks = "volumes are local directories"
)

// refusedPaths are the attributes of the Compose specification that are refused,
// with the reason. What is below them goes with them.
var refusedPaths = map[string]string{
	"jobs":   notYet,
	"models": notYet,

	"services.*.annotations":                                     notYet,
	"services.*.blkio_config.weight_device":                      notYet,
	"services.*.build.cache_from":                                noCache,
	"services.*.build.cache_to":                                  noCache,
	"services.*.build.no_cache_filter":                           notYet,
	"services.*.build.privileged":                                "steps run in the sandbox of an ordinary container",
	"services.*.build.ssh":                                       "agents are not forwarded",
	"services.*.cgroup_parent":                                   ownSlice,
	"services.*.cpu_count":                                       windows,
	"services.*.cpu_percent":                                     windows,
	"services.*.cpu_rt_period":                                   noCgroup,
	"services.*.cpu_rt_runtime":                                  noCgroup,
	"services.*.credential_spec":                                 windows,
	"services.*.deploy.endpoint_mode":                            swarm,
	"services.*.deploy.labels":                                   swarm,
	"services.*.deploy.placement":                                swarm,
	"services.*.deploy.resources.reservations.cpus":              swarm,
	"services.*.deploy.resources.reservations.devices":           notYet,
	"services.*.deploy.resources.reservations.generic_resources": swarm,
	"services.*.deploy.restart_policy.delay":                     "the delay is that of Docker: from 100 ms, doubled each time",
	"services.*.deploy.restart_policy.window":                    swarm,
	"services.*.deploy.rollback_config":                          swarm,
	"services.*.deploy.update_config":                            swarm,
	"services.*.device_cgroup_rules":                             notYet,
	"services.*.gpus":                                            notYet,
	"services.*.mem_swappiness":                                  noCgroup,
	"services.*.models":                                          notYet,
	"services.*.networks.*.interface_name":                       notYet,
	"services.*.networks.*.link_local_ips":                       notYet,
	"services.*.pre_stop":                                        "whoever stops a unit, as systemctl does, would not know of it",
	"services.*.pre_start":                                       notYet,
	"services.*.provider":                                        notYet,
	"services.*.pull_refresh_after":                              notYet,
	"services.*.runtime":                                         notYet,
	"services.*.storage_opt":                                     notYet,
	"services.*.umask":                                           notYet,
	"services.*.use_api_socket":                                  notYet,
	"services.*.volumes.[].image":                                notYet,

	"networks.*.ipam.options": "the addresses are cleat's own to give",

	"secrets.*.driver":          swarm,
	"secrets.*.driver_opts":     swarm,
	"secrets.*.template_driver": swarm,
	"configs.*.external":        swarm,
	"configs.*.template_driver": swarm,
}

// refusedValues are attributes of which some values are refused.
var refusedValues = map[string]struct {
	allowed []string // these are done
	reason  string
}{
	"services.*.build.isolation":           {[]string{"default"}, windows},
	"services.*.build.provenance":          {[]string{"false"}, noAttests},
	"services.*.build.sbom":                {[]string{"false"}, noAttests},
	"services.*.deploy.mode":               {[]string{"replicated"}, swarm},
	"services.*.isolation":                 {[]string{"default"}, windows},
	"services.*.oom_kill_disable":          {[]string{"false"}, noCgroup},
	"services.*.userns_mode":               {[]string{"host"}, notYet},
	"services.*.volumes.[].type":           {[]string{"bind", "volume", "tmpfs"}, notYet},
	"services.*.volumes.[].bind.recursive": {[]string{"enabled", "disabled"}, notYet},
	"services.*.pull_policy":               {[]string{"always", "never", "missing", "if_not_present", "build"}, notYet},
	"networks.*.ipam.driver":               {[]string{"default"}, "the addresses are cleat's own to give"},
	"volumes.*.driver":                     {[]string{"local"}, fixedDisks},
}

// findUnsupported returns a load option that notes what cannot be done, also
// what a later version of the specification may bring.
func (p *Project) findUnsupported() func(*loader.Options) {
	var patterns []loader.UnsupportedAttributePattern
	for path := range refusedPaths {
		patterns = append(patterns, loader.UnsupportedAttributePattern{Path: tree.Path(path)})
	}
	for path, row := range refusedValues {
		patterns = append(patterns, loader.UnsupportedAttributePattern{Path: tree.Path(path), Detect: func(v any) bool {
			return !slices.Contains(row.allowed, fmt.Sprint(v))
		}})
	}
	supported := supportedPaths()
	report := func(list []loader.UnsupportedAttribute) {
		for _, a := range list {
			p.findings = append(p.findings, finding{a.Path.String(), reasonFor(a)})
		}
	}
	return func(o *loader.Options) {
		loader.WithUnsupportedAttributesCheck(patterns, report)(o)
		loader.WithSupportedAttributes(supported, report)(o)
	}
}

// supportedPaths are the attributes of the specification that are done. A golden
// file has them all, so that those of a later version are looked at.
func supportedPaths() []tree.Path {
	return slices.DeleteFunc(slices.Clone(schema.AttributePaths()), func(path tree.Path) bool {
		for refused := range refusedPaths {
			if path.String() == refused || strings.HasPrefix(path.String(), refused+".") {
				return true
			}
		}
		return false
	})
}

func reasonFor(a loader.UnsupportedAttribute) string {
	for path, reason := range refusedPaths {
		if a.Path.Matches(tree.Path(path)) {
			return reason
		}
	}
	for path, row := range refusedValues {
		if a.Path.Matches(tree.Path(path)) {
			return fmt.Sprintf("the value %q: %s", fmt.Sprint(a.Value), row.reason)
		}
	}
	return notYet
}

// Check refuses a project that asks for what cannot be done, in one of the
// services that it has selected or beyond them.
func (p *Project) Check() error {
	var lines []string
	for _, f := range p.findings {
		parts := strings.Split(f.path, ".")
		if parts[0] == "services" && len(parts) > 1 {
			if _, active := p.model.Services[parts[1]]; !active {
				continue
			}
		}
		lines = append(lines, fmt.Sprintf("%s%s: %s", p.place(parts), f.path, f.reason))
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", strings.Join(lines, "\n"), spec.ErrUnsupport)
}

// refusef is what the conversion of a service says of an attribute.
func (p *Project) refusef(path, format string, args ...any) error {
	return fmt.Errorf("%s%s: %w", p.place(strings.Split(path, ".")), path, fmt.Errorf(format, args...))
}

// place returns "FILE:LINE: " of an attribute, or "" where it cannot be found,
// because the file is included or read from the standard input.
func (p *Project) place(parts []string) string {
	for _, path := range slices.Backward(p.model.ComposeFiles) { // the last one that says it has won
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var doc yaml.Node
		if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 {
			continue
		}
		if line := lineOf(doc.Content[0], parts); line > 0 {
			return path + ":" + strconv.Itoa(line) + ": "
		}
	}
	return ""
}

// lineOf follows a path into a document. The elements of a list are searched
// for the first that goes on.
func lineOf(n *yaml.Node, parts []string) int {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case len(parts) == 0:
		return n.Line
	case n.Kind == yaml.SequenceNode && parts[0] == "[]":
		for _, e := range n.Content {
			if line := lineOf(e, parts[1:]); line > 0 {
				return line
			}
		}
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != parts[0] {
				continue
			}
			if len(parts) == 1 {
				return n.Content[i].Line
			}
			if line := lineOf(n.Content[i+1], parts[1:]); line > 0 {
				return line
			}
			return n.Content[i].Line // the short form of it
		}
	}
	return 0
}

// topLevel reads a file without any of the rules of Compose.
func topLevel(path string) map[string]any {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var top map[string]any
	if yaml.Unmarshal(data, &top) != nil {
		return nil
	}
	return top
}
