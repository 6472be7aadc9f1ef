package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// send makes a request with an optional body, which can be sent again after a
// redirect. The caller closes the body of the response.
func (s *session) send(ctx context.Context, method, to string, header http.Header, body func() (io.ReadCloser, error), size int64, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if body != nil {
		if req.Body, err = body(); err != nil {
			return nil, err
		}
		req.GetBody, req.ContentLength = body, size
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

// hasBlob asks whether the repository has a blob.
func (s *session) hasBlob(ctx context.Context, d image.Descriptor) (bool, error) {
	resp, err := s.send(ctx, http.MethodHead, s.base+"/blobs/"+string(d.Digest), nil, nil, 0, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	drain(resp.Body)
	return resp.StatusCode == http.StatusOK, nil
}

// startUpload opens an upload and returns where to send the blob, nil if the
// registry could mount it from the repository from instead. "" as from means
// that there is none.
func (s *session) startUpload(ctx context.Context, d image.Digest, from string) (*url.URL, error) {
	if from != "" {
		query := url.Values{"mount": {string(d)}, "from": {from}}
		resp, err := s.send(ctx, http.MethodPost, s.base+"/blobs/uploads/?"+query.Encode(), nil, nil, 0, http.StatusCreated, http.StatusAccepted)
		if err == nil {
			drain(resp.Body)
			if resp.StatusCode == http.StatusCreated {
				return nil, nil //nolint:nilnil // nil says that there is nothing to send
			}
			return uploadURL(resp)
		}
		if _, ok := errors.AsType[*transport.Error](err); !ok {
			return nil, err
		} // a registry that refuses to mount may still take the blob itself
	}
	resp, err := s.send(ctx, http.MethodPost, s.base+"/blobs/uploads/", nil, nil, 0, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	drain(resp.Body)
	return uploadURL(resp)
}

// uploadURL reads where a registry wants a blob sent. That may be another host,
// which then gets no credentials: they go with the host, see session.
func uploadURL(resp *http.Response) (*url.URL, error) {
	location := resp.Header.Get("Location")
	u, err := resp.Request.URL.Parse(location)
	if err != nil || location == "" {
		return nil, fmt.Errorf("registry sends no place for the upload: Location is %q: %w", oneLine(location), spec.ErrInvalid)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Host == "" {
		return nil, fmt.Errorf("registry sends the upload to %q, which is not an HTTP address: %w", oneLine(location), spec.ErrInvalid)
	}
	return u, nil
}

// upload sends one blob. A server that takes nothing for a while counts as gone.
func (p *push) upload(ctx context.Context, to *url.URL, d image.Descriptor, report func(int64)) error {
	query := to.Query()
	query.Set("digest", string(d.Digest))
	to.RawQuery = query.Encode()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := p.client.opt.StallTime
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	body := func() (io.ReadCloser, error) {
		f, err := p.in.OpenBlob(d.Digest)
		if err != nil {
			return nil, &storageError{err}
		}
		timer.Reset(stall)
		return &outgoing{f: f, left: d.Size, timer: timer, stall: stall, counter: &counter{r: f, report: report}}, nil
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	resp, err := p.session.send(ctx, http.MethodPut, to.String(), header, body, d.Size, http.StatusCreated)
	if err != nil {
		return p.blame(d, stalled(ctx, err))
	}
	drain(resp.Body)
	return nil
}

// blame finds out whether a refused blob is damaged on this side.
func (p *push) blame(d image.Descriptor, err error) error {
	answer, ok := errors.AsType[*transport.Error](err)
	if !ok || answer.StatusCode != http.StatusBadRequest {
		return err
	}
	f, openErr := p.in.OpenBlob(d.Digest)
	if openErr != nil {
		return &storageError{openErr}
	}
	defer func() { _ = f.Close() }()
	if bad := image.VerifyBlob(f, d.Digest); bad != nil {
		return fmt.Errorf("here on disk: %w; remove the image and get it again", bad)
	}
	return err
}

// outgoing is the body of an upload. It stops the timer at its end: what the
// server does then has a time limit of its own.
type outgoing struct {
	mu      sync.Mutex // net/http may read what is left of a refused body beside its next attempt
	f       *os.File
	left    int64
	timer   *time.Timer
	stall   time.Duration
	counter *counter
}

// Read implements io.Reader.
func (o *outgoing) Read(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.counter.Read(b)
	if o.left -= int64(n); o.left <= 0 || err != nil {
		o.timer.Stop()
	} else {
		o.timer.Reset(o.stall)
	}
	return n, err
}

// Close implements io.Closer.
func (o *outgoing) Close() error { return o.f.Close() }

// putManifest gives a manifest a tag in the repository.
func (s *session) putManifest(ctx context.Context, tag string, out image.Outgoing) error {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Raw)), nil }
	header := http.Header{"Content-Type": {out.Manifest.MediaType}}
	resp, err := s.send(ctx, http.MethodPut, s.base+"/manifests/"+tag, header, body, int64(len(out.Raw)), http.StatusCreated)
	if err != nil {
		return err
	}
	drain(resp.Body)
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != string(out.Digest) {
		return &image.Mismatch{What: "manifest that the registry has stored", Want: string(out.Digest), Got: oneLine(got)}
	}
	return nil
}
