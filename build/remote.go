package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/cleat-project/cleat/build/git"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// IsRemote reports whether a build context is fetched: a git repository, or an
// archive or a Dockerfile at a URL.
func IsRemote(where string) bool { return git.Is(where) || isURL(where) }

// fetchContext gets the context if it is not a directory of this machine, and the
// Dockerfile out of it.
func (b *builder) fetchContext(ctx context.Context) error {
	switch {
	case b.opt.Remote != "":
		c, alone, err := b.remote(ctx, b.opt.Remote, b.opt.DockerfileName)
		if err == nil && alone != nil && b.opt.Dockerfile == nil {
			b.opt.Dockerfile, err = alone.read(maxDockerfileBytes)
			b.opt.DockerfileName = DefaultDockerfile
		}
		if err != nil {
			return fmt.Errorf("build context: %w", err)
		}
		b.opt.Context = c
	case b.opt.Archive != nil:
		dir, err := b.scratch(ctx)
		if err != nil {
			return err
		}
		if b.opt.Context, err = unpackContext(ctx, b.opt.Archive, dir, b.opt.DockerfileName); err != nil {
			return err
		}
	}
	if b.opt.Dockerfile != nil || b.opt.Context == nil {
		return nil
	}
	data, err := b.opt.Context.ReadFile(b.opt.DockerfileName, maxDockerfileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read Dockerfile: %s: not found in the build context: %w", b.opt.DockerfileName, spec.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("read Dockerfile of the context: %w", err)
	}
	b.opt.Dockerfile = data
	return nil
}

// scratch makes a directory that lasts as long as the build.
func (b *builder) scratch(ctx context.Context) (string, error) {
	dir, release, err := b.newDir(ctx)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releases = append(b.releases, release)
	return dir, nil
}

// release removes what the build has fetched.
func (b *builder) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, release := range b.releases {
		errs = append(errs, release())
	}
	b.releases = nil
	return errors.Join(errs...)
}

// remote fetches a context. What is no archive is returned as it was fetched.
func (b *builder) remote(ctx context.Context, where, dockerfile string) (*Context, *download, error) {
	if git.Is(where) {
		dir, err := b.scratch(ctx)
		if err != nil {
			return nil, nil, err
		}
		c, err := b.gitContext(ctx, where, dir, dockerfile)
		return c, nil, err
	}
	v := b.out.begin("[internal] load remote build context " + where)
	v.start()
	got, err := b.fetch(ctx, where)
	v.end(err)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", where, err)
	}
	f, err := os.Open(got.file())
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if !engine.IsArchive(f) {
		return nil, got, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	dir, err := b.scratch(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := unpackContext(ctx, f, dir, dockerfile)
	got.remove()
	return c, nil, err
}

// keepGitArg is the argument that keeps .git in a context, as BuildKit has it.
const keepGitArg = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"

// gitContext fetches a repository into dir.
func (b *builder) gitContext(ctx context.Context, where, dir, dockerfile string) (*Context, error) {
	src, err := git.Parse(where)
	if err != nil {
		return nil, err
	}
	keep, _ := strconv.ParseBool(b.opt.Args[keepGitArg])
	b.useArg(keepGitArg)
	opt := b.gitOptions(src)
	opt.Trusted, opt.KeepDir = true, keep
	v := b.out.begin("[internal] load git source " + src.String())
	v.start()
	commit, err := src.Fetch(ctx, dir, opt)
	if err == nil {
		v.status(commit)
	}
	v.end(err)
	if err != nil {
		return nil, err
	}
	sub, err := subdirectory(filepath.Join(dir, "tree"), src.Subdir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src, err)
	}
	c, err := OpenContext(sub, dockerfile)
	if err != nil {
		return nil, err
	}
	c.temporary = true
	return c, nil
}

// subdirectory returns where a directory of a tree really is. Links in the tree do
// not lead out of it (CVE-2026-33748).
func subdirectory(tree, dir string) (string, error) {
	t, err := engine.OpenBuildTree(tree)
	if err != nil {
		return "", err
	}
	defer t.Close()
	real, err := t.Resolve(dir)
	if err != nil {
		return "", err
	}
	e, err := t.Stat(real)
	if err != nil || !e.Mode.IsDir() {
		return "", fmt.Errorf("directory %q: not found in the repository: %w", dir, spec.ErrNotFound)
	}
	return filepath.Join(tree, real), nil
}

// Secrets that git shows to servers, as BuildKit calls them; ".HOST" at the end makes
// them that host's alone.
const (
	gitTokenSecret  = "GIT_AUTH_TOKEN"
	gitHeaderSecret = "GIT_AUTH_HEADER"
)

// gitOptions says how to fetch a repository that a Dockerfile names.
func (b *builder) gitOptions(src git.Source) git.Options {
	_, host, _ := strings.Cut(src.Remote, "://")
	host, _, _ = strings.Cut(host, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	secret := func(name string) string {
		if data, ok := b.opt.Secrets[name+"."+host]; ok {
			return strings.TrimSpace(string(data))
		}
		return strings.TrimSpace(string(b.opt.Secrets[name]))
	}
	opt := git.Options{Token: secret(gitTokenSecret), Header: secret(gitHeaderSecret), Agent: b.opt.SSH[defaultSSH]}
	for _, name := range proxyArgs {
		if v, ok := b.opt.Args[name]; ok {
			b.useArg(name)
			opt.Proxies = append(opt.Proxies, name+"="+v)
		}
	}
	return opt
}

// defaultSSH is the id of an agent that is not called anything else.
const defaultSSH = "default"

// named is a further context; each is opened once.
type named struct {
	once sync.Once
	c    *Context
	err  error
}

// context opens a further context that is not an image.
func (b *builder) context(ctx context.Context, name string) (*Context, error) {
	b.mu.Lock()
	n := b.named[name]
	if n == nil {
		n = &named{}
		b.named[name] = n
	}
	b.mu.Unlock()
	n.once.Do(func() {
		where := b.opt.Contexts[name]
		if !IsRemote(where) {
			n.c, n.err = OpenContext(where, DefaultDockerfile)
			return
		}
		var alone *download
		if n.c, alone, n.err = b.remote(ctx, where, DefaultDockerfile); alone != nil {
			n.c, n.err = alone.context(where)
		}
	})
	if n.err != nil {
		return nil, fmt.Errorf("build context %q: %w", name, n.err)
	}
	return n.c, nil
}

// context makes a context of one file that was fetched.
func (d *download) context(where string) (*Context, error) {
	name, err := fileNameOf(where, "/context")
	if err != nil {
		return nil, err
	}
	if err := os.Rename(d.file(), filepath.Join(d.dir, name)); err != nil {
		return nil, err
	}
	return &Context{dir: d.dir, temporary: true}, nil
}

// unpackContext unpacks a context that came as a tar, compressed or not, into dir.
func unpackContext(ctx context.Context, r io.Reader, dir, dockerfile string) (*Context, error) {
	if err := engine.UnpackBuildTree(ctx, r, dir); err != nil {
		return nil, fmt.Errorf("unpack build context: %w", err)
	}
	c, err := OpenContext(dir, path.Clean(strings.TrimPrefix(dockerfile, "/")))
	if err == nil {
		c.temporary = true
	}
	return c, err
}
