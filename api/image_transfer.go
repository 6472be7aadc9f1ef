package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// credentials turns what a client sent into ours.
func credentials(in registry.AuthConfig) engine.Credentials {
	server := strings.TrimPrefix(strings.TrimPrefix(in.ServerAddress, "https://"), "http://")
	server, _, _ = strings.Cut(server, "/")
	if server == "index.docker.io" || server == "registry-1.docker.io" {
		server = "docker.io"
	}
	return engine.Credentials{Server: server, User: in.Username, Password: in.Password, IdentityToken: in.IdentityToken, RegistryToken: in.RegistryToken}
}

// credentials reads the head that clients send along with pulls and pushes of an
// image whose name has the given registry.
func (r *request) credentials(name string) (engine.Credentials, error) {
	in, err := authconfig.Decode(r.Header.Get(registry.AuthHeader))
	if err != nil {
		return engine.Credentials{}, invalid("%v", err)
	}
	c := credentials(*in)
	if ref, err := engine.ParseReference(name); err == nil {
		c.Server = ref.Domain() // clients send those that are for it
	}
	return c, nil
}

// unauthorized gives a refusal of a registry the status that clients expect.
func unauthorized(err error) error {
	if errors.Is(err, spec.ErrDenied) {
		return httpError{http.StatusUnauthorized, message(err)}
	}
	return err
}

// createImage pulls an image, or imports one.
func (s *Server) createImage(w http.ResponseWriter, r *request) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	if from := r.query.Get("fromSrc"); from != "" {
		return s.importImage(w, r, from, platform)
	}
	name := r.query.Get("fromImage")
	if name == "" {
		return invalid("no image given: one of the parameters fromImage and fromSrc is needed")
	}
	if tag := r.query.Get("tag"); tag != "" || hasTag(name) || r.query.Has("tag") {
		return s.pullImage(w, r, joinTag(name, tag), platform)
	}
	tags, err := s.eng.RemoteTags(r.Context(), name) // no tag means all of them
	if err != nil {
		return err
	}
	names := make([]string, 0, len(tags))
	for _, tag := range tags {
		names = append(names, tag.String())
	}
	return s.pullAll(w, r, names, platform)
}

// hasTag reports whether a name has a tag or a digest.
func hasTag(name string) bool {
	return strings.Contains(name, "@") || strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/')
}

func (s *Server) pullImage(w http.ResponseWriter, r *request, name, platform string) error {
	if _, err := engine.ParseReference(name); err != nil {
		return err
	}
	return s.pullAll(w, r, []string{name}, platform)
}

// pullAll pulls images one after the other.
func (s *Server) pullAll(w http.ResponseWriter, r *request, names []string, platform string) error {
	p := newProgress(w)
	defer p.close()
	for _, name := range names {
		if err := s.pullOne(r, p, name, platform); err != nil {
			return p.fail(err)
		}
	}
	return nil
}

func (s *Server) pullOne(r *request, p *progress, name, platform string) error {
	ref, err := engine.ParseReference(name)
	if err != nil {
		return err
	}
	creds, err := r.credentials(name)
	if err != nil {
		return err
	}
	before, beforeErr := s.eng.Image(r.Context(), name)
	// What fails before anything has come is told by the status of the answer.
	begin := sync.OnceFunc(func() { p.announce(progressLine{Status: "Pulling from " + ref.Path(), ID: ref.TagOrDigest()}) })
	img, err := s.eng.Pull(r.Context(), name, engine.PullOptions{Platform: platform, Credentials: creds, Progress: func(e engine.PullEvent) {
		begin()
		p.event(e)
	}})
	if err != nil {
		return err
	}
	begin()
	p.say("Digest: " + string(img.PulledDigest(ref)))
	status := "Downloaded newer image for "
	if beforeErr == nil && before.ID == img.ID {
		status = "Image is up to date for "
	}
	p.say("Status: " + status + ref.Familiar())
	return nil
}

