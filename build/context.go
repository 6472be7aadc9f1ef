package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/patternmatcher/ignorefile"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// DefaultDockerfile is what a Dockerfile is called.
const DefaultDockerfile = "Dockerfile"

// maxIgnoreBytes is how large a .dockerignore may be.
const maxIgnoreBytes = 1 << 20

// Context is a directory that a build takes files from.
type Context struct {
	dir       string
	ignore    []string // patterns of .dockerignore
	temporary bool     // unpacked for this build alone
}

// OpenContext reads the .dockerignore of a directory, or that which is for the
// Dockerfile of the given name alone.
func OpenContext(dir, dockerfile string) (*Context, error) {
	fi, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("build context %q: not found: %w", dir, spec.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("build context %q: must be a directory: %w", dir, spec.ErrInvalid)
	}
	c := &Context{dir: dir}
	tree, err := engine.OpenBuildTree(dir)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	names := []string{".dockerignore"}
	if dockerfile != "" && !filepath.IsAbs(dockerfile) {
		names = []string{dockerfile + ".dockerignore", ".dockerignore"}
	}
	for _, name := range names {
		patterns, found, err := readIgnore(tree, name)
		if err != nil {
			return nil, err
		}
		if found {
			c.ignore = patterns
			break
		}
	}
	return c, nil
}

// readIgnore reads a file of patterns, through no link out of the context.
func readIgnore(tree *engine.BuildTree, name string) (patterns []string, found bool, err error) {
	f, err := openIn(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // only read
	patterns, err = ignorefile.ReadAll(io.LimitReader(f, maxIgnoreBytes))
	if err == nil {
		_, err = matcher(patterns)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	return patterns, true, nil
}

// openIn opens a regular file of a tree, wherever links in it lead.
func openIn(tree *engine.BuildTree, name string) (*os.File, error) {
	real, err := tree.Resolve(name)
	if err != nil {
		return nil, err
	}
	return tree.Open(real)
}

// ReadFile reads a file of the context, also one that .dockerignore hides: the
// Dockerfile. No link leads out of the context.
func (c *Context) ReadFile(name string, limit int64) ([]byte, error) {
	tree, err := engine.OpenBuildTree(c.dir)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	f, err := openIn(tree, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes: %w", name, limit, spec.ErrInvalid)
	}
	return data, err
}

// open opens the context for a step.
func (c *Context) open(what string) (*files, error) {
	m, err := matcher(c.ignore)
	if err != nil {
		return nil, err
	}
	tree, err := engine.OpenBuildTree(c.dir)
	if err != nil {
		return nil, err
	}
	return &files{tree: tree, ignore: m, what: what}, nil
}
