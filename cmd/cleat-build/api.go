package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cleat-project/cleat/build"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/buildflags"
)

// errTold says that the user has been told already.
var errTold = errors.New("told already")

// credentialsFD is where a request's credentials for registries come from, as a JSON
// list: neither arguments nor the environment of a process are a place for them.
const credentialsFD = 3

// answer builds for a request of the Docker Engine API: in the way of Docker's
// classic builder, with the stream of JSON that clients expect on stdout.
func answer(ctx context.Context, f *buildflags.Flags, where string, place engine.Options, std stdio) error {
	s := newAPIStream(std.out, f.Quiet)
	place.Warn = func(sentence string) { s.event(build.Event{Phase: build.Warning, Text: sentence}) }
	res, err := buildFor(ctx, f, where, place, s, std)
	switch {
	case ctx.Err() != nil:
		s.fail(errors.New("the build was cancelled"))
		return errTold
	case err != nil:
		s.fail(err)
		return errTold
	}
	s.finish(res.Image, f.Tags)
	return nil
}

func buildFor(ctx context.Context, f *buildflags.Flags, where string, place engine.Options, s *apiStream, std stdio) (build.Result, error) {
	creds, ctx, err := readCredentials(ctx, os.NewFile(credentialsFD, "credentials"))
	if err != nil {
		return build.Result{}, err
	}
	opt, err := options(f, where, std)
	if errors.Is(err, errNoArchive) {
		return build.Result{}, errors.New("the body of the request is not a tar archive with the build context")
	}
	if err != nil {
		return build.Result{}, err
	}
	if len(f.Outputs) > 0 {
		return build.Result{}, errors.New("other outputs than an image need BuildKit, which is not supported: use 'cleat build --output'")
	}
	eng, err := engine.Open(place)
	if err != nil {
		return build.Result{}, err
	}
	defer eng.Close()
	opt.Sequential, opt.Credentials, opt.Progress, opt.Pulling = true, creds, s.event, s.pulling
	return build.Build(ctx, eng, opt)
}

// readCredentials returns them with a context that ends when the other side closes r:
// then the server is gone, and there is nobody to build for.
func readCredentials(ctx context.Context, r io.Reader) (list []engine.Credentials, alive context.Context, err error) {
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return nil, ctx, fmt.Errorf("read credentials from the API server: %w", err)
	}
	alive, cancel := context.WithCancelCause(ctx)
	go func() {
		_, err := io.Copy(io.Discard, r)
		cancel(errors.Join(errors.New("the API server is gone"), err))
	}()
	return list, alive, nil
}

// apiLine is one line of the stream.
type apiLine struct {
	Stream   string       `json:"stream,omitempty"`
	Status   string       `json:"status,omitempty"`
	ID       string       `json:"id,omitempty"`
	Progress *apiProgress `json:"progressDetail,omitempty"`
	Aux      *apiImage    `json:"aux,omitempty"`
	Detail   *apiError    `json:"errorDetail,omitempty"`
	Error    string       `json:"error,omitempty"` // of Detail, as older clients want it
}

type apiProgress struct {
	Current int64 `json:"current,omitempty"`
	Total   int64 `json:"total,omitempty"`
}

type apiImage struct{ ID string }

type apiError struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message"`
}

// apiStream shows how a build goes, in the words of Docker's classic builder.
type apiStream struct {
	mu sync.Mutex
	w  io.Writer

	quiet   bool
	held    []byte       // with quiet: what is shown if the build fails
	last    *build.Event // Made of the last instruction, which may have been the very last
	running string       // container of the command under way
	ran     string       // container of the last instruction
	pulls   map[string]*shownPull
	asides  []string // warnings, shown at the end
}

// shownPull is what was shown of an image that comes.
type shownPull struct {
	phases map[engine.Digest]string
	at     map[engine.Digest]time.Time
}

// What bounds the stream.
const (
	maxHeld   = 1 << 20                // bytes of a quiet build
	pullEvery = 100 * time.Millisecond // between two lines on one phase of a layer
)

func newAPIStream(w io.Writer, quiet bool) *apiStream {
	return &apiStream{w: w, quiet: quiet, pulls: map[string]*shownPull{}}
}

