package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
)

func TestBootUnit(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	text := func(command string) string {
		return "[Service]\nType=exec\nExecStart=" + command + "\n[Install]\nWantedBy=multi-user.target\n"
	}
	t.Cleanup(func() {
		if err := c.RemoveUnitFile(t.Context(), name); err != nil {
			t.Error(err)
		}
	})
	if err := c.WriteUnitFile(t.Context(), name, text("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if err := c.Enable(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	wants := filepath.Join(supervisor.UnitDir, "multi-user.target.wants", name)
	if _, err := os.Lstat(wants); err != nil {
		t.Errorf("enabled unit has no link: %v", err)
	}
	if err := c.Start(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	p := properties(t, c, name)
	if p.UnitFileState != "enabled" || p.ActiveState != "active" || p.NeedReload || p.FragmentPath != filepath.Join(supervisor.UnitDir, name) {
		t.Errorf("boot unit is %+v", p)
	}
	if err := c.Restart(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if again := properties(t, c, name); again.InvocationID == p.InvocationID || again.MainPID == p.MainPID {
		t.Errorf("after Restart the invocation is still %s", p.InvocationID)
	}
	if err := c.Stop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := c.Disable(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(wants); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("disabled unit still has its link: %v", err)
	}
}

// A boot unit whose container was removed and made anew under the same name.
func TestRewrittenUnitFileIsReadWithoutReload(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := unitName(t, ".service")
	for _, seconds := range []string{"1001", "1002"} {
		if err := c.WriteUnitFile(t.Context(), name, "[Service]\nType=exec\nExecStart=sleep "+seconds+"\n"); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		p := properties(t, c, name)
		if cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.MainPID)); !strings.HasSuffix(string(cmd), "\x00"+seconds+"\x00") {
			t.Errorf("unit runs %q, %v; want sleep %s", cmd, err, seconds)
		}
		if err := c.Stop(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := c.RemoveUnitFile(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RemoveUnitFile(t.Context(), name); err != nil {
		t.Errorf("second RemoveUnitFile: %v", err)
	}
}

func TestUnitFileNamesStayInTheDirectory(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for _, name := range []string{"", ".", "..", "../evil.service", "a/b.service"} {
		if err := c.WriteUnitFile(t.Context(), name, "x"); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("WriteUnitFile(%q): %v, want %v", name, err, spec.ErrInvalid)
		}
		if err := c.RemoveUnitFile(t.Context(), name); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("RemoveUnitFile(%q): %v, want %v", name, err, spec.ErrInvalid)
		}
	}
}
