package profile

import (
	"errors"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/spec"
)

// A container whose payload says that it is ready has a socket for that, alone in a
// directory that it cannot write to.
func TestNotificationSocket(t *testing.T) {
	t.Parallel()
	c := spec.Container{ID: "abc", Notify: spec.NotifyContainer}
	all, _, err := mounts(c, Input{NotifyDir: "/run/cleat/notify"})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(m specs.Mount) bool { return m.Destination == "/run/notify" })
	if i < 0 || all[i].Source != "/run/cleat/notify/abc" || !slices.Contains(all[i].Options, "ro") {
		t.Errorf("mounts %v", all)
	}
	c.Mounts = []spec.Mount{{Type: spec.MountTmpfs, Target: "/run/notify"}}
	if _, _, err := mounts(c, Input{NotifyDir: "/run/cleat/notify"}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("something is mounted there: %v", err)
	}
	for _, other := range []spec.NotifyMode{spec.NotifyStarted, spec.NotifyHealthy} {
		all, _, err := mounts(spec.Container{ID: "abc", Notify: other}, Input{NotifyDir: "/run/cleat/notify"})
		if err != nil || slices.ContainsFunc(all, func(m specs.Mount) bool { return m.Destination == "/run/notify" }) {
			t.Errorf("mode %q: %v, %v", other, all, err)
		}
	}
}
