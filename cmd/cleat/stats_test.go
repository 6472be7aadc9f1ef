package main

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// meter is an engine that measures two containers, and one that does not run.
type meter struct {
	backend
	refs []string
	opt  engine.StatsOptions
}

func (m *meter) Stats(_ context.Context, refs []string, opt engine.StatsOptions) iter.Seq2[[]engine.Stats, error] {
	m.refs, m.opt = refs, opt
	at := time.Unix(1000, 0)
	list := []engine.Stats{
		{
			ID: strings.Repeat("ab", 32), Name: "web", Ref: "w", Read: at, PreRead: at,
			CPU: engine.CPUStats{Usage: 150 * time.Millisecond, System: 2 * time.Second, Online: 2}, Pids: &engine.PidsStats{Current: 3},
			Memory:   &engine.MemoryStats{UsageBytes: 348 << 10, LimitBytes: 100 << 20, Detail: map[string]uint64{"inactive_file": 100 << 10}},
			Networks: map[string]engine.NetworkStats{"eth0": {RxBytes: 1500, TxBytes: 20}}, BlockIO: []engine.BlockStats{{ReadBytes: 4096}},
		},
		{ID: strings.Repeat("cd", 32), Name: "db", Read: at},
		{ID: strings.Repeat("ef", 32), Name: "old"},
	}
	return func(yield func([]engine.Stats, error) bool) {
		if yield(list, nil) && !opt.Once {
			yield(list[:1], nil)
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	const head = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O         BLOCK I/O     PIDS\n"
	const web = "abababababab   web       15.00%    248KiB / 100MiB     0.24%     1.5kB / 20B     4.1kB / 0B    3\n"
	tests := map[string]string{
		"stats --no-stream": head + web +
			"cdcdcdcdcdcd   db        0.00%     -- / --             --        0B / 0B         --            --\n" +
			"efefefefefef   old       0.00%     0B / 0B             0.00%     0B / 0B         0B / 0B       0\n",
		"container stats --no-stream --format table_{{.Container}}\\t{{.PIDs}}": "CONTAINER      PIDS\nw              3\ncdcdcdcdcdcd   --\nefefefefefef   0\n",
		"stats --format {{.Name}}/{{.CPUPerc}}":                                 "web/15.00%\ndb/0.00%\nold/0.00%\nweb/15.00%\n",
		"stats --no-stream --no-trunc --format {{.ID}}={{.Container}}":          strings.Repeat("ab", 32) + "=w\n" + strings.Repeat("cd", 32) + "=" + strings.Repeat("cd", 32) + "\n" + strings.Repeat("ef", 32) + "=" + strings.Repeat("ef", 32) + "\n",
	}
	for line, out := range tests {
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		got := try(t, &meter{}, args...)
		if diff := cmp.Diff(outcome{Out: squeeze(out)}, outcome{squeeze(got.Out), got.Err, got.Code}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	got := try(t, &meter{}, "stats", "--no-stream", "--format", "json")
	const first = `{"BlockIO":"4.1kB / 0B","CPUPerc":"15.00%","Container":"w","ID":"abababababab","MemPerc":"0.24%","MemUsage":"248KiB / 100MiB","Name":"web","NetIO":"1.5kB / 20B","PIDs":"3"}` + "\n"
	if !strings.HasPrefix(got.Out, first) {
		t.Errorf("JSON: %s", got.Out)
	}
	m := &meter{}
	try(t, m, "stats", "-a", "--no-stream", "w", "d")
	if diff := cmp.Diff([]any{[]string{"w", "d"}, engine.StatsOptions{All: true, Once: true}}, []any{m.refs, m.opt}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want(t, try(t, bystander{}, "stats", "--format", "{{"), outcome{Err: "cleat: template parsing error: template: :1: unclosed action\n", Code: 1})
}

func TestRedraw(t *testing.T) {
	t.Parallel()
	if got := redraw("a\nb\n"); got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
}
