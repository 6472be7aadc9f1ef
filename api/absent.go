package api

import (
	"net/http"
)

// notHere answers requests for what cleat does not have.
func notHere(what string) handler {
	return func(*Server, http.ResponseWriter, *request) error {
		return httpError{http.StatusNotImplemented, what + " is not supported by cleat"}
	}
}

// notASwarm is Docker's answer on a machine that manages no swarm.
func notASwarm(*Server, http.ResponseWriter, *request) error {
	return httpError{
		http.StatusServiceUnavailable,
		`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`,
	}
}

// listPlugins says that there are no plugins.
func (s *Server) listPlugins(w http.ResponseWriter, _ *request) error { return ok(w, []struct{}{}) }
