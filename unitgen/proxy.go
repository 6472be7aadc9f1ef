package unitgen

import (
	"fmt"
	"strings"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// What the units beside the service of a container are called: no container has a
// colon in its name.
const (
	proxySuffix = ":proxy"
	idleSuffix  = ":idle"
)

// ProxyName returns the name of the service unit that carries connections from a
// container's sockets to the container.
func ProxyName(service string) string { return base(service) + proxySuffix + ".service" }

// ProxySocketName returns the name of the socket unit of those addresses of an
// ordinary container's ports that the firewall cannot lead to it.
func ProxySocketName(service string) string { return base(service) + proxySuffix + ".socket" }

// IdleName and TimerName return the names of the units that put a container to
// sleep.
func IdleName(service string) string { return base(service) + idleSuffix + ".service" }

// TimerName is explained at IdleName.
func TimerName(service string) string { return base(service) + ".timer" }

func base(service string) string { return strings.TrimSuffix(service, ".service") }

// ServiceOf returns the service unit of the container that a unit is one of.
func ServiceOf(unit string) string {
	for _, kind := range []string{".service", ".socket", ".timer"} {
		if name, ok := strings.CutSuffix(unit, kind); ok {
			return strings.TrimSuffix(strings.TrimSuffix(name, proxySuffix), idleSuffix) + ".service"
		}
	}
	return unit
}

// ProxyInput is what Proxy and Idle have to know beyond the container. Paths are
// absolute.
type ProxyInput struct {
	NetdPath string // cleat-netd
	Root     string // state that survives a reboot
	RunRoot  string // state that does not
}

// ProxySocket returns the unit of the sockets whose connections an ordinary
// container gets by way of the proxy. It comes and goes as Socket does.
func ProxySocket(c spec.Container, listens []Listen) (Unit, error) {
	u, err := socket(c, ProxySocketName(c.UnitName()), listens)
	if err != nil {
		return Unit{}, err
	}
	u.Properties = append(u.Properties, Property{"StopWhenUnneeded", true}, descriptorName(c), unlimitedTrigger)
	if c.SurviveSoftReboot {
		u.Properties = survive(u.Properties, "sysinit.target")
	}
	sortProperties(u.Properties)
	return u, nil
}

// Proxy returns the service that accepts connections from the sockets of c and
// carries them to it. It is there while there is something to carry. That of a
// container that connections start has it started, at the same time and not
// before it; else it ends with its container.
func Proxy(c spec.Container, in ProxyInput) (Unit, error) {
	u, err := helper(c, in, ProxyName(c.UnitName()), "proxy", "Proxy of container "+c.Name)
	if err != nil {
		return Unit{}, err
	}
	relation := "PartOf"
	if c.Activated() {
		relation = "Wants"
	}
	u.Properties = append(u.Properties,
		Property{"LimitNOFILE", uint64(1 << 19)}, // two for each connection
		Property{relation, []string{c.UnitName()}},
		// One that cannot work would be started by its socket again and again.
		Property{"Restart", "on-failure"},
		Property{"RestartUSec", uint64(time.Second / time.Microsecond)},
		Property{"Type", "simple"},
	)
	sortProperties(u.Properties)
	return u, nil
}

// Idle returns the units that look from time to time, while c runs, whether it has
// anything to do, and stop it if it has not: a timer, which the container's
// service pulls in, and the service that looks.
func Idle(c spec.Container, in ProxyInput) ([]Unit, error) {
	service, err := helper(c, in, IdleName(c.UnitName()), "idle", "Idleness of container "+c.Name)
	if err != nil {
		return nil, err
	}
	service.Properties = append(service.Properties, Property{"Type", "oneshot"})
	sortProperties(service.Properties)
	every := uint64(idleTick(c.Activation.IdleTimeout) / time.Microsecond)
	timer := Unit{Name: TimerName(c.UnitName()), ID: c.ID, Properties: []Property{
		{"AccuracyUSec", every / 4},
		{"CollectMode", "inactive-or-failed"},
		{"Description", printable("Idleness of container " + c.Name)},
		{"Documentation", []string{"man:cleat(1)"}},
		{"OnActiveUSec", every},
		{"OnUnitInactiveUSec", every},
		{"StopWhenUnneeded", true},
		{"Unit", service.Name},
	}}
	return []Unit{timer, service}, nil
}

// idleTick is the time between two looks.
func idleTick(timeout time.Duration) time.Duration {
	const longest = 30 * time.Second
	return min(timeout/4, longest)
}

// helper returns what the services beside a container's own have. They say little:
// the service manager's news of them would fill the journal.
func helper(c spec.Container, in ProxyInput, name, verb, description string) (Unit, error) {
	if err := checkName(c.Name); err != nil {
		return Unit{}, err
	}
	for _, path := range []string{in.NetdPath, in.Root, in.RunRoot} {
		if err := checkPath(path); err != nil {
			return Unit{}, fmt.Errorf("unit %s: %w", name, err)
		}
	}
	const notice = 5 // of syslog(3)
	return Unit{Name: name, ID: c.ID, Properties: []Property{
		{"CollectMode", "inactive-or-failed"},
		{"Description", printable(description)},
		{"Documentation", []string{"man:cleat-netd(8)"}},
		{"ExecStart", []Exec{{Path: in.NetdPath, Args: []string{in.NetdPath, "-root", in.Root, "-runroot", in.RunRoot, verb, c.ID}}}},
		{"LogLevelMax", int32(notice)},
		{"NoNewPrivileges", true},
		{"Slice", or(c.Slice, DefaultSlice)},
		{"StartLimitIntervalUSec", uint64(0)},
		{"SyslogIdentifier", "cleat-netd"},
	}}, nil
}
