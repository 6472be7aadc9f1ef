package engine

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"
)

// Stats is what a container uses at one moment. Of one that does not run only ID
// and Name are set. A field that is nil is not known: the control group that
// would tell lacks that controller.
type Stats struct {
	ID, Name string
	Ref      string // as the caller asked for it, "" if for all

	Read    time.Time // of this sample; zero if it does not run
	PreRead time.Time // of the sample before; zero if there is none
	CPU     CPUStats
	PreCPU  CPUStats

	Memory   *MemoryStats
	Networks map[string]NetworkStats // by interface; nil on the host's network
	BlockIO  []BlockStats            // by device; nil if unknown
	Pids     *PidsStats
}

// CPUStats is CPU time used so far, by a container and by the whole machine.
type CPUStats struct {
	Usage, User, Kernel time.Duration
	System              time.Duration // of the machine on all CPUs, idle time included
	Online              int           // CPUs of the machine

	Periods, ThrottledPeriods uint64 // of the limit on CPU time
	Throttled                 time.Duration
}

// MemoryStats is a container's memory.
type MemoryStats struct {
	UsageBytes uint64
	LimitBytes uint64            // the machine's memory if there is no other limit
	Detail     map[string]uint64 // the kernel's memory.stat; nil if unknown

	// Processes says that there is no memory controller: UsageBytes is what the
	// container's processes have mapped, with their part of what they share.
	Processes bool
}

// NetworkStats is the traffic of one interface of a container.
type NetworkStats struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// BlockStats is what a container has read from and written to one device; or to
// all, then both numbers of the device are zero.
type BlockStats struct {
	Major, Minor                                   uint32
	ReadBytes, WriteBytes, ReadCount, WrittenCount uint64
}

// PidsStats counts processes and threads.
type PidsStats struct {
	Current uint64
	Limit   uint64 // 0 means unlimited
}

// StatsOptions says what to measure, and how often.
type StatsOptions struct {
	All  bool // without names: also containers that do not run
	Once bool // one measurement, over a second, instead of one each second
}

// statsInterval is the time between two samples.
const statsInterval = time.Second

// Stats yields, every second, what the containers refs use, or all that run if
// there are none, in the order of refs or the youngest first. The first samples
// come after a second, as use of CPU is measured over one.
func (e *Engine) Stats(ctx context.Context, refs []string, opt StatsOptions) iter.Seq2[[]Stats, error] {
	return func(yield func([]Stats, error) bool) {
		before, err := e.sample(ctx, refs, opt.All)
		if err != nil {
			yield(nil, err)
			return
		}
		ticker := time.NewTicker(statsInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
			now, err := e.sample(ctx, refs, opt.All)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(since(now, before), nil) || opt.Once {
				return
			}
			before = now
		}
	}
}

// since adds to the samples of now what the earlier ones had of CPU time.
func since(now, before []Stats) []Stats {
	now = slices.Clone(now)
	for i := range now {
		s := &now[i]
		at := slices.IndexFunc(before, func(b Stats) bool { return b.ID == s.ID })
		if at >= 0 && !before[at].Read.IsZero() && before[at].CPU.Usage <= s.CPU.Usage { // else it was restarted
			s.PreRead, s.PreCPU = before[at].Read, before[at].CPU
		}
	}
	return now
}

// sample measures once.
func (e *Engine) sample(ctx context.Context, refs []string, all bool) ([]Stats, error) {
	containers, err := e.sampled(ctx, refs, all)
	if err != nil {
		return nil, err
	}
	machine, err := machineCPU()
	if err != nil {
		return nil, err
	}
	out := make([]Stats, 0, len(containers))
	for i, c := range containers {
		s := Stats{ID: c.ID, Name: c.Name}
		if len(refs) > 0 {
			s.Ref = refs[i]
		}
		if c.Status == StatusRunning || c.Status == StatusPaused {
			s.measure(c, machine)
		}
		out = append(out, s)
	}
	return out, nil
}

// sampled returns the containers to measure.
func (e *Engine) sampled(ctx context.Context, refs []string, all bool) ([]Container, error) {
	if len(refs) == 0 {
		list, err := e.List(ctx)
		return slices.DeleteFunc(list, func(c Container) bool { return !all && !isUpStatus(c.Status) }), err
	}
	list := make([]Container, 0, len(refs))
	for _, ref := range refs {
		c, err := e.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// measure fills in what c, which runs, uses. If it ends meanwhile, it counts as
// one that does not run.
func (s *Stats) measure(c Container, machine CPUStats) {
	group := cgroupOf(c.Container)
	s.Read = time.Now()
	var ok bool
	if s.CPU, ok = groupCPU(group, machine); !ok {
		*s = Stats{ID: s.ID, Name: s.Name, Ref: s.Ref}
		return
	}
	pids, _ := processesOf(group) // none if it has just ended
	if s.Memory = groupMemory(group); s.Memory == nil {
		s.Memory = processMemory(pids)
	}
	if s.BlockIO = groupIO(group); s.BlockIO == nil {
		s.BlockIO = processIO(pids)
	}
	if s.Pids = groupPids(group); s.Pids == nil {
		s.Pids = countThreads(pids)
	}
	if c.Network.Mode != hostNetwork {
		s.Networks = networkStats(c.PID)
	}
}

// CPUPercent is the use of CPU since the sample before: 100 is one CPU.
func (s Stats) CPUPercent() float64 {
	used, passed := s.CPU.Usage-s.PreCPU.Usage, s.CPU.System-s.PreCPU.System
	if s.PreRead.IsZero() || passed <= 0 || used <= 0 {
		return 0
	}
	return float64(used) / float64(passed) * float64(s.CPU.Online) * 100
}

// UsedBytes is the memory in use without the page cache that can be given up at
// once, which is what Docker shows.
func (m MemoryStats) UsedBytes() uint64 {
	if cache := m.Detail["inactive_file"]; cache < m.UsageBytes {
		return m.UsageBytes - cache
	}
	return m.UsageBytes
}

// Percent is the used part of the limit.
func (m MemoryStats) Percent() float64 {
	if m.LimitBytes == 0 {
		return 0
	}
	return float64(m.UsedBytes()) / float64(m.LimitBytes) * 100
}

// NetworkBytes sums up the traffic of all interfaces.
func (s Stats) NetworkBytes() (received, sent uint64) {
	for n := range maps.Values(s.Networks) {
		received, sent = received+n.RxBytes, sent+n.TxBytes
	}
	return received, sent
}

// BlockBytes sums up what was read from and written to all devices.
func (s Stats) BlockBytes() (read, written uint64) {
	for _, b := range s.BlockIO {
		read, written = read+b.ReadBytes, written+b.WriteBytes
	}
	return read, written
}
