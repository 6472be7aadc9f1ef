package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Options say how to serve.
type Options struct {
	Debug   bool         // tell what the process uses, at /debug/vars
	Version string       // of cleat
	Warn    func(string) // takes what went wrong and nobody else is told of, as one sentence; nil drops it
	Builder Program      // cleat-build; without it there are no builds
}

// Server answers requests of Docker's Engine API. It implements http.Handler.
type Server struct {
	eng backend
	opt Options

	// execs are the commands whose streams pass through this process, by id: only
	// here their terminals can be resized.
	mu    sync.Mutex
	execs map[string]*engine.Exec

	builds map[string]*context.CancelFunc // those under way that can be cancelled, by the ids that clients gave them
}

var _ backend = (*engine.Engine)(nil)

// New returns a server in front of eng, which the caller closes after it.
func New(eng *engine.Engine, opt Options) *Server { return newServer(eng, opt) }

func newServer(eng backend, opt Options) *Server {
	if opt.Warn == nil {
		opt.Warn = func(string) {}
	}
	return &Server{eng: eng, opt: opt, execs: map[string]*engine.Exec{}, builds: map[string]*context.CancelFunc{}}
}

// Busy reports whether there is something that would be lost if this process
// ended, although nobody is connected.
func (s *Server) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.execs) > 0
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", "cleat/"+s.opt.Version+" (linux)")
	h.Set("Api-Version", newest.String())
	h.Set("Ostype", "linux")
	h.Set("Docker-Experimental", "false")
	answer := &answerWriter{ResponseWriter: w}
	if err := s.serve(answer, r); err != nil {
		s.fail(answer, r, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	v, path, err := splitVersion(r.URL.Path)
	if err != nil {
		return err
	}
	route, vars, err := find(r.Method, path)
	if err != nil {
		return err
	}
	req := &request{Request: r, version: v, vars: vars, query: r.URL.Query()}
	if !route.takesStream {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	return route.handle(s, w, req)
}

// fail answers with an error, if nothing has been answered yet.
func (s *Server) fail(w *answerWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, errHijacked) {
		return // nobody is there to hear it
	}
	if w.begun {
		s.opt.Warn(r.Method + " " + r.URL.Path + " ends early: " + engine.Sentence(err))
		return
	}
	writeJSON(w, status(err), errorBody{message(err)})
}

// errorBody is how every error is told.
type errorBody struct {
	Message string `json:"message"`
}

// errNotModified says that the object is already as it was asked to be.
var errNotModified = errors.New("not modified")

// httpError is an error with a status of its own.
type httpError struct {
	code int
	text string
}

// Error implements error.
func (e httpError) Error() string { return e.text }

// status maps an error to HTTP. It is the only place that does.
func status(err error) int {
	if e, ok := errors.AsType[httpError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	if e, ok := errors.AsType[*engine.StartError](err); ok {
		if e.Code == 126 || e.Code == 127 {
			return http.StatusBadRequest
		}
		return http.StatusInternalServerError
	}
	for _, class := range []struct {
		err  error
		code int
	}{
		{errNotModified, http.StatusNotModified},
		{spec.ErrInvalid, http.StatusBadRequest},
		{spec.ErrNotFound, http.StatusNotFound},
		{spec.ErrExists, http.StatusConflict},
		{spec.ErrConflict, http.StatusConflict},
		{spec.ErrDenied, http.StatusForbidden},
		{spec.ErrUnsupport, http.StatusNotImplemented},
		{spec.ErrUnavail, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, class.err) {
			return class.code
		}
	}
	return http.StatusInternalServerError
}

// message is what the user reads. Some of Docker's words are what clients look
// for.
func message(err error) string {
	text := engine.Sentence(err)
	if rest, ok := strings.CutPrefix(text, "no such "); ok {
		return "No such " + rest
	}
	return text
}

// answerWriter remembers whether an answer has begun.
type answerWriter struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(code int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
