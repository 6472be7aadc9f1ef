// Package git fetches trees of git repositories for builds. What a Dockerfile or a
// server says is not trusted: the address, the reference and the directory are
// checked here, and git runs without the user's configuration, without hooks, and
// with the protocols of networks only.
package git

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// Source is a place in a repository.
type Source struct {
	Remote string // as git takes it
	Ref    string // a branch, a tag, refs/…, or a commit; "" is what the repository's HEAD is
	Subdir string // without a slash at the beginning; "" is the top
	Commit string // if not "", the beginning of the id that the commit must have
}

// hosting are names of hosts that Docker takes for repositories without a scheme.
var hosting = []string{"github.com/"}

// Is reports whether a build context is the address of a repository: by its scheme,
// by ".git" at the end of an http address, in the form user@host:path, or of a host
// that has nothing else.
func Is(s string) bool {
	for _, host := range hosting {
		if strings.HasPrefix(s, host) {
			return true
		}
	}
	return IsSource(s)
}

// IsSource is Is for sources of ADD, which may also be files of such names.
func IsSource(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return scpForm(s)
	case scheme == "git", scheme == "ssh":
		return true
	case scheme != "http" && scheme != "https":
		return false
	}
	u, err := url.Parse(s)
	return err == nil && strings.HasSuffix(u.Path, ".git")
}

// scpForm reports whether s is user@host:path.
func scpForm(s string) bool {
	s, _, _ = strings.Cut(s, "#")
	before, after, ok := strings.Cut(s, ":")
	user, host, isUser := strings.Cut(before, "@")
	return ok && isUser && user != "" && host != "" && after != "" && !strings.HasPrefix(after, "//") && !strings.ContainsAny(before, "/ \t")
}

// Parse reads an address with an optional "#ref:directory", or with a query that
// says the same in words: ref, branch, tag, subdir, checksum.
func Parse(s string) (Source, error) {
	src, err := parse(s)
	if err != nil {
		return Source{}, fmt.Errorf("git repository %q: %w: %w", redacted(s), err, spec.ErrInvalid)
	}
	return src, nil
}

func parse(s string) (src Source, err error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return src, fmt.Errorf("control characters are not allowed")
	}
	var fragment string
	if src.Remote, fragment, _ = strings.Cut(s, "#"); fragment != "" {
		src.Ref, src.Subdir, _ = strings.Cut(fragment, ":")
	}
	for _, host := range hosting {
		if strings.HasPrefix(s, host) {
			src.Remote = "https://" + src.Remote
		}
	}
	if strings.Contains(src.Remote, "://") {
		err = src.readURL()
	} else if !scpForm(src.Remote) || strings.HasPrefix(src.Remote, "-") {
		err = fmt.Errorf("want a URL or user@host:path")
	} else if host := afterUser(src.Remote); strings.HasPrefix(host, "-") {
		err = fmt.Errorf("host %q begins with -", host)
	}
	if err == nil {
		err = checkRef(src.Ref)
	}
	if err == nil {
		src.Subdir, err = cleanSubdir(src.Subdir)
	}
	return src, err
}

func afterUser(s string) string {
	_, host, _ := strings.Cut(s, "@")
	return host
}

// readURL checks the remote, and takes out of it what is meant for us.
func (s *Source) readURL() error {
	u, err := url.Parse(s.Remote)
	if err != nil {
		return fmt.Errorf("not a URL")
	}
	switch u.Scheme {
	case "http", "https", "ssh", "git":
	default:
		return fmt.Errorf("protocol %q is not allowed: want http, https, ssh or git", u.Scheme)
	}
	if u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-") || u.User != nil && strings.HasPrefix(u.User.Username(), "-") {
		return fmt.Errorf("host %q: want a name that does not begin with -", u.Hostname())
	}
	if u.RawQuery == "" || u.Scheme == "ssh" {
		return nil
	}
	query := u.Query()
	for key, to := range map[string]*string{"ref": &s.Ref, "branch": &s.Ref, "tag": &s.Ref, "subdir": &s.Subdir, "checksum": &s.Commit, "commit": &s.Commit} {
		if !query.Has(key) {
			continue
		}
		value := query.Get(key)
		if *to != "" || len(query[key]) > 1 {
			return fmt.Errorf("%s is given twice", key)
		}
		switch key {
		case "branch":
			value = "refs/heads/" + value
		case "tag":
			value = "refs/tags/" + value
		case "checksum", "commit":
			if !isHex(value) || len(value) < minHex {
				return fmt.Errorf("%s %q: want the id of a commit", key, value)
			}
		}
		*to = value
		query.Del(key)
	}
	if len(query) > 0 {
		return fmt.Errorf("unknown words in the query: want ref, branch, tag, subdir or checksum")
	}
	u.RawQuery = ""
	s.Remote = u.String()
	return nil
}

// minHex is how much of a commit's id names it.
const minHex = 7

func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// isCommit reports whether a reference is the whole id of a commit.
func isCommit(ref string) bool { return isHex(ref) && (len(ref) == 40 || len(ref) == 64) }

// checkRef refuses what git would not take for the name of a reference, above all
// what it could take for an option (CVE-2019-13139) or a refspec.
func checkRef(ref string) error {
	if ref == "" {
		return nil
	}
	bad := strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, "+") ||
		strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, ".") || strings.HasSuffix(ref, ".lock") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.Contains(ref, "@{") ||
		strings.ContainsAny(ref, " ~^:?*[\\$`;|&<>\"'(){}!")
	if bad {
		return fmt.Errorf("reference %q: want a branch, a tag or a commit", ref)
	}
	return nil
}

// cleanSubdir refuses a directory that leads out of the repository as it is written.
// Links are for whoever opens it beneath the tree (CVE-2026-33748).
func cleanSubdir(dir string) (string, error) {
	for _, part := range strings.Split(dir, "/") {
		if part == ".." {
			return "", fmt.Errorf("directory %q leads out of the repository", dir)
		}
		if strings.EqualFold(part, ".git") {
			return "", fmt.Errorf("directory %q is git's own", dir)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+dir), "/"), nil
}

// String returns the address for people, without a password.
func (s Source) String() string {
	text := redacted(s.Remote)
	if s.Ref != "" || s.Subdir != "" {
		text += "#" + s.Ref
	}
	if s.Subdir != "" {
		text += ":" + s.Subdir
	}
	return text
}

// redacted hides the password of a URL.
func redacted(s string) string {
	if u, err := url.Parse(s); err == nil {
		if _, has := u.User.Password(); has {
			return u.Redacted()
		}
	}
	return s
}
