package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/spec"
)

// HubSearch is the server that Search asks for terms without a registry.
const HubSearch = "https://index.docker.io"

// maxSearchBytes is more than a hundred results with long descriptions take.
const maxSearchBytes = 4 << 20

// SearchOptions say how to search.
type SearchOptions struct {
	Server string // base URL asked for a term without a registry; "" means HubSearch
	Limit  int    // results at most, 1 to 100; 0 means 25
}

// SearchResult is one repository that a search has found.
type SearchResult struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	StarCount   int    `json:"star_count"`
	IsOfficial  bool   `json:"is_official"`
	IsAutomated bool   `json:"is_automated"`
}

// Search asks Docker Hub, or the registry that term begins with, for
// repositories. No credentials are sent. The error wraps spec.ErrInvalid, or
// spec.ErrUnavail if the server does not answer.
func (c *Client) Search(ctx context.Context, term string, opt SearchOptions) ([]SearchResult, error) {
	if opt.Limit == 0 {
		opt.Limit = 25
	}
	if opt.Limit < 1 || opt.Limit > 100 {
		return nil, fmt.Errorf("limit %d is outside the range of [1, 100]: %w", opt.Limit, spec.ErrInvalid)
	}
	if opt.Server == "" {
		opt.Server = HubSearch
	}
	server, query := searchServer(term, opt.Server)
	if strings.TrimSpace(query) == "" || strings.Contains(query, "://") {
		return nil, fmt.Errorf("search for %q: want words, or a registry and words as in registry.example.com/word: %w", oneLine(term), spec.ErrInvalid)
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("search server %q: %w: %w", oneLine(server), err, spec.ErrInvalid)
	}
	u = u.JoinPath("v1", "search")
	u.RawQuery = url.Values{"q": {query}, "n": {strconv.Itoa(opt.Limit)}}.Encode()
	var results []SearchResult
	err = c.retry(ctx, func() (err error) {
		results, err = c.search(ctx, u.String())
		return err
	})
	if err != nil {
		return nil, explainSearch(err, u.Host)
	}
	return results[:min(len(results), opt.Limit)], nil
}

// searchServer separates a registry from what is searched for, as Docker does it.
func searchServer(term, hub string) (server, query string) {
	host, rest, found := strings.Cut(term, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return hub, term
	}
	if host == DefaultServer || host == "index.docker.io" {
		return hub, rest
	}
	if isLoopback(host) {
		return "http://" + host, rest
	}
	return "https://" + host, rest
}

func (c *Client) search(ctx context.Context, address string) ([]SearchResult, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: c}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, err
	}
	data, err := readLimited(resp.Body, maxSearchBytes, "answer of the search server")
	if err != nil {
		return nil, err
	}
	var answer struct{ Results []SearchResult }
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("decode answer of the search server: %w: %w", err, spec.ErrInvalid)
	}
	for i := range answer.Results {
		r := &answer.Results[i]
		r.Name, r.Description = oneLine(r.Name), oneLine(r.Description)
	}
	return answer.Results, nil
}

func explainSearch(err error, host string) error {
	if hasClass(err) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("search on %s: %w", host, err)
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		if answer.StatusCode == http.StatusNotFound {
			return &Error{fmt.Sprintf("%s cannot be searched: it has no search of Docker's first protocol, as few registries but Docker Hub have", host), spec.ErrUnsupport, err}
		}
		return &Error{fmt.Sprintf("search on %s: the server answers %d: %s", host, answer.StatusCode, reason(answer)), spec.ErrUnavail, err}
	}
	return &Error{fmt.Sprintf("search on %s: the server cannot be reached: %v; a search needs the Internet, images on this machine are listed by 'cleat images'", host, unwrapURL(err)), spec.ErrUnavail, err}
}

// unwrapURL takes away the request line that net/http puts before its errors.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
