package bpf

import (
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
)

// Offsets in struct seccomp_data, see seccomp(2).
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// branch runs yes if the accumulator passes the test, else no. Neither may run
// past its end. Conditional jumps reach 255 instructions, plain ones any
// distance.
func branch(test bpf.JumpTest, value uint32, no, yes []bpf.Instruction) []bpf.Instruction {
	code := []bpf.Instruction{bpf.JumpIf{Cond: test, Val: value, SkipTrue: uint8(min(len(no), math.MaxUint8))}}
	if len(no) > math.MaxUint8 {
		code = []bpf.Instruction{bpf.JumpIf{Cond: test, Val: value, SkipFalse: 1}, bpf.Jump{Skip: uint32(len(no))}}
	}
	return append(append(code, no...), yes...)
}

// tree finds the span of the number in the accumulator and gives its verdict.
func tree(spans []span, a *arch) []bpf.Instruction {
	if len(spans) == 1 {
		return leaf(spans[0].verdict, a)
	}
	mid := len(spans) / 2
	return branch(bpf.JumpGreaterOrEqual, spans[mid].first, tree(spans[:mid], a), tree(spans[mid:], a))
}

// leaf tries the rules of one system call in order.
func leaf(v verdict, a *arch) []bpf.Instruction {
	var code []bpf.Instruction
	for _, r := range v.rules {
		code = append(code, conditions(r, a)...)
	}
	return append(code, ret(v.ret)...)
}

// conditions returns r's verdict if all of its conditions hold and else goes
// on behind it. A rule has at most six conditions of five instructions, so
// every jump is short.
func conditions(r rule, a *arch) []bpf.Instruction {
	code := ret(r.ret)
	for i := range r.args {
		code = compare(r.args[len(r.args)-1-i], a, code)
	}
	return code
}

// compare runs then if the condition holds and else jumps behind it.
func compare(arg specs.LinuxSeccompArg, a *arch, then []bpf.Instruction) []bpf.Instruction {
	value, mask := arg.Value, uint64(math.MaxUint64)
	if arg.Op == specs.OpMaskedEqual {
		value, mask = arg.ValueTwo&arg.Value, arg.Value
	}
	t := test{op: arg.Op, off: offArgs + 8*uint32(arg.Index), then: then}
	low := t.low(uint32(value), uint32(mask))
	if a.bits32 || mask>>32 == 0 {
		return low
	}
	return t.high(uint32(value>>32), uint32(mask>>32), low)
}

// test is a comparison of one 64-bit argument, which is in two halves, low
// first. BPF's registers have 32 bits.
type test struct {
	op   specs.LinuxSeccompOperator
	off  uint32
	then []bpf.Instruction
}

// load reads half of the argument.
func (t test) load(off, mask uint32) []bpf.Instruction {
	code := []bpf.Instruction{bpf.LoadAbsolute{Off: off, Size: 4}}
	if mask != math.MaxUint32 {
		code = append(code, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
	}
	return code
}

// low decides by the lower half, the upper ones being equal.
func (t test) low(value, mask uint32) []bpf.Instruction {
	jump := bpf.JumpIf{Val: value, SkipFalse: uint8(len(t.then))}
	switch t.op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		jump.Cond = bpf.JumpEqual
	case specs.OpNotEqual:
		jump.Cond = bpf.JumpNotEqual
	case specs.OpGreaterThan:
		jump.Cond = bpf.JumpGreaterThan
	case specs.OpGreaterEqual:
		jump.Cond = bpf.JumpGreaterOrEqual
	case specs.OpLessThan:
		jump.Cond = bpf.JumpLessThan
	case specs.OpLessEqual:
		jump.Cond = bpf.JumpLessOrEqual
	}
	return append(append(t.load(t.off, mask), jump), t.then...)
}

// high decides by the upper half if it differs and else goes on with low.
func (t test) high(value, mask uint32, low []bpf.Instruction) []bpf.Instruction {
	code := t.load(t.off+4, mask)
	hit, miss := uint8(len(low)-len(t.then)), uint8(len(low)) // from the start of low
	switch t.op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: miss})
	case specs.OpNotEqual:
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: hit})
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		code = append(code,
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: value, SkipTrue: hit + 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: miss})
	case specs.OpLessThan, specs.OpLessEqual:
		code = append(code,
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: value, SkipTrue: miss + 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: hit})
	}
	return append(code, low...)
}
