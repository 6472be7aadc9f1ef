package api

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/engine"
)

// ping says that somebody is there, and what.
func (s *Server) ping(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Builder-Version", "1")
	h.Set("Swarm", "inactive")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, "OK") // a client that is gone does not mind
	}
	return nil
}

// versions says which versions of what are here.
func (s *Server) versions(w http.ResponseWriter, _ *request) error {
	v := system.VersionResponse{
		Version: s.opt.Version, APIVersion: newest.String(), MinAPIVersion: oldest.String(),
		Os: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version(), Platform: system.PlatformInfo{Name: "cleat"},
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				v.GitCommit = setting.Value
			case "vcs.time":
				v.BuildTime = setting.Value
			}
		}
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		v.KernelVersion = unix.ByteSliceToString(uts.Release[:])
	}
	v.Components = []system.ComponentVersion{{Name: "Engine", Version: v.Version, Details: map[string]string{
		"ApiVersion": v.APIVersion, "MinAPIVersion": v.MinAPIVersion, "Arch": v.Arch, "Os": v.Os, "BuildTime": v.BuildTime, "GitCommit": v.GitCommit,
		"GoVersion": v.GoVersion, "KernelVersion": v.KernelVersion, "Experimental": "false",
	}}}
	return ok(w, v)
}

// info says what this machine is and has.
func (s *Server) info(w http.ResponseWriter, r *request) error {
	i, err := s.eng.Info(r.Context())
	if err != nil {
		return err
	}
	return ok(w, i)
}

// auth checks credentials. They are the client's to keep.
func (s *Server) auth(w http.ResponseWriter, r *request) error {
	var in registry.AuthConfig
	if err := r.body(&in); err != nil {
		return err
	}
	if err := s.eng.CheckLogin(r.Context(), credentials(in)); err != nil {
		return unauthorized(err)
	}
	return ok(w, registry.AuthResponse{Status: "Login Succeeded"})
}

// events streams what happens.
func (s *Server) events(w http.ResponseWriter, r *request) error {
	opt, err := r.eventOptions()
	if err != nil {
		return err
	}
	if err := opt.Check(); err != nil {
		return err
	}
	mediaType, prefix := eventForm(r.Header.Get("Accept"), r.version)
	out := beginStream(w, mediaType)
	for ev, err := range s.eng.Events(r.Context(), opt) {
		if err != nil {
			return err
		}
		line, err := json.Marshal(convertEvent(ev))
		if err != nil {
			return err
		}
		if _, err := out.Write(append(append([]byte(prefix), line...), '\n')); err != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// eventOptions reads which events are wanted. Without a time they are those after
// the request: the client may act as soon as the answer begins.
func (r *request) eventOptions() (opt engine.EventOptions, err error) {
	if opt.Since, err = r.instant("since"); err != nil {
		return opt, err
	}
	if opt.Until, err = r.instant("until"); err != nil {
		return opt, err
	}
	switch {
	case r.query.Get("since") == "0":
		opt.Since = time.Unix(0, 0)
	case opt.Since.IsZero() && opt.Until.IsZero():
		opt.Since = time.Now()
	}
	opt.Filters, err = r.filters()
	return opt, err
}

// eventForm is the type of a stream of events, and what begins each of them.
func eventForm(accept string, v version) (mediaType, prefix string) {
	if v >= 52 {
		for _, known := range []string{types.MediaTypeJSONSequence, types.MediaTypeNDJSON, types.MediaTypeJSONLines} {
			if !strings.Contains(accept, known) {
				continue
			}
			if known == types.MediaTypeJSONSequence {
				prefix = "\x1e" // RFC 7464's record separator
			}
			return known, prefix
		}
	}
	return types.MediaTypeJSON, ""
}

// eventAnswer is an event, with what it has twice. Docker leaves that out from
// version 1.52 on; here it stays, since docker-compose 1.29, which asks for the
// newest version there is, cannot do without.
type eventAnswer struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

// convertEvent turns an event into Docker's form.
func convertEvent(ev engine.Event) eventAnswer {
	out := eventAnswer{Message: events.Message{
		Type: events.Type(ev.Type), Action: events.Action(ev.Action), Scope: "local",
		Actor: events.Actor{ID: ev.Object, Attributes: maps.Clone(ev.Attributes)}, Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
	}}
	if out.Actor.Attributes == nil {
		out.Actor.Attributes = map[string]string{}
	}
	if out.Type == events.ContainerEventType || out.Type == events.ImageEventType {
		out.Status, out.ID = ev.Action, ev.Object
		if out.Type == events.ContainerEventType {
			out.From = ev.Attributes["image"]
		}
	}
	return out
}
