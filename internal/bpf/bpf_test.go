package bpf

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	allow  = uint32(unix.SECCOMP_RET_ALLOW)
	kill   = uint32(unix.SECCOMP_RET_KILL_PROCESS)
	eperm  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	enosys = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
)

// call is struct seccomp_data without the instruction pointer.
type call struct {
	nr, audit uint32
	args      [6]uint64
}

// run gives the verdict of a filter. The VM reads packets, so that words are
// big-endian; the order of an argument's two words stays little-endian.
func run(t testing.TB, vm *bpf.VM, c call) uint32 {
	t.Helper()
	data := binary.BigEndian.AppendUint32(nil, c.nr)
	data = binary.BigEndian.AppendUint32(data, c.audit)
	data = append(data, make([]byte, 8)...)
	for _, arg := range c.args {
		data = binary.BigEndian.AppendUint32(data, uint32(arg))
		data = binary.BigEndian.AppendUint32(data, uint32(arg>>32))
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

func newVM(t testing.TB, p *specs.LinuxSeccomp, native string) *bpf.VM {
	t.Helper()
	f, err := Compile(p, native)
	if err != nil {
		t.Fatal(err)
	}
	code, ok := bpf.Disassemble(f.Program)
	if !ok {
		t.Fatal("program does not disassemble")
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// dockerProfile is Docker's default profile as it is for a container with caps.
func dockerProfile(t testing.TB, caps ...string) *specs.LinuxSeccomp {
	t.Helper()
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDockerDefaultProfile(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the numbers below are those of x86-64 and its relatives")
	}
	const amd64, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	tests := map[string]struct {
		caps []string
		call call
		want uint32
	}{
		"read":                                {call: call{nr: 0, audit: amd64}, want: allow},
		"keyctl":                              {call: call{nr: 250, audit: amd64}, want: eperm},
		"unshare":                             {call: call{nr: 272, audit: amd64}, want: eperm},
		"unshare with CAP_SYS_ADMIN":          {[]string{"CAP_SYS_ADMIN"}, call{nr: 272, audit: amd64}, allow},
		"clone of a thread":                   {call: call{nr: 56, audit: amd64, args: [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD}}, want: allow},
		"clone of a user namespace":           {call: call{nr: 56, audit: amd64, args: [6]uint64{unix.CLONE_NEWUSER}}, want: eperm},
		"clone3 asks for a fallback to clone": {call: call{nr: 435, audit: amd64}, want: enosys},
		"personality of Linux":                {call: call{nr: 135, audit: amd64}, want: allow},
		"personality query":                   {call: call{nr: 135, audit: amd64, args: [6]uint64{0xffffffff}}, want: allow},
		"personality without randomization":   {call: call{nr: 135, audit: amd64, args: [6]uint64{0x0040000}}, want: eperm},
		"personality with a high word":        {call: call{nr: 135, audit: amd64, args: [6]uint64{1 << 32}}, want: eperm},
		"socket AF_INET":                      {call: call{nr: 41, audit: amd64, args: [6]uint64{unix.AF_INET}}, want: allow},
		"socket AF_ALG":                       {call: call{nr: 41, audit: amd64, args: [6]uint64{unix.AF_ALG}}, want: eperm},
		"socket AF_VSOCK":                     {call: call{nr: 41, audit: amd64, args: [6]uint64{unix.AF_VSOCK}}, want: eperm},
		"socket AF_QIPCRTR":                   {call: call{nr: 41, audit: amd64, args: [6]uint64{42}}, want: allow},
		"a call newer than the profile":       {call: call{nr: 5000, audit: amd64}, want: enosys},
		"no call at all":                      {call: call{nr: math.MaxUint32, audit: amd64}, want: enosys},
		"32-bit read":                         {call: call{nr: 3, audit: i386}, want: allow},
		"32-bit unshare":                      {call: call{nr: 310, audit: i386}, want: eperm},
		"32-bit socketcall":                   {call: call{nr: 102, audit: i386}, want: allow},
		"32-bit new call":                     {call: call{nr: 5000, audit: i386}, want: enosys},
		"x32 read":                            {call: call{nr: x32Bit, audit: amd64}, want: allow},
		"x32 execve":                          {call: call{nr: x32Bit + 520, audit: amd64}, want: allow},
		"x32 ptrace":                          {call: call{nr: x32Bit + 521, audit: amd64}, want: allow},
		"x32 unshare":                         {call: call{nr: x32Bit + 272, audit: amd64}, want: eperm},
		"another architecture":                {call: call{nr: 0, audit: unix.AUDIT_ARCH_AARCH64}, want: kill},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, newVM(t, dockerProfile(t, tt.caps...), "amd64"), tt.call); got != tt.want {
				t.Errorf("verdict is %#x, want %#x", got, tt.want)
			}
		})
	}
}

func TestSizeIsFarBelowTheKernelsLimit(t *testing.T) {
	for _, native := range []string{"amd64", "arm64"} {
		p := dockerProfile(t)
		p.Architectures = []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchARM}
		f, err := Compile(p, native)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d instructions, %d names unknown", native, len(f.Program), len(f.Unknown))
		if len(f.Program) > maxInstructions/4 || len(f.Bytes()) != 8*len(f.Program) {
			t.Errorf("%s: %d instructions, %d bytes", native, len(f.Program), len(f.Bytes()))
		}
	}
}

