package profile

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/internal/bpf"
	"github.com/cleat-project/cleat/spec"
)

// Seccomp returns the seccomp profile of a container, resolved for its
// capabilities and the machine, and compiled. Both are empty if there is to be
// none. Names that the filter does not know have no effect; with a profile of
// the user's own that is worth a warning.
func Seccomp(c spec.Container, h Host) (*specs.LinuxSeccomp, bpf.Filter, error) {
	source, err := seccompSource(c.Security)
	if source == nil || err != nil {
		return nil, bpf.Filter{}, err
	}
	caps, err := capabilities(c.Security, h)
	if err != nil {
		return nil, bpf.Filter{}, err
	}
	p, err := conditions{caps, h}.resolve(source)
	if p == nil || err != nil {
		return nil, bpf.Filter{}, err
	}
	filter, err := bpf.Compile(p, h.arch())
	if err != nil {
		return nil, bpf.Filter{}, fmt.Errorf("seccomp profile: %w: %w", err, spec.ErrInvalid)
	}
	return p, filter, nil
}

func (h Host) arch() string {
	if h.Arch == "" {
		return runtime.GOARCH
	}
	return h.Arch
}

// seccompSource returns the profile with its conditions, nil for none.
// Privileged containers have one only if the user gave it.
func seccompSource(s spec.Security) (*seccomp.Seccomp, error) {
	switch {
	case s.Seccomp == "unconfined", s.Seccomp == "" && s.Privileged:
		return nil, nil
	case s.Seccomp == "", s.Seccomp == "builtin":
		return seccomp.DefaultProfile(), nil
	}
	p := new(seccomp.Seccomp)
	if err := json.Unmarshal([]byte(s.Seccomp), p); err != nil {
		return nil, fmt.Errorf("decode seccomp profile: %w: %w", err, spec.ErrInvalid)
	}
	return p, nil
}

// conditions are what the rules of a profile in Docker's format can depend on.
type conditions struct {
	caps []string
	host Host
}

// resolve drops the rules whose conditions are not met and returns the profile
// in OCI form. A profile that says nothing at all means none, as in Docker. It
// is seccomp.LoadProfile for a machine that need not be this one.
func (cond conditions) resolve(in *seccomp.Seccomp) (*specs.LinuxSeccomp, error) {
	if in.DefaultAction == "" && len(in.Syscalls) == 0 {
		return nil, nil
	}
	if len(in.Architectures) > 0 && len(in.ArchMap) > 0 {
		return nil, fmt.Errorf("seccomp profile has both architectures and archMap: %w", spec.ErrInvalid)
	}
	if err := checkFlags(in.Flags); err != nil {
		return nil, err
	}
	out := in.LinuxSeccomp
	native := goArches[cond.host.arch()]
	for _, a := range in.ArchMap {
		if a.Arch == native.seccomp {
			out.Architectures = append([]specs.Arch{a.Arch}, a.SubArches...)
			break
		}
	}
	out.Syscalls = nil
	for _, call := range in.Syscalls {
		if call == nil || !cond.met(call, native.name) {
			continue
		}
		rule := call.LinuxSyscall
		if old := call.Name; old != "" { //nolint:staticcheck // profiles of 2015 have it
			if len(call.Names) > 0 {
				return nil, fmt.Errorf("seccomp rule has both name %q and names: %w", old, spec.ErrInvalid)
			}
			rule.Names = []string{old}
		}
		out.Syscalls = append(out.Syscalls, rule)
	}
	return &out, nil
}

// goArches gives the names that profiles use for a GOARCH.
var goArches = map[string]struct {
	name    string
	seccomp specs.Arch
}{
	"amd64": {"amd64", specs.ArchX86_64},
	"386":   {"x86", specs.ArchX86},
	"arm64": {"arm64", specs.ArchAARCH64},
	"arm":   {"arm", specs.ArchARM},
}

// met reports whether a rule applies.
func (cond conditions) met(call *seccomp.Syscall, arch string) bool {
	has := func(c string) bool { return slices.Contains(cond.caps, c) }
	lacks := func(c string) bool { return !has(c) }
	if f := call.Excludes; f != nil {
		if slices.Contains(f.Arches, arch) || slices.ContainsFunc(f.Caps, has) || f.MinKernel != nil && cond.newEnough(f) {
			return false
		}
	}
	if f := call.Includes; f != nil {
		if len(f.Arches) > 0 && !slices.Contains(f.Arches, arch) || slices.ContainsFunc(f.Caps, lacks) || !cond.newEnough(f) {
			return false
		}
	}
	return true
}

func (cond conditions) newEnough(f *seccomp.Filter) bool {
	return f.MinKernel == nil || cond.host.Kernel.atLeast(f.MinKernel.Kernel, f.MinKernel.Major)
}

func checkFlags(flags []specs.LinuxSeccompFlag) error {
	known := []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, "SECCOMP_FILTER_FLAG_TSYNC"}
	for _, f := range flags {
		if !slices.Contains(known, f) {
			return fmt.Errorf("seccomp flag %q: %w", f, spec.ErrInvalid)
		}
	}
	return nil
}
