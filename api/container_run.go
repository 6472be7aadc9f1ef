package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/cleat-project/cleat/engine"
)

// startContainer starts a container. Docker answers "not modified" for one that
// runs.
func (s *Server) startContainer(w http.ResponseWriter, r *request) error {
	c, err := s.eng.Get(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	if c.Status == engine.StatusRunning {
		return errNotModified
	}
	return done(w, s.eng.Start(context.WithoutCancel(r.Context()), c.ID))
}

// stopContainer stops a container. Docker answers "not modified" for one that does
// not run.
func (s *Server) stopContainer(w http.ResponseWriter, r *request) error {
	opt, err := r.stopOptions()
	if err != nil {
		return err
	}
	c, err := s.eng.Get(r.Context(), r.vars["id"])
	if err != nil {
		return err
	}
	if c.Status == engine.StatusCreated || c.Status == engine.StatusExited {
		return errNotModified
	}
	return done(w, s.eng.Stop(context.WithoutCancel(r.Context()), c.ID, opt))
}

// restartContainer stops a container and starts it again.
func (s *Server) restartContainer(w http.ResponseWriter, r *request) error {
	opt, err := r.stopOptions()
	if err != nil {
		return err
	}
	return done(w, s.eng.Restart(context.WithoutCancel(r.Context()), r.vars["id"], opt))
}

// stopOptions reads how to stop.
func (r *request) stopOptions() (engine.StopOptions, error) {
	opt := engine.StopOptions{Signal: r.query.Get("signal")}
	if text := r.query.Get("t"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return opt, invalid("invalid value for %q: %q is not a number of seconds", "t", text)
		}
		opt.Grace = new(time.Duration(seconds) * time.Second)
	}
	return opt, nil
}

// killContainer sends a signal.
func (s *Server) killContainer(w http.ResponseWriter, r *request) error {
	return done(w, s.eng.Kill(r.Context(), r.vars["id"], r.query.Get("signal")))
}

// pauseContainer freezes a container.
func (s *Server) pauseContainer(w http.ResponseWriter, r *request) error {
	return done(w, s.eng.Pause(r.Context(), r.vars["id"]))
}

// unpauseContainer lets a container go on.
func (s *Server) unpauseContainer(w http.ResponseWriter, r *request) error {
	return done(w, s.eng.Unpause(r.Context(), r.vars["id"]))
}

// waitContainer answers with the exit code, once there is one. The head of the
// answer comes first: it tells the client that no end can be missed any more.
func (s *Server) waitContainer(w http.ResponseWriter, r *request) error {
	cond, err := waitCondition(r.query.Get("condition"), r.version)
	if err != nil {
		return err
	}
	wait, err := s.eng.BeginWait(r.Context(), r.vars["id"], cond)
	if err != nil {
		return err
	}
	defer wait.Close()
	out := beginStream(w, "application/json")
	code, err := wait.End(r.Context())
	if err != nil && r.Context().Err() != nil {
		return nil // the client is gone
	}
	answer := container.WaitResponse{StatusCode: int64(code)}
	if err != nil {
		answer.Error = &container.WaitExitError{Message: message(err)}
	}
	return writeLine(out, answer)
}

// waitCondition reads what to wait for; older versions know one condition.
func waitCondition(text string, v version) (engine.WaitCondition, error) {
	if v < 30 {
		return engine.WaitNotRunning, nil
	}
	switch cond := engine.WaitCondition(text); cond {
	case "":
		return engine.WaitNotRunning, nil
	case engine.WaitNotRunning, engine.WaitNextExit, engine.WaitRemoved:
		return cond, nil
	}
	return "", invalid("invalid condition: %q", text)
}

// resizeContainer sets the size of a container's terminal.
func (s *Server) resizeContainer(w http.ResponseWriter, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	if err := s.eng.ResizeTTY(r.Context(), r.vars["id"], height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// renameContainer gives a container another name.
func (s *Server) renameContainer(w http.ResponseWriter, r *request) error {
	name := strings.TrimPrefix(r.query.Get("name"), "/")
	if name == "" {
		return invalid("neither old nor new names may be empty")
	}
	return done(w, s.eng.Rename(r.Context(), r.vars["id"], name))
}

// removeContainer removes a container.
func (s *Server) removeContainer(w http.ResponseWriter, r *request) error {
	if r.flag("link") {
		return invalid("links cannot be removed: they are part of the container")
	}
	opt := engine.RemoveOptions{Force: r.flag("force"), Volumes: r.flag("v")}
	return done(w, s.eng.Remove(context.WithoutCancel(r.Context()), r.vars["id"], opt))
}

// containerTop lists the processes of a container.
func (s *Server) containerTop(w http.ResponseWriter, r *request) error {
	t, err := s.eng.Top(r.Context(), r.vars["id"], strings.Fields(r.query.Get("ps_args")))
	if err != nil {
		return err
	}
	return ok(w, container.TopResponse{Titles: t.Titles, Processes: t.Processes})
}
