package build

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cleat-project/cleat/build/git"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// addGit adds the files of a repository. The server is asked for the commit; it is
// fetched only if the cache does not have the step.
func (b *builder) addGit(ctx context.Context, st *stage, s *state, what, address string, c *instructions.AddCommand, t transfer) error {
	src, err := git.Parse(address)
	if err != nil {
		return err
	}
	if c.Checksum != "" {
		if src.Commit, err = commitChecksum(c.Checksum); err != nil {
			return err
		}
	}
	keep := c.KeepGitDir != nil && *c.KeepGitDir
	dir, err := b.scratch(ctx)
	if err != nil {
		return err
	}
	opt := b.gitOptions(src)
	opt.KeepDir = keep
	v := b.out.begin("[internal] load git source " + src.String())
	commit, err := src.Resolve(ctx, dir, opt)
	if err != nil {
		v.end(err)
		return err
	}
	layers := s.layers
	if t.link && (t.chown == "" || numeric(t.chown)) {
		layers = nil
	}
	return b.step(ctx, s, work{
		title: b.title(st, s, what),
		what:  what,
		key:   b.key("git", layers, src.Remote, commit, src.Subdir, keep, c.ExcludePatterns, t.dest, t.chown, t.mode, t.link),
		do: func(ctx context.Context, w *vertex) (*engine.BuildLayer, error) {
			v.start()
			src.Ref, src.Commit = commit, commit
			_, err := src.Fetch(ctx, dir, opt)
			v.end(err)
			if err != nil {
				return nil, err
			}
			w.status(commit)
			return b.addTree(ctx, layers, filepath.Join(dir, "tree"), src, c.ExcludePatterns, t)
		},
	})
}

// commitChecksum reads --checksum, which of a repository is the id of a commit.
func commitChecksum(s string) (string, error) {
	digits := strings.TrimPrefix(s, "sha1:")
	if strings.Trim(digits, "0123456789abcdef") != "" || len(digits) < 7 {
		return "", fmt.Errorf("--checksum=%s: want the id of a commit: %w", s, spec.ErrInvalid)
	}
	return digits, nil
}

// addTree puts what a repository has where it goes.
func (b *builder) addTree(ctx context.Context, layers []engine.BuildLayer, tree string, src git.Source, exclude []string, t transfer) (*engine.BuildLayer, error) {
	dir, err := subdirectory(tree, src.Subdir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src, err)
	}
	f, err := (&Context{dir: dir, temporary: true}).open("git repository")
	if err != nil {
		return nil, err
	}
	defer f.close()
	t.sources, t.inline, t.unpack = []selection{{pattern: "/", exclude: exclude}}, nil, false
	items, _, err := b.collect(ctx, f, t, nil)
	if err != nil {
		return nil, err
	}
	for i := range items { // git has no times, and the commit's own is the same everywhere
		items[i].entry.Mtime = b.inlineTime()
	}
	return b.b.Change(ctx, layers, func(to *engine.BuildFiles) error { return b.place(ctx, f, to, items, t) })
}
