package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// manifestTypes are asked for in the order in which clients list them.
const manifestTypes = image.MediaTypeOCIIndex + ", " + image.MediaTypeDockerList + ", " +
	image.MediaTypeOCIManifest + ", " + image.MediaTypeDockerManifest

// session is an authenticated access to one repository on one host: the registry
// of an image or a mirror of it.
type session struct {
	host   string
	base   string // URL of the repository, below which are manifests/ and blobs/
	client *http.Client
}

// hosts returns where an image of the registry domain may be got, mirrors first.
func (c *Client) hosts(domain string) []string {
	return append(append([]string{}, c.opt.Hosts[domain].Mirrors...), domain)
}

// open logs in to a repository on host as far as the registry asks for it.
func (c *Client) open(ctx context.Context, host, repository string) (*session, error) {
	return c.openFor(ctx, host, repository, transport.PullScope)
}

// openFor logs in for the given use of a repository, and for reading others.
func (c *Client) openFor(ctx context.Context, host, repository, use string, others ...string) (*session, error) {
	reg, err := c.registry(host)
	if err != nil {
		return nil, err
	}
	auth, err := c.credentials(host)
	if err != nil {
		return nil, err
	}
	scopes := []string{reg.Repo(repository).Scope(use)}
	for _, other := range others {
		scopes = append(scopes, reg.Repo(other).Scope(transport.PullScope))
	}
	rt, err := transport.NewWithContext(ctx, reg, auth, c, scopes)
	if err != nil {
		return nil, err
	}
	// The transport replaces https by http where that is what answered.
	base := "https://" + reg.RegistryStr() + "/v2/" + repository
	return &session{host: host, base: base, client: &http.Client{Transport: rt}}, nil
}

func (c *Client) registry(host string) (name.Registry, error) {
	var opts []name.Option
	if c.plainAllowed(host) {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return name.Registry{}, fmt.Errorf("registry %q: %w: %w", host, err, spec.ErrInvalid)
	}
	return reg, nil
}

// get starts a GET request. The caller closes the body of the response.
func (s *session) get(ctx context.Context, path string, header http.Header, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, want...); err != nil {
		drain(resp.Body)
		return nil, err
	}
	return resp, nil
}

// document is a manifest or configuration as a registry sent it.
type document struct {
	data      []byte
	mediaType string
	digest    image.Digest
}

// manifest fetches the manifest with the given tag or digest. What was asked for
// by digest has that digest.
func (s *session) manifest(ctx context.Context, identifier string) (document, error) {
	resp, err := s.get(ctx, "/manifests/"+identifier, http.Header{"Accept": {manifestTypes}}, http.StatusOK)
	if err != nil {
		return document{}, err
	}
	defer drain(resp.Body)
	data, err := readLimited(resp.Body, image.MaxManifestBytes, "manifest")
	if err != nil {
		return document{}, err
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	doc := document{data, strings.TrimSpace(mediaType), image.DigestOf(data)}
	for _, want := range []string{resp.Header.Get("Docker-Content-Digest"), identifier} {
		if !strings.Contains(want, ":") { // no header; a tag
			continue
		}
		d, err := image.ParseDigest(want)
		if err != nil {
			return document{}, fmt.Errorf("registry %s: %w", s.host, err)
		}
		if d != doc.digest {
			return document{}, &image.Mismatch{What: "manifest " + identifier, Want: want, Got: string(doc.digest)}
		}
	}
	return doc, nil
}

// config fetches the configuration of an image.
func (s *session) config(ctx context.Context, d image.Descriptor) ([]byte, error) {
	return s.document(ctx, d, image.MaxConfigBytes, "image configuration")
}

// document fetches a small blob, which what names in messages.
func (s *session) document(ctx context.Context, d image.Descriptor, limit int64, what string) ([]byte, error) {
	resp, err := s.get(ctx, "/blobs/"+string(d.Digest), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	data, err := readLimited(resp.Body, limit, what)
	if err != nil {
		return nil, err
	}
	if got := image.DigestOf(data); got != d.Digest {
		return nil, &image.Mismatch{What: what, Want: string(d.Digest), Got: string(got)}
	}
	if int64(len(data)) != d.Size {
		return nil, &image.Mismatch{What: what, Want: fmt.Sprint(d.Size, " bytes"), Got: fmt.Sprint(len(data), " bytes")}
	}
	return data, nil
}

func readLimited(r io.Reader, limit int64, what string) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", what, limit, spec.ErrInvalid)
	}
	return b.Bytes(), nil
}

// retry repeats fn while its error is temporary.
func (c *Client) retry(ctx context.Context, fn func() error) error {
	for n := 1; ; n++ {
		err := fn()
		if err == nil || n >= c.opt.Attempts || !isTemporary(err) {
			return err
		}
		if stop := c.pause(ctx, n); stop != nil {
			return errors.Join(stop, err)
		}
	}
}
