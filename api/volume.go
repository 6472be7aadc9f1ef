package api

import (
	"net/http"
	"time"

	"github.com/moby/moby/api/types/volume"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

// listVolumes lists volumes.
func (s *Server) listVolumes(w http.ResponseWriter, r *request) error {
	values, err := r.filters()
	if err != nil {
		return err
	}
	if err := values.Check("dangling", "driver", "label", "name"); err != nil {
		return err
	}
	dangling, err := values.Truth("dangling")
	if err != nil {
		return err
	}
	list, err := s.eng.Volumes(r.Context(), engine.VolumeFilter{
		Names: values["name"], Drivers: values["driver"], Labels: values["label"], Dangling: dangling,
	})
	if err != nil {
		return err
	}
	out := volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}}
	for _, v := range list {
		out.Volumes = append(out.Volumes, convertVolume(v))
	}
	return ok(w, out)
}

// convertVolume turns a volume into Docker's form.
func convertVolume(v engine.Volume) volume.Volume {
	return volume.Volume{
		Name: v.Name, CreatedAt: v.Created.Format(time.RFC3339), Driver: "local", Labels: v.Labels, Mountpoint: v.Mountpoint, Options: v.Options, Scope: "local",
	}
}

// createVolume makes a volume, or answers with the one of that name.
func (s *Server) createVolume(w http.ResponseWriter, r *request) error {
	var in volume.CreateRequest
	if err := r.body(&in); err != nil {
		return err
	}
	if in.ClusterVolumeSpec != nil {
		return notASwarm(s, w, r)
	}
	name, err := s.eng.CreateVolume(r.Context(), engine.CreateVolumeOptions{Name: in.Name, Driver: in.Driver, Options: in.DriverOpts, Labels: in.Labels})
	if err != nil {
		return err
	}
	v, err := s.eng.InspectVolume(r.Context(), name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, v)
	return nil
}

// inspectVolume answers with all there is to know of a volume.
func (s *Server) inspectVolume(w http.ResponseWriter, r *request) error {
	v, err := s.eng.InspectVolume(r.Context(), r.vars["name"])
	if err != nil {
		return err
	}
	return ok(w, v)
}

// removeVolume removes a volume.
func (s *Server) removeVolume(w http.ResponseWriter, r *request) error {
	return done(w, s.eng.RemoveVolume(r.Context(), r.vars["name"], engine.RemoveVolumeOptions{Force: r.flag("force")}))
}

// pruneVolumes removes volumes that nobody uses: before version 1.42 all, later
// those whose names were made up.
func (s *Server) pruneVolumes(w http.ResponseWriter, r *request) error {
	opt, err := r.pruneVolumesOptions()
	if err != nil {
		return err
	}
	gone, err := s.eng.PruneVolumes(r.Context(), opt)
	if err != nil {
		return err
	}
	return ok(w, volume.PruneReport{VolumesDeleted: removed(gone), SpaceReclaimed: uint64(gone.Bytes)})
}

func (r *request) pruneVolumesOptions() (engine.PruneVolumesOptions, error) {
	var values listing.Filters
	opt := engine.PruneVolumesOptions{All: r.version < 42}
	values, err := r.filters()
	if err != nil {
		return opt, err
	}
	all, err := values.Truth("all")
	if err != nil {
		return opt, err
	}
	if all != nil {
		opt.All = *all
	}
	opt.Filter, err = r.pruneFilter("all", "label", "label!")
	return opt, err
}
