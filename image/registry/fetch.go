package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/cleat-project/cleat/spec"
)

// Fetch opens what lies at an address, with the certificates and the limits on
// plain HTTP that hold for registries, and without any credentials. The caller
// closes it.
func (c *Client) Fetch(ctx context.Context, address string) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("address %q: want http:// or https:// and a host: %w", oneLine(address), spec.ErrInvalid)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: c}
	resp, err := client.Do(req)
	if err != nil {
		err = unwrapURL(err)
		if hasClass(err) || errors.Is(err, context.Canceled) {
			return nil, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
		}
		return nil, &Error{fmt.Sprintf("fetch %s: the server cannot be reached: %v", u.Redacted(), err), spec.ErrUnavail, err}
	}
	if resp.StatusCode != http.StatusOK {
		drain(resp.Body)
		class := spec.ErrUnavail
		if resp.StatusCode == http.StatusNotFound {
			class = spec.ErrNotFound
		}
		return nil, fmt.Errorf("fetch %s: the server answers %d %s: %w", u.Redacted(), resp.StatusCode, http.StatusText(resp.StatusCode), class)
	}
	if resp.ContentLength < 0 {
		return resp.Body, nil
	}
	return &whole{resp.Body, resp.ContentLength}, nil
}

// whole is a body that must not end early.
type whole struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.left -= int64(n)
	if errors.Is(err, io.EOF) && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
