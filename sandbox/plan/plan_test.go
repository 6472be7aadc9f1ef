package plan_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
)

func ptr[T any](v T) *T { return &v }

// started is a configuration of which a start uses everything.
func started() *specs.Spec {
	return &specs.Spec{
		Root: &specs.Root{Readonly: true}, Hostname: "h", Domainname: "d",
		Process: &specs.Process{
			User: specs.User{Umask: ptr(uint32(0o27))}, Args: []string{"a", "b"}, Env: []string{"A=b"}, Cwd: "/x",
			Capabilities:    &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Permitted: []string{"CAP_CHOWN"}, Ambient: []string{"CAP_FOWNER"}},
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Hard: 2, Soft: 1}},
			NoNewPrivileges: true, ApparmorProfile: "p", SelinuxLabel: "l",
		},
		Mounts: []specs.Mount{{Destination: "/d", Type: "bind", Source: "/s", Options: []string{"ro"}}},
		Linux: &specs.Linux{
			Sysctl: map[string]string{"a.b": "c"}, Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace, Path: "/p"}},
			Devices:           []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: 1, Minor: 2, FileMode: ptr(os.FileMode(0o600)), UID: ptr(uint32(3)), GID: ptr(uint32(4))}},
			RootfsPropagation: "rslave", MaskedPaths: []string{"/m"}, ReadonlyPaths: []string{"/r"}, MountLabel: "ml",
		},
	}
}

func store(t *testing.T, p plan.Plan) string {
	t.Helper()
	files, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What a start reads is what was written, and only that.
func TestLoadStart(t *testing.T) {
	want := plan.Plan{Config: started(), Annex: plan.Annex{Version: plan.Version, ID: "i", Seccomp: []byte{1, 2}, Within: map[string]string{"/a": "/b"}}}
	full := plan.Plan{Config: started(), Annex: want.Annex}
	full.Config.Version = specs.Version
	full.Config.Annotations = map[string]string{"a": "b"}
	full.Config.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"acct"}, Action: specs.ActAllow}}}
	dir := store(t, full)
	got, err := plan.LoadStart(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("LoadStart (-want +got):\n%s", diff)
	}
	all, err := plan.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, all); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoadRefuses(t *testing.T) {
	old := plan.Plan{Config: started(), Annex: plan.Annex{Version: plan.Version + 1}}
	broken := store(t, plan.Plan{Config: started(), Annex: plan.Annex{Version: plan.Version}})
	if err := os.WriteFile(filepath.Join(broken, plan.ConfigFile), []byte(`{"process":`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func(string) (plan.Plan, error){"Load": plan.Load, "LoadStart": plan.LoadStart} {
		if _, err := load(t.TempDir()); !errors.Is(err, spec.ErrNotFound) {
			t.Errorf("%s without a plan: %v", name, err)
		}
		if _, err := load(store(t, old)); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s of another version: %v", name, err)
		}
		if _, err := load(broken); err == nil {
			t.Errorf("%s of half a file succeeded", name)
		}
	}
}

// Both ways of reading agree on every text: one that the one takes, the other
// takes, with the same meaning.
func FuzzLoadStart(f *testing.F) {
	data, err := json.Marshal(started())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"process":{"args":null},"linux":{}}`))
	annex, err := json.Marshal(plan.Annex{Version: plan.Version})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{plan.ConfigFile: config, plan.AnnexFile: annex} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		full, err := plan.Load(dir)
		if err != nil {
			return // the short form does not look at every field
		}
		got, err := plan.LoadStart(dir)
		if err != nil {
			t.Fatalf("LoadStart: %v", err)
		}
		if full.Config.Process != nil {
			if diff := cmp.Diff(full.Config.Process.Args, got.Config.Process.Args); diff != "" {
				t.Errorf("arguments (-Load +LoadStart):\n%s", diff)
			}
		}
		if len(full.Config.Mounts) != len(got.Config.Mounts) {
			t.Fatalf("%d mounts, Load has %d", len(got.Config.Mounts), len(full.Config.Mounts))
		}
		for i, m := range full.Config.Mounts {
			want := specs.Mount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options}
			if diff := cmp.Diff(want, got.Config.Mounts[i]); diff != "" {
				t.Errorf("mount %d (-Load +LoadStart):\n%s", i, diff)
			}
		}
	})
}
