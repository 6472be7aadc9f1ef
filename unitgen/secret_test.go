package unitgen

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestSecretsAreCredentials(t *testing.T) {
	t.Parallel()
	c := web()
	c.Secrets = []spec.Secret{{Source: "/etc/a b%h", Target: "pw", Mode: 0o400}, {Source: "db", Target: "db"}}
	u, err := Service(c, testInput)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	for _, p := range u.Properties {
		if p.Name == "LoadCredential" {
			got = p.Value
		}
	}
	if diff := cmp.Diff([]Credential{{"pw", "/etc/a b%h"}, {"db", "db"}}, got); diff != "" {
		t.Errorf("property (-want +got):\n%s", diff)
	}
	if text := Text(u); !strings.Contains(text, "\nLoadCredential=pw:/etc/a b%%h\nLoadCredential=db:db\n") {
		t.Errorf("text:\n%s", text)
	}
	in := testInput
	in.SystemdVersion = 246
	if _, err := Service(c, in); !errors.Is(err, spec.ErrUnsupport) {
		t.Errorf("systemd 246: %v", err)
	}
}

// Neither a name nor a path leads out of where it belongs, or into another line.
func TestSecretsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []spec.Secret{
		{Source: "/a", Target: "../x"}, {Source: "/a", Target: ".."}, {Source: "/a", Target: ""}, {Source: "/a", Target: "a/b"},
		{Source: "/a", Target: "a:b"}, {Source: "/a", Target: "a\nb"}, {Source: "/a", Target: "%n"}, {Source: "/a", Target: strings.Repeat("x", 300)},
		{Source: "", Target: "x"}, {Source: "../etc/passwd", Target: "x"}, {Source: "a:b", Target: "x"}, {Source: "%d", Target: "x"},
		{Source: "/a/../b", Target: "x"}, {Source: "/a\nb", Target: "x"}, {Source: "/a ", Target: "x"}, {Source: `/a\`, Target: "x"}, {Source: "/a\xff", Target: "x"},
	} {
		if err := CheckSecrets([]spec.Secret{s}); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if err := CheckSecrets([]spec.Secret{{Source: "/a", Target: "x"}, {Source: "/b", Target: "x"}}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("two of a name: %v", err)
	}
}
