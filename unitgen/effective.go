package unitgen

import (
	"bytes"
	"reflect"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// LimitNames are the properties that EffectiveLimits reads.
func LimitNames() []string {
	var names []string
	for _, p := range unlimited() {
		names = append(names, p.Name)
	}
	return names
}

// EffectiveLimits returns the limits of c as its unit has them: where an
// administrator has changed a property, by a drop-in or with set-property, that
// counts. Actual has the properties of LimitNames, as systemd gives them; what is
// missing, or of another type than documented, counts as unchanged.
func EffectiveLimits(c spec.Container, actual map[string]any) (spec.Limits, error) {
	all, err := AllLimits(c)
	if err != nil {
		return c.Limits, err
	}
	l := c.Limits
	for _, p := range all {
		v, ok := actual[p.Name]
		if !ok || reflect.DeepEqual(sameShape(v), sameShape(p.Value)) {
			continue
		}
		switch v := v.(type) {
		case []byte:
			list := strings.ReplaceAll(formatCPUs(v), " ", ",")
			switch p.Name {
			case "AllowedCPUs":
				l.CPUSet = list
			case "AllowedMemoryNodes":
				l.MemoryNodes = list
			}
		case uint64:
			setLimit(&l, p.Name, v)
		}
	}
	return l, nil
}

// Differing returns those of limits that have another value in actual, which has
// properties of a unit as systemd gives them.
func Differing(limits []Property, actual map[string]any) []Property {
	var other []Property
	for _, p := range limits {
		if v, ok := actual[p.Name]; ok && !reflect.DeepEqual(sameShape(v), sameShape(p.Value)) {
			other = append(other, p)
		}
	}
	return other
}

// sameShape makes values comparable: systemd's bitmaps of CPUs may be longer.
func sameShape(v any) any {
	if b, ok := v.([]byte); ok {
		return append([]byte{}, bytes.TrimRight(b, "\x00")...)
	}
	return v
}

// setLimit changes l to the value n of one property.
func setLimit(l *spec.Limits, name string, n uint64) {
	limited := n
	if n == Infinity {
		limited = 0
	}
	switch name {
	case "CPUQuotaPerSecUSec":
		l.CPUMillis = int64(limited / 1000)
	case "CPUWeight":
		l.CPUShares = int64((limited*1024 + 99) / 100) // the first of the shares that make this weight
	case "IOWeight":
		l.IOWeight = uint16(min(limited*5, 1000))
	case "MemoryLow":
		l.ReservationBytes = int64(limited)
	case "MemoryMax":
		l.MemoryBytes = int64(limited)
	case "MemorySwapMax":
		l.NoSwap, l.SwapBytes = n == 0, int64(limited)
		if n == Infinity {
			l.SwapBytes = -1
		}
	case "TasksMax":
		l.Pids = int64(limited)
	}
}
