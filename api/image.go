package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

// listImages lists images, the youngest first.
func (s *Server) listImages(w http.ResponseWriter, r *request) error {
	values, err := r.filters()
	if err != nil {
		return err
	}
	var patterns []string
	if old := r.query.Get("filter"); old != "" { // before version 1.25
		patterns = []string{old}
	}
	filter, err := listing.NewImageFilter(values, patterns, time.Now())
	if err != nil {
		return err
	}
	match, err := filter.Compile(r.Context(), s.eng)
	if err != nil {
		return err
	}
	list, err := s.eng.ImageUsage(r.Context())
	if err != nil {
		return err
	}
	byName := len(values["reference"])+len(patterns) > 0
	out := []imageSummary{}
	for _, img := range list {
		names, fits := matchNames(img.Image, match)
		if !fits || byName && len(names) == 0 {
			continue
		}
		row := newImageSummary(img.Image, names, r.version)
		if r.version >= 51 {
			row.Containers = int64(img.Containers)
		}
		out = append(out, row)
	}
	if !r.flag("shared-size") {
		return ok(w, out)
	}
	return s.addShared(w, r, out)
}

// matchNames returns those names of an image that fit, and whether the image does.
func matchNames(img engine.Image, match listing.ImageTest) (names []engine.Reference, fits bool) {
	names = []engine.Reference{}
	for _, ref := range img.References {
		if match(img, ref) {
			names = append(names, ref)
		}
	}
	if len(img.References) > 0 {
		return names, len(names) > 0
	}
	return names, match(img, engine.Reference{})
}

// addShared answers with images and how much of each others have as well.
func (s *Server) addShared(w http.ResponseWriter, r *request, list []imageSummary) error {
	u, err := s.eng.DiskUsage(r.Context())
	if err != nil {
		return err
	}
	shared := map[string]int64{}
	for _, img := range u.Images {
		shared[string(img.ID)] = img.SharedBytes
	}
	for i := range list {
		list[i].SharedSize = shared[list[i].ID]
	}
	return ok(w, list)
}

// inspectImage answers with all there is to know of an image.
func (s *Server) inspectImage(w http.ResponseWriter, r *request) error {
	if r.flag("manifests") {
		return unsupported("the manifests of an image are not supported: an image here is for one platform")
	}
	img, err := s.eng.InspectImage(r.Context(), r.vars["name"])
	if err != nil {
		return err
	}
	return shaped(w, img, imageShape, r.version)
}

// imageHistory lists the steps that made an image.
func (s *Server) imageHistory(w http.ResponseWriter, r *request) error {
	img, err := s.eng.Image(r.Context(), r.vars["name"])
	if err != nil {
		return err
	}
	steps, err := s.eng.History(r.Context(), string(img.ID))
	if err != nil {
		return err
	}
	out := []image.HistoryResponseItem{}
	for i, step := range steps {
		row := image.HistoryResponseItem{ID: "<missing>", Created: step.Created.Unix(), CreatedBy: step.CreatedBy, Comment: step.Comment, Size: step.SizeBytes}
		if i == 0 {
			row.ID = string(img.ID)
			for _, ref := range img.References {
				row.Tags = append(row.Tags, ref.Familiar())
			}
		}
		out = append(out, row)
	}
	return ok(w, out)
}

// tagImage gives an image a further name.
func (s *Server) tagImage(w http.ResponseWriter, r *request) error {
	if r.query.Get("repo") == "" {
		return invalid("invalid reference: the parameter repo is missing")
	}
	if err := s.eng.Tag(r.Context(), r.vars["name"], joinTag(r.query.Get("repo"), r.query.Get("tag"))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// removeImage takes a name from an image, and deletes it with its last one.
func (s *Server) removeImage(w http.ResponseWriter, r *request) error {
	if r.query.Has("platforms") {
		return unsupported("removing single platforms of an image is not supported: an image here is for one")
	}
	gone, err := s.eng.RemoveImage(r.Context(), r.vars["name"], engine.RemoveImageOptions{Force: r.flag("force")})
	if err != nil {
		return err
	}
	return ok(w, gone)
}

// pruneImages removes images that no container uses.
func (s *Server) pruneImages(w http.ResponseWriter, r *request) error {
	values, err := r.filters()
	if err != nil {
		return err
	}
	dangling, err := values.Truth("dangling")
	if err != nil {
		return err
	}
	opt := engine.PruneImagesOptions{All: dangling != nil && !*dangling}
	if opt.Filter, err = r.pruneFilter("dangling", "label", "label!", "until"); err != nil {
		return err
	}
	gone, err := s.eng.PruneImages(r.Context(), opt)
	if err != nil {
		return err
	}
	report := image.PruneReport{SpaceReclaimed: uint64(gone.Bytes), ImagesDeleted: []image.DeleteResponse{}}
	for _, line := range removed(gone) {
		report.ImagesDeleted = append(report.ImagesDeleted, deletedLine(line))
	}
	return ok(w, report)
}

// deletedLine takes apart what a prune says of one image.
func deletedLine(line string) image.DeleteResponse {
	if name, ok := strings.CutPrefix(line, "untagged: "); ok {
		return image.DeleteResponse{Untagged: name}
	}
	return image.DeleteResponse{Deleted: strings.TrimPrefix(line, "deleted: ")}
}
