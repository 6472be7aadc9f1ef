package unitgen

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestMountName(t *testing.T) {
	for where, want := range map[string]string{
		"/var/lib/cleat/volumes/data/_data": "var-lib-cleat-volumes-data-_data.mount",
		"/srv/my-vol.x":                     `srv-my\x2dvol.x.mount`,
		"/.hidden/.b":                       `\x2ehidden-.b.mount`,
		"/a b/ü":                            `a\x20b-\xc3\xbc.mount`,
	} {
		got, err := MountName(where)
		if got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", where, got, err, want)
		}
		if out, err := exec.Command("systemd-escape", "--path", "--suffix=mount", where).Output(); err == nil && strings.TrimSpace(string(out)) != got {
			t.Errorf("%s: %q, systemd says %q", where, got, out)
		}
	}
	for _, where := range []string{"", "/", "a", "/a/../b", "/a/", "/" + strings.Repeat("-", 100)} {
		if got, err := MountName(where); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %q, %v", where, got, err)
		}
	}
}

func TestMount(t *testing.T) {
	u, err := Mount(MountInput{Where: "/v/x-y", What: "/srv/100%", Type: "none", Options: "bind,ro", Description: "Volume x-y"})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Made by cleat. Change it with "systemctl edit", which keeps changes apart.

[Unit]
AssertPathExists=/srv/100%%
Description=Volume x-y
Documentation="man:cleat(1)"
StartLimitIntervalSec=0
StopWhenUnneeded=yes

[Mount]
Options=bind,ro
Type=none
What=/srv/100%%
Where=/v/x-y
`
	if diff := cmp.Diff(want, Text(u)); diff != "" || u.Name != `v-x\x2dy.mount` {
		t.Errorf("%s (-want +got):\n%s", u.Name, diff)
	}
	for name, in := range map[string]MountInput{
		"a newline":       {Where: "/v", What: "tmpfs\n[Service]", Type: "tmpfs"},
		"a continuation":  {Where: "/v", What: "tmpfs", Options: `a\`},
		"no device":       {Where: "/v", Type: "tmpfs"},
		"a space":         {Where: "/v", What: "x", Type: "tmpfs "},
		"no UTF-8":        {Where: "/v", What: "\xff"},
		"a relative path": {Where: "v", What: "x"},
	} {
		if u, err := Mount(in); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, u, err)
		}
	}
}

// A name with a backslash stands in a unit file as it is.
func TestRequiredMounts(t *testing.T) {
	in := testInput
	in.Mounts = []string{`v-x\x2dy.mount`}
	u, err := Service(web(), in)
	if err != nil {
		t.Fatal(err)
	}
	text := Text(u)
	for _, line := range []string{"After=cleat-stdiod.socket v-x\\x2dy.mount\n", "Requires=v-x\\x2dy.mount\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}
