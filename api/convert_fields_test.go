package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/cleat-project/cleat/engine"
)

// fieldCase says what becomes of one field of a request. Exactly one of taken,
// refused and neutral is given.
type fieldCase struct {
	base    string // what the field needs around it, as with; "" is nothing
	with    string // the same with the field set
	taken   bool   // the container differs
	refused string // part of the message, which names the field
	neutral string // why nothing comes of it
}

func taken(with string) fieldCase           { return fieldCase{with: with, taken: true} }
func takenIn(base, with string) fieldCase   { return fieldCase{base: base, with: with, taken: true} }
func refused(with, text string) fieldCase   { return fieldCase{with: with, refused: text} }
func neutral(with, reason string) fieldCase { return fieldCase{with: with, neutral: reason} }

// Why fields change nothing.
const (
	ofClient  = "the client's own affair"
	ofReport  = "what runs, not what is asked for: clients send back what they have inspected"
	ofImages  = "for images that are made of the container; commit reads it from its own request"
	ofWindows = "for Windows containers only, and without meaning here as in Docker"
)

func bindOf(fields string) string {
	return `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/s","Target":"/t"` + fields + `}]}`
}

func volumeOf(fields string) string {
	return `"HostConfig":{"Mounts":[{"Type":"volume","Source":"vol","Target":"/t"` + fields + `}]}`
}

func tmpfsOf(fields string) string {
	return `"HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/t"` + fields + `}]}`
}

func endpointOf(fields string) string {
	return `"NetworkingConfig":{"EndpointsConfig":{"n":{` + fields + `}}}`
}

