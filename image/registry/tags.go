package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// maxTagPages bounds how long a registry can go on listing tags; a page has
// thousands of them.
const maxTagPages = 1000

// Tags lists the tags that a registry has in the repository of ref. Those that
// begin with a digest are left out: they hold signatures and other papers of
// images, not images.
func (c *Client) Tags(ctx context.Context, ref image.Reference) ([]image.Reference, error) {
	p := &pull{client: c, ref: ref, hosts: []string{ref.Domain()}, sessions: map[string]*session{}} // mirrors do not know all tags
	var tags []image.Reference
	err := p.fromAny(ctx, func(s *session) (err error) {
		tags, err = s.tags(ctx, ref)
		return err
	})
	if err != nil {
		return nil, p.about(err)
	}
	return tags, nil
}

// tags reads all pages of the list.
func (s *session) tags(ctx context.Context, ref image.Reference) ([]image.Reference, error) {
	var tags []image.Reference
	page := "/tags/list"
	for range maxTagPages {
		names, next, err := s.tagPage(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if isPaper(name) {
				continue
			}
			tag, err := ref.WithTag(name)
			if err != nil {
				return nil, fmt.Errorf("registry %s lists the tag %q: %w", s.host, oneLine(name), err)
			}
			tags = append(tags, tag)
		}
		if next == "" {
			return tags, nil
		}
		page = "/tags/list?" + next
	}
	return nil, fmt.Errorf("registry %s lists tags without end: %w", s.host, spec.ErrInvalid)
}

// isPaper reports whether a tag is one of those by which cosign attaches things
// to an image: sha256-, 64 digits, and what it is.
func isPaper(tag string) bool {
	digest, ok := strings.CutPrefix(tag, "sha256-")
	if !ok {
		return false
	}
	hex, _, _ := strings.Cut(digest, ".")
	_, err := image.ParseDigest("sha256:" + hex)
	return err == nil
}

// tagPage reads one page and returns the query of the next one, "" if it is the
// last.
func (s *session) tagPage(ctx context.Context, page string) (names []string, next string, err error) {
	resp, err := s.get(ctx, page, nil, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	defer drain(resp.Body)
	data, err := readLimited(resp.Body, image.MaxManifestBytes, "list of tags")
	if err != nil {
		return nil, "", err
	}
	var list struct{ Tags []string }
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, "", fmt.Errorf("decode list of tags: %w: %w", err, spec.ErrInvalid)
	}
	next, err = nextPage(resp.Header.Get("Link"))
	return list.Tags, next, err
}

// nextPage returns the query of a Link header, see RFC 8288. Only that is taken
// from it: the list goes on where it began.
func nextPage(link string) (string, error) {
	if link == "" {
		return "", nil
	}
	target, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	u, err := url.Parse(target)
	if !ok || err != nil {
		return "", errors.Join(fmt.Errorf("registry sends a bad link %q: %w", oneLine(link), spec.ErrInvalid), err)
	}
	return u.RawQuery, nil
}
