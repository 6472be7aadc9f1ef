package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// CacheTarget is where a build puts its cache for other machines.
type CacheTarget struct {
	engine.CacheStore
	All         bool // the steps of all stages; else only those whose layers are in the result
	IgnoreError bool // the build does not fail if this does
}

// importCaches makes the build use what other machines have done. What cannot be had
// costs time only.
func (b *builder) importCaches(ctx context.Context) error {
	for _, from := range b.opt.CacheFrom {
		v := b.out.begin("importing cache manifest from " + from.String())
		v.start()
		err := b.b.ImportCache(ctx, from)
		if ctx.Err() != nil {
			return v.stop(ctx, context.Cause(ctx))
		}
		if errors.Is(err, spec.ErrUnsupport) {
			err = fmt.Errorf("is not a cache that cleat has exported: %w", err)
		}
		v.end(err)
	}
	return nil
}

// keep notes a step for the export of the cache.
func (b *builder) keep(stage int, rec engine.BuildRecord, layer *engine.BuildLayer) {
	if len(b.opt.CacheTo) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, keptStep{stage, engine.SharedStep{Record: rec, Layer: layer}})
}

// keptStep is a step with the stage that it is of; -1 is that of the image itself.
type keptStep struct {
	stage int
	engine.SharedStep
}

// keepNote notes what is known of a tree, for the export of the cache.
func (b *builder) keepNote(name, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notes == nil {
		b.notes = map[string]string{}
	}
	b.notes[name] = value
}

// exportCaches gives other machines what this build has done or found done.
func (b *builder) exportCaches(ctx context.Context, s *state) error {
	for _, to := range b.opt.CacheTo {
		v := b.out.begin("exporting cache to " + to.String())
		v.start()
		err := b.b.ExportCache(ctx, to.CacheStore, b.shared(s, to.All), engine.ExportOptions{Progress: v.pull})
		if err != nil {
			err = fmt.Errorf("export cache to %s: %w", to, err)
		}
		if v.end(err); err != nil && !to.IgnoreError {
			return err
		}
	}
	return nil
}

// shared returns what is exported: the same for the same build, in whatever order its
// steps were done.
func (b *builder) shared(s *state, all bool) engine.SharedCache {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := engine.SharedCache{Notes: b.notes}
	chain := map[int]bool{-1: true}
	for i := b.target; i >= 0; i = b.file.stages[i].base {
		chain[i] = true
	}
	for _, k := range b.kept {
		inResult := k.Layer != nil && slices.ContainsFunc(s.layers, func(l engine.BuildLayer) bool { return l.DiffID == k.Layer.DiffID })
		if all || inResult || k.Layer == nil && chain[k.stage] {
			c.Steps = append(c.Steps, k.SharedStep)
		}
	}
	slices.SortFunc(c.Steps, func(a, b engine.SharedStep) int { return strings.Compare(a.Record.Key, b.Record.Key) })
	c.Steps = slices.CompactFunc(c.Steps, func(a, b engine.SharedStep) bool { return a.Record.Key == b.Record.Key })
	return c
}
