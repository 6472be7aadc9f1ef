package unitgen

import (
	"errors"
	"slices"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

func TestCheckSurvival(t *testing.T) {
	survivor := func(change func(*spec.Container)) spec.Container {
		return with(func(c *spec.Container) { c.SurviveSoftReboot = true; change(c) })
	}
	plain := survivor(func(*spec.Container) {})
	for name, tt := range map[string]struct {
		c    spec.Container
		in   ServiceInput
		want error
	}{
		"not asked for":     {web(), ServiceInput{SystemdVersion: 252}, nil},
		"new enough":        {plain, ServiceInput{SystemdVersion: 255}, nil},
		"unknown version":   {plain, ServiceInput{}, nil},
		"too old":           {plain, ServiceInput{SystemdVersion: 254}, spec.ErrUnsupport},
		"by connections":    {survivor(func(c *spec.Container) { c.Activation.Mode = spec.ActivateProxy }), ServiceInput{}, spec.ErrUnsupport},
		"a volume to mount": {plain, ServiceInput{Mounts: []string{"a.mount"}}, spec.ErrUnsupport},
	} {
		if err := CheckSurvival(tt.c, tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// What a container that survives requires has to survive as well.
func TestSurvivingSockets(t *testing.T) {
	c := with(func(c *spec.Container) { c.SurviveSoftReboot = true })
	listens := []Listen{{Type: "Stream", Address: "0.0.0.0:80"}}
	for _, make := range []func(spec.Container, []Listen) (Unit, error){Socket, ProxySocket} {
		u, err := make(c, listens)
		if err != nil {
			t.Fatal(err)
		}
		conflicts, _ := get(u, "Conflicts").([]string)
		if get(u, "DefaultDependencies") != false || get(u, "IgnoreOnIsolate") != true || !slices.Contains(conflicts, "reboot.target") || slices.Contains(conflicts, "shutdown.target") {
			t.Errorf("%s does not survive:\n%s", u.Name, Text(u))
		}
	}
}
