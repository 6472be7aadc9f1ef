package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/host"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// catalog is an engine with a container "web" and an image "img"; both have the
// name "both".
type catalog struct{ backend }

func (catalog) Inspect(_ context.Context, ref string, opt engine.InspectOptions) (*engine.ContainerInspect, error) {
	if ref == "broken" {
		return nil, errors.New("decode plan: bad")
	}
	if ref == "web" || ref == "both" {
		ct := &engine.ContainerInspect{ID: "c1", Name: "/" + ref}
		if opt.Size {
			ct.SizeRw, ct.SizeRootFs = new(int64(7)), new(int64(9))
		}
		return ct, nil
	}
	return nil, classError{"no such container: " + ref, spec.ErrNotFound}
}

func (catalog) InspectImage(_ context.Context, ref string) (*engine.ImageInspect, error) {
	if ref == "img" || ref == "both" {
		return &engine.ImageInspect{ID: "i1"}, nil
	}
	if strings.ToLower(ref) != ref {
		return nil, classError{"invalid image reference: " + ref, spec.ErrInvalid}
	}
	return nil, classError{"no such image: " + ref, spec.ErrNotFound}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	tests := map[string]outcome{
		"inspect -f {{.Id}} web img both":                  {Out: "c1\ni1\nc1\n"},
		"inspect --type image -f {{.Id}} both":             {Out: "i1\n"},
		"inspect --type container -f {{.Id}} img":          {Err: "cleat: no such container: img\n", Code: 1},
		"container inspect -f {{.Name}} web":               {Out: "/web\n"},
		"image inspect -f {{.Id}} web":                     {Err: "cleat: no such image: web\n", Code: 1},
		"inspect nope":                                     {Out: "[]\n", Err: "cleat: no such object: nope\n", Code: 1},
		"inspect -f {{.Id}} nope web":                      {Out: "c1\n", Err: "cleat: no such object: nope\n", Code: 1},
		"inspect -f x broken":                              {Err: "cleat: decode plan: bad\n", Code: 1},
		"inspect --type pod web":                           {Err: "cleat: \"pod\" is not a valid value for --type: the types are container, image, network, volume\n", Code: 1},
		"inspect --type volume web":                        {Out: "[]\n", Err: "cleat: no such volume: web\n", Code: 1},
		"inspect -f {{.Name}} Data vol":                    {Out: "Data\nvol\n"},
		"volume inspect -f {{.Driver}} vol img":            {Out: "local\n", Err: "cleat: no such volume: img\n", Code: 1},
		"inspect -s -f {{.SizeRw}}/{{.SizeRootFs}} web":    {Out: "7/9\n"},
		"container inspect --size -f {{json_.SizeRw}} web": {Out: "7\n"},
		"container inspect -f {{json_.SizeRw}} web":        {Out: "null\n"},
	}
	for line, expect := range tests {
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		want(t, try(t, catalog{}, args...), expect)
	}
	if got := try(t, catalog{}, "inspect", "web"); !strings.HasPrefix(got.Out, "[\n    {\n        \"Id\": \"c1\",\n") || got.Code != 0 {
		t.Errorf("%+v", got)
	}
}

func (catalog) NetworkInspect(_ context.Context, ref string) (*engine.NetworkInspect, error) {
	if ref == "net" {
		return &engine.NetworkInspect{ID: "n1"}, nil
	}
	return nil, classError{"network " + ref + " not found", spec.ErrNotFound}
}

func (catalog) InspectVolume(_ context.Context, name string) (*engine.VolumeInspect, error) {
	if name == "vol" || name == "Data" {
		return &engine.VolumeInspect{Name: name, Driver: "local"}, nil
	}
	return nil, classError{"no such volume: " + name, spec.ErrNotFound}
}

// desk is an engine that notes logins.
type desk struct {
	backend
	got   []string
	known bool
	fail  error
}

func (d *desk) Login(_ context.Context, server, user, password string) error {
	d.got = []string{server, user, password}
	return d.fail
}

func (d *desk) Logout(_ context.Context, server string) (bool, error) {
	d.got = []string{server}
	return d.known, d.fail
}

