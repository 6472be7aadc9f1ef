// Package signal turns the names of Linux signals into numbers and back. The
// numbers are those of x86, ARM and RISC-V, see signal(7).
package signal

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// The real-time signals that programs may use with glibc; the C library keeps
// 32 and 33 to itself.
const (
	rtMin = 34
	rtMax = 64
)

// names lists the signals from 1 on.
const names = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT " +
	"STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"

// Parse reads a signal as kill(1) and Docker do: a name in any case, with or
// without "SIG", "RTMIN+n", "RTMAX-n", or a number from 1 to 64.
func Parse(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && 1 <= n && n <= rtMax {
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for i, known := range strings.Fields(names) {
		if name == known {
			return i + 1, nil
		}
	}
	switch name {
	case "IOT":
		return Parse("ABRT")
	case "POLL":
		return Parse("IO")
	case "CLD":
		return Parse("CHLD")
	}
	if n, ok := realTime(name); ok {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q: %w", s, spec.ErrInvalid)
}

func realTime(name string) (n int, ok bool) {
	base, sign := rtMin, "+"
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if !ok {
		base, sign = rtMax, "-"
		if rest, ok = strings.CutPrefix(name, "RTMAX"); !ok {
			return 0, false
		}
	}
	if rest == "" {
		return base, true
	}
	offset, err := strconv.Atoi(rest)
	n = base + offset
	return n, err == nil && strings.HasPrefix(rest, sign) && rtMin <= n && n <= rtMax
}

// Name returns the name of signal n with "SIG". A number without a name of its
// own is returned in decimal.
func Name(n int) string {
	all := strings.Fields(names)
	switch {
	case 1 <= n && n <= len(all):
		return "SIG" + all[n-1]
	case n == rtMin:
		return "SIGRTMIN"
	case rtMin < n && n <= rtMax:
		return "SIGRTMIN+" + strconv.Itoa(n-rtMin)
	}
	return strconv.Itoa(n)
}
