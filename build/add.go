package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cleat-project/cleat/build/git"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// addCommand is COPY with archives, which are unpacked, and URLs, which are fetched.
func (b *builder) addCommand(ctx context.Context, st *stage, s *state, c *instructions.AddCommand) error {
	mode, err := parseMode(c.Chmod)
	if err != nil {
		return err
	}
	dest, err := s.destination(c.DestPath, len(c.SourcePaths)+len(c.SourceContents))
	if err != nil {
		return err
	}
	t := transfer{dest: dest, chown: c.Chown, mode: mode, link: c.Link, stage: st.index, inline: c.SourceContents, unpack: c.Unpack == nil || *c.Unpack}
	var urls, repos []string
	for _, p := range c.SourcePaths {
		switch {
		case git.IsSource(p):
			repos = append(repos, p)
		case isURL(p):
			urls = append(urls, p)
		default:
			t.sources = append(t.sources, selection{pattern: p, exclude: c.ExcludePatterns})
		}
	}
	if c.Checksum != "" && (len(urls)+len(repos) != 1 || len(t.sources)+len(t.inline) > 0) {
		return fmt.Errorf("ADD --checksum is for exactly one URL or git repository: %w", spec.ErrInvalid)
	}
	if c.KeepGitDir != nil && len(repos) == 0 {
		return fmt.Errorf("ADD --keep-git-dir is for git repositories: %w", spec.ErrInvalid)
	}
	what := fmt.Sprint(c)
	if len(t.sources)+len(t.inline) > 0 {
		if err := b.transfer(ctx, st, s, what, t); err != nil {
			return err
		}
	}
	for _, u := range urls {
		if err := b.addURL(ctx, st, s, what, u, c, t); err != nil {
			return fmt.Errorf("ADD %s: %w", u, err)
		}
	}
	for _, r := range repos {
		if err := b.addGit(ctx, st, s, what, r, c, t); err != nil {
			return fmt.Errorf("ADD: %w", err)
		}
	}
	return nil
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// maxFetch is how long a download may take.
const maxFetch = 30 * time.Minute

// addURL fetches a file. With a checksum it is fetched only if the cache does not
// have the step.
func (b *builder) addURL(ctx context.Context, st *stage, s *state, what, address string, c *instructions.AddCommand, t transfer) error {
	want, err := parseChecksum(c.Checksum)
	if err != nil {
		return err
	}
	name, err := fileNameOf(address, t.dest)
	if err != nil {
		return err
	}
	t.unpack = c.Unpack != nil && *c.Unpack // of what is fetched, only if it is asked for
	var got *download
	defer func() { got.remove() }()
	sum := want
	if sum == "" {
		if got, err = b.fetch(ctx, address); err != nil {
			return err
		}
		sum = got.sum
	}
	layers := s.layers
	if t.link && (t.chown == "" || numeric(t.chown)) {
		layers = nil
	}
	return b.step(ctx, s, work{
		title: b.title(st, s, what),
		what:  what,
		key:   b.key("fetch", layers, sum, name, t.dest, t.chown, t.mode, t.unpack, t.link),
		do: func(ctx context.Context, _ *vertex) (*engine.BuildLayer, error) {
			if got == nil {
				if got, err = b.fetch(ctx, address); err != nil {
					return nil, err
				}
			}
			if got.sum != sum {
				return nil, fmt.Errorf("checksum is sha256:%s, not sha256:%s: %w", got.sum, sum, spec.ErrInvalid)
			}
			return b.addFetched(ctx, layers, got, name, t)
		},
	})
}

func parseChecksum(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	digits, ok := strings.CutPrefix(s, "sha256:")
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("--checksum=%s: want sha256: and 64 hex digits: %w", s, spec.ErrInvalid)
	}
	return strings.ToLower(digits), nil
}

// fileNameOf returns what a fetched file is called. Only a destination that is not a
// directory makes up for a URL without a name.
func fileNameOf(address, dest string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("not a URL: %w", spec.ErrInvalid)
	}
	name := path.Base(path.Clean("/" + u.Path))
	if name == "/" || name == ".." || strings.ContainsAny(name, "\\\x00") {
		if strings.HasSuffix(dest, "/") {
			return "", fmt.Errorf("cannot tell the name of the file from the URL: give the destination a file name: %w", spec.ErrInvalid)
		}
		name = path.Base(dest)
	}
	return name, nil
}

// download is a file that was fetched.
type download struct {
	dir, sum string
	modified time.Time
}

func (d *download) file() string { return filepath.Join(d.dir, fetchedName) }

func (d *download) read(limit int64) ([]byte, error) {
	f, err := os.Open(d.file())
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is larger than %d bytes: %w", limit, spec.ErrInvalid)
	}
	return data, err
}

func (d *download) remove() {
	if d != nil {
		_ = os.Remove(d.file()) // or the end of the build does
	}
}

// fetchedName is the file in the directory of a download.
const fetchedName = "file"

// fetch gets a file. It follows redirects to http and https only, and none from
// https to http.
func (b *builder) fetch(ctx context.Context, address string) (_ *download, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxFetch)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, spec.ErrInvalid)
	}
	req.Header.Set("User-Agent", "cleat/"+or(b.opt.Version, "unknown"))
	client := http.Client{CheckRedirect: checkRedirect}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch: the server says %s: %w", res.Status, spec.ErrUnavail)
	}
	d := &download{modified: time.Unix(0, 0)}
	if d.dir, err = b.scratch(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.remove()
		}
	}()
	if t, err := http.ParseTime(res.Header.Get("Last-Modified")); err == nil {
		d.modified = t
	}
	return d, d.save(res.Body)
}

func (d *download) save(body io.Reader) error {
	f, err := os.OpenFile(d.file(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), body)
	d.sum = hex.EncodeToString(h.Sum(nil))
	return errors.Join(err, f.Close())
}

// maxRedirects is how often a server may send elsewhere.
const maxRedirects = 10

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("redirect to %s: only http and https are followed", req.URL.Redacted())
	case req.URL.Scheme == "http" && via[0].URL.Scheme == "https":
		return fmt.Errorf("redirect from https to %s: refused", req.URL.Redacted())
	}
	return nil
}

// addFetched puts a fetched file where it goes: readable for root alone, as Docker does.
func (b *builder) addFetched(ctx context.Context, layers []engine.BuildLayer, d *download, name string, t transfer) (*engine.BuildLayer, error) {
	tree, err := engine.OpenBuildTree(d.dir)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	f := &files{tree: tree, what: "download"}
	entry, err := tree.Stat("/" + fetchedName)
	if err != nil {
		return nil, err
	}
	entry.Mode, entry.Mtime = 0o600, d.modified
	it := item{dst: name, src: "/" + fetchedName, entry: entry, top: true, sum: d.sum}
	t.sources, t.inline = []selection{{pattern: name}}, nil
	return b.b.Change(ctx, layers, func(to *engine.BuildFiles) error { return b.place(ctx, f, to, []item{it}, t) })
}
