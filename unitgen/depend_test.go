package unitgen

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestCheckDependency(t *testing.T) {
	for _, name := range []string{
		"postgresql.service", "getty@tty1.service", "dev-disk-by\\x2dlabel-data.device", "srv-data.mount", "network-online.target", "a:b_c.d.socket",
	} {
		if err := CheckDependency(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, says := range map[string]string{
		"":                                    `"postgresql.service"`,
		"postgresql":                          `"postgresql.service"`,
		"a.conf":                              "type",
		".service":                            "name",
		"@x.service":                          "name",
		"getty@.service":                      `"getty@main.service"`,
		"a b.service":                         "accepts",
		"a.service b.service":                 "accepts",
		"a.service\nExecStart=/bin/x.service": "accepts",
		"%h.service":                          "accepts",
		"${X}.service":                        "accepts",
		"../a.service":                        "accepts",
		`"a.service"`:                         "accepts",
		strings.Repeat("a", 250) + ".service": "accepts",
	} {
		if err := CheckDependency(name); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error is %v, want one with %q", name, err, says)
		}
	}
}

func TestDependencies(t *testing.T) {
	u, err := Service(with(func(c *spec.Container) {
		c.Requires, c.After = []string{"postgresql.service", `srv-my\x2ddata.mount`}, []string{"chrony.service"}
	}), testInput)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"postgresql.service", `srv-my\x2ddata.mount`}, get(u, "Requires")); diff != "" {
		t.Errorf("Requires (-want +got):\n%s", diff)
	}
	want := []string{StdioSocket, "postgresql.service", `srv-my\x2ddata.mount`, "chrony.service"}
	if diff := cmp.Diff(want, get(u, "After")); diff != "" {
		t.Errorf("After (-want +got):\n%s", diff)
	}
	for _, line := range []string{`Requires=postgresql.service srv-my\x2ddata.mount`, "After=" + strings.Join(want, " ")} {
		if !slices.Contains(strings.Split(Text(u), "\n"), line) {
			t.Errorf("no line %q in\n%s", line, Text(u))
		}
	}
	for name, change := range map[string]func(*spec.Container){
		"a second setting": func(c *spec.Container) { c.Requires = []string{"a.service\nExecStartPre=/bin/touch /x.service"} },
		"a list":           func(c *spec.Container) { c.After = []string{"a.service b.service"} },
		"itself":           func(c *spec.Container) { c.After = []string{"cleat-web.service"} },
	} {
		if _, err := Service(with(change), testInput); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: error is %v, want spec.ErrInvalid", name, err)
		}
	}
}