// createFields has every field of a request for a container, by its place in moby's
// types.
var createFields = map[string]fieldCase{
	"Config.Hostname":        taken(`"Hostname":"h"`),
	"Config.Domainname":      taken(`"Domainname":"d"`),
	"Config.User":            taken(`"User":"u"`),
	"Config.AttachStdin":     neutral(`"AttachStdin":true`, ofClient),
	"Config.AttachStdout":    neutral(`"AttachStdout":true`, ofClient),
	"Config.AttachStderr":    neutral(`"AttachStderr":true`, ofClient),
	"Config.ExposedPorts":    taken(`"ExposedPorts":{"80/tcp":{}}`),
	"Config.Tty":             taken(`"Tty":true`),
	"Config.OpenStdin":       taken(`"OpenStdin":true`),
	"Config.StdinOnce":       taken(`"StdinOnce":true`),
	"Config.Env":             taken(`"Env":["A=1"]`),
	"Config.Cmd":             taken(`"Cmd":["c"]`),
	"Config.Healthcheck":     taken(`"Healthcheck":{"Test":["CMD","t"]}`),
	"Config.ArgsEscaped":     neutral(`"ArgsEscaped":true`, ofWindows),
	"Config.Image":           taken(`"Image":"y"`),
	"Config.Volumes":         taken(`"Volumes":{"/v":{}}`),
	"Config.WorkingDir":      taken(`"WorkingDir":"/w"`),
	"Config.Entrypoint":      taken(`"Entrypoint":["e"]`),
	"Config.NetworkDisabled": refused(`"NetworkDisabled":true`, "NetworkDisabled"),
	"Config.OnBuild":         neutral(`"OnBuild":["RUN x"]`, ofImages),
	"Config.Labels":          taken(`"Labels":{"l":"v"}`),
	"Config.StopSignal":      taken(`"StopSignal":"INT"`),
	"Config.StopTimeout":     taken(`"StopTimeout":5`),
	"Config.Shell":           takenIn(`"Healthcheck":{"Test":["CMD-SHELL","t"]}`, `"Healthcheck":{"Test":["CMD-SHELL","t"]},"Shell":["/bin/ash","-c"]`),

	"HealthcheckConfig.Test":          taken(`"Healthcheck":{"Test":["CMD","t"]}`),
	"HealthcheckConfig.Interval":      takenIn(`"Healthcheck":{}`, `"Healthcheck":{"Interval":1000000}`),
	"HealthcheckConfig.Timeout":       takenIn(`"Healthcheck":{}`, `"Healthcheck":{"Timeout":1000000}`),
	"HealthcheckConfig.StartPeriod":   takenIn(`"Healthcheck":{}`, `"Healthcheck":{"StartPeriod":1000000}`),
	"HealthcheckConfig.StartInterval": takenIn(`"Healthcheck":{}`, `"Healthcheck":{"StartInterval":1000000}`),
	"HealthcheckConfig.Retries":       takenIn(`"Healthcheck":{}`, `"Healthcheck":{"Retries":3}`),

	"HostConfig.Binds":           taken(`"HostConfig":{"Binds":["/a:/b"]}`),
	"HostConfig.ContainerIDFile": neutral(`"HostConfig":{"ContainerIDFile":"/x"}`, ofClient),
	"HostConfig.LogConfig":       taken(`"HostConfig":{"LogConfig":{"Type":"none"}}`),
	"HostConfig.NetworkMode":     taken(`"HostConfig":{"NetworkMode":"host"}`),
	"HostConfig.PortBindings":    taken(`"HostConfig":{"PortBindings":{"80/tcp":[{}]}}`),
	"HostConfig.RestartPolicy":   taken(`"HostConfig":{"RestartPolicy":{"Name":"always"}}`),
	"HostConfig.AutoRemove":      taken(`"HostConfig":{"AutoRemove":true}`),
	"HostConfig.VolumeDriver":    refused(`"HostConfig":{"VolumeDriver":"nfs"}`, "VolumeDriver"),
	"HostConfig.VolumesFrom":     taken(`"HostConfig":{"VolumesFrom":["c"]}`),
	"HostConfig.ConsoleSize":     takenIn(`"Tty":true`, `"Tty":true,"HostConfig":{"ConsoleSize":[24,80]}`),
	"HostConfig.Annotations":     taken(`"HostConfig":{"Annotations":{"a":"b"}}`),
	"HostConfig.CapAdd":          taken(`"HostConfig":{"CapAdd":["NET_ADMIN"]}`),
	"HostConfig.CapDrop":         taken(`"HostConfig":{"CapDrop":["ALL"]}`),
	"HostConfig.CgroupnsMode":    taken(`"HostConfig":{"CgroupnsMode":"host"}`),
	"HostConfig.DNS":             taken(`"HostConfig":{"Dns":["192.0.2.1"]}`),
	"HostConfig.DNSOptions":      taken(`"HostConfig":{"DnsOptions":["ndots:1"]}`),
	"HostConfig.DNSSearch":       taken(`"HostConfig":{"DnsSearch":["example"]}`),
	"HostConfig.ExtraHosts":      taken(`"HostConfig":{"ExtraHosts":["h:192.0.2.1"]}`),
	"HostConfig.GroupAdd":        taken(`"HostConfig":{"GroupAdd":["g"]}`),
	"HostConfig.IpcMode":         taken(`"HostConfig":{"IpcMode":"host"}`),
	"HostConfig.Cgroup":          refused(`"HostConfig":{"Cgroup":"container:x"}`, "Cgroup"),
	"HostConfig.Links":           taken(`"HostConfig":{"Links":["a:b"]}`),
	"HostConfig.OomScoreAdj":     taken(`"HostConfig":{"OomScoreAdj":5}`),
	"HostConfig.PidMode":         taken(`"HostConfig":{"PidMode":"host"}`),
	"HostConfig.Privileged":      taken(`"HostConfig":{"Privileged":true}`),
	"HostConfig.PublishAllPorts": taken(`"HostConfig":{"PublishAllPorts":true}`),
	"HostConfig.ReadonlyRootfs":  taken(`"HostConfig":{"ReadonlyRootfs":true}`),
	"HostConfig.SecurityOpt":     taken(`"HostConfig":{"SecurityOpt":["no-new-privileges"]}`),
	"HostConfig.StorageOpt":      refused(`"HostConfig":{"StorageOpt":{"size":"1G"}}`, "StorageOpt"),
	"HostConfig.Tmpfs":           taken(`"HostConfig":{"Tmpfs":{"/t":""}}`),
	"HostConfig.UTSMode":         taken(`"HostConfig":{"UTSMode":"host"}`),
	"HostConfig.UsernsMode":      refused(`"HostConfig":{"UsernsMode":"private"}`, "UsernsMode"),
	"HostConfig.ShmSize":         taken(`"HostConfig":{"ShmSize":1000000}`),
	"HostConfig.Sysctls":         taken(`"HostConfig":{"Sysctls":{"net.ipv4.ip_forward":"1"}}`),
	"HostConfig.Runtime":         refused(`"HostConfig":{"Runtime":"kata"}`, "Runtime"),
	"HostConfig.Umask":           refused(`"HostConfig":{"Umask":18}`, "Umask"),
	"HostConfig.Isolation":       refused(`"HostConfig":{"Isolation":"hyperv"}`, "Isolation"),
	"HostConfig.Mounts":          taken(bindOf("")),
	"HostConfig.MaskedPaths":     refused(`"HostConfig":{"MaskedPaths":["/x"]}`, "MaskedPaths"),
	"HostConfig.ReadonlyPaths":   refused(`"HostConfig":{"ReadonlyPaths":["/x"]}`, "ReadonlyPaths"),
	"HostConfig.Init":            taken(`"HostConfig":{"Init":true}`),

	"Resources.CPUShares":            taken(`"HostConfig":{"CpuShares":5}`),
	"Resources.Memory":               taken(`"HostConfig":{"Memory":100000000}`),
	"Resources.NanoCPUs":             taken(`"HostConfig":{"NanoCpus":1000000000}`),
	"Resources.CgroupParent":         refused(`"HostConfig":{"CgroupParent":"/x"}`, "CgroupParent"),
	"Resources.BlkioWeight":          taken(`"HostConfig":{"BlkioWeight":100}`),
	"Resources.BlkioWeightDevice":    taken(`"HostConfig":{"BlkioWeightDevice":[{"Path":"/dev/x","Weight":100}]}`),
	"Resources.BlkioDeviceReadBps":   taken(`"HostConfig":{"BlkioDeviceReadBps":[{"Path":"/dev/x","Rate":100}]}`),
	"Resources.BlkioDeviceWriteBps":  taken(`"HostConfig":{"BlkioDeviceWriteBps":[{"Path":"/dev/x","Rate":100}]}`),
	"Resources.BlkioDeviceReadIOps":  taken(`"HostConfig":{"BlkioDeviceReadIOps":[{"Path":"/dev/x","Rate":100}]}`),
	"Resources.BlkioDeviceWriteIOps": taken(`"HostConfig":{"BlkioDeviceWriteIOps":[{"Path":"/dev/x","Rate":100}]}`),
	"Resources.CPUPeriod":            takenIn(`"HostConfig":{"CpuQuota":50000}`, `"HostConfig":{"CpuQuota":50000,"CpuPeriod":50000}`),
	"Resources.CPUQuota":             taken(`"HostConfig":{"CpuQuota":50000}`),
	"Resources.CPURealtimePeriod":    refused(`"HostConfig":{"CpuRealtimePeriod":5}`, "CpuRealtimePeriod"),
	"Resources.CPURealtimeRuntime":   refused(`"HostConfig":{"CpuRealtimeRuntime":5}`, "CpuRealtimePeriod"),
	"Resources.CpusetCpus":           taken(`"HostConfig":{"CpusetCpus":"0"}`),
	"Resources.CpusetMems":           taken(`"HostConfig":{"CpusetMems":"0"}`),
	"Resources.Devices":              taken(`"HostConfig":{"Devices":[{"PathOnHost":"/dev/null"}]}`),
	"Resources.DeviceCgroupRules":    taken(`"HostConfig":{"DeviceCgroupRules":["c 1:3 r"]}`),
	"Resources.DeviceRequests":       refused(`"HostConfig":{"DeviceRequests":[{"Count":-1}]}`, "DeviceRequests"),
	"Resources.MemoryReservation":    taken(`"HostConfig":{"MemoryReservation":100000000}`),
	"Resources.MemorySwap":           takenIn(`"HostConfig":{"Memory":100000000}`, `"HostConfig":{"Memory":100000000,"MemorySwap":100000000}`),
	"Resources.MemorySwappiness":     refused(`"HostConfig":{"MemorySwappiness":5}`, "MemorySwappiness"),
	"Resources.OomKillDisable":       refused(`"HostConfig":{"OomKillDisable":true}`, "OomKillDisable"),
	"Resources.PidsLimit":            taken(`"HostConfig":{"PidsLimit":5}`),
	"Resources.Ulimits":              taken(`"HostConfig":{"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}]}`),
	"Resources.CPUCount":             refused(`"HostConfig":{"CpuCount":1}`, "CpuCount"),
	"Resources.CPUPercent":           refused(`"HostConfig":{"CpuPercent":1}`, "CpuCount"),
	"Resources.IOMaximumIOps":        refused(`"HostConfig":{"IOMaximumIOps":1}`, "Windows"),
	"Resources.IOMaximumBandwidth":   refused(`"HostConfig":{"IOMaximumBandwidth":1}`, "Windows"),

	"LogConfig.Type":                  taken(`"HostConfig":{"LogConfig":{"Type":"none"}}`),
	"LogConfig.Config":                taken(`"HostConfig":{"LogConfig":{"Config":{"tag":"x"}}}`),
	"RestartPolicy.Name":              taken(`"HostConfig":{"RestartPolicy":{"Name":"always"}}`),
	"RestartPolicy.MaximumRetryCount": takenIn(`"HostConfig":{"RestartPolicy":{"Name":"on-failure"}}`, `"HostConfig":{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}}`),
	"DeviceMapping.PathOnHost":        taken(`"HostConfig":{"Devices":[{"PathOnHost":"/dev/null"}]}`),
	"DeviceMapping.PathInContainer":   takenIn(`"HostConfig":{"Devices":[{"PathOnHost":"/dev/null"}]}`, `"HostConfig":{"Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/x"}]}`),
	"DeviceMapping.CgroupPermissions": takenIn(`"HostConfig":{"Devices":[{"PathOnHost":"/dev/null"}]}`, `"HostConfig":{"Devices":[{"PathOnHost":"/dev/null","CgroupPermissions":"r"}]}`),
	"PortBinding.HostIP":              takenIn(`"HostConfig":{"PortBindings":{"80/tcp":[{}]}}`, `"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1"}]}}`),
	"PortBinding.HostPort":            takenIn(`"HostConfig":{"PortBindings":{"80/tcp":[{}]}}`, `"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}`),

	"Mount.Type":                         takenIn(volumeOf(""), `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/v","Target":"/t"}]}`),
	"Mount.Source":                       takenIn(bindOf(""), `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/other","Target":"/t"}]}`),
	"Mount.Target":                       takenIn(bindOf(""), `"HostConfig":{"Mounts":[{"Type":"bind","Source":"/s","Target":"/other"}]}`),
	"Mount.ReadOnly":                     takenIn(bindOf(""), bindOf(`,"ReadOnly":true`)),
	"Mount.Consistency":                  {base: bindOf(""), with: bindOf(`,"Consistency":"cached"`), neutral: "about Docker's virtual machine on a Mac"},
	"Mount.BindOptions":                  takenIn(bindOf(""), bindOf(`,"BindOptions":{"NonRecursive":true}`)),
	"Mount.VolumeOptions":                takenIn(volumeOf(""), volumeOf(`,"VolumeOptions":{"NoCopy":true}`)),
	"Mount.ImageOptions":                 refused(bindOf(`,"ImageOptions":{}`), `options of type "image"`),
	"Mount.TmpfsOptions":                 takenIn(tmpfsOf(""), tmpfsOf(`,"TmpfsOptions":{"SizeBytes":5}`)),
	"Mount.ClusterOptions":               refused(bindOf(`,"ClusterOptions":{}`), `options of type "cluster"`),
	"BindOptions.Propagation":            takenIn(bindOf(""), bindOf(`,"BindOptions":{"Propagation":"rslave"}`)),
	"BindOptions.NonRecursive":           takenIn(bindOf(""), bindOf(`,"BindOptions":{"NonRecursive":true}`)),
	"BindOptions.CreateMountpoint":       takenIn(bindOf(""), bindOf(`,"BindOptions":{"CreateMountpoint":true}`)),
	"BindOptions.ReadOnlyNonRecursive":   refused(bindOf(`,"BindOptions":{"ReadOnlyNonRecursive":true}`), "read-only bind mount"),
	"BindOptions.ReadOnlyForceRecursive": refused(bindOf(`,"BindOptions":{"ReadOnlyForceRecursive":true}`), "read-only bind mount"),
	"VolumeOptions.NoCopy":               takenIn(volumeOf(""), volumeOf(`,"VolumeOptions":{"NoCopy":true}`)),
	"VolumeOptions.Labels":               takenIn(volumeOf(""), volumeOf(`,"VolumeOptions":{"Labels":{"l":"v"}}`)),
	"VolumeOptions.Subpath":              takenIn(volumeOf(""), volumeOf(`,"VolumeOptions":{"Subpath":"s"}`)),
	"VolumeOptions.DriverConfig":         takenIn(volumeOf(""), volumeOf(`,"VolumeOptions":{"DriverConfig":{"Options":{"o":"v"}}}`)),
	"Driver.Name":                        refused(volumeOf(`,"VolumeOptions":{"DriverConfig":{"Name":"nfs"}}`), `volume driver "nfs"`),
	"Driver.Options":                     takenIn(volumeOf(""), volumeOf(`,"VolumeOptions":{"DriverConfig":{"Options":{"o":"v"}}}`)),
	"TmpfsOptions.SizeBytes":             takenIn(tmpfsOf(""), tmpfsOf(`,"TmpfsOptions":{"SizeBytes":5}`)),
	"TmpfsOptions.Mode":                  takenIn(tmpfsOf(""), tmpfsOf(`,"TmpfsOptions":{"Mode":448}`)),
	"TmpfsOptions.Options":               takenIn(tmpfsOf(""), tmpfsOf(`,"TmpfsOptions":{"Options":[["noexec"]]}`)),

	"NetworkingConfig.EndpointsConfig":     taken(endpointOf("")),
	"EndpointSettings.IPAMConfig":          takenIn(endpointOf(""), endpointOf(`"IPAMConfig":{"IPv4Address":"192.0.2.1"}`)),
	"EndpointSettings.Links":               takenIn(endpointOf(""), endpointOf(`"Links":["a:b"]`)),
	"EndpointSettings.Aliases":             takenIn(endpointOf(""), endpointOf(`"Aliases":["a"]`)),
	"EndpointSettings.DriverOpts":          takenIn(endpointOf(""), endpointOf(`"DriverOpts":{"a":"b"}`)),
	"EndpointSettings.GwPriority":          takenIn(endpointOf(""), endpointOf(`"GwPriority":5`)),
	"EndpointSettings.MacAddress":          takenIn(endpointOf(""), endpointOf(`"MacAddress":"02:00:00:00:00:01"`)),
	"EndpointSettings.NetworkID":           {base: endpointOf(""), with: endpointOf(`"NetworkID":"x"`), neutral: ofReport},
	"EndpointSettings.EndpointID":          {base: endpointOf(""), with: endpointOf(`"EndpointID":"x"`), neutral: ofReport},
	"EndpointSettings.Gateway":             {base: endpointOf(""), with: endpointOf(`"Gateway":"192.0.2.1"`), neutral: ofReport},
	"EndpointSettings.IPAddress":           {base: endpointOf(""), with: endpointOf(`"IPAddress":"192.0.2.1"`), neutral: ofReport},
	"EndpointSettings.IPPrefixLen":         {base: endpointOf(""), with: endpointOf(`"IPPrefixLen":24`), neutral: ofReport},
	"EndpointSettings.IPv6Gateway":         {base: endpointOf(""), with: endpointOf(`"IPv6Gateway":"2001:db8::1"`), neutral: ofReport},
	"EndpointSettings.GlobalIPv6Address":   {base: endpointOf(""), with: endpointOf(`"GlobalIPv6Address":"2001:db8::1"`), neutral: ofReport},
	"EndpointSettings.GlobalIPv6PrefixLen": {base: endpointOf(""), with: endpointOf(`"GlobalIPv6PrefixLen":64`), neutral: ofReport},
	"EndpointSettings.DNSNames":            {base: endpointOf(""), with: endpointOf(`"DNSNames":["x"]`), neutral: ofReport},
	"EndpointIPAMConfig.IPv4Address":       takenIn(endpointOf(""), endpointOf(`"IPAMConfig":{"IPv4Address":"192.0.2.1"}`)),
	"EndpointIPAMConfig.IPv6Address":       takenIn(endpointOf(""), endpointOf(`"IPAMConfig":{"IPv6Address":"2001:db8::1"}`)),
	"EndpointIPAMConfig.LinkLocalIPs":      refused(endpointOf(`"IPAMConfig":{"LinkLocalIPs":["169.254.0.1"]}`), "LinkLocalIPs"),

	// What moby's types have no more.
	"HostConfig.KernelMemory":    refused(`"HostConfig":{"KernelMemory":100000000}`, "KernelMemory"),
	"HostConfig.KernelMemoryTCP": refused(`"HostConfig":{"KernelMemoryTCP":100000000}`, "KernelMemoryTCP"),
}

