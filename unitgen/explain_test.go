package unitgen

import (
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

var plainInput = PlainInput{
	RootDirectory: "/var/lib/machines/web", Capabilities: []string{"CAP_CHOWN", "CAP_KILL"},
	Volumes: map[string]string{"data": "/var/lib/cleat/volumes/data/_data"},
}

// plainEverything is a container with all that a plain unit can say.
func plainEverything(c *spec.Container) {
	everything(c)
	c.Process = spec.Process{
		Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"echo $HOME 100%\n\"x\\y\""},
		Env: []string{"A=b c", "PERCENT=100%", "DOLLAR=$x", "LINES=a\nb", `Q="'\`}, Dir: "/srv", User: "app:staff", Groups: []string{"5"},
	}
	c.Mounts = append(c.Mounts, spec.Mount{Type: spec.MountTmpfs, Target: "/tmp"}, spec.Mount{Type: spec.MountBind, Source: "/a:b", Target: "/c", ReadOnly: true})
	c.Network.Mode, c.ReadOnly, c.Security.NoNewPrivileges = "none", true, true
	c.Requires, c.After = []string{"postgresql.service"}, []string{"chrony.service"}
}

func TestPlainGolden(t *testing.T) {
	for name, c := range map[string]spec.Container{
		"plain":            with(func(c *spec.Container) { c.Process.Cmd, c.Restart.Mode = []string{"nginx"}, spec.RestartAlways }),
		"plain-everything": with(plainEverything),
	} {
		u, err := Plain(c, plainInput)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".service.golden", Text(u))
	}
	if u, err := Plain(web(), plainInput); err == nil {
		t.Errorf("a container without a command: %s", Text(u))
	}
}

func TestExplainGolden(t *testing.T) {
	u, err := Service(with(func(c *spec.Container) { c.Restart.Mode = spec.RestartAlways }), testInput)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "boot.explained.golden", Explain(u))
}

// Each setting of each unit has a reason.
func TestEverythingIsExplained(t *testing.T) {
	for name, change := range map[string]func(*spec.Container){
		"default": func(*spec.Container) {}, "everything": everything, "plain": plainEverything,
		"privileged": func(c *spec.Container) { c.Security.Privileged = true },
		"fd":         func(c *spec.Container) { c.Activation.Mode = spec.ActivateFD },
		"proxy":      func(c *spec.Container) { c.Activation.Mode = spec.ActivateProxy; c.Activation.IdleTimeout = 1 << 36 },
	} {
		c := with(change)
		units := []Unit{}
		u, err := Service(c, testInput)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
		if u, err = Socket(c, []Listen{{"Stream", "0.0.0.0:80"}, {"Datagram", "[::]:80"}}); err != nil {
			t.Fatal(err)
		}
		units = append(units, u)
		c.Process.Cmd = []string{"x"}
		if u, err = Plain(c, plainInput); err != nil {
			t.Fatal(err)
		}
		for _, u := range append(units, u) {
			for line := range strings.Lines(Text(u)) {
				directive, _, ok := strings.Cut(line, "=")
				if ok && !strings.HasPrefix(line, "#") && Why(directive) == "" {
					t.Errorf("%s: %s has no reason", name, directive)
				}
			}
		}
	}
}
