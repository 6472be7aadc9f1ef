package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// pruner is an engine that notes what it is to prune.
type pruner struct {
	backend
	calls []engine.PruneImagesOptions
	done  engine.Pruned
}

func (p *pruner) PruneImages(_ context.Context, opt engine.PruneImagesOptions) (engine.Pruned, error) {
	p.calls = append(p.calls, opt)
	return p.done, nil
}

func TestImagePrune(t *testing.T) {
	t.Parallel()
	const ask = "Are you sure you want to continue? [y/N] "
	const dangling, all = "WARNING! This will remove all dangling images.\n" + ask, "WARNING! This will remove all images without at least one container associated to them.\n" + ask
	const nothing = "Total reclaimed space: 0B\n"
	removed := engine.Pruned{Bytes: 1_230_000, Kinds: []engine.PrunedKind{{Name: "Images", Removed: []string{"untagged: a:1", "deleted: sha256:1"}}}}
	const report = "Deleted Images:\nuntagged: a:1\ndeleted: sha256:1\n\nTotal reclaimed space: 1.23MB\n"
	tests := map[string]struct {
		args, stdin string
		done        engine.Pruned
		want        string
		call        *engine.PruneImagesOptions
	}{
		"yes":                 {"", "y\n", removed, dangling + report, &engine.PruneImagesOptions{}},
		"yes, in a word":      {"-a", "Yes\n", engine.Pruned{}, all + nothing, &engine.PruneImagesOptions{All: true}},
		"no":                  {"", "n\n", removed, dangling, nil},
		"nothing":             {"", "\n", removed, dangling, nil},
		"end of input":        {"", "", removed, dangling + "\n", nil},
		"force":               {"-f", "", removed, report, &engine.PruneImagesOptions{}},
		"dangling=false":      {"--filter dangling=false", "y\n", removed, all + report, &engine.PruneImagesOptions{All: true}},
		"dangling=true wins":  {"-a -f --filter dangling=true", "", removed, report, &engine.PruneImagesOptions{}},
		"labels":              {"-f --filter label=a --filter label=b=c --filter label!=d", "", removed, report, &engine.PruneImagesOptions{Filter: engine.PruneFilter{Labels: []string{"a", "b=c"}, NotLabels: []string{"d"}}}},
		"until, as a date":    {"-f --filter until=2020-01-02T03:04:05Z", "", removed, report, &engine.PruneImagesOptions{Filter: engine.PruneFilter{Until: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)}}},
		"until, in unix time": {"-f --filter until=1577934245", "", removed, report, &engine.PruneImagesOptions{Filter: engine.PruneFilter{Until: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)}}},
	}
	for name, tt := range tests {
		p := &pruner{done: tt.done}
		want(t, tryWith(t, p, tt.stdin, append([]string{"image", "prune"}, strings.Fields(tt.args)...)...), outcome{Out: tt.want})
		var calls []engine.PruneImagesOptions
		if tt.call != nil {
			calls = append(calls, *tt.call)
		}
		if diff := cmp.Diff(calls, p.calls); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	p := &pruner{}
	try(t, p, "image", "prune", "-f", "--filter", "until=24h")
	if len(p.calls) != 1 || time.Since(p.calls[0].Filter.Until).Round(time.Hour) != 24*time.Hour {
		t.Errorf("until=24h: %+v", p.calls)
	}
	for _, filter := range []string{"x", "size=3", "dangling=maybe", "until=soon", "until=", "until=0", "name!=x"} {
		if got := try(t, bystander{}, "image", "prune", "-f", "--filter", filter); got.Code == 0 || !strings.Contains(got.Err, "filter") {
			t.Errorf("%s: %+v", filter, got)
		}
	}
}
