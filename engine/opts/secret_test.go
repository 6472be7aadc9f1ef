package opts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	parse := SecretParser("/work")
	for in, want := range map[string]spec.Secret{
		"db":                                   {Source: "db", Target: "db"},
		"source=db,target=pw":                  {Source: "db", Target: "pw"},
		"/etc/pw,mode=0400,uid=5,gid=6":        {Source: "/etc/pw", Target: "pw", Mode: 0o400, UID: 5, GID: 6},
		"./a/../pw,type=mount":                 {Source: "/work/pw", Target: "pw"},
		"src=dir/pw,dst=/run/secrets/password": {Source: "/work/dir/pw", Target: "password"},
	} {
		got, err := parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	for in, msg := range map[string]string{
		"":                   "no source",
		"target=x":           "no source",
		"db,x":               "not of the form NAME=VALUE",
		"db,color=red":       `unknown field "color"`,
		"db,mode=888":        "not an octal number",
		"db,mode=0":          "not an octal number",
		"db,uid=-1":          "not the number of a user",
		"db,gid=4294967295":  "not the number of a user",
		"db,type=env":        "others can read variables",
		"db,target=/etc/x":   "secrets are files in /run/secrets",
		"db,target=../x":     "secrets are files in /run/secrets",
		"db,target=sub/file": "secrets are files in /run/secrets",
	} {
		if _, err := parse(in); err == nil || !strings.Contains(err.Error(), msg) {
			t.Errorf("%q: %v, want %q", in, err, msg)
		}
	}
}
