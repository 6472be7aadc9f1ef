package bpf

import (
	"fmt"
	"maps"
	"math"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ruleSet is a profile with its actions in the kernel's terms and one rule for
// each entry of it.
type ruleSet struct {
	otherwise uint32 // default action, a SECCOMP_RET value
	enosys    bool   // whether calls newer than the profile fail with ENOSYS
	rules     []rule
	names     []string // all that the profile mentions
}

// rule says what happens to calls of one name if all conditions hold.
type rule struct {
	name string
	args []specs.LinuxSeccompArg
	ret  uint32
}

func newRuleSet(p *specs.LinuxSeccomp) (*ruleSet, error) {
	otherwise, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("default action: %w", err)
	}
	rs := &ruleSet{otherwise: otherwise, enosys: !permissive(p.DefaultAction)}
	for _, call := range p.Syscalls {
		ret, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("rule for %v: %w", call.Names, err)
		}
		if err := checkArgs(call.Args); err != nil {
			return nil, fmt.Errorf("rule for %v: %w", call.Names, err)
		}
		rs.names = append(rs.names, call.Names...)
		if ret == otherwise {
			continue
		}
		for _, name := range call.Names {
			for _, args := range alternatives(call.Args) {
				rs.rules = append(rs.rules, rule{name, args, ret})
			}
		}
	}
	return rs, nil
}

// permissive reports whether a default action lets calls through. Tracers are
// expected to know what to do about calls they do not know.
func permissive(a specs.LinuxSeccompAction) bool {
	return a == specs.ActAllow || a == specs.ActLog || a == specs.ActTrace
}

// action returns the SECCOMP_RET value of an action. Without a value for
// errno it is EPERM.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint(unix.EPERM)
	if errno != nil {
		data = *errno
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActErrno, specs.ActTrace:
		if data > math.MaxUint16 {
			return 0, fmt.Errorf("errnoRet %d is too large", data)
		}
		if a == specs.ActTrace {
			return unix.SECCOMP_RET_TRACE | uint32(data), nil
		}
		return unix.SECCOMP_RET_ERRNO | uint32(data), nil
	case specs.ActNotify:
		return 0, fmt.Errorf("action %s needs an agent, which cleat does not have", a)
	}
	return 0, fmt.Errorf("unknown action %q", a)
}

func checkArgs(args []specs.LinuxSeccompArg) error {
	ops := []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	for _, arg := range args {
		if arg.Index > 5 {
			return fmt.Errorf("argument %d: a system call has 6", arg.Index)
		}
		if !slices.Contains(ops, arg.Op) {
			return fmt.Errorf("argument %d: unknown operator %q", arg.Index, arg.Op)
		}
	}
	return nil
}

// alternatives splits conditions that cannot be meant together, because two of
// them are on the same argument, into rules of one condition each.
func alternatives(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	var seen [6]bool
	for _, arg := range args {
		if seen[arg.Index] {
			return slices.Collect(slices.Chunk(args, 1))
		}
		seen[arg.Index] = true
	}
	return [][]specs.LinuxSeccompArg{args}
}

// unknown returns the names that none of arches has, sorted.
func (rs *ruleSet) unknown(arches []*arch) []string {
	out := map[string]bool{}
	for _, name := range rs.names {
		has := func(a *arch) bool { return len(a.numbers(name)) > 0 }
		if !slices.ContainsFunc(arches, has) {
			out[name] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}
