package engine

import (
	"runtime"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// minMemory is the smallest memory limit with which a container can start, as
// in Docker.
const minMemory = 6 << 20

// checkLimits refuses limits that make no sense on any machine.
func checkLimits(l spec.Limits) error {
	switch cpus := int64(runtime.NumCPU()); {
	case l.MemoryBytes != 0 && l.MemoryBytes < minMemory:
		return invalid("memory limit of %d bytes: must be at least %d (6 MiB)", l.MemoryBytes, minMemory)
	case l.ReservationBytes != 0 && l.ReservationBytes < minMemory:
		return invalid("memory reservation of %d bytes: must be at least %d (6 MiB)", l.ReservationBytes, minMemory)
	case l.MemoryBytes != 0 && l.ReservationBytes > l.MemoryBytes:
		return invalid("memory reservation of %d bytes: must not be larger than the memory limit of %d", l.ReservationBytes, l.MemoryBytes)
	case l.MemoryBytes == 0 && (l.SwapBytes > 0 || l.NoSwap):
		return invalid("a limit on memory and swap needs a memory limit (--memory) as well")
	case l.CPUMillis < 0 || l.CPUMillis > cpus*1000:
		return invalid("%.2f CPUs: this machine has %d", float64(l.CPUMillis)/1000, cpus)
	case l.IOWeight != 0 && (l.IOWeight < 10 || l.IOWeight > 1000):
		return invalid("block IO weight %d: must be from 10 to 1000", l.IOWeight)
	case slices.ContainsFunc(l.IODeviceWeights, func(d spec.DeviceLimit) bool { return d.Rate < 10 || d.Rate > 1000 }):
		return invalid("block IO weight of a device: must be from 10 to 1000")
	case l.Pids < 0:
		return invalid("pids limit %d: must not be negative", l.Pids)
	case l.OOMScoreAdj < -1000 || l.OOMScoreAdj > 1000:
		return invalid("OOM score adjustment %d: must be from -1000 to 1000", l.OOMScoreAdj)
	}
	return nil
}

// warnLimits tells which limits this machine cannot enforce, in one sentence
// that names the missing controllers.
func (e *Engine) warnLimits(l spec.Limits) {
	var need []string
	add := func(controller string, wanted bool) {
		if wanted {
			need = append(need, controller)
		}
	}
	add("memory", l.MemoryBytes > 0 || l.ReservationBytes > 0 || l.SwapBytes != 0 || l.NoSwap)
	add("cpu", l.CPUMillis > 0 || l.CPUShares > 0)
	add("cpuset", l.CPUSet != "" || l.MemoryNodes != "")
	add("pids", l.Pids > 0)
	add("io", l.IOWeight > 0 || len(l.IODeviceWeights)+len(l.ReadBPS)+len(l.WriteBPS)+len(l.ReadIOPS)+len(l.WriteIOPS) > 0)
	if len(need) == 0 {
		return
	}
	have := controllers()
	missing := slices.DeleteFunc(need, func(c string) bool { return slices.Contains(have, c) })
	if len(missing) > 0 {
		e.warnf("this machine's cgroup v2 hierarchy lacks the controller %s: limits on it are discarded", strings.Join(missing, ", "))
	}
}
