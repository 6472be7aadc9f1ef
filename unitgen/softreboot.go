package unitgen

import (
	"fmt"
	"slices"

	"github.com/cleat-project/cleat/spec"
)

// minSurvive is the first version of systemd that can spare a unit when it kills
// what is left before it starts everything anew.
const minSurvive = 255

// endings are what a unit that survives a soft reboot has to end for all the same,
// since it is not tied to shutdown.target, which a soft reboot goes through too.
var endings = []string{"emergency.target", "exit.target", "halt.target", "kexec.target", "poweroff.target", "reboot.target", "rescue.target"}

// CheckSurvival returns an error if c is to survive a soft reboot and cannot,
// whatever its own unit says.
func CheckSurvival(c spec.Container, in ServiceInput) error {
	switch {
	case !c.SurviveSoftReboot:
		return nil
	case in.SystemdVersion != 0 && in.SystemdVersion < minSurvive:
		return fmt.Errorf("to survive a soft reboot takes systemd %d, this is %d: %w", minSurvive, in.SystemdVersion, spec.ErrUnsupport)
	case c.Activated():
		return fmt.Errorf("a container that connections start cannot survive a soft reboot: %w", spec.ErrUnsupport)
	case len(in.Mounts) > 0:
		return fmt.Errorf("a container cannot survive a soft reboot with a volume that is a mount unit: %w", spec.ErrUnsupport)
	}
	return nil
}

// survive adds to the properties of a unit what keeps it over a soft reboot, see
// systemd-soft-reboot.service(8). It is ordered after units that systemd would order
// it after by itself.
func survive(props []Property, ordered ...string) []Property {
	at := slices.IndexFunc(props, func(p Property) bool { return p.Name == "After" })
	if at >= 0 {
		before, _ := props[at].Value.([]string)
		ordered = slices.Concat(before, ordered)
		props = slices.Delete(slices.Clone(props), at, at+1)
	}
	return append(props,
		Property{"After", ordered},
		Property{"Before", endings},
		Property{"Conflicts", endings},
		Property{"DefaultDependencies", false},
		Property{"IgnoreOnIsolate", true},
	)
}