func TestLogin(t *testing.T) {
	t.Parallel()
	const warning = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"
	tests := map[string]struct {
		want outcome
		got  []string
	}{
		"login -u me --password-stdin": {outcome{Out: "Login Succeeded\n"}, []string{"", "me", " secret "}},
		"login -u me -p pw r.lan:5000": {outcome{Out: "Login Succeeded\n", Err: warning}, []string{"r.lan:5000", "me", "pw"}},
		"login --password-stdin":       {outcome{Err: "cleat: the --password-stdin option requires --username to be set\n", Code: 1}, nil},
		"login -p a --password-stdin":  {outcome{Err: "cleat: conflicting options: cannot specify both --password and --password-stdin\n", Code: 1}, nil},
		"login -u me":                  {outcome{Err: "cleat: cannot perform an interactive login from a non TTY device\n", Code: 1}, nil},
		"logout":                       {outcome{Out: "Removing login credentials for https://index.docker.io/v1/\n"}, []string{""}},
		"logout r.lan":                 {outcome{Out: "Removing login credentials for r.lan\n"}, []string{"r.lan"}},
	}
	for line, tt := range tests {
		d := &desk{known: true}
		want(t, tryWith(t, d, " secret \r\n", strings.Fields(line)...), tt.want)
		if diff := cmp.Diff(tt.got, d.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	want(t, try(t, &desk{}, "logout"), outcome{Out: "Removing login credentials for https://index.docker.io/v1/\n"})
	want(t, try(t, &desk{fail: errors.New("wrong password")}, "login", "-u", "a", "-p", "b"), outcome{Err: warning + "cleat: wrong password\n", Code: 1})
}

// inspection is an engine that finds problems.
type inspection struct {
	backend
	found  []engine.Finding
	repair bool
}

func (i *inspection) Check(_ context.Context, repair bool) ([]engine.Finding, error) {
	i.repair = repair
	for n := range i.found {
		i.found[n].Repaired = repair && i.found[n].Object != "hopeless"
	}
	return i.found, nil
}

func TestCheck(t *testing.T) {
	t.Parallel()
	found := func(objects ...string) *inspection {
		i := &inspection{}
		for _, o := range objects {
			i.found = append(i.found, engine.Finding{Object: o, Problem: "half made"})
		}
		return i
	}
	want(t, try(t, found(), "system", "check"), outcome{Out: "no problems found\n"})
	want(t, try(t, found("a"), "system", "check"), outcome{Out: "found: a: half made\n", Err: "hint: mend it with 'cleat system check --repair'\n", Code: 1})
	want(t, try(t, found("a", "b"), "system", "check", "--repair"), outcome{Out: "repaired: a: half made\nrepaired: b: half made\n"})
	want(t, try(t, found("a", "hopeless"), "system", "check", "--repair"), outcome{Out: "repaired: a: half made\nfound: hopeless: half made\n", Code: 1})
}

func TestDefaultRootIsThatOfTheState(t *testing.T) {
	t.Parallel()
	if defaultRoot != state.DefaultRoot {
		t.Errorf("%s, want %s", defaultRoot, state.DefaultRoot)
	}
}

func TestHostStatus(t *testing.T) {
	t.Parallel()
	st := host.Status{Root: "/r", UnitDir: "/r/units", Journal: "/r/journal"}
	if got := hostStatus(st, true); !strings.HasPrefix(got, "State:    not running, and not needed: systemd runs here\nRoot:     /r\nUnits:    /r/units\n") {
		t.Error(got)
	}
	if got := hostStatus(st, false); !strings.HasPrefix(got, "State:    not running\n") {
		t.Error(got)
	}
	st.Running, st.PID, st.PrivateNetwork, st.Started = true, 42, true, time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	if got := hostStatus(st, false); !strings.Contains(got, "State:    running since 2026-01-02 03:04:05\n") || !strings.Contains(got, "PID:      42\nNetwork:  its own\n") {
		t.Error(got)
	}
	want(t, try(t, bystander{}, "--root", t.TempDir(), "host", "stop"), outcome{Err: "the embedded host does not run\n"})
	if got := try(t, bystander{}, "--root", t.TempDir(), "host", "status"); got.Code != 3 || !strings.Contains(got.Out, "not running") {
		t.Errorf("%+v", got)
	}
}
