package bpf

import (
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// privateCalls is where 32-bit ARM's own system calls begin, far above the
// numbers that all architectures hand out in order of age.
const privateCalls = 0xf0000

// span is a range of system calls with the same verdict: from first up to the
// next span.
type span struct {
	first uint32
	verdict
}

// verdict is what happens to one system call: the first of rules that matches
// decides, else ret.
type verdict struct {
	rules []rule
	ret   uint32
}

// spans returns what happens to each number on architecture a, in order and
// without gaps.
func (rs *ruleSet) spans(a *arch) []span {
	verdicts := rs.verdicts(a)
	newest := rs.newest(a)
	var out []span
	add := func(first uint32, v verdict) {
		last := len(out) - 1
		if last < 0 || len(v.rules)+len(out[last].rules) > 0 || out[last].ret != v.ret {
			out = append(out, span{first, v})
		}
	}
	gap := func(from, to uint64) { // numbers without a rule, to excluded
		if from < to && from <= newest {
			add(uint32(from), verdict{ret: rs.otherwise})
		}
		if from = max(from, newest+1); from < to {
			add(uint32(from), verdict{ret: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
		}
	}
	next := uint64(0)
	for _, nr := range slices.Sorted(maps.Keys(verdicts)) {
		gap(next, uint64(nr))
		add(nr, verdicts[nr])
		next = uint64(nr) + 1
	}
	gap(next, math.MaxUint32+1)
	return out
}

// verdicts returns what happens to each number that has a rule.
func (rs *ruleSet) verdicts(a *arch) map[uint32]verdict {
	out := map[uint32]verdict{}
	final := map[uint32]bool{} // a rule without conditions was seen
	for _, r := range rs.rules {
		for nr, r := range places(a, r) {
			v, ok := out[nr]
			switch {
			case final[nr]:
				continue
			case len(r.args) == 0:
				v, final[nr] = verdict{ret: r.ret}, true
			case ok:
				v.rules = append(v.rules, r)
			default:
				v = verdict{rules: []rule{r}, ret: rs.otherwise}
			}
			out[nr] = v
		}
	}
	return out
}

// places yields the numbers that a rule is about, each with the rule's form
// there. On 32-bit x86 that includes the older calls that bundle many; their
// arguments lie in memory, so a rule with conditions has no form there.
func places(a *arch, r rule) iter.Seq2[uint32, rule] {
	return func(yield func(uint32, rule) bool) {
		for _, nr := range a.numbers(r.name) {
			if !yield(nr, r) {
				return
			}
		}
		nr, sub := bundle(r.name)
		if a == &archX86 && sub != 0 && len(r.args) == 0 {
			r.args = []specs.LinuxSeccompArg{{Index: 0, Value: sub, Op: specs.OpEqualTo}}
			yield(nr, r)
		}
	}
}

// The calls of 32-bit x86 that stand for others, and those others in the order
// of the first argument that selects them, from 1; see socketcall(2), ipc(2).
const (
	nrSocketcall = 102
	socketCalls  = "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom " +
		"shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
	nrIPC    = 117
	ipcCalls = "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl"
)

// bundle returns the number of the call that stands for the named one on
// 32-bit x86 and the argument that selects it, 0 if there is none.
func bundle(name string) (nr uint32, sub uint64) {
	if i := slices.Index(bundles().socketcall, name); i >= 0 {
		return nrSocketcall, uint64(i) + 1
	}
	return nrIPC, uint64(slices.Index(bundles().ipc, name) + 1)
}

var bundles = sync.OnceValue(func() (b struct{ socketcall, ipc []string }) {
	b.socketcall, b.ipc = strings.Fields(socketCalls), strings.Fields(ipcCalls)
	return b
})

// newest returns the largest number that the profile mentions. Calls above it
// did not exist when the profile was written.
func (rs *ruleSet) newest(a *arch) uint64 {
	newest, found := uint64(0), false
	for _, name := range rs.names {
		for _, nr := range a.numbers(name) {
			if nr < privateCalls || a.base != 0 {
				newest, found = max(newest, uint64(nr)), true
			}
		}
	}
	if !rs.enosys || !found {
		return math.MaxUint32
	}
	return newest
}
