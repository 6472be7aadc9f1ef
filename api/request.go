package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cleat-project/cleat/engine/listing"
	"github.com/cleat-project/cleat/spec"
)

// maxBody bounds a request that is not a stream, in bytes.
const maxBody = 8 << 20

// request is a request whose path has been taken apart.
type request struct {
	*http.Request
	version version
	vars    map[string]string
	query   url.Values
}

// routeTable is routes with their paths taken apart. It is made on first use,
// because the handlers refer to the table.
var routeTable = sync.OnceValue(func() []routeRow {
	rows := make([]routeRow, 0, len(routes))
	for _, r := range routes {
		rows = append(rows, routeRow{r, strings.Split(strings.TrimPrefix(r.path, "/"), "/")})
	}
	return rows
})

type routeRow struct {
	route
	elements []string
}

// invalid returns an error of class spec.ErrInvalid.
func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, spec.ErrInvalid)...)
}

// unsupported says that cleat cannot do something that Docker can.
func unsupported(format string, args ...any) error {
	return httpError{http.StatusNotImplemented, fmt.Sprintf(format, args...)}
}

// body decodes the JSON object of a request. One without a body leaves into as it
// is.
func (r *request) body(into any) error {
	if r.ContentLength == 0 {
		return nil
	}
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
			return invalid("unsupported Content-Type header (%s): must be 'application/json'", kind)
		}
	}
	return decodeOne(r.Body, into)
}

// decodeOne decodes a reader that has one JSON value, or none.
func decodeOne(src io.Reader, into any) error {
	dec := json.NewDecoder(src)
	err := dec.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if err != nil {
		return invalid("read the request: invalid JSON: %s", plainJSON(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("read the request: unexpected content after JSON")
	}
	return nil
}

// plainJSON words an error of encoding/json without the names of Go's types.
func plainJSON(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return "the request has to be an object, and is a " + e.Value
		}
		return fmt.Sprintf("%s cannot be a %s", e.Field, e.Value)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("%v at byte %d", e, e.Offset)
	}
	return err.Error()
}

// flag reads a value that is true or false. As in Docker, everything but the words
// for false is true.
func (r *request) flag(name string) bool {
	switch strings.ToLower(strings.TrimSpace(r.query.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag for a value that has a default.
func (r *request) flagOr(name string, def bool) bool {
	if !r.query.Has(name) {
		return def
	}
	return r.flag(name)
}

// number reads a whole number, 0 if it is not given.
func (r *request) number(name string) (int, error) {
	text := r.query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, invalid("invalid value for %q: %q is not a number", name, text)
	}
	return n, nil
}

// size reads the size of a terminal.
func (r *request) size() (height, width uint16, err error) {
	read := func(name string) uint16 {
		n, parseErr := strconv.ParseUint(r.query.Get(name), 10, 16)
		if parseErr != nil {
			err = invalid("invalid resize parameter %s: %q is not a number of characters", name, r.query.Get(name))
		}
		return uint16(n)
	}
	height, width = read("h"), read("w")
	return height, width, err
}

// filters reads the filters of a list or a prune.
func (r *request) filters() (listing.Filters, error) { return parseFilters(r.query.Get("filters")) }

// parseFilters reads both forms that filters have: lists of values, and objects
// whose keys are the values.
func parseFilters(text string) (listing.Filters, error) {
	out := listing.Filters{}
	if text == "" {
		return out, nil
	}
	var lists map[string][]string
	if json.Unmarshal([]byte(text), &lists) == nil {
		for key, values := range lists {
			out[key] = values
		}
		return out, nil
	}
	var sets map[string]map[string]bool
	if json.Unmarshal([]byte(text), &sets) != nil {
		return nil, invalid("invalid filter %q: it has to be a JSON object of lists", text)
	}
	for key, set := range sets {
		for value, on := range set {
			if on {
				out[key] = append(out[key], value)
			}
		}
	}
	return out, nil
}

// instant reads a point in time; zero if it is not given.
func (r *request) instant(name string) (time.Time, error) {
	t, err := listing.Time(r.query.Get(name), time.Now())
	if err != nil {
		return t, fmt.Errorf("invalid value for %q: %w", name, err)
	}
	return t, nil
}

// platform reads the parameter platform: an object of OCI's form, or os/arch.
func (r *request) platform() (string, error) {
	text := r.query.Get("platform")
	if !strings.HasPrefix(text, "{") {
		return text, nil
	}
	var p struct{ OS, Architecture, Variant string }
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return "", invalid("invalid platform %q", text)
	}
	parts := []string{p.OS, p.Architecture}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	return strings.Join(parts, "/"), nil
}

// writeJSON answers with an object.
func writeJSON(w http.ResponseWriter, code int, v any) {
	if code == http.StatusNotModified || code == http.StatusNoContent {
		w.WriteHeader(code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a client that is gone does not mind
}

// ok answers with an object.
func ok(w http.ResponseWriter, v any) error {
	writeJSON(w, http.StatusOK, v)
	return nil
}

// done answers that there is nothing more to say, unless there was an error.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