// gone are the fields of createFields that moby's types do not have.
var gone = []string{"HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP"}

// fieldsOf names the fields of structs; those of an embedded one are its own.
func fieldsOf(types ...reflect.Type) (names []string) {
	for _, typ := range types {
		for f := range typ.Fields() {
			if !f.Anonymous {
				names = append(names, typ.Name()+"."+f.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// TestNothingIsSwallowed says of every field of a request for a container what
// becomes of it: one that moby adds fails the test until somebody has decided.
func TestNothingIsSwallowed(t *testing.T) {
	have := fieldsOf(
		reflect.TypeFor[container.Config](), reflect.TypeFor[container.HealthConfig](), reflect.TypeFor[container.HostConfig](), reflect.TypeFor[container.Resources](),
		reflect.TypeFor[container.LogConfig](), reflect.TypeFor[container.RestartPolicy](), reflect.TypeFor[container.DeviceMapping](), reflect.TypeFor[network.PortBinding](),
		reflect.TypeFor[mount.Mount](), reflect.TypeFor[mount.BindOptions](), reflect.TypeFor[mount.VolumeOptions](), reflect.TypeFor[mount.Driver](), reflect.TypeFor[mount.TmpfsOptions](),
		reflect.TypeFor[network.NetworkingConfig](), reflect.TypeFor[network.EndpointSettings](), reflect.TypeFor[network.EndpointIPAMConfig](),
	)
	listed := slices.DeleteFunc(slices.Sorted(maps.Keys(createFields)), func(name string) bool { return slices.Contains(gone, name) })
	if diff := cmp.Diff(have, listed); diff != "" {
		t.Errorf("fields of moby's types, and those that this test knows (-moby +test):\n%s", diff)
	}
	make := func(fields string) (engine.CreateOptions, error) {
		var in createBody
		body := `{"Image":"x"`
		if fields != "" {
			body += "," + fields
		}
		if err := json.Unmarshal([]byte(body+"}"), &in); err != nil {
			t.Fatalf("%s: %v", fields, err)
		}
		return in.options(newest)
	}
	for name, tt := range createFields {
		base, err := make(tt.base)
		if err != nil {
			t.Errorf("%s: without it: %v", name, err)
			continue
		}
		got, err := make(tt.with)
		same := reflect.DeepEqual(base, got)
		switch {
		case tt.refused != "":
			if err == nil || !strings.Contains(err.Error(), tt.refused) || status(err) != http.StatusNotImplemented && status(err) != http.StatusBadRequest {
				t.Errorf("%s: error is %v, want one with %q", name, err, tt.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.taken && same:
			t.Errorf("%s changes nothing: it is swallowed", name)
		case tt.neutral != "" && !same:
			t.Errorf("%s changes the container: %s", name, cmp.Diff(base, got, cmpopts.EquateComparable(netip.Addr{})))
		}
	}
}

// TestUpdateSwallowsNothing does the same for changes of a container.
func TestUpdateSwallowsNothing(t *testing.T) {
	refused := map[string]string{
		"CgroupParent": `"CgroupParent":"/x"`, "BlkioWeightDevice": `"BlkioWeightDevice":[{"Path":"/x"}]`, "BlkioDeviceReadBps": `"BlkioDeviceReadBps":[{"Path":"/x"}]`,
		"BlkioDeviceWriteBps": `"BlkioDeviceWriteBps":[{"Path":"/x"}]`, "BlkioDeviceReadIOps": `"BlkioDeviceReadIOps":[{"Path":"/x"}]`, "BlkioDeviceWriteIOps": `"BlkioDeviceWriteIOps":[{"Path":"/x"}]`,
		"CPURealtimePeriod": `"CpuRealtimePeriod":1`, "CPURealtimeRuntime": `"CpuRealtimeRuntime":1`, "Devices": `"Devices":[{"PathOnHost":"/x"}]`, "DeviceCgroupRules": `"DeviceCgroupRules":["a"]`,
		"DeviceRequests": `"DeviceRequests":[{}]`, "MemorySwappiness": `"MemorySwappiness":5`, "OomKillDisable": `"OomKillDisable":true`, "Ulimits": `"Ulimits":[{"Name":"nofile"}]`,
		"CPUCount": `"CpuCount":1`, "CPUPercent": `"CpuPercent":1`, "IOMaximumIOps": `"IOMaximumIOps":1`, "IOMaximumBandwidth": `"IOMaximumBandwidth":1`,
	}
	taken := map[string]string{
		"CPUShares": `"CpuShares":5`, "Memory": `"Memory":100000000`, "NanoCPUs": `"NanoCpus":1000000000`, "BlkioWeight": `"BlkioWeight":100`, "CPUQuota": `"CpuQuota":50000`,
		"CPUPeriod": `"CpuQuota":50000,"CpuPeriod":50000`, "CpusetCpus": `"CpusetCpus":"0"`, "CpusetMems": `"CpusetMems":"0"`, "MemoryReservation": `"MemoryReservation":100000000`,
		"MemorySwap": `"MemorySwap":-1`, "PidsLimit": `"PidsLimit":5`,
	}
	for f := range reflect.TypeFor[container.Resources]().Fields() {
		fields, isRefused := refused[f.Name]
		if !isRefused {
			fields = taken[f.Name]
		}
		if fields == "" {
			t.Errorf("%s: this test does not know what becomes of it", f.Name)
			continue
		}
		var in container.UpdateConfig
		if err := json.Unmarshal([]byte("{"+fields+"}"), &in); err != nil {
			t.Fatalf("%s: %v", fields, err)
		}
		opt, err := updateOptions(in)
		switch {
		case isRefused && (err == nil || status(err) != http.StatusNotImplemented):
			t.Errorf("%s: error is %v", f.Name, err)
		case !isRefused && (err != nil || reflect.DeepEqual(opt, engine.UpdateOptions{})):
			t.Errorf("%s: %+v, %v", f.Name, opt, err)
		}
	}
}

// Secrets and configs are those of a swarm.
func TestSecretsAreASwarms(t *testing.T) {
	for _, path := range []string{"/secrets", "/secrets/create", "/configs", "/configs/create", "/services/create", "/swarm/init"} {
		if code, answer := ask(t, &fake{}, http.MethodPost, path, "application/json", "{}"); code != http.StatusServiceUnavailable || !strings.Contains(answer, "not a swarm manager") {
			t.Errorf("%s: %d %s", path, code, answer)
		}
	}
}
