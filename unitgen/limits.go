package unitgen

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// limits maps the resource limits to cgroup settings. See
// systemd.resource-control(5).
func limits(c spec.Container, _ ServiceInput) ([]Property, error) {
	l := c.Limits
	if err := checkLimits(l); err != nil {
		return nil, err
	}
	var props []Property
	set := func(name string, value any, wanted bool) {
		if wanted {
			props = append(props, Property{name, value})
		}
	}
	set("MemoryMax", uint64(l.MemoryBytes), l.MemoryBytes > 0)
	set("MemoryLow", uint64(l.ReservationBytes), l.ReservationBytes > 0)
	set("MemorySwapMax", swapMax(l), l.SwapBytes != 0 || l.NoSwap)
	set("CPUQuotaPerSecUSec", cpuQuota(l.CPUMillis), l.CPUMillis > 0)
	set("CPUWeight", cpuWeight(l.CPUShares), l.CPUShares > 0)
	set("TasksMax", tasksMax(l.Pids), true)
	set("IOWeight", ioWeight(l.IOWeight), l.IOWeight > 0)
	set("IODeviceWeight", deviceWeights(l.IODeviceWeights), len(l.IODeviceWeights) > 0)
	set("OOMScoreAdjust", int32(l.OOMScoreAdj), l.OOMScoreAdj != 0)
	set("IOReadBandwidthMax", ioLimits(l.ReadBPS), len(l.ReadBPS) > 0)
	set("IOWriteBandwidthMax", ioLimits(l.WriteBPS), len(l.WriteBPS) > 0)
	set("IOReadIOPSMax", ioLimits(l.ReadIOPS), len(l.ReadIOPS) > 0)
	set("IOWriteIOPSMax", ioLimits(l.WriteIOPS), len(l.WriteIOPS) > 0)
	for _, list := range []struct{ property, numbers, what string }{
		{"AllowedCPUs", l.CPUSet, "CPU list"},
		{"AllowedMemoryNodes", l.MemoryNodes, "list of memory nodes"},
	} {
		if list.numbers == "" {
			continue
		}
		bits, err := parseCPUs(list.numbers)
		if err != nil {
			return nil, fmt.Errorf("%s %w", list.what, err)
		}
		set(list.property, bits, true)
	}
	return props, nil
}

func checkLimits(l spec.Limits) error {
	for name, n := range map[string]int64{
		"memory limit": l.MemoryBytes, "memory reservation": l.ReservationBytes, "CPU limit": l.CPUMillis,
		"CPU shares": l.CPUShares, "process limit": l.Pids, "swap limit": l.SwapBytes + 1,
	} {
		if n < 0 {
			return fmt.Errorf("%s is negative: %w", name, spec.ErrInvalid)
		}
	}
	if l.OOMScoreAdj < -1000 || l.OOMScoreAdj > 1000 {
		return fmt.Errorf("OOM score adjustment %d is not between -1000 and 1000: %w", l.OOMScoreAdj, spec.ErrInvalid)
	}
	for _, d := range slices.Concat(l.IODeviceWeights, l.ReadBPS, l.WriteBPS, l.ReadIOPS, l.WriteIOPS) {
		if err := checkNode(d.Path); err != nil {
			return err
		}
	}
	return nil
}

func swapMax(l spec.Limits) uint64 {
	switch {
	case l.NoSwap:
		return 0
	case l.SwapBytes < 0:
		return Infinity
	}
	return uint64(l.SwapBytes)
}

// tasksMax spells "no limit" out, because systemd's default is 15 % of what
// the system can have.
func tasksMax(pids int64) uint64 {
	if pids == 0 {
		return Infinity
	}
	return uint64(pids)
}

// cpuQuota returns microseconds of CPU time in a second, rounded to whole
// percents of a CPU: systemd (252) rounds so when it reads a transient unit
// again at a daemon-reload, and a quota that rounds to nothing is lost.
func cpuQuota(millis int64) uint64 {
	const percent = 10 // of a CPU, in thousandths
	return max((uint64(millis)+percent/2)/percent, 1) * percent * 1000
}

