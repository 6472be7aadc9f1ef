package opts

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Memory turns Docker's pair of limits into ours. Memory is RAM in bytes (0 for
// no limit); total is --memory-swap: RAM plus swap in bytes, -1 for unlimited
// swap, 0 if it was not given, which means as much swap as RAM.
func Memory(memory, total int64) (spec.Limits, error) {
	l := spec.Limits{MemoryBytes: memory}
	switch {
	case total > 0 && memory == 0:
		return spec.Limits{}, errors.New("you should always set the Memory limit when using Memoryswap limit, see usage")
	case total > 0 && total < memory:
		return spec.Limits{}, errors.New("minimum memoryswap limit should be larger than memory limit, see usage")
	case total < 0:
		l.SwapBytes = -1
	case memory == 0:
	case total == 0:
		l.SwapBytes = memory
	case total == memory:
		l.NoSwap = true
	default:
		l.SwapBytes = total - memory
	}
	return l, nil
}

// CPUs parses --cpus, a decimal such as "1.5", into thousandths of a CPU. What
// is finer is rounded, though never to zero.
func CPUs(s string) (int64, error) {
	cpus, ok := new(big.Rat).SetString(s)
	if !ok || len(s) > 64 {
		return 0, fmt.Errorf("failed to parse %s as a rational number", s)
	}
	nano := new(big.Rat).Mul(cpus, big.NewRat(1e9, 1))
	if !nano.IsInt() || !nano.Num().IsInt64() {
		return 0, errors.New("value is too precise")
	}
	n := nano.Num().Int64()
	if n < 0 {
		return 0, fmt.Errorf("%s is less than 0", s)
	}
	if n > 0 && n < 1e6 {
		return 1, nil
	}
	return (n + 5e5) / 1e6, nil
}

// Quota turns --cpu-quota and --cpu-period, in microseconds and 0 if not given,
// into thousandths of a CPU.
func Quota(quota, period int64) (int64, error) {
	switch {
	case quota == 0 && period != 0:
		return 0, errors.New("--cpu-period has no effect without --cpu-quota")
	case quota < 0 || quota == 0:
		return 0, nil
	case quota < 1000:
		return 0, errors.New("CPU cfs quota cannot be less than 1ms (i.e. 1000)")
	case period == 0:
		period = 100_000
	case period < 1000 || period > 1_000_000:
		return 0, errors.New("CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	}
	if quota > 1<<50 {
		return 0, fmt.Errorf("CPU cfs quota %d is out of range", quota)
	}
	return max(1, (quota*1000+period/2)/period), nil
}

// Restart parses --restart: POLICY[:MAXIMUM].
func Restart(s string) (spec.RestartPolicy, error) {
	name, count, colon := strings.Cut(s, ":")
	if colon && name == "" {
		return spec.RestartPolicy{}, errors.New("invalid restart policy format: no policy provided before colon")
	}
	p := spec.RestartPolicy{Mode: spec.RestartMode(name)}
	if count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return spec.RestartPolicy{}, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		p.MaxRetries = n
	}
	return p, checkRestart(p)
}

func checkRestart(p spec.RestartPolicy) error {
	switch p.Mode {
	case "":
		return nil
	case spec.RestartNo, spec.RestartAlways, spec.RestartUnlessStopped:
		if p.MaxRetries < 0 {
			return errors.New("invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative")
		}
		if p.MaxRetries != 0 {
			return errors.New("invalid restart policy: maximum retry count can only be used with 'on-failure'")
		}
		return nil
	case spec.RestartOnFailure:
		if p.MaxRetries < 0 {
			return errors.New("invalid restart policy: maximum retry count cannot be negative")
		}
		return nil
	}
	return fmt.Errorf("invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", p.Mode)
}
