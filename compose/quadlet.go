package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/spec"
)

// Described is a file of podman-systemd.unit(5) that describes a container, a
// network, a volume or a build of the project.
type Described struct{ Name, Text string }

// quadletKeys are the keys of a service that such a file can say.
var quadletKeys = []string{
	"build", "cap_add", "cap_drop", "command", "container_name", "cpus", "depends_on", "devices", "dns", "dns_opt", "dns_search", "entrypoint", "environment", "env_file",
	"expose", "extra_hosts", "group_add", "healthcheck", "hostname", "image", "init", "labels", "logging", "mem_limit", "network_mode", "networks", "pids_limit", "ports",
	"profiles", "pull_policy", "read_only", "restart", "scale", "secrets", "security_opt", "shm_size", "stop_grace_period", "stop_signal", "sysctls", "tmpfs", "ulimits", "user",
	"volumes", "working_dir",
}

// quadletIgnored are keys that are compose's own business, and change no container.
var quadletIgnored = []string{"attach", "develop", "extends", "platform", "label_file"}

// Quadlet describes the active services by files for systemd, as "cleat quadlet"
// and Podman read them. A key that no such file has is refused with its place.
func (p *Project) Quadlet() (list []Described, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	for _, key := range p.model.NetworkNames() {
		d, err := p.quadletNetwork(key)
		if err != nil {
			return nil, err
		}
		list = append(list, d...)
	}
	for _, key := range p.model.VolumeNames() {
		v := p.model.Volumes[key]
		if v.External {
			continue
		}
		if len(v.DriverOpts) > 0 {
			return nil, p.refusef("volumes."+key+".driver_opts", "no .volume file can say it: %w", spec.ErrUnsupport)
		}
		q := &quadletFile{name: v.Name + ".volume"}
		q.section("Volume")
		q.set("VolumeName", v.Name)
		q.labels(v.Labels)
		list = append(list, q.done())
		if q.err != nil {
			return nil, q.err
		}
	}
	for _, name := range p.Services() {
		files, err := p.quadletService(p.model.Services[name])
		if err != nil {
			return nil, err
		}
		list = append(list, files...)
	}
	return list, nil
}

func (p *Project) quadletNetwork(key string) ([]Described, error) {
	n := p.model.Networks[key]
	if n.External {
		return nil, nil
	}
	q := &quadletFile{name: n.Name + ".network"}
	q.section("Network")
	q.set("NetworkName", n.Name)
	q.set("Driver", n.Driver)
	q.flag("Internal", n.Internal)
	q.flag("IPv6", n.EnableIPv6 != nil && *n.EnableIPv6)
	if n.EnableIPv4 != nil && !*n.EnableIPv4 {
		return nil, p.refusef("networks."+key+".enable_ipv4", "no .network file can say it: %w", spec.ErrUnsupport)
	}
	for _, name := range sorted(n.DriverOpts) {
		q.set("Options", name+"="+n.DriverOpts[name])
	}
	for _, pool := range n.Ipam.Config {
		if len(pool.AuxiliaryAddresses) > 0 {
			return nil, p.refusef("networks."+key+".ipam.config", "no .network file can say aux_addresses: %w", spec.ErrUnsupport)
		}
		q.set("Subnet", pool.Subnet)
		q.set("Gateway", pool.Gateway)
		q.set("IPRange", pool.IPRange)
	}
	q.labels(n.Labels)
	return []Described{q.done()}, q.err
}

// quadletService describes the containers of a service and, if it is built, its
// image.
func (p *Project) quadletService(s types.ServiceConfig) (list []Described, err error) {
	if _, err := p.convert(s); err != nil { // what is wrong with it is told as by up
		return nil, err
	}
	if err := p.quadletCheck(s); err != nil {
		return nil, err
	}
	image := p.imageOf(s)
	if s.Build != nil {
		d, err := p.quadletBuild(s, image)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
		image = d.Name
	}
	for n := 1; n <= s.GetScale(); n++ {
		q := &quadletFile{name: p.containerName(s, n) + ".container"}
		for _, step := range []struct {
			key string
			do  func(*quadletFile, types.ServiceConfig) error
		}{
			{"depends_on", p.quadletUnit},
			{"image", func(q *quadletFile, s types.ServiceConfig) error {
				q.section("Container")
				q.set("ContainerName", p.containerName(s, n))
				q.set("Image", image)
				return nil
			}},
			{"command", quadletProcess}, {"networks", p.quadletNetworks}, {"volumes", p.quadletMounts}, {"security_opt", quadletSecurity},
			{"mem_limit", quadletLimits}, {"healthcheck", quadletHealth}, {"secrets", p.quadletSecrets}, {"restart", quadletRestart},
		} {
			if err := step.do(q, s); err != nil {
				var at keyError
				if errors.As(err, &at) {
					step.key, err = at.key, at.error
				}
				return nil, p.refusef("services."+s.Name+"."+step.key, "%w", err)
			}
		}
		list = append(list, q.done())
		if q.err != nil {
			return nil, p.refusef("services."+s.Name, "%w", q.err)
		}
	}
	return list, nil
}

