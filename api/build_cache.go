package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/build"

	"github.com/cleat-project/cleat/engine"
)

// pruneBuild removes what builds have left for the next ones.
func (s *Server) pruneBuild(w http.ResponseWriter, r *request) error {
	opt, err := r.pruneBuildOptions()
	if errors.Is(err, errNothingMatches) {
		return ok(w, build.CachePruneReport{CachesDeleted: []string{}})
	}
	if err != nil {
		return err
	}
	gone, err := s.eng.PruneBuilds(r.Context(), opt)
	if err != nil {
		return err
	}
	return ok(w, build.CachePruneReport{CachesDeleted: removed(gone), SpaceReclaimed: uint64(gone.Bytes)})
}

// errNothingMatches says that a filter leaves nothing over: what builds have left
// has no labels.
var errNothingMatches = errors.New("nothing matches")

func (r *request) pruneBuildOptions() (engine.PruneBuildsOptions, error) {
	opt := engine.PruneBuildsOptions{All: r.flag("all")}
	values, err := r.filters()
	if err != nil {
		return opt, err
	}
	if old, ok := values["unused-for"]; ok { // its name in older versions
		values["until"] = append(values["until"], old...)
		delete(values, "unused-for")
	}
	// "docker system prune" has one set of filters for everything.
	if err := values.Check(append(engine.BuildFilters(), "until", "label", "label!")...); err != nil {
		return opt, err
	}
	if len(values["label"]) > 0 {
		return opt, errNothingMatches
	}
	delete(values, "label!")
	opt.Filter = map[string][]string{}
	for _, word := range engine.BuildFilters() {
		if given, ok := values[word]; ok {
			opt.Filter[word] = given
			delete(values, word)
		}
	}
	filter, err := values.Prune(time.Now())
	if err != nil {
		return opt, err
	}
	opt.Before = filter.Until
	for _, name := range []string{"keep-storage", "reserved-space", "max-used-space"} {
		n, err := r.number(name)
		if err != nil {
			return opt, err
		}
		opt.KeepBytes = max(opt.KeepBytes, int64(n))
	}
	if n, err := r.number("min-free-space"); err != nil || n != 0 {
		return opt, unsupported("min-free-space is not supported: give the space to keep with reserved-space")
	}
	return opt, nil
}

// cacheRecords turns what builds have left into Docker's form.
func cacheRecords(list []engine.BuildCacheDisk) []build.CacheRecord {
	out := []build.CacheRecord{}
	for _, c := range list {
		used := c.Used
		out = append(out, build.CacheRecord{
			ID: c.ID, Type: c.Type, Description: c.What, Shared: c.Shared, Size: c.Bytes, CreatedAt: c.Created, LastUsedAt: &used, UsageCount: 1,
		})
	}
	return out
}

// cacheBytes is how much that is.
func cacheBytes(list []engine.BuildCacheDisk) (n int64) {
	for _, c := range list {
		n += c.Bytes
	}
	return n
}
