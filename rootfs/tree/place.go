package tree

import (
	"fmt"
	"path"
	"strings"
)

// Source is what is to be copied.
type Source struct {
	Path  string // as it was asked for, absolute
	IsDir bool
}

// Name returns what the copy is called where nothing else is said: the last
// element of the path, or "." for the content of a directory alone.
func (s Source) Name() string {
	if endsInDot(s.Path) {
		return "."
	}
	return path.Base(s.Path)
}

// Target is where a copy is to go.
type Target struct {
	Path   string // absolute, with all symbolic links at its end followed
	Exists bool
	IsDir  bool // only if it exists
}

// Place decides by Docker's rules in which directory a copy goes, which may not
// exist, and what it is called there: "." means that the content of a directory
// goes straight in. The text of an error names the paths.
func Place(src Source, dst Target) (dir, name string, err error) {
	switch {
	case dst.Exists && dst.IsDir:
		return dst.Path, src.Name(), nil
	case dst.Exists && src.IsDir:
		return "", "", fmt.Errorf("cannot copy directory %q: %q is a file", src.Path, dst.Path)
	case !src.IsDir && meansDir(dst.Path):
		return "", "", fmt.Errorf("no such directory: %q", dst.Path)
	}
	clean := path.Clean(dst.Path)
	if endsInDot(dst.Path) {
		return clean, ".", nil
	}
	return path.Dir(clean), path.Base(clean), nil
}

// meansDir reports whether a path says that it is that of a directory.
func meansDir(name string) bool { return strings.HasSuffix(name, "/") || endsInDot(name) }

func endsInDot(name string) bool { return path.Base(name) == "." }
