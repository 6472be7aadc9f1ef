package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/engine"
)

func TestBuildPruneOptions(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	tests := map[string]struct {
		filter []string
		keep   string
		want   engine.PruneBuildsOptions
		bad    bool
	}{
		"nothing asked":  {},
		"until":          {filter: []string{"until=1h"}, want: engine.PruneBuildsOptions{Before: now.Add(-time.Hour)}},
		"keep":           {keep: "2GB", want: engine.PruneBuildsOptions{KeepBytes: 2_000_000_000}},
		"words":          {filter: []string{"type=regular", "description=RUN", "until=1h"}, want: engine.PruneBuildsOptions{Before: now.Add(-time.Hour), Filter: map[string][]string{"type": {"regular"}, "description": {"RUN"}}}},
		"bad size":       {keep: "lots", bad: true},
		"unknown filter": {filter: []string{"label=x"}, bad: true},
		"bad time":       {filter: []string{"until=soon"}, bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			filter := defineFilter(fs, "", "")
			for _, f := range tt.filter {
				if err := fs.Set("filter", f); err != nil {
					t.Fatal(err)
				}
			}
			var got engine.PruneBuildsOptions
			err := buildPruneOptions(&got, filter, tt.keep, now)
			if (err != nil) != tt.bad || err == nil && (got.KeepBytes != tt.want.KeepBytes || !got.Before.Equal(tt.want.Before) || !cmp.Equal(got.Filter, tt.want.Filter)) {
				t.Errorf("%+v %v, want %+v", got, err, tt.want)
			}
		})
	}
}
