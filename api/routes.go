package api

import (
	"net/http"
	"slices"
	"strings"
)

// handler answers one kind of request. An error that it returns before it has
// written anything becomes the answer.
type handler func(s *Server, w http.ResponseWriter, r *request) error

// route is one row of the table. In its path, {name} is one element and {name...}
// one or more.
type route struct {
	method, path string
	handle       handler
	takesStream  bool // its body is not a small object
}

// routes is the whole API.
var routes = []route{
	{method: "GET", path: "/_ping", handle: (*Server).ping},
	{method: "HEAD", path: "/_ping", handle: (*Server).ping},
	{method: "GET", path: "/version", handle: (*Server).versions},
	{method: "GET", path: "/info", handle: (*Server).info},
	{method: "POST", path: "/auth", handle: (*Server).auth},
	{method: "GET", path: "/events", handle: (*Server).events},
	{method: "GET", path: "/system/df", handle: (*Server).diskUsage},
	{method: "GET", path: "/debug/vars", handle: (*Server).debugVars},

	{method: "GET", path: "/containers/json", handle: (*Server).listContainers},
	{method: "POST", path: "/containers/create", handle: (*Server).createContainer},
	{method: "POST", path: "/containers/prune", handle: (*Server).pruneContainers},
	{method: "GET", path: "/containers/{id}/json", handle: (*Server).inspectContainer},
	{method: "POST", path: "/containers/{id}/start", handle: (*Server).startContainer},
	{method: "POST", path: "/containers/{id}/stop", handle: (*Server).stopContainer},
	{method: "POST", path: "/containers/{id}/restart", handle: (*Server).restartContainer},
	{method: "POST", path: "/containers/{id}/kill", handle: (*Server).killContainer},
	{method: "POST", path: "/containers/{id}/pause", handle: (*Server).pauseContainer},
	{method: "POST", path: "/containers/{id}/unpause", handle: (*Server).unpauseContainer},
	{method: "POST", path: "/containers/{id}/wait", handle: (*Server).waitContainer},
	{method: "POST", path: "/containers/{id}/attach", handle: (*Server).attachContainer, takesStream: true},
	{method: "GET", path: "/containers/{id}/attach/ws", handle: (*Server).attachWebsocket, takesStream: true},
	{method: "POST", path: "/containers/{id}/resize", handle: (*Server).resizeContainer},
	{method: "POST", path: "/containers/{id}/rename", handle: (*Server).renameContainer},
	{method: "POST", path: "/containers/{id}/update", handle: (*Server).updateContainer},
	{method: "GET", path: "/containers/{id}/logs", handle: (*Server).containerLogs},
	{method: "GET", path: "/containers/{id}/top", handle: (*Server).containerTop},
	{method: "GET", path: "/containers/{id}/stats", handle: (*Server).containerStats},
	{method: "GET", path: "/containers/{id}/changes", handle: (*Server).containerChanges},
	{method: "GET", path: "/containers/{id}/export", handle: (*Server).exportContainer},
	{method: "HEAD", path: "/containers/{id}/archive", handle: (*Server).statArchive},
	{method: "GET", path: "/containers/{id}/archive", handle: (*Server).getArchive},
	{method: "PUT", path: "/containers/{id}/archive", handle: (*Server).putArchive, takesStream: true},
	{method: "DELETE", path: "/containers/{id}", handle: (*Server).removeContainer},
	{method: "POST", path: "/commit", handle: (*Server).commitContainer},
	{method: "GET", path: "/containers/{id}/checkpoints", handle: notHere("checkpoints")},
	{method: "POST", path: "/containers/{id}/checkpoints", handle: notHere("checkpoints")},

	{method: "POST", path: "/containers/{id}/exec", handle: (*Server).createExec},
	{method: "POST", path: "/exec/{id}/start", handle: (*Server).startExec, takesStream: true},
	{method: "POST", path: "/exec/{id}/resize", handle: (*Server).resizeExec},
	{method: "GET", path: "/exec/{id}/json", handle: (*Server).inspectExec},

	{method: "GET", path: "/images/json", handle: (*Server).listImages},
	{method: "POST", path: "/images/create", handle: (*Server).createImage, takesStream: true},
	{method: "GET", path: "/images/search", handle: (*Server).searchImages},
	{method: "POST", path: "/images/prune", handle: (*Server).pruneImages},
	{method: "GET", path: "/images/get", handle: (*Server).saveImages},
	{method: "POST", path: "/images/load", handle: (*Server).loadImages, takesStream: true},
	{method: "GET", path: "/images/{name...}/json", handle: (*Server).inspectImage},
	{method: "GET", path: "/images/{name...}/history", handle: (*Server).imageHistory},
	{method: "GET", path: "/images/{name...}/get", handle: (*Server).saveImage},
	{method: "GET", path: "/images/{name...}/attestations", handle: notHere("attestations of images")},
	{method: "POST", path: "/images/{name...}/push", handle: (*Server).pushImage},
	{method: "POST", path: "/images/{name...}/tag", handle: (*Server).tagImage},
	{method: "DELETE", path: "/images/{name...}", handle: (*Server).removeImage},
	{method: "GET", path: "/distribution/{name...}/json", handle: (*Server).distribution},

	{method: "GET", path: "/networks", handle: (*Server).listNetworks},
	{method: "POST", path: "/networks/create", handle: (*Server).createNetwork},
	{method: "POST", path: "/networks/prune", handle: (*Server).pruneNetworks},
	{method: "GET", path: "/networks/{id}", handle: (*Server).inspectNetwork},
	{method: "POST", path: "/networks/{id}/connect", handle: (*Server).connectNetwork},
	{method: "POST", path: "/networks/{id}/disconnect", handle: (*Server).disconnectNetwork},
	{method: "DELETE", path: "/networks/{id}", handle: (*Server).removeNetwork},

	{method: "GET", path: "/volumes", handle: (*Server).listVolumes},
	{method: "POST", path: "/volumes/create", handle: (*Server).createVolume},
	{method: "POST", path: "/volumes/prune", handle: (*Server).pruneVolumes},
	{method: "GET", path: "/volumes/{name}", handle: (*Server).inspectVolume},
	{method: "PUT", path: "/volumes/{name}", handle: notASwarm},
	{method: "DELETE", path: "/volumes/{name}", handle: (*Server).removeVolume},

	{method: "POST", path: "/build", handle: (*Server).buildImage, takesStream: true},
	{method: "POST", path: "/build/prune", handle: (*Server).pruneBuild},
	{method: "POST", path: "/build/cancel", handle: (*Server).cancelBuild},
	{method: "POST", path: "/session", handle: notHere("BuildKit's session")},
	{method: "POST", path: "/grpc", handle: notHere("BuildKit's protocol")},
	{method: "GET", path: "/plugins", handle: (*Server).listPlugins},
	{method: "*", path: "/plugins/{rest...}", handle: notHere("installing plugins")},

	{method: "*", path: "/swarm", handle: notASwarm},
	{method: "*", path: "/swarm/{rest...}", handle: notASwarm},
	{method: "*", path: "/nodes", handle: notASwarm},
	{method: "*", path: "/nodes/{rest...}", handle: notASwarm},
	{method: "*", path: "/services", handle: notASwarm},
	{method: "*", path: "/services/{rest...}", handle: notASwarm},
	{method: "*", path: "/tasks", handle: notASwarm},
	{method: "*", path: "/tasks/{rest...}", handle: notASwarm},
	{method: "*", path: "/secrets", handle: notASwarm},
	{method: "*", path: "/secrets/{rest...}", handle: notASwarm},
	{method: "*", path: "/configs", handle: notASwarm},
	{method: "*", path: "/configs/{rest...}", handle: notASwarm},
}

