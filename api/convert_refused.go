package api

import (
	"github.com/moby/moby/api/types/container"
)

// refusal is a field of a request that cleat knows and does not have. Such fields
// are refused by name, never ignored.
type refusal struct {
	given        bool
	name, reason string
}

func refuseFirst(list []refusal) error {
	for _, r := range list {
		if r.given {
			return unsupported("%s %s", r.name, r.reason)
		}
	}
	return nil
}

// refuse returns an error if a container is asked for that cleat cannot make.
func refuse(cfg *container.Config, host *container.HostConfig, old oldHostConfig) error {
	err := refuseFirst([]refusal{
		{old.KernelMemory > 0, "KernelMemory", never},
		{old.KernelMemoryTCP > 0, "KernelMemoryTCP", never},
		{cfg.NetworkDisabled, "NetworkDisabled", `is not supported: use the network mode "none"`},
		{host.Cgroup != "", "Cgroup", "is not supported: a container is a systemd unit in cleat.slice"},
		{host.UsernsMode != "" && host.UsernsMode != "host", "UsernsMode", "is not supported by this version yet"},
		{host.VolumeDriver != "" && host.VolumeDriver != "local", "VolumeDriver", "is not supported: volumes are local directories"},
		{host.Runtime != "" && host.Runtime != "cleat", "Runtime", "is not supported by this version yet"},
		{len(host.StorageOpt) > 0, "StorageOpt", "is not supported by this version yet"},
		{host.Umask != nil, "Umask", "is not supported by this version yet"},
		{host.Isolation != "" && host.Isolation != "default", "Isolation", "is for Windows containers only"},
		{len(host.MaskedPaths)+len(host.ReadonlyPaths) > 0, "MaskedPaths and ReadonlyPaths", "can only be empty, which means no such paths, or left out"},
	})
	if err != nil {
		return err
	}
	return refuseResources(host.Resources)
}

// never is why some limits are refused.
const never = "is not supported: the kernel's cgroup v2 has no such control"

func refuseResources(in container.Resources) error {
	return refuseFirst([]refusal{
		{in.CgroupParent != "", "CgroupParent", "is not supported: a container is a systemd unit in cleat.slice; use a drop-in below cleat-.service.d"},
		{in.CPURealtimePeriod != 0 || in.CPURealtimeRuntime != 0, "CpuRealtimePeriod", never},
		{len(in.DeviceRequests) > 0, "DeviceRequests", "is not supported by this version yet"},
		{in.MemorySwappiness != nil && *in.MemorySwappiness != -1, "MemorySwappiness", never},
		{in.OomKillDisable != nil && *in.OomKillDisable, "OomKillDisable", never},
		{in.CPUCount != 0 || in.CPUPercent != 0 || in.IOMaximumIOps != 0 || in.IOMaximumBandwidth != 0, "CpuCount", "is for Windows containers only"},
	})
}
