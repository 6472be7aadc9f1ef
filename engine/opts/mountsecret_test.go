package opts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestMountOrSecret(t *testing.T) {
	t.Parallel()
	flag := func() (*List[spec.Mount], *List[spec.Secret], func(string) error) {
		mounts, secrets := NewList("mount", MountParser("/work")), NewList("secret", SecretParser("/work"))
		return mounts, secrets, MountOrSecret(mounts, secrets).Set
	}
	mounts, secrets, set := flag()
	for _, value := range []string{
		"type=secret,source=db,target=/run/secrets/pw,uid=5,gid=6,mode=0400", "src=./pw,ro,TYPE=secret", "type=bind,src=/a,dst=/b", "source=db,type=Secret,readonly=true",
	} {
		if err := set(value); err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	wantMounts := []spec.Mount{{Type: spec.MountBind, Source: "/a", Target: "/b"}}
	wantSecrets := []spec.Secret{{Source: "db", Target: "pw", UID: 5, GID: 6, Mode: 0o400}, {Source: "/work/pw", Target: "pw"}, {Source: "db", Target: "db"}}
	if diff := cmp.Diff(wantMounts, mounts.Values); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantSecrets, secrets.Values); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	for value, msg := range map[string]string{
		"type=secret":                         "no source",
		"type=secret,db":                      "'db' must be a key=value pair",
		"type=secret,source=db,readonly=no":   "invalid value for readonly",
		"type=secret,source=db,ro=false":      "can only be read",
		"type=secret,type=bind,source=db":     "two types",
		"type=secret,source=db,target=/etc/x": "secrets are files in /run/secrets",
		"type=secret,source=db,tmpfs-size=1":  `unknown field "tmpfs-size"`,
		"type=bind,source=db":                 "target is required",
	} {
		_, _, set := flag()
		if err := set(value); err == nil || !strings.Contains(err.Error(), msg) {
			t.Errorf("%q: %v, want %q", value, err, msg)
		}
	}
}
