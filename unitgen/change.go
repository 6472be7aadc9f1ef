package unitgen

import (
	"reflect"
	"slices"

	"github.com/cleat-project/cleat/spec"
)

// unlimited are the limits that can be changed while a unit runs, with the value
// that stands for none. OOMScoreAdjust= is not among them: a process gets it when
// it starts.
func unlimited() []Property {
	return []Property{
		{"AllowedCPUs", []byte{}},
		{"AllowedMemoryNodes", []byte{}},
		{"CPUQuotaPerSecUSec", Infinity},
		{"CPUWeight", Infinity},
		{"IOWeight", Infinity},
		{"MemoryLow", uint64(0)},
		{"MemoryMax", Infinity},
		{"MemorySwapMax", Infinity},
		{"TasksMax", Infinity},
	}
}

// AllLimits returns the limits of c that can be changed while its unit runs, also
// those that it does not have: these as "no limit".
func AllLimits(c spec.Container) ([]Property, error) {
	set, err := limits(c, ServiceInput{})
	if err != nil {
		return nil, err
	}
	all := unlimited()
	for i, p := range all {
		if at := slices.IndexFunc(set, func(s Property) bool { return s.Name == p.Name }); at >= 0 {
			all[i] = set[at]
		}
	}
	return all, nil
}

// ChangedLimits returns the properties that turn the unit of container from,
// which runs, into one with the limits of container to.
func ChangedLimits(from, to spec.Container) ([]Property, error) {
	before, err := AllLimits(from)
	if err != nil {
		return nil, err
	}
	after, err := AllLimits(to)
	if err != nil {
		return nil, err
	}
	changed := []Property{}
	for i, p := range after {
		if !reflect.DeepEqual(before[i], p) {
			changed = append(changed, p)
		}
	}
	return changed, nil
}
