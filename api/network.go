package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// listNetworks lists networks.
func (s *Server) listNetworks(w http.ResponseWriter, r *request) error {
	values, err := r.filters()
	if err != nil {
		return err
	}
	list, err := s.eng.Networks(r.Context(), values)
	if err != nil {
		return err
	}
	if list == nil {
		list = []engine.NetworkInspect{}
	}
	return ok(w, list)
}

// inspectNetwork answers with all there is to know of a network.
func (s *Server) inspectNetwork(w http.ResponseWriter, r *request) error {
	if scope := r.query.Get("scope"); scope != "" && scope != "local" {
		return httpError{http.StatusNotFound, "network " + r.vars["id"] + " not found"}
	}
	n, err := s.eng.NetworkInspect(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	return ok(w, n)
}

// createNetwork creates a network.
func (s *Server) createNetwork(w http.ResponseWriter, r *request) error {
	var in network.CreateRequest
	if err := r.body(&in); err != nil {
		return err
	}
	opt, err := networkOptions(in)
	if err != nil {
		return err
	}
	id, warnings, err := s.eng.NetworkCreate(r.Context(), opt)
	if err != nil {
		return forbidden(err)
	}
	writeJSON(w, http.StatusCreated, network.CreateResponse{ID: id, Warning: strings.Join(warnings, "\n")})
	return nil
}

// networkOptions turns a request into what the engine takes.
func networkOptions(in network.CreateRequest) (engine.NetworkCreateOptions, error) {
	opt := engine.NetworkCreateOptions{
		Name: in.Name, Driver: in.Driver, Internal: in.Internal, Attachable: in.Attachable, Labels: in.Labels, Options: in.Options,
		IPv6: in.EnableIPv6 != nil && *in.EnableIPv6, NoIPv4: in.EnableIPv4 != nil && !*in.EnableIPv4,
	}
	err := refuseFirst([]refusal{
		{in.Ingress, "Ingress", "is for swarm only"},
		{in.ConfigOnly || in.ConfigFrom != nil && in.ConfigFrom.Network != "", "ConfigOnly", "is for swarm only"},
		{in.Scope != "" && in.Scope != "local", "Scope", `can only be "local"`},
	})
	if err != nil {
		return opt, err
	}
	opt.Subnets, err = subnets(in.IPAM)
	return opt, err
}

// connectNetwork connects a container to a network.
func (s *Server) connectNetwork(w http.ResponseWriter, r *request) error {
	var in network.ConnectRequest
	if err := r.body(&in); err != nil {
		return err
	}
	want, err := networkRequest("", in.EndpointConfig)
	if err != nil {
		return badRequest(err)
	}
	if err := s.eng.NetworkConnect(r.Context(), r.vars["id"], in.Container, want); err != nil {
		return forbidden(err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// disconnectNetwork takes a container off a network.
func (s *Server) disconnectNetwork(w http.ResponseWriter, r *request) error {
	var in network.DisconnectRequest
	if err := r.body(&in); err != nil {
		return err
	}
	opt := engine.NetworkDisconnectOptions{Force: in.Force}
	if err := s.eng.NetworkDisconnect(r.Context(), r.vars["id"], in.Container, opt); err != nil {
		return forbidden(err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// removeNetwork removes a network.
func (s *Server) removeNetwork(w http.ResponseWriter, r *request) error {
	return done(w, forbidden(s.eng.NetworkRemove(r.Context(), r.vars["id"])))
}

// forbidden has conflicts about networks answered with the status that Docker has
// for them, except that a name is taken.
func forbidden(err error) error {
	if errors.Is(err, spec.ErrConflict) {
		return httpError{http.StatusForbidden, message(err)}
	}
	return err
}

// pruneNetworks removes networks that nobody uses.
func (s *Server) pruneNetworks(w http.ResponseWriter, r *request) error {
	f, err := r.pruneFilter("label", "label!", "until")
	if err != nil {
		return err
	}
	gone, err := s.eng.PruneNetworks(r.Context(), f)
	if err != nil {
		return err
	}
	return ok(w, network.PruneReport{NetworksDeleted: removed(gone)})
}
