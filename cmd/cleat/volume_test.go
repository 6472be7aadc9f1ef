package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// hold is an engine with volumes. It notes what it is asked for.
type hold struct {
	backend
	volumes []engine.Volume
	calls   []any
	pruned  engine.Pruned
	fail    error
}

func (s *hold) Volumes(_ context.Context, f engine.VolumeFilter) ([]engine.Volume, error) {
	s.calls = append(s.calls, f)
	return s.volumes, s.fail
}

func (s *hold) CreateVolume(_ context.Context, opt engine.CreateVolumeOptions) (string, error) {
	s.calls = append(s.calls, opt)
	if opt.Name == "" {
		opt.Name = "made-up"
	}
	return opt.Name, s.fail
}

func (s *hold) RemoveVolume(_ context.Context, name string, opt engine.RemoveVolumeOptions) error {
	s.calls = append(s.calls, name, opt)
	if name == "nope" {
		return classError{"no such volume: nope", spec.ErrNotFound}
	}
	return nil
}

func (s *hold) PruneVolumes(_ context.Context, opt engine.PruneVolumesOptions) (engine.Pruned, error) {
	s.calls = append(s.calls, opt)
	return s.pruned, s.fail
}

func (s *hold) PruneContainers(_ context.Context, f engine.PruneFilter) (engine.Pruned, error) {
	f.Until = f.Until.Truncate(time.Hour)
	s.calls = append(s.calls, f)
	return s.pruned, s.fail
}

// expect compares what the engine was asked for.
func (s *hold) expect(t *testing.T, line string, calls ...any) {
	t.Helper()
	if diff := cmp.Diff(calls, s.calls); diff != "" {
		t.Errorf("%s: calls (-want +got):\n%s", line, diff)
	}
	s.calls = nil
}

