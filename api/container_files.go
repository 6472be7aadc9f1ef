package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/cleat-project/cleat/engine"
)

const tarType = "application/x-tar"

// containerChanges lists what a container has changed in its root file system.
func (s *Server) containerChanges(w http.ResponseWriter, r *request) error {
	changes, err := s.eng.Changes(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	if changes == nil {
		changes = []engine.Change{}
	}
	return ok(w, changes)
}

// exportContainer streams a container's root file system.
func (s *Server) exportContainer(w http.ResponseWriter, r *request) error {
	if _, err := s.eng.Get(r.Context(), r.vars["id"]); err != nil {
		return err
	}
	w.Header().Set("Content-Type", tarType)
	return s.eng.Export(r.Context(), r.vars["id"], w)
}

// statArchive describes a path in a container.
func (s *Server) statArchive(w http.ResponseWriter, r *request) error {
	name, err := r.path()
	if err != nil {
		return err
	}
	st, err := s.eng.StatPath(r.Context(), r.vars["id"], name)
	if err != nil {
		return err
	}
	if err := setPathStat(w, st); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// getArchive streams what is at a path in a container.
func (s *Server) getArchive(w http.ResponseWriter, r *request) error {
	name, err := r.path()
	if err != nil {
		return err
	}
	tar, st, err := s.eng.CopyFrom(r.Context(), r.vars["id"], name, engine.CopyFromOptions{})
	if err != nil {
		return err
	}
	defer tar.Close() // It is read to its end, or the client is gone.
	if err := setPathStat(w, st); err != nil {
		return err
	}
	w.Header().Set("Content-Type", tarType)
	_, err = io.Copy(w, tar)
	return err
}

// putArchive unpacks a tar stream in a container.
func (s *Server) putArchive(w http.ResponseWriter, r *request) error {
	name, err := r.path()
	if err != nil {
		return err
	}
	opt := engine.CopyToOptions{AsUser: r.flag("copyUIDGID"), KeepKind: r.flag("noOverwriteDirNonDir")}
	if err := s.eng.CopyTo(r.Context(), r.vars["id"], name, r.Body, opt); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// path reads the path in the container.
func (r *request) path() (string, error) {
	name := r.query.Get("path")
	if name == "" {
		return "", invalid("bad parameter: path cannot be empty")
	}
	return name, nil
}

// setPathStat puts the description of a path into the answer's head.
func setPathStat(w http.ResponseWriter, st engine.PathStat) error {
	data, err := json.Marshal(st)
	if err == nil {
		w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(data))
	}
	return err
}
