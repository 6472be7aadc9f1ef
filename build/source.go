package build

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// files is where a step takes files from: the context, a stage or an image.
type files struct {
	tree   *engine.BuildTree
	ignore *patternmatcher.PatternMatcher // what is to be taken as not there; nil is nothing
	what   string                         // for messages: "build context"
	keep   bool                           // owners stay; a context has none
}

// item is one file on its way into a layer.
type item struct {
	dst   string // below the destination, without a slash at the beginning; "" is the destination itself
	src   string // in the tree, no element of which is a link; "" if data is the content
	entry engine.BuildEntry
	data  []byte
	top   bool   // it was named, and is not part of a directory that was
	sum   string // of a regular file's content, once it is known
}

func (it item) isDir() bool { return it.entry.Mode.IsDir() }

// selection says what to take.
type selection struct {
	pattern string   // as COPY has it
	exclude []string // patterns below it
	parents bool     // keep the way to it
	whole   bool     // a directory as such, called by its name, and not what is in it
}

// hidden reports whether a real path is to be taken as not there.
func (f *files) hidden(name string) (bool, error) {
	if f.ignore == nil || name == "/" {
		return false, nil
	}
	return f.ignore.MatchesOrParentMatches(name[1:])
}

// pick lists what a selection takes, a directory before what is in it. One without
// wildcards that takes nothing is an error, one with them is empty.
func (f *files) pick(sel selection) ([]item, error) {
	pattern, pivot := cleanPattern(sel.pattern, sel.parents)
	names := []string{pattern}
	wild := hasWildcard(pattern)
	if wild {
		var err error
		if names, err = f.glob(pattern); err != nil {
			return nil, err
		}
	}
	exclude, err := matcher(sel.exclude)
	if err != nil {
		return nil, err
	}
	var all []item
	for _, name := range names {
		real, entry, err := f.follow(name)
		if wild && errors.Is(err, spec.ErrNotFound) {
			continue // a link that leads nowhere, or to what is ignored
		}
		if err != nil {
			return nil, err
		}
		if real == "/" && !f.keep { // where a context lies is no part of it
			entry.Mode, entry.Xattrs = fs.ModeDir|0o755, nil
		}
		w := walk{files: f, exclude: exclude}
		base := sel.base(name, pivot, entry)
		if sel.parents {
			w.parents(name, base)
		}
		if err := w.visit(real, base, topName(real, entry), entry); err != nil {
			return nil, err
		}
		if n := len(w.items); n > 0 && !entry.Mode.IsDir() {
			w.items[n-1].top = true
		}
		all = append(all, w.items...)
	}
	return all, nil
}

// topName is what exclude patterns see of the top: a file has its name, what is in
// a directory is named from there.
func topName(real string, entry engine.BuildEntry) string {
	if entry.Mode.IsDir() {
		return ""
	}
	return path.Base(real)
}

// base is where the top of a selection goes, below the destination.
func (sel selection) base(name, pivot string, entry engine.BuildEntry) string {
	switch {
	case sel.parents:
		return strings.TrimPrefix(strings.TrimPrefix(name, pivot), "/")
	case entry.Mode.IsDir() && !sel.whole:
		return ""
	}
	return path.Base(name)
}

// cleanPattern makes a source an absolute path in its tree, out of which no ".."
// leads. With --parents, what is before "/./" is not kept.
func cleanPattern(s string, parents bool) (clean, pivot string) {
	if i := strings.Index(s, "/./"); parents && i >= 0 {
		pivot = path.Clean("/" + s[:i])
	}
	return path.Clean("/" + s), pivot
}

func hasWildcard(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// follow opens what name leads to. Neither name nor what it leads to may be hidden.
func (f *files) follow(name string) (string, engine.BuildEntry, error) {
	real, err := f.tree.Resolve(name)
	if err != nil {
		return "", engine.BuildEntry{}, f.missing(name, err)
	}
	for _, p := range []string{name, real} {
		if hidden, err := f.hidden(p); err != nil || hidden {
			return "", engine.BuildEntry{}, errors.Join(err, fmt.Errorf("%q: not found in the %s: it is excluded by .dockerignore: %w", name, f.what, spec.ErrNotFound))
		}
	}
	entry, err := f.tree.Stat(real)
	if err != nil {
		return "", entry, f.missing(name, err)
	}
	return real, entry, nil
}

// missing explains why a source cannot be opened.
func (f *files) missing(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%q: not found in the %s: %w", name, f.what, spec.ErrNotFound)
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%q in the %s: symbolic links change or go in circles: %w", name, f.what, spec.ErrInvalid)
	}
	return fmt.Errorf("%q in the %s: %w", name, f.what, err)
}

