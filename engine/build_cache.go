package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/journal/event"
	"github.com/cleat-project/cleat/spec"
)

// BuildCache lists what builds have left for the next ones: steps and cache mounts.
func (e *Engine) BuildCache(ctx context.Context) ([]BuildCacheDisk, error) {
	images, err := e.images.List()
	if err != nil {
		return nil, err
	}
	return e.buildCache(ctx, images)
}

func (e *Engine) buildCache(ctx context.Context, images []Image) ([]BuildCacheDisk, error) {
	records, err := e.state.BuildRecords()
	if err != nil {
		return nil, err
	}
	listed := listedLayers(images)
	var all []BuildCacheDisk
	for _, r := range records {
		if r.DiffID == "" {
			continue // takes nothing, and goes with the others
		}
		d := BuildCacheDisk{ID: r.Key, Type: "regular", What: r.What, Created: r.Created, Used: r.Used, Shared: listed[Digest(r.DiffID)]}
		if d.Bytes = e.images.LayerSize(Digest(r.DiffID)); d.Bytes == 0 {
			d.Bytes = r.BlobBytes
		}
		all = append(all, d)
	}
	mounts, err := e.state.BuildMounts()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		bytes, err := usage(ctx, e.state.BuildMountDir(m.Name))
		if err != nil {
			return nil, err
		}
		all = append(all, BuildCacheDisk{ID: m.Name, Type: "exec.cachemount", What: m.What, Created: m.Used, Used: m.Used, Bytes: bytes})
	}
	slices.SortFunc(all, func(a, b BuildCacheDisk) int { return b.Used.Compare(a.Used) })
	return all, nil
}

// listedLayers are the layers that images have.
func listedLayers(images []Image) map[Digest]bool {
	listed := map[Digest]bool{}
	for _, img := range images {
		for _, d := range img.Layers {
			listed[d] = true
		}
	}
	return listed
}

// PruneBuildsOptions says what PruneBuilds removes. The zero value asks for all that
// takes space: what images have as well stays, because it costs nothing.
type PruneBuildsOptions struct {
	All       bool      // everything
	Before    time.Time // only what was of use before that for the last time; zero: no limit
	KeepBytes int64     // what was used last, up to this size, stays

	// Filter chooses by Docker's words: id, type, description, shared, private and
	// inuse. Of several values of a word one has to fit.
	Filter map[string][]string
}

// buildFilters are the words of PruneBuildsOptions.Filter.
var buildFilters = map[string]func(d BuildCacheDisk, value string) (bool, error){
	"id":          func(d BuildCacheDisk, value string) (bool, error) { return strings.HasPrefix(d.ID, value), nil },
	"type":        func(d BuildCacheDisk, value string) (bool, error) { return d.Type == value, nil },
	"description": func(d BuildCacheDisk, value string) (bool, error) { return strings.Contains(d.What, value), nil },
	"shared":      func(d BuildCacheDisk, value string) (bool, error) { return isTruth(value, d.Shared) },
	"private":     func(d BuildCacheDisk, value string) (bool, error) { return isTruth(value, !d.Shared) },
	"inuse":       func(d BuildCacheDisk, value string) (bool, error) { return isTruth(value, d.Shared) }, // an image has it
}

// BuildFilters lists the words of PruneBuildsOptions.Filter.
func BuildFilters() []string { return slices.Sorted(maps.Keys(buildFilters)) }

func isTruth(value string, is bool) (bool, error) {
	want, err := strconv.ParseBool(value)
	if value == "" { // as Docker has it, the word alone is true
		want, err = true, nil
	}
	if err != nil {
		return false, invalid("filter value %q: want true or false", value)
	}
	return want == is, nil
}

// fits reports whether the filter chooses d.
func (opt PruneBuildsOptions) fits(d BuildCacheDisk) (bool, error) {
	for word, values := range opt.Filter {
		test := buildFilters[word]
		if test == nil {
			return false, invalid("filter %q: want one of until, %s", word, strings.Join(BuildFilters(), ", "))
		}
		any := false
		for _, value := range values {
			ok, err := test(d, value)
			if err != nil {
				return false, err
			}
			any = any || ok
		}
		if !any {
			return false, nil
		}
	}
	return true, nil
}

// PruneBuilds forgets steps of builds and removes cache mounts that no build uses.
func (e *Engine) PruneBuilds(ctx context.Context, opt PruneBuildsOptions) (Pruned, error) {
	all, err := e.BuildCache(ctx)
	if err != nil {
		return Pruned{}, err
	}
	kind, p := PrunedKind{Name: "Build Cache"}, Pruned{}
	var kept int64
	var errs []error
	for _, d := range all {
		if !opt.All && d.Shared || !opt.Before.IsZero() && !d.Used.Before(opt.Before) {
			continue
		}
		if fits, err := opt.fits(d); err != nil {
			return Pruned{}, err
		} else if !fits {
			continue
		}
		if opt.KeepBytes > 0 && kept+d.Bytes <= opt.KeepBytes {
			kept += d.Bytes
			continue
		}
		if err := e.removeBuildCache(ctx, d); errors.Is(err, spec.ErrConflict) {
			continue // a build has it mounted
		} else if err != nil {
			errs = append(errs, err)
			continue
		}
		kind.Removed = append(kind.Removed, d.ID)
		if d.Type != "regular" {
			p.Bytes += d.Bytes
		}
	}
	if opt.All && opt.Before.IsZero() && opt.KeepBytes == 0 && len(opt.Filter) == 0 {
		errs = append(errs, e.forgetSmall())
	}
	freed, err := e.images.Collect(ctx)
	p.Bytes += freed
	p.Kinds = []PrunedKind{kind}
	e.tellPruned(event.Builder, p)
	return p, errors.Join(append(errs, err)...)
}

func (e *Engine) removeBuildCache(ctx context.Context, d BuildCacheDisk) error {
	if d.Type == "regular" {
		return e.state.RemoveBuildRecord(d.ID)
	}
	return e.state.RemoveBuildMount(ctx, d.ID)
}

// forgetSmall removes the records and notes that take no space worth mentioning.
func (e *Engine) forgetSmall() error {
	records, err := e.state.BuildRecords()
	errs := []error{err, e.state.RemoveBuildNotes()}
	for _, r := range records {
		if r.DiffID == "" {
			errs = append(errs, e.state.RemoveBuildRecord(r.Key))
		}
	}
	return errors.Join(errs...)
}

// buildUse is what the cache of builds keeps in the image store.
func (e *Engine) buildUse() (image.Use, error) {
	records, err := e.state.BuildRecords()
	var use image.Use
	for _, r := range records {
		if r.DiffID != "" {
			use.Layers, use.Blobs = append(use.Layers, Digest(r.DiffID)), append(use.Blobs, Digest(r.BlobDigest))
		}
	}
	return use, err
}