// A profile in which every call has a verdict other than its neighbours' gives
// the largest tree; its jumps do not fit into 8 bits.
func TestLongJumps(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActKillProcess}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range table() {
			if !yield(name) {
				return
			}
		}
	})
	for i, name := range names {
		errno := uint(100 + i)
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, ErrnoRet: &errno})
	}
	vm := newVM(t, p, "amd64")
	for i, name := range names {
		for _, nr := range archAMD64.numbers(name) {
			if got, want := run(t, vm, call{nr: nr, audit: unix.AUDIT_ARCH_X86_64}), uint32(unix.SECCOMP_RET_ERRNO|100+i); got != want {
				t.Errorf("%s: verdict is %#x, want %#x", name, got, want)
			}
		}
	}
}

func TestRules(t *testing.T) {
	arg := func(index uint, op specs.LinuxSeccompOperator, value uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Value: value, Op: op}
	}
	rule := func(action specs.LinuxSeccompAction, name string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{name}, Action: action, Args: args}
	}
	const amd64, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	deny := specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	pass := specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	tests := map[string]struct {
		profile specs.LinuxSeccomp
		rules   []specs.LinuxSyscall
		call    call
		want    uint32
	}{
		"conditions on one argument are alternatives": {
			deny, []specs.LinuxSyscall{rule(specs.ActAllow, "socket", arg(0, specs.OpEqualTo, 1), arg(0, specs.OpEqualTo, 2))},
			call{nr: 41, audit: amd64, args: [6]uint64{2}}, allow,
		},
		"conditions on two arguments must both hold": {
			deny, []specs.LinuxSyscall{rule(specs.ActAllow, "socket", arg(0, specs.OpEqualTo, 1), arg(1, specs.OpEqualTo, 2))},
			call{nr: 41, audit: amd64, args: [6]uint64{1, 3}}, eperm,
		},
		"a rule without conditions wins": {
			pass, []specs.LinuxSyscall{rule(specs.ActKillThread, "socket", arg(0, specs.OpEqualTo, 1)), rule(specs.ActErrno, "socket")},
			call{nr: 41, audit: amd64, args: [6]uint64{1}}, eperm,
		},
		"a rule with the default action has no effect": {
			pass, []specs.LinuxSyscall{rule(specs.ActAllow, "socket"), rule(specs.ActErrno, "socket")},
			call{nr: 41, audit: amd64}, eperm,
		},
		"new calls pass a permissive profile": {
			pass, []specs.LinuxSyscall{rule(specs.ActErrno, "socket")}, call{nr: 5000, audit: amd64}, allow,
		},
		"x32 is no way around a permissive profile": {
			pass, []specs.LinuxSyscall{rule(specs.ActErrno, "socket")}, call{nr: x32Bit + 41, audit: amd64}, enosys,
		},
		"the newest call is known even if its rule has no effect": {
			deny, []specs.LinuxSyscall{rule(specs.ActAllow, "pkey_free"), rule(specs.ActErrno, "statx")}, call{nr: 332, audit: amd64}, eperm,
		},
		"the call after the newest is new": {
			deny, []specs.LinuxSyscall{rule(specs.ActAllow, "pkey_free"), rule(specs.ActErrno, "statx")}, call{nr: 333, audit: amd64}, enosys,
		},
		"an architecture that is not listed is killed": {
			pass, nil, call{nr: 1, audit: i386}, kill,
		},
		"socketcall stands for socket": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86}},
			[]specs.LinuxSyscall{rule(specs.ActErrno, "socket")},
			call{nr: 102, audit: i386, args: [6]uint64{1}}, eperm,
		},
		"socketcall stands for other calls too": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86}},
			[]specs.LinuxSyscall{rule(specs.ActErrno, "socket")},
			call{nr: 102, audit: i386, args: [6]uint64{2}}, allow,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.profile.Syscalls = tt.rules
			if got := run(t, newVM(t, &tt.profile, "amd64"), tt.call); got != tt.want {
				t.Errorf("verdict is %#x, want %#x", got, tt.want)
			}
		})
	}
}