// quadletCheck refuses the keys of a service that no file can say.
func (p *Project) quadletCheck(s types.ServiceConfig) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var keys map[string]any
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	for _, key := range sorted(keys) {
		known := slices.Contains(quadletKeys, key) || slices.Contains(quadletIgnored, key)
		if !known && keys[key] != nil && !(key == "deploy" && onlyLimits(s.Deploy)) {
			return p.refusef("services."+s.Name+"."+key, "no .container file can say it: use 'cleat compose up': %w", spec.ErrUnsupport)
		}
	}
	return nil
}

// onlyLimits reports whether deploy says no more than a number of containers and
// what mem_limit, cpus and pids_limit can say as well.
func onlyLimits(d *types.DeployConfig) bool {
	return d.Resources.Reservations == nil && d.RestartPolicy == nil
}

// unsaid is what there is no key for.
func unsaid(key, what string) error {
	return at(key, fmt.Errorf("no file for systemd can say %s: %w", what, spec.ErrUnsupport))
}

// quadletUnit says what comes first: what a service depends on.
func (p *Project) quadletUnit(q *quadletFile, s types.ServiceConfig) error {
	q.section("Unit")
	q.set("Description", "Service "+s.Name+" of the project "+p.Name())
	for _, d := range dependencies(s) {
		other, active := p.model.Services[d.service]
		if !active {
			continue
		}
		if d.condition == types.ServiceConditionCompletedSuccessfully {
			return unsaid("depends_on", "that one service waits for the end of another")
		}
		for n := 1; n <= other.GetScale(); n++ {
			unit := p.containerName(other, n) + ".service"
			q.set("Wants", unit)
			q.set("After", unit)
		}
	}
	return nil
}

func quadletProcess(q *quadletFile, s types.ServiceConfig) error {
	if s.Entrypoint != nil {
		if len(s.Entrypoint) == 0 {
			return unsaid("entrypoint", "that there is none")
		}
		text, err := json.Marshal(s.Entrypoint)
		if err != nil {
			return err
		}
		q.set("Entrypoint", string(text))
	}
	if s.Command != nil && len(s.Command) == 0 {
		return unsaid("command", "that there is none")
	}
	q.words("Exec", s.Command, "$", "$$")
	for _, name := range sorted(s.Environment) {
		if v := s.Environment[name]; v != nil {
			q.words("Environment", []string{name + "=" + *v})
		}
	}
	q.labels(s.Labels)
	for _, set := range []struct{ key, value string }{
		{"User", s.User}, {"WorkingDir", s.WorkingDir}, {"HostName", s.Hostname}, {"StopSignal", s.StopSignal},
		{"Pull", strings.Replace(s.PullPolicy, "if_not_present", "missing", 1)},
	} {
		if set.key != "Pull" || set.value != "build" {
			q.set(set.key, set.value)
		}
	}
	if d := s.StopGracePeriod; d != nil {
		q.set("StopTimeout", strconv.FormatInt(int64(time.Duration(*d)/time.Second), 10))
	}
	q.flag("RunInit", s.Init != nil && *s.Init)
	for _, group := range s.GroupAdd {
		q.set("GroupAdd", group)
	}
	if l := s.Logging; l != nil {
		q.set("LogDriver", l.Driver)
		for _, name := range sorted(l.Options) {
			q.set("LogOpt", name+"="+l.Options[name])
		}
	}
	return nil
}

