package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
	"github.com/cleat-project/cleat/spec"
)

// listContainers lists containers, the youngest first.
func (s *Server) listContainers(w http.ResponseWriter, r *request) error {
	values, err := r.filters()
	if err != nil {
		return err
	}
	filter, err := listing.NewContainerFilter(values)
	if err != nil {
		return err
	}
	limit, err := r.number("limit")
	if err != nil {
		return err
	}
	all, err := s.eng.List(r.Context())
	if err != nil {
		return err
	}
	shown, err := filter.Apply(all, r.flag("all") || limit > 0)
	if err != nil {
		return err
	}
	if limit > 0 && len(shown) > limit {
		shown = shown[:limit]
	}
	list, err := s.eng.Summarize(r.Context(), shown)
	if err != nil {
		return err
	}
	out := make([]summary, 0, len(list))
	for _, c := range list {
		out = append(out, newSummary(c, time.Now()))
	}
	if !r.flag("size") {
		return ok(w, out)
	}
	sizes, err := s.eng.Sizes(r.Context(), shown)
	if err != nil {
		return err
	}
	for i, size := range sizes {
		out[i].SizeRw, out[i].SizeRootFs = size.WritableBytes, size.TotalBytes
	}
	return ok(w, out)
}

// inspectContainer answers with all there is to know of a container.
func (s *Server) inspectContainer(w http.ResponseWriter, r *request) error {
	c, err := s.eng.Inspect(r.Context(), r.vars["id"], engine.InspectOptions{Size: r.flag("size")})
	if err != nil {
		return err
	}
	c.State.Status = dockerStatus(c.State.Status)
	return shaped(w, c, containerShape, r.version)
}

// dockerStatus returns a state that Docker's clients know: a container that sleeps
// until a connection starts it has exited, and its ports are published.
func dockerStatus(s engine.Status) engine.Status {
	if s == engine.StatusSleeping {
		return engine.StatusExited
	}
	return s
}

// createContainer creates a container. Images are not pulled: clients do that when
// they are told that there is none.
func (s *Server) createContainer(w http.ResponseWriter, r *request) error {
	var in createBody
	if err := r.body(&in); err != nil {
		return err
	}
	opt, err := in.options(r.version)
	if err != nil {
		return err
	}
	if opt.Platform, err = r.platform(); err != nil {
		return err
	}
	warnings := []string{}
	opt.Container.Name, opt.Pull = strings.TrimPrefix(r.query.Get("name"), "/"), engine.PullNever
	opt.Warn = func(sentence string) { warnings = append(warnings, sentence) }
	c, err := s.eng.Create(context.WithoutCancel(r.Context()), opt)
	if errors.Is(err, spec.ErrNotFound) {
		return s.explainMissing(r.Context(), opt.Image, err)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.CreateResponse{ID: c.ID, Warnings: warnings})
	return nil
}

// explainMissing tells a missing image from other things that are missing: it is
// for the image alone that clients take "not found" for the order to pull it.
func (s *Server) explainMissing(ctx context.Context, image string, err error) error {
	if _, imageErr := s.eng.Image(ctx, image); errors.Is(imageErr, spec.ErrNotFound) {
		return httpError{http.StatusNotFound, "No such image: " + listing.Familiar(image)}
	}
	return httpError{http.StatusBadRequest, message(err)}
}

// pruneContainers removes containers that do not run.
func (s *Server) pruneContainers(w http.ResponseWriter, r *request) error {
	f, err := r.pruneFilter("label", "label!", "until")
	if err != nil {
		return err
	}
	gone, err := s.eng.PruneContainers(r.Context(), f)
	if err != nil {
		return err
	}
	return ok(w, container.PruneReport{ContainersDeleted: removed(gone), SpaceReclaimed: uint64(gone.Bytes)})
}

// pruneFilter reads the filters of a prune, which may have the known keys.
func (r *request) pruneFilter(known ...string) (engine.PruneFilter, error) {
	values, err := r.filters()
	if err != nil {
		return engine.PruneFilter{}, err
	}
	if err := values.Check(known...); err != nil {
		return engine.PruneFilter{}, err
	}
	return values.Prune(time.Now())
}

// removed lists what a prune of one kind of object has removed.
func removed(gone engine.Pruned) []string {
	out := []string{}
	for _, kind := range gone.Kinds {
		out = append(out, kind.Removed...)
	}
	return out
}

// updateContainer changes the limits and the restart policy of a container.
func (s *Server) updateContainer(w http.ResponseWriter, r *request) error {
	var in container.UpdateConfig
	if err := r.body(&in); err != nil {
		return err
	}
	opt, err := updateOptions(in)
	if err != nil {
		return err
	}
	if err := s.eng.Update(r.Context(), r.vars["id"], opt); err != nil {
		return err
	}
	return ok(w, container.UpdateResponse{Warnings: []string{}})
}

// commitContainer makes an image of a container.
func (s *Server) commitContainer(w http.ResponseWriter, r *request) error {
	var in createBody // what it says of the image to be
	if err := r.body(&in); err != nil {
		return err
	}
	q := r.query
	opt := engine.CommitOptions{
		Reference: joinTag(q.Get("repo"), q.Get("tag")), Author: q.Get("author"), Message: q.Get("comment"),
		Config: in.imageConfig(), Changes: changeLines(q["changes"]), NoPause: !r.flagOr("pause", true),
	}
	img, err := s.eng.Commit(r.Context(), q.Get("container"), opt)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.CommitResponse{ID: string(img.ID)})
	return nil
}

// imageConfig turns what a request says of an image into the engine's form.
func (in createBody) imageConfig() engine.RunConfig {
	if in.Config == nil {
		return engine.RunConfig{}
	}
	out := engine.RunConfig{
		User: in.User, Env: in.Env, Cmd: in.Cmd, Entrypoint: in.Entrypoint, WorkingDir: in.WorkingDir, Volumes: in.Volumes,
		OnBuild: in.OnBuild, Labels: in.Labels, StopSignal: in.StopSignal, StopTimeout: in.StopTimeout, Shell: in.Shell,
	}
	for port := range in.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[port.String()] = struct{}{}
	}
	if h := in.Healthcheck; h != nil {
		out.Healthcheck = &engine.Healthcheck{
			Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
		}
	}
	return out
}

// joinTag makes a reference of a repository and a tag or digest, "" without the
// former.
func joinTag(repository, tag string) string {
	switch {
	case repository == "" || tag == "":
		return repository
	case strings.HasPrefix(tag, "sha256:"):
		return repository + "@" + tag
	}
	return repository + ":" + tag
}

// changeLines splits Dockerfile instructions that come in one value.
func changeLines(values []string) []string {
	var out []string
	for _, v := range values {
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}
