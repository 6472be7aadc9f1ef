package layer

import (
	"fmt"
	"path"
	"strings"
)

const (
	whiteoutPrefix = ".wh."         // ".wh.NAME" deletes NAME of the lower layers
	metaPrefix     = ".wh..wh."     // aufs's own files in old images, of no meaning to others
	opaqueName     = ".wh..wh..opq" // deletes all that the lower layers have in its directory
)

// The limits of names. The kernel's are 4096 and 255 bytes; no image comes near
// to maxDepth, and each level costs a lookup for every entry below it.
const (
	maxName  = 4095
	maxPart  = 255
	maxDepth = 512
)

// cleanName makes the name of an entry, or the target of a hard link, relative
// to the layer's directory: "." is the directory itself. An absolute name is
// taken from there, as by dockerd, and one that leads above it is refused.
func cleanName(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("empty name: %w", ErrInvalid)
	}
	if len(name) > maxName {
		return "", fmt.Errorf("name of %d bytes: %w", len(name), ErrInvalid)
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("NUL in name: %w", ErrInvalid)
	}
	clean := strings.TrimLeft(path.Clean(name), "/")
	if clean == "" {
		return ".", nil
	}
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("name leads out of the layer: %w", ErrInvalid)
	}
	depth := 0
	for part := range strings.SplitSeq(clean, "/") {
		if depth++; depth > maxDepth {
			return "", fmt.Errorf("more than %d levels deep: %w", maxDepth, ErrInvalid)
		}
		if len(part) > maxPart {
			return "", fmt.Errorf("part of %d bytes in name: %w", len(part), ErrInvalid)
		}
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
