package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/cleat-project/cleat/engine"
)

// containerStats streams what a container uses, or answers with it once.
func (s *Server) containerStats(w http.ResponseWriter, r *request) error {
	stream := r.flagOr("stream", true)
	if stream && r.flag("one-shot") {
		return invalid("cannot have stream=true and one-shot=true")
	}
	c, err := s.eng.Get(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	if !stream && c.PID == 0 {
		return ok(w, convertStats(engine.Stats{ID: c.ID, Name: c.Name}, r.version))
	}
	out := beginStream(w, "application/json")
	for samples, err := range s.eng.Stats(r.Context(), []string{c.ID}, engine.StatsOptions{Once: !stream}) {
		if err != nil {
			return err
		}
		for _, sample := range samples {
			if err := writeLine(out, convertStats(sample, r.version)); err != nil {
				return nil // the client is gone
			}
		}
	}
	return nil
}

// convertStats turns a sample into Docker's form.
func convertStats(s engine.Stats, v version) container.StatsResponse {
	out := container.StatsResponse{ID: s.ID, Name: "/" + s.Name, Read: s.Read, PreRead: s.PreRead, CPUStats: convertCPU(s.CPU), PreCPUStats: convertCPU(s.PreCPU)}
	if v >= 52 {
		out.OSType = "linux"
	}
	if s.Memory != nil {
		out.MemoryStats = container.MemoryStats{Usage: s.Memory.UsageBytes, Limit: s.Memory.LimitBytes, Stats: s.Memory.Detail}
	}
	if s.Pids != nil {
		out.PidsStats = container.PidsStats{Current: s.Pids.Current, Limit: s.Pids.Limit}
	}
	for name, n := range s.Networks {
		if out.Networks == nil {
			out.Networks = map[string]container.NetworkStats{}
		}
		out.Networks[name] = container.NetworkStats{
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		}
	}
	for _, b := range s.BlockIO {
		entry := func(op string, value uint64) container.BlkioStatEntry {
			return container.BlkioStatEntry{Major: uint64(b.Major), Minor: uint64(b.Minor), Op: op, Value: value}
		}
		out.BlkioStats.IoServiceBytesRecursive = append(out.BlkioStats.IoServiceBytesRecursive, entry("read", b.ReadBytes), entry("write", b.WriteBytes))
		out.BlkioStats.IoServicedRecursive = append(out.BlkioStats.IoServicedRecursive, entry("read", b.ReadCount), entry("write", b.WrittenCount))
	}
	return out
}

func convertCPU(c engine.CPUStats) container.CPUStats {
	return container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: uint64(c.Usage), UsageInKernelmode: uint64(c.Kernel), UsageInUsermode: uint64(c.User),
		},
		SystemUsage: uint64(c.System), OnlineCPUs: uint32(c.Online),
		ThrottlingData: container.ThrottlingData{Periods: c.Periods, ThrottledPeriods: c.ThrottledPeriods, ThrottledTime: uint64(c.Throttled)},
	}
}