// The private calls of 32-bit ARM have high numbers, whatever their age.
func TestPrivateCallsOfARMDoNotCountAsNewest(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"read", "cacheflush"}, Action: specs.ActAllow},
	}}
	vm := newVM(t, p, "arm")
	for nr, want := range map[uint32]uint32{3: allow, 4: enosys, 500: enosys, 0xf0002: allow, 0xf0003: enosys} {
		if got := run(t, vm, call{nr: nr, audit: unix.AUDIT_ARCH_ARM}); got != want {
			t.Errorf("call %#x: verdict is %#x, want %#x", nr, got, want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	tooLarge := uint(70000)
	tests := map[string]struct {
		profile specs.LinuxSeccomp
		native  string
		want    string
	}{
		"no default action": {specs.LinuxSeccomp{}, "amd64", "unknown action"},
		"notify":            {specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "amd64", "agent"},
		"large errno":       {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &tooLarge}, "amd64", "too large"},
		"unknown machine":   {specs.LinuxSeccomp{DefaultAction: specs.ActErrno}, "mips", "no system call table"},
		"nonsense arch":     {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{"amd64"}}, "amd64", "unknown architecture"},
		"seventh argument": {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}},
		}}, "amd64", "has 6"},
		"unknown operator": {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "EQ"}}},
		}}, "amd64", "unknown operator"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Compile(&tt.profile, tt.native); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestUnknownNamesAreReported(t *testing.T) {
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"read", "zap", "cacheflush", "aaa"}, Action: specs.ActAllow},
	}}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"aaa", "cacheflush", "zap"}, f.Unknown); diff != "" {
		t.Errorf("unknown names (-want +got):\n%s", diff)
	}
}

func TestTableHasOneNumberPerCallAndArchitecture(t *testing.T) {
	for _, a := range []*arch{&archAMD64, &archX86, &archARM64, &archARM} {
		names := map[uint32]string{}
		for name := range table() {
			for _, nr := range a.numbers(name) {
				if other := names[nr]; other != "" && !strings.Contains(name+other, "sync_file_range") {
					t.Errorf("%s: %s and %s are both %d", a.goarch, name, other, nr)
				}
				names[nr] = name
			}
		}
		if len(names) < 300 {
			t.Errorf("%s has %d calls only", a.goarch, len(names))
		}
	}
	if got := archX32.numbers("pwritev2"); !slices.Equal(got, []uint32{x32Bit + 328, x32Bit + 547}) {
		t.Errorf("pwritev2 of x32 is %d", got)
	}
}

// FuzzCompile compares the program with a plain reading of the rules.
func FuzzCompile(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := randomProfile(r)
		native := []string{"amd64", "386", "arm64", "arm"}[r.IntN(4)]
		vm := newVM(t, p, native)
		for range 200 {
			c := randomCall(r, p)
			if got, want := run(t, vm, c), naive(t, p, native, c); got != want {
				t.Fatalf("%s %+v: verdict is %#x, want %#x\nprofile: %+v", native, c, got, want, p)
			}
		}
	})
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomValue returns numbers whose halves are often equal or one apart.
func randomValue(r *rand.Rand) uint64 {
	half := func() uint64 { return pick[uint64](r, 0, 1, 2, 3, 7, 8, math.MaxUint32-1, math.MaxUint32) }
	return half()<<32 | half()
}

func randomProfile(r *rand.Rand) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActLog, specs.ActTrace}
	p := &specs.LinuxSeccomp{DefaultAction: pick(r, actions...)}
	for _, a := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM, specs.ArchMIPS} {
		if r.IntN(2) == 0 {
			p.Architectures = append(p.Architectures, a)
		}
	}
	names := []string{"read", "write", "open", "close", "socket", "connect", "socketcall", "ipc", "shmget", "clone", "execve", "ptrace", "cacheflush", "statx", "rseq_slice_yield", "no_such_call"}
	ops := []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}
	for range r.IntN(12) {
		call := specs.LinuxSyscall{Names: []string{pick(r, names...), pick(r, names...)}, Action: pick(r, actions...)}
		if r.IntN(2) == 0 {
			errno := uint(r.IntN(100))
			call.ErrnoRet = &errno
		}
		for range r.IntN(4) {
			call.Args = append(call.Args, specs.LinuxSeccompArg{Index: uint(r.IntN(6)), Value: randomValue(r), ValueTwo: randomValue(r), Op: pick(r, ops...)})
		}
		p.Syscalls = append(p.Syscalls, call)
	}
	return p
}