func TestVolumeCreate(t *testing.T) {
	t.Parallel()
	type opt = engine.CreateVolumeOptions
	tests := map[string]struct {
		want outcome
		got  []any
	}{
		"":    {outcome{Out: "made-up\n"}, []any{opt{Driver: "local"}}},
		"vol": {outcome{Out: "vol\n"}, []any{opt{Name: "vol", Driver: "local"}}},
		"--name vol --label a=b=c --label d -o type=tmpfs --opt o=size=1m,uid=7 -d x": {outcome{Out: "vol\n"}, []any{opt{
			Name: "vol", Driver: "x", Labels: map[string]string{"a": "b=c", "d": ""}, Options: map[string]string{"type": "tmpfs", "o": "size=1m,uid=7"},
		}}},
		"--name a b": {outcome{Err: "cleat: conflicting options: cannot specify a volume-name through both --name and as a positional arg\n", Code: 1}, nil},
	}
	for line, tt := range tests {
		s := &hold{}
		want(t, try(t, s, strings.Fields("volume create "+line)...), tt.want)
		s.expect(t, line, tt.got...)
	}
	for _, line := range []string{"create --scope=single x", "create --type mount", "update --availability drain x"} {
		if got := try(t, bystander{}, strings.Fields("volume "+line)...); got.Code != 125 || !strings.Contains(got.Err, "Swarm") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	want(t, try(t, bystander{}, "volume", "update", "x"), outcome{Err: "cleat: volume update is for the cluster volumes of Swarm only\n", Code: 1})
}

func TestVolumeLs(t *testing.T) {
	t.Parallel()
	s := &hold{volumes: []engine.Volume{{Name: "v10", Mountpoint: "/v10"}, {Name: "v2", Mountpoint: "/v2", Labels: map[string]string{"b": "", "a": "x"}}}}
	yes := true
	tests := map[string]struct {
		out string
		got engine.VolumeFilter
	}{
		"":   {"DRIVER    VOLUME NAME\nlocal     v2\nlocal     v10\n", engine.VolumeFilter{}},
		"-q": {"v2\nv10\n", engine.VolumeFilter{}},
		"--format {{.Name}}/{{.Labels}}/{{.Label_\"a\"}} -f dangling=1 -f name=v -f driver=local -f label=a -f label=b=c": {
			"v2/a=x,b=/x\nv10//\n", engine.VolumeFilter{Dangling: &yes, Names: []string{"v"}, Drivers: []string{"local"}, Labels: []string{"a", "b=c"}},
		},
		"--format table_{{.Name}}\\t{{.Mountpoint}}\\t{{.Label_\"x.a\"}}": {"VOLUME NAME   MOUNTPOINT   a\nv2            /v2          \nv10           /v10         \n", engine.VolumeFilter{}},
	}
	for line, tt := range tests {
		args := strings.Fields("volume ls " + line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		want(t, try(t, s, args...), outcome{Out: tt.out})
		s.expect(t, line, tt.got)
	}
	js := `{"Availability":"N/A","Driver":"local","Group":"N/A","Labels":"","Links":"N/A","Mountpoint":"/v10","Name":"v10","Scope":"local","Size":"N/A","Status":"N/A"}`
	if got := try(t, s, "volume", "list", "--format", "json"); !strings.Contains(got.Out, js+"\n") {
		t.Errorf("%+v", got)
	}
	for line, msg := range map[string]string{
		"-f dangling=x": "cleat: invalid filter 'dangling=x': it is true or false\n",
		"-f size=1":     "cleat: invalid filter 'size': the filters are dangling, driver, label, name\n",
	} {
		want(t, try(t, s, strings.Fields("volume ls "+line)...), outcome{Err: msg, Code: 1})
	}
	if got := try(t, s, "volume", "ls", "-f", "x"); got.Code != 125 || !strings.Contains(got.Err, `invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)`) {
		t.Errorf("%+v", got)
	}
}

func TestVolumeRm(t *testing.T) {
	t.Parallel()
	s := &hold{}
	want(t, try(t, s, "volume", "rm", "a", "nope", "b"), outcome{Out: "a\nb\n", Err: "cleat: no such volume: nope\n", Code: 1})
	want(t, try(t, s, "volume", "remove", "-f", "a"), outcome{Out: "a\n"})
	none, force := engine.RemoveVolumeOptions{}, engine.RemoveVolumeOptions{Force: true}
	s.expect(t, "rm", "a", none, "nope", none, "b", none, "a", force)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	const sure = "Are you sure you want to continue? [y/N] "
	const containers, volumes = "WARNING! This will remove all stopped containers.\n" + sure, "WARNING! This will remove anonymous local volumes not used by at least one container.\n" + sure
	const allVolumes = "WARNING! This will remove all local volumes not used by at least one container.\n" + sure
	const done = "Deleted Things:\na\nb\n\nTotal reclaimed space: 1.234kB\n"
	type options = engine.PruneVolumesOptions
	tests := map[string]struct {
		stdin string
		want  outcome
		got   []any
	}{
		"volume prune":            {"n\n", outcome{Out: volumes}, nil},
		"volume prune -a":         {"", outcome{Out: allVolumes + "\n"}, nil},
		"container prune":         {"yep\n", outcome{Out: containers}, nil},
		"volume prune --all":      {"Y\n", outcome{Out: allVolumes + done}, []any{options{All: true}}},
		"container prune -f":      {"", outcome{Out: done}, []any{engine.PruneFilter{}}},
		"container prune --force": {"", outcome{Out: done}, []any{engine.PruneFilter{}}},
		"volume prune -f --filter all=true --filter label=a --filter label!=b=c": {"", outcome{Out: done}, []any{
			options{All: true, Filter: engine.PruneFilter{Labels: []string{"a"}, NotLabels: []string{"b=c"}}},
		}},
		"container prune -f --filter until=2026-01-02T03:00:00Z": {"", outcome{Out: done}, []any{engine.PruneFilter{Until: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}}},
		"container prune -f --filter until=odd": {"", outcome{
			Err: "cleat: invalid filter 'until=odd': it is a time in RFC 3339, seconds since 1970, or a duration such as 24h\n", Code: 1,
		}, nil},
		"container prune -f --filter until=1h --filter until=2h": {"", outcome{Err: "cleat: invalid filter 'until': it can be given once\n", Code: 1}, nil},
		"container prune -f --filter name=x":                     {"", outcome{Err: "cleat: invalid filter 'name': the filters are label, label!, until\n", Code: 1}, nil},
		"volume prune -f --filter until=1h":                      {"", outcome{Err: "cleat: invalid filter 'until': the filters are all, label, label!\n", Code: 1}, nil},
		"volume prune -f --filter all=odd":                       {"", outcome{Err: "cleat: invalid filter 'all=odd': it is true or false\n", Code: 1}, nil},
	}
	for line, tt := range tests {
		s := &hold{pruned: engine.Pruned{Kinds: []engine.PrunedKind{{Name: "Nothing"}, {Name: "Things", Removed: []string{"a", "b"}}}, Bytes: 1234}}
		want(t, tryWith(t, s, tt.stdin, strings.Fields(line)...), tt.want)
		s.expect(t, line, tt.got...)
	}
	s := &hold{fail: errors.New("disk is full")}
	want(t, try(t, s, "volume", "prune", "-f"), outcome{Out: "Total reclaimed space: 0B\n", Err: "cleat: disk is full\n", Code: 1})
}

func TestNatural(t *testing.T) {
	t.Parallel()
	sorted := []string{"", "a", "a1", "a01", "a2", "a2b", "a10", "ab", "b", "ba"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := natural(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("natural(%q, %q) = %d", a, b, got)
			}
		}
	}
}