// event shows one event.
func (s *apiStream) event(e build.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Phase {
	case build.Instruction:
		s.made("")
		s.say(fmt.Sprintf("Step %d/%d : %s", e.Number, e.Total, e.Text))
		s.say("\n")
	case build.Running:
		s.running = e.ID
		s.say(" ---> Running in " + shortID(e.ID) + "\n")
	case build.Log:
		if s.running != "" { // what else there is to say has words of its own here
			s.say(colored(e))
		}
	case build.Made:
		s.made("")
		s.last, s.ran, s.running = &e, s.running, ""
	case build.Triggers:
		s.made("")
		s.say(fmt.Sprintf("# Executing %d build trigger%s\n", e.Total, map[bool]string{true: "s"}[e.Total > 1]))
	case build.Warning:
		s.asides = append(s.asides, e.Text)
	case build.Started, build.Status, build.Cached, build.Done, build.Failed, build.Canceled, build.Note:
	}
}

// colored is what a command wrote; as Docker has it, stderr is red.
func colored(e build.Event) string {
	if e.Stderr {
		return "\x1b[91m" + e.Text + "\x1b[0m"
	}
	return e.Text
}

// made shows how the last instruction ended. The very last one made an image.
func (s *apiStream) made(image string) {
	if s.last == nil {
		return
	}
	if s.last.Reused {
		s.say(" ---> Using cache\n")
	}
	if s.ran != "" {
		s.say("Removing intermediate container " + shortID(s.ran) + "\n")
	}
	id := s.last.ID
	if image != "" {
		id = image
	}
	if !s.last.Part {
		s.say(" ---> " + shortID(id) + "\n")
	}
	s.last, s.ran = nil, ""
}

// shortID is the form of an id that people see.
func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}

// pulling shows how a base image comes.
func (s *apiStream) pulling(name string, e engine.PullEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pulls[name]
	if p == nil {
		p = &shownPull{map[engine.Digest]string{}, map[engine.Digest]time.Time{}}
		s.pulls[name] = p
		if ref, err := engine.ParseReference(name); err == nil {
			s.line(apiLine{Status: "Pulling from " + ref.Path(), ID: ref.Tag()})
		}
	}
	phase := e.Phase.String()
	if phase == p.phases[e.Layer] && time.Since(p.at[e.Layer]) < pullEvery {
		return
	}
	p.phases[e.Layer], p.at[e.Layer] = phase, time.Now()
	line := apiLine{Status: phase, ID: e.Layer.Short(), Progress: &apiProgress{}}
	if phase == "Downloading" || phase == "Extracting" {
		line.Progress.Current, line.Progress.Total = e.Current, e.Total
	}
	s.line(line)
}

// finish shows the image that was made.
func (s *apiStream) finish(img engine.Image, tags []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := string(img.ID)
	if s.quiet {
		s.write(apiLine{Stream: id + "\n"})
		return
	}
	s.made(id)
	s.line(apiLine{Aux: &apiImage{id}})
	for _, text := range s.asides {
		s.say("[Warning] " + text + "\n")
	}
	s.say("Successfully built " + shortID(id) + "\n")
	for _, tag := range tags {
		if ref, err := engine.ParseReference(tag); err == nil {
			s.say("Successfully tagged " + ref.Familiar() + "\n")
		}
	}
}

// fail shows why there is no image.
func (s *apiStream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made("")
	_, _ = s.w.Write(s.held) // the server is gone if this fails, and so is whom to tell
	line := apiLine{Detail: &apiError{Message: engine.Sentence(err)}}
	if cmd, ok := errors.AsType[*build.CommandError](err); ok {
		line.Detail.Code = cmd.Err.Code
		line.Detail.Message = fmt.Sprintf("The command '%s' returned a non-zero code: %d", cmd.Command, cmd.Err.Code)
	}
	line.Error = line.Detail.Message
	s.write(line)
}

func (s *apiStream) say(text string) { s.line(apiLine{Stream: text}) }

// line shows a line, unless only the result is wanted.
func (s *apiStream) line(l apiLine) {
	if !s.quiet {
		s.write(l)
		return
	}
	if s.held = append(s.held, encode(l)...); len(s.held) > maxHeld {
		rest := s.held[len(s.held)-maxHeld/2:]
		if _, after, ok := strings.Cut(string(rest), "\n"); ok {
			rest = []byte(after)
		}
		s.held = append([]byte{}, rest...)
	}
}

func (s *apiStream) write(l apiLine) { _, _ = s.w.Write(encode(l)) } // see fail

func encode(l apiLine) []byte {
	data, _ := json.Marshal(l) // which cannot fail: all of it is text and numbers
	return append(data, '\r', '\n')
}
