package bpf

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// x32Bit marks the system calls of x32 among those of x86-64.
const x32Bit = 0x40000000

// arch is an architecture that the compiler knows. All are little-endian.
type arch struct {
	name   specs.Arch
	goarch string
	audit  uint32 // AUDIT_ARCH value in seccomp_data
	column int    // in syscalls.txt
	bits32 bool   // arguments have 32 bits
	base   uint32 // added to the numbers in syscalls.txt
	runs   []*arch
}

var (
	archX32   = arch{name: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, column: 0, bits32: false, base: x32Bit}
	archX86   = arch{name: specs.ArchX86, goarch: "386", audit: unix.AUDIT_ARCH_I386, column: 1, bits32: true}
	archAMD64 = arch{name: specs.ArchX86_64, goarch: "amd64", audit: unix.AUDIT_ARCH_X86_64, column: 0, runs: []*arch{&archX86, &archX32}}
	archARM   = arch{name: specs.ArchARM, goarch: "arm", audit: unix.AUDIT_ARCH_ARM, column: 3, bits32: true}
	archARM64 = arch{name: specs.ArchAARCH64, goarch: "arm64", audit: unix.AUDIT_ARCH_AARCH64, column: 2, runs: []*arch{&archARM}}
)

// selectArches returns the native architecture and the listed ones that it runs.
func selectArches(listed []specs.Arch, native string) ([]*arch, error) {
	for _, name := range listed {
		if !strings.HasPrefix(string(name), "SCMP_ARCH_") {
			return nil, fmt.Errorf("unknown architecture %q", name)
		}
	}
	for _, a := range []*arch{&archAMD64, &archX86, &archARM64, &archARM} {
		if a.goarch != native {
			continue
		}
		out := []*arch{a}
		for _, sub := range a.runs {
			if slices.Contains(listed, sub.name) {
				out = append(out, sub)
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("no system call table for %s", native)
}

//go:embed syscalls.txt
var tableText string

// row is a line of syscalls.txt: the numbers of one system call, -1 where an
// architecture does not have it, and its place among the x32Calls or -1.
type row struct {
	nr  [4]int32
	x32 int
}

// table is syscalls.txt by name.
var table = sync.OnceValue(func() map[string]row {
	t := make(map[string]row, 512)
	x32 := strings.Fields(x32Calls)
	for line := range strings.Lines(tableText) {
		fields := strings.Fields(line)
		if fields[0] == "#" {
			continue
		}
		r := row{x32: slices.Index(x32, fields[0])}
		for i := range r.nr {
			r.nr[i] = -1
			if nr, err := strconv.ParseInt(fields[1+i], 10, 32); err == nil {
				r.nr[i] = int32(nr)
			}
		}
		t[fields[0]] = r
	}
	return t
})

// x32Calls are the calls of x32 with a number of their own, in order from 512;
// see the kernel's arch/x86/entry/syscalls/syscall_64.tbl.
const x32Calls = "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace " +
	"rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid " +
	"set_robust_list get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg " +
	"process_vm_readv process_vm_writev setsockopt getsockopt io_setup io_submit execveat preadv2 pwritev2"

// numbers returns the numbers of a system call. On x32 some have two: kernels
// before 5.4 also ran the 64-bit form of a call that x32 has its own number for.
func (a *arch) numbers(name string) []uint32 {
	r, ok := table()[name]
	if !ok || r.nr[a.column] < 0 {
		return nil
	}
	nr := a.base + uint32(r.nr[a.column])
	if a == &archX32 && r.x32 >= 0 {
		return []uint32{nr, a.base + 512 + uint32(r.x32)}
	}
	return []uint32{nr}
}