// glob lists the paths that fit a pattern, sorted. "**" is any number of directories.
func (f *files) glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("source %q: %w: %w", pattern, err, spec.ErrInvalid)
	}
	found := []string{"/"}
	for _, element := range strings.Split(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			names, err := f.globIn(dir, element)
			if err != nil {
				return nil, err
			}
			next = append(next, names...)
		}
		slices.Sort(next)
		found = slices.Compact(next)
	}
	return found, nil
}

// globIn lists what fits one element of a pattern in a directory.
func (f *files) globIn(dir, element string) ([]string, error) {
	if !hasWildcard(element) {
		return []string{path.Join(dir, element)}, nil
	}
	real, err := f.tree.Resolve(dir)
	if err != nil {
		return nil, f.missing(dir, err)
	}
	entry, err := f.tree.Stat(real)
	if err != nil || !entry.Mode.IsDir() {
		return nil, nil //nolint:nilerr // nothing is in there
	}
	names, err := f.tree.Names(real)
	if err != nil {
		return nil, f.missing(dir, err)
	}
	var found []string
	if element == "**" {
		found = append(found, dir)
	}
	for _, name := range names {
		full := path.Join(dir, name)
		if element != "**" {
			if ok, err := path.Match(element, name); err == nil && ok {
				found = append(found, full)
			}
			continue
		}
		sub, err := f.tree.Stat(path.Join(real, name))
		if err == nil && sub.Mode.IsDir() {
			below, err := f.globIn(full, "**")
			if err != nil {
				return nil, err
			}
			found = append(found, below...)
		}
	}
	return found, nil
}

// matcher compiles patterns; nil for none.
func matcher(patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil //nolint:nilnil // documented
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w: %w", err, spec.ErrInvalid)
	}
	return m, nil
}

// walk lists a tree.
type walk struct {
	files   *files
	exclude *patternmatcher.PatternMatcher
	items   []item
	pending []item // directories that are hidden unless something in them is not
}

// parents adds the directories on the way to name, which goes to dst.
func (w *walk) parents(name, dst string) {
	for dir := path.Dir(dst); dir != "." && dir != "/"; dir = path.Dir(dir) {
		name = path.Dir(name)
		real, entry, err := w.files.follow(name)
		if err != nil || !entry.Mode.IsDir() {
			continue // the way is made as any missing directory is
		}
		w.items = append([]item{{dst: dir, src: real, entry: entry}}, w.items...)
	}
}

// maxDepth bounds the depth of a tree.
const maxDepth = 512

// visit adds the file at src, and what is in it. Rel is its path for exclude
// patterns.
func (w *walk) visit(src, dst, rel string, entry engine.BuildEntry) error {
	if strings.Count(src, "/") > maxDepth {
		return fmt.Errorf("%q: more than %d levels deep: %w", src, maxDepth, spec.ErrInvalid)
	}
	hidden, revived, err := w.isHidden(src, rel)
	if err != nil {
		return err
	}
	it := item{dst: dst, src: src, entry: entry}
	switch {
	case entry.Mode&(fs.ModeSocket|fs.ModeIrregular) != 0:
		return nil // nobody listens on a copy
	case hidden && (!revived || !it.isDir()):
		return nil
	case !it.isDir():
		w.items = append(append(w.items, w.pending...), it)
		w.pending = nil
		return nil
	}
	if hidden {
		w.pending = append(w.pending, it)
	} else {
		w.items = append(append(w.items, w.pending...), it)
		w.pending = nil
	}
	if err := w.children(it, rel); err != nil {
		return err
	}
	if n := len(w.pending); n > 0 && w.pending[n-1].src == src {
		w.pending = w.pending[:n-1]
	}
	return nil
}

// isHidden reports whether a path is left out, and if so whether patterns with "!"
// may bring back something in it.
func (w *walk) isHidden(src, rel string) (hidden, revived bool, err error) {
	hidden, err = w.files.hidden(src)
	if err != nil || hidden {
		return hidden, err == nil && w.files.ignore.Exclusions(), err
	}
	if w.exclude == nil || rel == "" {
		return false, false, nil
	}
	hidden, err = w.exclude.MatchesOrParentMatches(rel)
	return hidden, w.exclude.Exclusions(), err
}

func (w *walk) children(dir item, rel string) error {
	names, err := w.files.tree.Names(dir.src)
	if err != nil {
		return w.files.missing(dir.src, err)
	}
	for _, name := range names {
		src := path.Join(dir.src, name)
		entry, err := w.files.tree.Stat(src)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return w.files.missing(src, err)
		}
		if err := w.visit(src, path.Join(dir.dst, name), path.Join(rel, name), entry); err != nil {
			return err
		}
	}
	return nil
}