// randomCall prefers the calls and values that the profile is about.
func randomCall(r *rand.Rand, p *specs.LinuxSeccomp) call {
	a := pick(r, &archAMD64, &archX86, &archX32, &archARM64, &archARM)
	c := call{audit: a.audit, nr: a.base + r.Uint32N(480)}
	if len(p.Syscalls) == 0 || r.IntN(4) == 0 {
		c.nr = pick(r, c.nr, r.Uint32(), math.MaxUint32, a.base+102, a.base+117)
		return c
	}
	rule := pick(r, p.Syscalls...)
	if nrs := a.numbers(pick(r, rule.Names...)); len(nrs) > 0 {
		c.nr = pick(r, nrs...)
	}
	for i := range c.args {
		c.args[i] = randomValue(r)
	}
	for _, arg := range rule.Args {
		if r.IntN(3) > 0 {
			c.args[arg.Index] = pick(r, arg.Value, arg.ValueTwo, arg.Value&arg.ValueTwo)
		}
	}
	if a.bits32 {
		for i := range c.args {
			c.args[i] = uint64(uint32(c.args[i]))
		}
	}
	if c.nr == 102 || c.nr == 117 {
		c.args[0] = r.Uint64N(25)
	}
	return c
}

// naive reads the rules one by one.
func naive(t *testing.T, p *specs.LinuxSeccomp, native string, c call) uint32 {
	a := archOf(p, native, c)
	if a == nil {
		if c.audit == unix.AUDIT_ARCH_X86_64 && native == "amd64" {
			return enosys
		}
		return kill
	}
	result, newest, first := verdictOf(t, p.DefaultAction, p.DefaultErrnoRet), uint32(0), true
	mentioned, conditional := false, true
	for _, rule := range p.Syscalls {
		for _, name := range rule.Names {
			for _, nr := range a.numbers(name) {
				if nr < privateCalls || a.base != 0 {
					newest, mentioned = max(newest, nr), true
				}
			}
			verdict := verdictOf(t, rule.Action, rule.ErrnoRet)
			if verdict == verdictOf(t, p.DefaultAction, p.DefaultErrnoRet) {
				continue
			}
			args, about := rule.Args, slices.Contains(a.numbers(name), c.nr)
			if nr, sub := bundle(name); a == &archX86 && nr == c.nr && sub != 0 && len(args) == 0 {
				args, about = []specs.LinuxSeccompArg{{Value: sub, Op: specs.OpEqualTo}}, true
			}
			switch {
			case !about:
			case len(args) == 0 && conditional:
				result, first, conditional = verdict, false, false
			case first && matches(a, args, c):
				result, first = verdict, false
			}
		}
	}
	if first && mentioned && c.nr > newest && !permissive(p.DefaultAction) && !ruled(p, a, c.nr) {
		return enosys
	}
	return result
}

// ruled reports whether a rule with an effect is about the call.
func ruled(p *specs.LinuxSeccomp, a *arch, nr uint32) bool {
	rs, err := newRuleSet(p)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(rs.rules, func(r rule) bool {
		in, sub := bundle(r.name)
		return slices.Contains(a.numbers(r.name), nr) || a == &archX86 && len(r.args) == 0 && in == nr && sub != 0
	})
}

func archOf(p *specs.LinuxSeccomp, native string, c call) *arch {
	for _, a := range []*arch{&archX32, &archAMD64, &archX86, &archARM64, &archARM} {
		runs := a.goarch == native || native == "amd64" && (a == &archX32 || a == &archX86) || native == "arm64" && a == &archARM
		listed := a.goarch == native || slices.Contains(p.Architectures, a.name)
		if a.audit == c.audit && runs && listed && (a.audit != unix.AUDIT_ARCH_X86_64 || (c.nr&x32Bit != 0) == (a == &archX32)) {
			return a
		}
	}
	return nil
}

func verdictOf(t *testing.T, a specs.LinuxSeccompAction, errno *uint) uint32 {
	t.Helper()
	v, err := action(a, errno)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func matches(a *arch, args []specs.LinuxSeccompArg, c call) bool {
	var count [6]int
	or := false
	for _, arg := range args {
		count[arg.Index]++
		or = or || count[arg.Index] > 1
	}
	holds := func(arg specs.LinuxSeccompArg) bool {
		got, value, two := c.args[arg.Index], arg.Value, arg.ValueTwo
		if a.bits32 {
			value, two = uint64(uint32(value)), uint64(uint32(two))
		}
		switch arg.Op {
		case specs.OpNotEqual:
			return got != value
		case specs.OpLessThan:
			return got < value
		case specs.OpLessEqual:
			return got <= value
		case specs.OpEqualTo:
			return got == value
		case specs.OpGreaterEqual:
			return got >= value
		case specs.OpGreaterThan:
			return got > value
		}
		return got&value == two&value
	}
	if or {
		return slices.ContainsFunc(args, holds)
	}
	return !slices.ContainsFunc(args, func(arg specs.LinuxSeccompArg) bool { return !holds(arg) })
}

func BenchmarkCompileDockerDefault(b *testing.B) {
	p := dockerProfile(b)
	for b.Loop() {
		if _, err := Compile(p, runtime.GOARCH); err != nil {
			b.Fatal(err)
		}
	}
}