// importImage makes an image of a root file system that comes with the request, or
// lies at an address.
func (s *Server) importImage(w http.ResponseWriter, r *request, from, platform string) error {
	src := r.Body
	if from != "-" {
		if !strings.Contains(from, "://") {
			from = "http://" + from
		}
		var err error
		if src, err = s.eng.Fetch(r.Context(), from); err != nil {
			return err
		}
		defer src.Close() // It was only read.
	}
	img, err := s.eng.Import(r.Context(), src, engine.ImportOptions{
		Reference: joinTag(r.query.Get("repo"), r.query.Get("tag")), Changes: changeLines(r.query["changes"]),
		Message: r.query.Get("message"), From: from, Platform: platform,
	})
	if err != nil {
		return err
	}
	p := newProgress(w)
	defer p.close()
	p.say(string(img.ID))
	return nil
}

// pushImage uploads an image.
func (s *Server) pushImage(w http.ResponseWriter, r *request) error {
	name, tag := r.vars["name"], r.query.Get("tag")
	ref, err := engine.ParseReference(joinTag(name, tag))
	if err != nil {
		return err
	}
	creds, err := r.credentials(name)
	if err != nil {
		return err
	}
	p := newProgress(w)
	defer p.close()
	p.announce(progressLine{Status: fmt.Sprintf("The push refers to repository [%s]", ref.Repository())})
	err = s.eng.Push(r.Context(), joinTag(name, tag), engine.PushOptions{
		AllTags: tag == "" && !hasTag(name), Progress: p.event, Credentials: creds,
		Done: func(done engine.PushedImage) {
			p.say(fmt.Sprintf("%s: digest: %s size: %d", done.Reference.Tag(), done.Digest, done.SizeBytes))
			p.announce(progressLine{Aux: pushedAux{done.Reference.Tag(), string(done.Digest), done.SizeBytes}})
		},
	})
	if err != nil {
		return p.fail(err)
	}
	return nil
}

// pushedAux is what programs read of a push.
type pushedAux struct {
	Tag    string
	Digest string
	Size   int64
}

// saveImage streams one image as an archive.
func (s *Server) saveImage(w http.ResponseWriter, r *request) error {
	return s.save(w, r, []string{r.vars["name"]})
}

// saveImages streams several images as an archive.
func (s *Server) saveImages(w http.ResponseWriter, r *request) error {
	if len(r.query["names"]) == 0 {
		return invalid("no images given: the parameter names is missing")
	}
	return s.save(w, r, r.query["names"])
}

func (s *Server) save(w http.ResponseWriter, r *request, names []string) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", tarType)
	return s.eng.Save(r.Context(), w, names, engine.SaveOptions{Platform: platform})
}

// loadImages adds the images of an archive.
func (s *Server) loadImages(w http.ResponseWriter, r *request) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	p := newProgress(w)
	defer p.close()
	opt := engine.LoadOptions{Platform: platform}
	if !r.flagOr("quiet", false) {
		opt.Progress = p.event
	}
	loaded, err := s.eng.Load(r.Context(), r.Body, opt)
	for _, l := range loaded {
		if len(l.Names) == 0 {
			p.announce(progressLine{Stream: "Loaded image ID: " + string(l.Image.ID) + "\n"})
		}
		for _, ref := range l.Names {
			p.announce(progressLine{Stream: "Loaded image: " + ref.Familiar() + "\n"})
		}
	}
	if err != nil {
		return p.fail(err)
	}
	return nil
}

// searchImages asks a registry for repositories.
func (s *Server) searchImages(w http.ResponseWriter, r *request) error {
	values, err := r.filters()
	if err != nil {
		return err
	}
	match, err := searchFilter(values)
	if err != nil {
		return err
	}
	limit, err := r.number("limit")
	if err != nil {
		return err
	}
	found, err := s.eng.Search(r.Context(), r.query.Get("term"), engine.SearchOptions{Limit: limit})
	if err != nil {
		return err
	}
	out := []engine.SearchResult{}
	for _, one := range found {
		if match(one) {
			out = append(out, one)
		}
	}
	return ok(w, out)
}

// distribution tells what a registry has under a name.
func (s *Server) distribution(w http.ResponseWriter, r *request) error {
	name := r.vars["name"]
	creds, err := r.credentials(name)
	if err != nil {
		return err
	}
	m, err := s.eng.RemoteManifest(r.Context(), name, engine.RemoteManifestOptions{Parts: true, Credentials: creds})
	if err != nil {
		return unauthorized(err)
	}
	return ok(w, newDistribution(m))
}