func (p *Project) quadletNetworks(q *quadletFile, s types.ServiceConfig) error {
	switch service, joined := strings.CutPrefix(s.NetworkMode, types.ServicePrefix); {
	case joined:
		name, err := p.firstContainer(service)
		if err != nil {
			return at("network_mode", err)
		}
		q.set("Network", name+".container")
	case s.NetworkMode != "":
		q.set("Network", s.NetworkMode)
	}
	for _, key := range s.NetworksByPriority() {
		r, err := p.request(s, key)
		if err != nil {
			return err
		}
		if len(r.Options) > 0 || r.Priority != 0 {
			return unsaid("networks."+key, "driver_opts and gw_priority")
		}
		var options []string
		for _, alias := range r.Aliases {
			options = append(options, "alias="+alias)
		}
		addr4, addr6 := "", ""
		if cfg := s.Networks[key]; cfg != nil {
			addr4, addr6 = cfg.Ipv4Address, cfg.Ipv6Address
		}
		for _, a := range []struct{ key, value string }{{"ip", addr4}, {"ip6", addr6}, {"mac-address", r.MAC}} {
			if a.value != "" {
				options = append(options, a.key+"="+a.value)
			}
		}
		network := r.Name
		if !p.model.Networks[key].External {
			network += ".network"
		}
		if len(options) > 0 {
			network += ":" + strings.Join(options, ",")
		}
		q.set("Network", network)
	}
	for _, port := range s.Ports {
		text := strconv.Itoa(int(port.Target)) + "/" + or(port.Protocol, "tcp")
		if port.Published != "" || port.HostIP != "" {
			text = port.Published + ":" + text
		}
		if host := port.HostIP; host != "" {
			if strings.Contains(host, ":") {
				host = "[" + host + "]"
			}
			text = host + ":" + text
		}
		q.set("PublishPort", text)
	}
	q.list("ExposeHostPort", s.Expose)
	q.list("DNS", s.DNS)
	q.list("DNSSearch", s.DNSSearch)
	q.list("DNSOption", s.DNSOpts)
	hosts := s.ExtraHosts.AsList(":")
	slices.Sort(hosts)
	q.list("AddHost", hosts)
	return nil
}

func (p *Project) quadletMounts(q *quadletFile, s types.ServiceConfig) error {
	for _, v := range s.Volumes {
		m, err := p.mount(v)
		if err != nil {
			return err
		}
		if m.Subpath != "" || m.NonRecursive || len(m.VolumeLabels) > 0 || strings.ContainsAny(m.Source+m.Target, ":,") {
			return unsaid("volumes", fmt.Sprintf("all of the mount at %s", m.Target))
		}
		var options []string
		add := func(on bool, option string) {
			if on {
				options = append(options, option)
			}
		}
		add(m.ReadOnly, "ro")
		add(m.NoCopy, "nocopy")
		add(m.Propagation != "", m.Propagation)
		key, text := "Volume", m.Target
		switch m.Type {
		case spec.MountTmpfs:
			key = "Tmpfs"
			add(m.TmpfsBytes > 0, "size="+strconv.FormatInt(m.TmpfsBytes, 10))
			add(m.TmpfsMode != 0, "mode="+strconv.FormatUint(uint64(m.TmpfsMode), 8))
		case spec.MountVolume:
			if m.Source != "" {
				source := m.Source
				if !p.model.Volumes[v.Source].External {
					source += ".volume"
				}
				text = source + ":" + text
			}
		default:
			text = m.Source + ":" + text
		}
		if len(options) > 0 {
			text += ":" + strings.Join(options, ",")
		}
		q.set(key, text)
	}
	q.list("Tmpfs", s.Tmpfs)
	return nil
}

func quadletSecurity(q *quadletFile, s types.ServiceConfig) error {
	q.list("AddCapability", s.CapAdd)
	q.list("DropCapability", s.CapDrop)
	for _, opt := range s.SecurityOpt {
		name, value, _ := strings.Cut(strings.Replace(opt, ":", "=", 1), "=")
		switch name {
		case "no-new-privileges":
			q.flag("NoNewPrivileges", value == "" || value == "true")
		case "apparmor":
			q.set("AppArmor", value)
		case "seccomp":
			q.set("SeccompProfile", value)
		default:
			return unsaid("security_opt", opt)
		}
	}
	q.flag("ReadOnly", s.ReadOnly)
	for _, d := range s.Devices {
		text := d.Source
		if d.Target != "" {
			text += ":" + d.Target
		}
		if d.Permissions != "" {
			text += ":" + d.Permissions
		}
		q.set("AddDevice", text)
	}
	for _, name := range sorted(s.Sysctls) {
		q.words("Sysctl", []string{name + "=" + s.Sysctls[name]})
	}
	for _, name := range sorted(s.Ulimits) {
		u := s.Ulimits[name]
		if u.Single != 0 {
			q.set("Ulimit", fmt.Sprintf("%s=%d", name, u.Single))
			continue
		}
		q.set("Ulimit", fmt.Sprintf("%s=%d:%d", name, u.Soft, u.Hard))
	}
	return nil
}

