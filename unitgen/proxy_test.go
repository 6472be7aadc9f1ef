package unitgen

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cleat-project/cleat/spec"
)

var proxyInput = ProxyInput{NetdPath: "/usr/libexec/cleat/cleat-netd", Root: "/var/lib/cleat", RunRoot: "/run/cleat"}

// unitsOf returns all units of a container with one port.
func unitsOf(t *testing.T, c spec.Container, in ServiceInput) []Unit {
	t.Helper()
	four, six := []Listen{{"Stream", "0.0.0.0:8080"}}, []Listen{{"Stream", "[::]:8080"}}
	var units []Unit
	add := func(u Unit, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
	}
	add(Service(c, in))
	if c.Activated() {
		add(Socket(c, append(four, six...)))
	} else {
		add(Socket(c, four))
		add(ProxySocket(c, six))
	}
	if c.Activation.Mode != spec.ActivateFD {
		add(Proxy(c, proxyInput))
	}
	if c.Activation.IdleTimeout > 0 {
		idle, err := Idle(c, proxyInput)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, idle...)
	}
	return units
}

func TestActivationGolden(t *testing.T) {
	reserved := testInput
	reserved.Sockets = []string{"cleat-web.socket", "cleat-web:proxy.socket"}
	for name, tt := range map[string]struct {
		in ServiceInput
		a  spec.Activation
	}{
		"userland":       {reserved, spec.Activation{}},
		"activate-fd":    {testInput, spec.Activation{Mode: spec.ActivateFD}},
		"activate-proxy": {testInput, spec.Activation{Mode: spec.ActivateProxy, IdleTimeout: 10 * time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			c := with(func(c *spec.Container) { c.Activation = tt.a })
			var text, props strings.Builder
			for _, u := range unitsOf(t, c, tt.in) {
				text.WriteString("=== " + u.Name + "\n" + Text(u))
				props.WriteString(dump(u))
			}
			golden(t, name+".units.golden", text.String())
			golden(t, name+".dbus.golden", props.String())
		})
	}
}

// The socket is what brings a container back at boot, not its service.
func TestActivatedIsEnabledBySocket(t *testing.T) {
	c := with(func(c *spec.Container) { c.Restart.Mode, c.Activation.Mode = spec.RestartAlways, spec.ActivateFD })
	units := unitsOf(t, c, testInput)
	if len(units[0].Install) != 0 || len(units[1].Install) != 1 || units[1].Install[0] != "sockets.target" {
		t.Errorf("the service is wanted by %v, the socket by %v", units[0].Install, units[1].Install)
	}
}

func TestServiceOf(t *testing.T) {
	const service = "cleat-web:0123456789ab.service"
	for _, unit := range []string{service, SocketName(service), ProxyName(service), ProxySocketName(service), TimerName(service), IdleName(service)} {
		if got := ServiceOf(unit); got != service {
			t.Errorf("ServiceOf(%q) = %q", unit, got)
		}
	}
	if got := ServiceOf("cleat.slice"); got != "cleat.slice" {
		t.Errorf("ServiceOf(cleat.slice) = %q", got)
	}
}

func TestIdleTick(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{time.Second: 250 * time.Millisecond, time.Minute: 15 * time.Second, time.Hour: 30 * time.Second} {
		if got := idleTick(timeout); got != want {
			t.Errorf("idleTick(%s) = %s, want %s", timeout, got, want)
		}
	}
}

func TestProxyPaths(t *testing.T) {
	in := proxyInput
	in.Root = "/a b;c"
	if _, err := Proxy(web(), in); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("error is %v", err)
	}
}
