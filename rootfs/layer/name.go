package layer

import (
	"fmt"
	"path"
	"strings"

	"github.com/cleat-project/cleat/rootfs/internal/tarmeta"
)

const (
	whiteoutPrefix = ".wh."         // ".wh.NAME" deletes NAME of the lower layers
	metaPrefix     = ".wh..wh."     // aufs's own files in old images, of no meaning to others
	opaqueName     = ".wh..wh..opq" // deletes all that the lower layers have in its directory
)

// cleanName is tarmeta.CleanName of an entry of a layer.
func cleanName(name string) (string, error) {
	clean, err := tarmeta.CleanName(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return clean, nil
}

// kind is what the name of an entry says about it.
type kind int

const (
	plain    kind = iota // a file, directory, link …
	whiteout             // deletes a name of the lower layers
	opaque               // deletes everything in its directory of the lower layers
	meta                 // to be skipped
)

// classify splits a clean name into directory and last element and tells what
// kind of entry it is. For a whiteout, base is the name that is deleted. Names
// with the whiteout prefix that are no whiteout are refused: they could not be
// packed again.
func classify(clean string) (k kind, dir, base string, err error) {
	dir, base = path.Split(clean)
	dir = path.Clean(dir)
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, metaPrefix) {
			return meta, dir, base, nil
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return plain, dir, base, fmt.Errorf("whiteout %q as a directory: %w", part, ErrInvalid)
		}
	}
	if !strings.HasPrefix(base, whiteoutPrefix) {
		return plain, dir, base, nil
	}
	if base == opaqueName {
		return opaque, dir, base, nil
	}
	if strings.HasPrefix(base, metaPrefix) {
		return meta, dir, base, nil
	}
	base = base[len(whiteoutPrefix):]
	if base == "" || base == "." || base == ".." {
		return whiteout, dir, base, fmt.Errorf("whiteout of %q: %w", base, ErrInvalid)
	}
	return whiteout, dir, base, nil
}
