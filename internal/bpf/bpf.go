// Package bpf compiles OCI seccomp profiles into the classic BPF programs that
// seccomp(2) loads, as libseccomp does, without cgo.
//
// The program looks at the architecture, then finds the system call in a
// binary tree over ranges of numbers. Where a call's verdict does not depend on
// its arguments the program uses only loads of the number and the
// architecture, so that kernels since 5.11 cache "allow" in a bitmap and do
// not run it again.
//
// Like runc, the filter answers ENOSYS instead of the default action to calls
// newer than every call the profile names: C libraries then fall back to an
// older call, which they do not on EPERM.
package bpf

import (
	"encoding/binary"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

//go:generate go run gen.go

// maxInstructions is the kernel's limit for one filter, BPF_MAXINSNS.
const maxInstructions = 4096

// Filter is a compiled profile.
type Filter struct {
	Program []bpf.RawInstruction

	// Unknown are the system calls named by the profile that no architecture
	// of the filter has, sorted. They have no effect: Docker's default profile
	// names calls of every architecture.
	Unknown []string
}

// Bytes returns the program as an array of struct sock_filter in native byte
// order, see seccomp(2).
func (f Filter) Bytes() []byte {
	out := make([]byte, 0, 8*len(f.Program))
	for _, ins := range f.Program {
		out = binary.NativeEndian.AppendUint16(out, ins.Op)
		out = append(out, ins.Jt, ins.Jf)
		out = binary.NativeEndian.AppendUint32(out, ins.K)
	}
	return out
}

// Compile translates a profile whose conditional rules are resolved. Native is
// the GOARCH of the machine: amd64, 386, arm64 or arm. The filter covers it
// even if the profile does not list it, and those listed architectures that
// such a machine can run; a call of any other kills the process.
//
// Of several rules for one system call the first that matches decides, but a
// rule without arguments always wins over those with arguments. A rule with
// several conditions on the same argument holds if one of them does. Rules
// with the default action have no effect. All this is as in libseccomp and
// runc. SCMP_ACT_NOTIFY is refused: it needs an agent.
func Compile(p *specs.LinuxSeccomp, native string) (Filter, error) {
	arches, err := selectArches(p.Architectures, native)
	if err != nil {
		return Filter{}, err
	}
	rs, err := newRuleSet(p)
	if err != nil {
		return Filter{}, err
	}
	raw, err := bpf.Assemble(program(rs, arches))
	if err != nil {
		return Filter{}, fmt.Errorf("assemble filter: %w", err)
	}
	if len(raw) > maxInstructions {
		return Filter{}, fmt.Errorf("filter has %d instructions, the kernel takes %d", len(raw), maxInstructions)
	}
	return Filter{Program: raw, Unknown: rs.unknown(arches)}, nil
}

// program puts the sections of all architectures behind one another.
func program(rs *ruleSet, arches []*arch) []bpf.Instruction {
	code := ret(unix.SECCOMP_RET_KILL_PROCESS)
	sections := map[uint32]bool{}
	for _, a := range slices.Backward(arches) {
		if !sections[a.audit] {
			sections[a.audit] = true
			code = branch(bpf.JumpEqual, a.audit, code, section(rs, a.audit, arches))
		}
	}
	return append([]bpf.Instruction{bpf.LoadAbsolute{Off: offArch, Size: 4}}, code...)
}

// section is the code for one AUDIT_ARCH value. That of x86-64 serves two
// architectures, which a bit of the system call's number tells apart. Without
// x32 its calls do not exist; they must not pass as unknown numbers, or they
// would be a way around a profile that forbids some calls and allows the rest.
func section(rs *ruleSet, audit uint32, arches []*arch) []bpf.Instruction {
	plain, x32 := ret(unix.SECCOMP_RET_KILL_PROCESS), retErrno(unix.ENOSYS)
	for _, a := range arches {
		switch {
		case a.audit != audit:
		case a == &archX32:
			x32 = tree(rs.spans(a), a)
		default:
			plain = tree(rs.spans(a), a)
		}
	}
	code := plain
	if audit == unix.AUDIT_ARCH_X86_64 {
		code = branch(bpf.JumpBitsSet, x32Bit, plain, x32)
	}
	return append([]bpf.Instruction{bpf.LoadAbsolute{Off: offNr, Size: 4}}, code...)
}

func ret(value uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.RetConstant{Val: value}}
}

func retErrno(errno unix.Errno) []bpf.Instruction {
	return ret(unix.SECCOMP_RET_ERRNO | uint32(errno))
}