// cpuWeight scales Docker's shares (1024 is normal) to cgroup weights (100 is),
// as systemd does for CPUShares=.
func cpuWeight(shares int64) uint64 {
	return min(max(uint64(shares)*100/1024, 1), 10000)
}

// ioWeight scales Docker's weight (500 is normal) to cgroup weights (100 is),
// as systemd does for BlockIOWeight=.
func ioWeight(weight uint16) uint64 {
	return min(max(uint64(weight)*100/500, 1), 10000)
}

func ioLimits(in []spec.DeviceLimit) []IOLimit {
	out := make([]IOLimit, 0, len(in))
	for _, d := range in {
		out = append(out, IOLimit{d.Path, d.Rate})
	}
	return out
}

// deviceWeights scales the weights of single devices as ioWeight does.
func deviceWeights(in []spec.DeviceLimit) []IOLimit {
	out := make([]IOLimit, 0, len(in))
	for _, d := range in {
		out = append(out, IOLimit{d.Path, ioWeight(uint16(min(d.Rate, 1000)))})
	}
	return out
}

// maxCPU is the largest number of CPUs that Linux can be built for.
const maxCPU = 8192

// parseCPUs turns a list such as "0-2,4" into a bitmap, lowest CPU first, which
// is how D-Bus has it, and lists of memory nodes as well. See cpuset(7), "List format".
func parseCPUs(list string) ([]byte, error) {
	var set []byte
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from > to || to >= maxCPU {
			return nil, fmt.Errorf("%q: %w", list, spec.ErrInvalid)
		}
		for cpu := from; cpu <= to; cpu++ {
			for uint64(len(set)) <= cpu/8 {
				set = append(set, 0)
			}
			set[cpu/8] |= 1 << (cpu % 8)
		}
	}
	return set, nil
}

// ulimitNames are the names that setrlimit(2) and systemd.exec(5) know.
const ulimitNames = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"

// manySockets is how many sockets of published ports systemd can hand over below
// the limit of descriptors that it gives services, 1024.
const manySockets = 900

// fewestFiles is how many descriptors cleat-init needs: it starts under the limit
// that it leaves to the payload.
const fewestFiles = 40

// rlimits maps the ulimits. Processes are not limited per user by default, as in
// Docker: a user id means nothing across containers.
func rlimits(c spec.Container, _ ServiceInput) ([]Property, error) {
	byName := map[string]spec.Ulimit{"nproc": {Name: "nproc", Soft: -1, Hard: -1}}
	if 2*len(c.Network.Ports) > manySockets { // one for each IP version
		byName["nofile"] = spec.Ulimit{Name: "nofile", Soft: 1 << 19, Hard: 1 << 19}
	}
	for _, u := range c.Ulimits {
		if !slices.Contains(strings.Fields(ulimitNames), u.Name) {
			return nil, fmt.Errorf("unknown ulimit %q: %w", u.Name, spec.ErrInvalid)
		}
		if uint64(u.Soft) > uint64(u.Hard) || u.Soft < -1 || u.Hard < -1 { // -1 is the largest
			return nil, fmt.Errorf("ulimit %s: %d:%d is not soft:hard: %w", u.Name, u.Soft, u.Hard, spec.ErrInvalid)
		}
		if u.Name == "nofile" && u.Soft >= 0 && u.Soft < fewestFiles {
			return nil, fmt.Errorf("ulimit nofile: %d open files are too few for a container to start, which takes %d: %w", u.Soft, fewestFiles, spec.ErrInvalid)
		}
		byName[u.Name] = u
	}
	var props []Property
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		limit := "Limit" + strings.ToUpper(name)
		props = append(props,
			Property{limit, uint64(byName[name].Hard)},
			Property{limit + softSuffix, uint64(byName[name].Soft)})
	}
	return props, nil
}
