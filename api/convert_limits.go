package api

import (
	"fmt"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// limits reads how much a container may use.
func limits(host *container.HostConfig) (spec.Limits, error) {
	in := host.Resources
	l, err := opts.Memory(in.Memory, in.MemorySwap)
	if err != nil {
		return l, err
	}
	if l.CPUMillis, err = cpuMillis(in); err != nil {
		return l, err
	}
	l.OOMScoreAdj = host.OomScoreAdj
	l.ReservationBytes, l.CPUShares, l.CPUSet, l.IOWeight = in.MemoryReservation, in.CPUShares, in.CpusetCpus, in.BlkioWeight
	l.MemoryNodes = in.CpusetMems
	for _, d := range in.BlkioWeightDevice {
		if d != nil {
			l.IODeviceWeights = append(l.IODeviceWeights, spec.DeviceLimit{Path: d.Path, Rate: uint64(d.Weight)})
		}
	}
	if in.PidsLimit != nil {
		l.Pids = max(*in.PidsLimit, 0) // Docker's -1 is our 0: unlimited
	}
	l.ReadBPS, l.WriteBPS = throttles(in.BlkioDeviceReadBps), throttles(in.BlkioDeviceWriteBps)
	l.ReadIOPS, l.WriteIOPS = throttles(in.BlkioDeviceReadIOps), throttles(in.BlkioDeviceWriteIOps)
	return l, nil
}

// cpuMillis reads the two ways to limit CPU time.
func cpuMillis(in container.Resources) (int64, error) {
	if in.NanoCPUs != 0 {
		if in.CPUQuota != 0 || in.CPUPeriod != 0 {
			return 0, invalid("conflicting options: NanoCpus and CpuQuota or CpuPeriod cannot both be set")
		}
		return opts.CPUs(fmt.Sprintf("%d/1000000000", in.NanoCPUs))
	}
	return opts.Quota(in.CPUQuota, in.CPUPeriod)
}

func throttles(list []*blkiodev.ThrottleDevice) []spec.DeviceLimit {
	var out []spec.DeviceLimit
	for _, d := range list {
		if d != nil {
			out = append(out, spec.DeviceLimit{Path: d.Path, Rate: d.Rate})
		}
	}
	return out
}

// updateOptions reads what to change of a container.
func updateOptions(in container.UpdateConfig) (engine.UpdateOptions, error) {
	opt := engine.UpdateOptions{
		MemoryBytes: in.Memory, TotalBytes: in.MemorySwap, ReservationBytes: in.MemoryReservation,
		CPUShares: in.CPUShares, CPUSet: in.CpusetCpus, MemoryNodes: in.CpusetMems, IOWeight: in.BlkioWeight,
	}
	if err := refuseResources(in.Resources); err != nil {
		return opt, err
	}
	if len(in.BlkioWeightDevice)+len(in.BlkioDeviceReadBps)+len(in.BlkioDeviceWriteBps)+len(in.BlkioDeviceReadIOps)+len(in.BlkioDeviceWriteIOps) > 0 {
		return opt, unsupported("changing the limits of single devices is not supported: create the container anew")
	}
	if len(in.Devices)+len(in.DeviceCgroupRules)+len(in.Ulimits) > 0 {
		return opt, unsupported("changing Devices, DeviceCgroupRules and Ulimits is not supported: create the container anew")
	}
	var err error
	if opt.CPUMillis, err = cpuMillis(in.Resources); err != nil {
		return opt, badRequest(err)
	}
	if in.CPUQuota < 0 {
		opt.CPUMillis = -1
	}
	if in.PidsLimit != nil {
		opt.Pids = new(max(*in.PidsLimit, 0))
	}
	if in.RestartPolicy.Name != "" {
		p, err := restartPolicy(in.RestartPolicy)
		if err != nil {
			return opt, badRequest(err)
		}
		opt.Restart = &p
	}
	return opt, nil
}