func quadletLimits(q *quadletFile, s types.ServiceConfig) error {
	w := &wanted{service: s}
	if err := (&Project{}).limits(w); err != nil {
		return err
	}
	l := w.create.Container.Limits
	q.number("Memory", l.MemoryBytes)
	q.number("PidsLimit", l.Pids)
	q.number("ShmSize", int64(s.ShmSize))
	return nil
}

func quadletHealth(q *quadletFile, s types.ServiceConfig) error {
	h := s.HealthCheck
	if h == nil {
		return nil
	}
	if h.StartInterval != nil {
		return unsaid("healthcheck.start_interval", "it")
	}
	switch {
	case h.Disable:
		q.set("HealthCmd", "none")
	case len(h.Test) > 1 && h.Test[0] == "CMD-SHELL":
		q.set("HealthCmd", h.Test[1])
	case len(h.Test) > 1 && h.Test[0] == "CMD":
		text, err := json.Marshal(h.Test[1:])
		if err != nil {
			return err
		}
		q.set("HealthCmd", string(text))
	}
	for key, d := range map[string]*types.Duration{"HealthInterval": h.Interval, "HealthTimeout": h.Timeout, "HealthStartPeriod": h.StartPeriod} {
		if d != nil {
			q.set(key, time.Duration(*d).String())
		}
	}
	if h.Retries != nil {
		q.set("HealthRetries", strconv.FormatUint(*h.Retries, 10))
	}
	return nil
}

func (p *Project) quadletSecrets(q *quadletFile, s types.ServiceConfig) error {
	if len(s.Configs) > 0 {
		return unsaid("configs", "them")
	}
	w := &wanted{service: s}
	if err := p.secrets(w); err != nil {
		return err
	}
	if len(w.files) > 0 || len(w.create.SecretData) > 0 || len(w.create.Container.Mounts) > 0 {
		return unsaid("secrets", fmt.Sprintf("a secret that is neither a file nor external, or that is not in %s", spec.SecretsDir))
	}
	for _, secret := range w.create.Container.Secrets {
		q.set("Secret", fmt.Sprintf("%s,target=%s,uid=%d,gid=%d,mode=%04o", secret.Source, secret.Target, secret.UID, secret.GID, secret.Mode))
	}
	for _, other := range p.model.Services {
		if d, ok := other.DependsOn[s.Name]; ok && d.Condition == types.ServiceConditionHealthy {
			q.set("Notify", "healthy")
			break
		}
	}
	return nil
}

func quadletRestart(q *quadletFile, s types.ServiceConfig) error {
	policy, retries, _ := strings.Cut(s.Restart, ":")
	if retries != "" {
		return unsaid("restart", "a number of attempts")
	}
	w := &wanted{service: s}
	if err := (&Project{}).limits(w); err != nil {
		return err
	}
	q.section("Service")
	q.set("Restart", strings.Replace(policy, "unless-stopped", "always", 1))
	if n := w.create.Container.Limits.CPUMillis; n > 0 {
		q.line("CPUQuota", strconv.FormatFloat(float64(n)/10, 'f', -1, 64)+"%") // it knows no specifiers
	}
	if policy != "" && policy != "no" { // the others do not return at boot, unless one that does wants them
		q.section("Install")
		q.set("WantedBy", "multi-user.target")
	}
	return nil
}

// quadletBuild describes how an image is built.
func (p *Project) quadletBuild(s types.ServiceConfig, image string) (Described, error) {
	b := s.Build
	refuse := func(key, what string) (Described, error) {
		return Described{}, p.refusef("services."+s.Name+".build."+key, "%w", unsaid("", what))
	}
	q := &quadletFile{name: p.Name() + "-" + s.Name + ".build"}
	q.section("Build")
	q.set("ImageTag", image)
	q.list("ImageTag", b.Tags)
	q.set("SetWorkingDirectory", b.Context)
	switch {
	case b.DockerfileInline != "":
		return refuse("dockerfile_inline", "it: write a Dockerfile")
	case len(b.AdditionalContexts) > 0:
		return refuse("additional_contexts", "them")
	case len(b.Secrets) > 0:
		return refuse("secrets", "them")
	case b.Dockerfile != "" && !filepath.IsAbs(b.Dockerfile):
		q.set("File", path.Join(b.Context, b.Dockerfile))
	default:
		q.set("File", b.Dockerfile)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		if v := b.Args[name]; v != nil {
			q.words("BuildArg", []string{name + "=" + *v})
		}
	}
	q.labels(b.Labels)
	q.set("Target", b.Target)
	q.set("Network", b.Network)
	if b.Pull {
		q.set("Pull", "always")
	}
	return q.done(), q.err
}
