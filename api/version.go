package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/engine"
)

// version is the minor number of a version of the API: 44 is 1.44.
type version int

// The versions that are answered. Without one in its path, a request is of the
// newest.
const (
	oldest version = engine.OldestAPI
	newest version = engine.NewestAPI
)

// String returns the version as clients write it.
func (v version) String() string { return "1." + strconv.Itoa(int(v)) }

// splitVersion takes the version off a path.
func splitVersion(path string) (version, string, error) {
	rest, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return newest, path, nil
	}
	text, rest, _ := strings.Cut(rest, "/")
	m, v, ok := parseVersion(text)
	switch {
	case !ok:
		return newest, path, nil // "/volumes", or a path that nothing will match
	case m > 1 || m == 1 && v > newest:
		return 0, "", httpError{http.StatusBadRequest, fmt.Sprintf("client version %s is too new. Maximum supported API version is %s", text, newest)}
	case m < 1 || v < oldest:
		return 0, "", httpError{http.StatusBadRequest, fmt.Sprintf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", text, oldest)}
	default:
		return v, "/" + rest, nil
	}
}

func parseVersion(text string) (major int, minor version, ok bool) {
	left, right, ok := strings.Cut(text, ".")
	m, err := strconv.ParseUint(left, 10, 16)
	n, minorErr := strconv.ParseUint(right, 10, 16)
	return int(m), version(n), ok && err == nil && minorErr == nil
}