// pageNotFound is Docker's answer to what is no part of its API.
var pageNotFound = httpError{http.StatusNotFound, "page not found"}

// find returns the row for a request and what stands for the names in its path.
// The first one that fits counts.
func find(method, path string) (route, map[string]string, error) {
	elements := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	elsewhere := false
	for _, row := range routeTable() {
		vars, ok := match(row.elements, elements)
		if !ok {
			continue
		}
		if row.method == method || row.method == "*" {
			return row.route, vars, nil
		}
		elsewhere = true
	}
	if elsewhere {
		return route{}, nil, httpError{http.StatusMethodNotAllowed, "method not allowed"}
	}
	return route{}, nil, pageNotFound
}

// match compares the elements of a pattern with those of a path.
func match(pattern, path []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, p := range pattern {
		name, isVar := strings.CutPrefix(p, "{")
		name = strings.TrimSuffix(name, "}")
		switch many, isMany := strings.CutSuffix(name, "..."); {
		case isVar && isMany:
			after := len(pattern) - i - 1 // elements of the pattern that are still to come
			end := len(path) - after
			if end <= i || !slices.Equal(pattern[i+1:], path[end:]) {
				return nil, false
			}
			vars[many] = strings.Join(path[i:end], "/")
			return vars, vars[many] != ""
		case i >= len(path):
			return nil, false
		case isVar:
			if vars[name] = path[i]; path[i] == "" {
				return nil, false
			}
		case p != path[i]:
			return nil, false
		}
	}
	return vars, len(pattern) == len(path)
}
