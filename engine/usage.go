package engine

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The kernel's accounts of a control group are files, see its cgroup-v2
// documentation. A file that is missing belongs to a controller that the machine
// has not in this hierarchy; then the accounts of single processes, where they
// tell the truth, stand in.

// readPairs reads a file of lines "NAME NUMBER". It is nil if there is none.
func readPairs(path string) map[string]uint64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return parsePairs(string(data))
}

func parsePairs(text string) map[string]uint64 {
	pairs := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			pairs[strings.TrimSuffix(name, ":")] = n
		}
	}
	return pairs
}

// readNumber reads a file with one number; "max" is 0.
func readNumber(path string) (n uint64, ok bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	text := strings.TrimSpace(string(data))
	if text == "max" {
		return 0, true
	}
	n, err = strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// machineCPU reads the CPU time of the machine, see proc_stat(5).
func machineCPU() (CPUStats, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return CPUStats{}, err
	}
	return parseMachineCPU(string(data))
}

func parseMachineCPU(text string) (CPUStats, error) {
	var c CPUStats
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		if f[0] != "cpu" {
			c.Online++
			continue
		}
		for _, word := range f[1:9] { // guests' time, behind, is in users' already
			ticks, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				return c, fmt.Errorf("parse /proc/stat: %w", err)
			}
			c.System += time.Duration(ticks) * time.Second / clockTicks
		}
	}
	return c, nil
}

// groupCPU adds the CPU time of a group to that of the machine. It is false if
// the group has gone.
func groupCPU(group string, machine CPUStats) (CPUStats, bool) {
	pairs := readPairs(filepath.Join(group, "cpu.stat"))
	if pairs == nil {
		return machine, false
	}
	usec := func(name string) time.Duration { return time.Duration(pairs[name]) * time.Microsecond }
	c := machine
	c.Usage, c.User, c.Kernel, c.Throttled = usec("usage_usec"), usec("user_usec"), usec("system_usec"), usec("throttled_usec")
	c.Periods, c.ThrottledPeriods = pairs["nr_periods"], pairs["nr_throttled"]
	return c, true
}

// groupMemory is nil without the memory controller.
func groupMemory(group string) *MemoryStats {
	usage, ok := readNumber(filepath.Join(group, "memory.current"))
	if !ok {
		return nil
	}
	limit, _ := readNumber(filepath.Join(group, "memory.max"))
	return &MemoryStats{UsageBytes: usage, LimitBytes: cmp.Or(limit, machineMemory()), Detail: readPairs(filepath.Join(group, "memory.stat"))}
}

// machineMemory is the size of the machine's memory.
func machineMemory() uint64 {
	data, _ := os.ReadFile("/proc/meminfo") // always there
	return kibibytes(string(data), "MemTotal")
}

// kibibytes returns the value of a line "NAME: 123 kB" in bytes.
func kibibytes(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64) // the kernel writes numbers
			return n << 10
		}
	}
	return 0
}

// processMemory sums up the proportional set sizes: of a page that several
// processes share each has its part, so that none counts twice. It is nil if
// nothing can be read.
func processMemory(pids []int) *MemoryStats {
	m := &MemoryStats{LimitBytes: machineMemory(), Processes: true}
	known := false
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue // it has just ended
		}
		known = true
		m.UsageBytes += kibibytes(string(data), "Pss")
	}
	if !known {
		return nil
	}
	return m
}

// groupIO is nil without the io controller.
func groupIO(group string) []BlockStats {
	data, err := os.ReadFile(filepath.Join(group, "io.stat"))
	if err != nil {
		return nil
	}
	return parseIO(string(data))
}

// parseIO reads lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …".
func parseIO(text string) []BlockStats {
	all := []BlockStats{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		var b BlockStats
		if len(words) < 2 {
			continue
		}
		if n, _ := fmt.Sscanf(words[0], "%d:%d", &b.Major, &b.Minor); n != 2 {
			continue
		}
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				continue
			}
			switch name {
			case "rbytes":
				b.ReadBytes = n
			case "wbytes":
				b.WriteBytes = n
			case "rios":
				b.ReadCount = n
			case "wios":
				b.WrittenCount = n
			}
		}
		all = append(all, b)
	}
	return all
}

// processIO sums up what the processes, and those of their children that have
// ended, read from and wrote to devices. It is nil if nothing can be read.
func processIO(pids []int) []BlockStats {
	var sum BlockStats
	known := false
	for _, pid := range pids {
		if pairs := readPairs(fmt.Sprintf("/proc/%d/io", pid)); pairs != nil {
			known = true
			sum.ReadBytes, sum.WriteBytes = sum.ReadBytes+pairs["read_bytes"], sum.WriteBytes+pairs["write_bytes"]
		}
	}
	if !known {
		return nil
	}
	return []BlockStats{sum}
}

// groupPids is nil without the pids controller.
func groupPids(group string) *PidsStats {
	current, ok := readNumber(filepath.Join(group, "pids.current"))
	if !ok {
		return nil
	}
	limit, _ := readNumber(filepath.Join(group, "pids.max"))
	return &PidsStats{current, limit}
}

// countThreads counts as the pids controller does.
func countThreads(pids []int) *PidsStats {
	var p PidsStats
	for _, pid := range pids {
		if stat, err := readStat(pid); err == nil {
			p.Current += uint64(max(stat.threads, 0))
		}
	}
	return &p
}

// networkStats reads the traffic of the interfaces that process pid sees.
func networkStats(pid int) map[string]NetworkStats {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil // it has just ended
	}
	return parseNetDev(string(data))
}

// parseNetDev reads /proc/net/dev, see proc_pid_net(5), all but the loopback.
func parseNetDev(text string) map[string]NetworkStats {
	all := map[string]NetworkStats{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 16 || name == "lo" {
			continue
		}
		n := make([]uint64, len(f))
		for i, word := range f {
			n[i], _ = strconv.ParseUint(word, 10, 64) // the kernel writes numbers
		}
		all[name] = NetworkStats{n[0], n[1], n[2], n[3], n[8], n[9], n[10], n[11]}
	}
	return all
}
