package compose

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// sliceKey is the top-level extension with the limits of a project.
const sliceKey = "x-cleat-slice"

// SliceName returns the slice that the containers of a project are in. A dash
// would nest it in the slice of another project; it becomes a dot, which no
// project's name has.
func SliceName(project string) string {
	return "cleat-" + strings.ReplaceAll(project, "-", ".") + ".slice"
}

// slice returns the limits of the whole project.
func (p *Project) slice() (engine.SliceOptions, error) {
	opt := engine.SliceOptions{Name: SliceName(p.Name()), Description: "Compose project " + p.Name()}
	given, ok := p.model.Extensions[sliceKey]
	if !ok {
		return opt, nil
	}
	keys, ok := given.(map[string]any)
	if !ok {
		return opt, p.refusef(sliceKey, "%w", errors.New("must be a mapping of limits, for example mem_limit: 512m"))
	}
	var l spec.Limits
	var memory, swap int64
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if err := sliceLimit(&l, &memory, &swap, key, fmt.Sprint(keys[key])); err != nil {
			return opt, p.refusef(sliceKey+"."+key, "%w", err)
		}
	}
	ram, err := opts.Memory(memory, swap)
	if err != nil {
		return opt, p.refusef(sliceKey+".memswap_limit", "%w", err)
	}
	l.MemoryBytes, l.SwapBytes, l.NoSwap = ram.MemoryBytes, ram.SwapBytes, ram.NoSwap
	opt.Limits = &l
	return opt, nil
}

// sliceLimit reads one limit; the keys are those of a service.
func sliceLimit(l *spec.Limits, memory, swap *int64, key, value string) (err error) {
	switch key {
	case "mem_limit":
		*memory, err = opts.Bytes(value)
	case "memswap_limit":
		*swap, err = opts.BytesOrUnlimited(value)
	case "mem_reservation":
		l.ReservationBytes, err = opts.Bytes(value)
	case "cpus":
		l.CPUMillis, err = opts.CPUs(value)
	case "cpu_shares":
		l.CPUShares, err = number(value)
	case "cpuset":
		l.CPUSet = value
	case "pids_limit":
		l.Pids, err = number(value)
	case "blkio_weight":
		var n int64
		n, err = number(value)
		l.IOWeight = uint16(min(n, 1<<15))
	default:
		err = errors.New("is none of mem_limit, memswap_limit, mem_reservation, cpus, cpu_shares, cpuset, pids_limit and blkio_weight")
	}
	return err
}

func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q: must be a whole number from 0", s)
	}
	return n, nil
}
