package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Options says how to fetch.
type Options struct {
	KeepDir bool // .git stays in the tree

	Token  string // for https: see GIT_AUTH_TOKEN of BuildKit
	Header string // the same as the value of an Authorization header

	// Trusted says that the user has named the repository, and not a Dockerfile: the
	// user's keys and agent are used for ssh.
	Trusted bool
	Agent   string   // socket of an ssh agent for all others; "" is none
	Proxies []string // NAME=value
}

// Fetch puts the files of a source into dir, an empty directory that is the
// caller's alone, and returns the id of the commit. The tree is in dir/tree.
func (s Source) Fetch(ctx context.Context, dir string, opt Options) (commit string, err error) {
	r, err := newRepo(s, dir, opt)
	if err != nil {
		return "", err
	}
	commit, err = r.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", s, err)
	}
	return commit, nil
}

// Resolve asks the server which commit the source is at. It uses dir as Fetch does.
func (s Source) Resolve(ctx context.Context, dir string, opt Options) (string, error) {
	if isCommit(s.Ref) {
		return s.Ref, s.checkCommit(s.Ref)
	}
	r, err := newRepo(s, dir, opt)
	if err != nil {
		return "", err
	}
	out, err := r.git(ctx, "ls-remote", "--quiet", "--", s.Remote)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", s, err)
	}
	commit := s.pick(out)
	if commit == "" {
		return "", fmt.Errorf("ask %s: there is no such branch or tag: %w", s, spec.ErrNotFound)
	}
	return commit, s.checkCommit(commit)
}

// pick finds the source's reference in what ls-remote says: a tag before a branch,
// as git does, and of a tag with a message what it is about.
func (s Source) pick(list string) string {
	refs := map[string]string{}
	for line := range strings.Lines(list) {
		if id, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && isCommit(id) {
			refs[name] = id
		}
	}
	names := []string{s.Ref, "refs/" + s.Ref, "refs/tags/" + s.Ref, "refs/heads/" + s.Ref}
	if s.Ref == "" {
		names = []string{"HEAD"}
	}
	for _, name := range names {
		if id, ok := refs[name+"^{}"]; ok {
			return id
		}
		if id, ok := refs[name]; ok {
			return id
		}
	}
	return ""
}

func (s Source) checkCommit(commit string) error {
	if strings.HasPrefix(commit, s.Commit) {
		return nil
	}
	return fmt.Errorf("%s is at commit %s, not at %s: %w", s, commit, s.Commit, spec.ErrInvalid)
}

// repo is a repository at work.
type repo struct {
	Source
	opt  Options
	dir  string // for git alone
	tree string
	env  []string
}

func newRepo(s Source, dir string, opt Options) (*repo, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("fetch %s: git is not installed here: install it, or give a directory or a tar: %w", s, spec.ErrUnavail)
	}
	r := &repo{Source: s, opt: opt, dir: dir, tree: filepath.Join(dir, "tree")}
	if err := os.MkdirAll(r.tree, 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o700); err != nil {
		return nil, err
	}
	r.env = r.environment()
	return r, nil
}

// environment is all that git gets to know: nothing of the user's configuration,
// which may have helpers, filters and aliases. Settings go by it, too, since they
// hold for the gits that git starts, and no other process sees them.
func (r *repo) environment() []string {
	env := []string{
		"HOME=" + filepath.Join(r.dir, "home"), "LC_ALL=C", "PATH=" + os.Getenv("PATH"),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_TEMPLATE_DIR=",
		"GIT_ALLOW_PROTOCOL=http:https:ssh:git",
		"GIT_SSH_COMMAND=" + r.sshCommand(),
	}
	for _, name := range []string{"GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if agent := os.Getenv("SSH_AUTH_SOCK"); r.opt.Trusted && agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+agent)
	}
	env = append(env, r.opt.Proxies...)
	settings := [][2]string{
		{"core.hooksPath", "/dev/null"}, {"core.fsmonitor", "false"}, {"core.protectNTFS", "true"}, {"core.protectHFS", "true"},
		{"protocol.ext.allow", "never"}, {"protocol.file.allow", "never"}, {"credential.helper", ""},
		{"gc.auto", "0"}, {"maintenance.auto", "false"}, {"advice.detachedHead", "false"},
		{"fetch.recurseSubmodules", "false"}, {"submodule.recurse", "false"},
	}
	if key, value := r.authorization(); key != "" {
		settings = append(settings, [2]string{key, value}, [2]string{"http.followRedirects", "false"})
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)))
	for i, s := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return env
}

// sshCommand is how git calls ssh: it asks nothing, and believes only host keys that
// are known.
func (r *repo) sshCommand() string {
	const strict = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ClearAllForwardings=yes -o PermitLocalCommand=no"
	switch {
	case r.opt.Trusted:
		return strict
	case r.opt.Agent != "":
		return strict + " -F /dev/null -o IdentityAgent='" + strings.ReplaceAll(r.opt.Agent, "'", `'\''`) + "'"
	}
	return strict + " -F /dev/null -o IdentityAgent=none -o IdentityFile=/dev/null"
}

// authorization is the setting that makes git send a header to the remote's host,
// and to no other.
func (r *repo) authorization() (key, value string) {
	header := r.opt.Header
	if r.opt.Token != "" {
		header = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+r.opt.Token))
	}
	u, err := url.Parse(r.Remote)
	if err != nil || header == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(header, "\r\n\x00") {
		return "", ""
	}
	return "http." + u.Scheme + "://" + u.Host + "/.extraheader", "Authorization: " + header
}

func (r *repo) fetch(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		{"-C", r.tree, "init", "--quiet"},
		{"-C", r.tree, "config", "remote.origin.url", r.Remote},
	} {
		if _, err := r.git(ctx, args...); err != nil {
			return "", err
		}
	}
	commit, err := r.getCommit(ctx)
	if err != nil {
		return "", err
	}
	if err := r.checkCommit(commit); err != nil {
		return "", err
	}
	if _, err := r.git(ctx, "-C", r.tree, "checkout", "--quiet", "--force", "--detach", commit); err != nil {
		return "", err
	}
	if err := r.submodules(ctx); err != nil {
		return "", err
	}
	if r.opt.KeepDir {
		_, err := r.git(ctx, "-C", r.tree, "config", "--unset", "remote.origin.url") // may have a password
		return commit, err
	}
	return commit, r.dropGitDirs()
}

// getCommit fetches as little as the server lets it, and returns the commit's id.
func (r *repo) getCommit(ctx context.Context) (string, error) {
	what := r.Ref
	if what == "" {
		what = "HEAD"
	}
	_, err := r.git(ctx, "-C", r.tree, "fetch", "--quiet", "--depth=1", "--no-tags", "--force", "--", r.Remote, what)
	if err == nil {
		return r.parse(ctx, "FETCH_HEAD^{commit}")
	}
	var failed *failure
	shallow := errors.As(err, &failed) && (strings.Contains(failed.text, "shallow") || strings.Contains(failed.text, "dumb http"))
	if !shallow && !(isHex(r.Ref) && len(r.Ref) >= minHex) {
		return "", err
	}
	// The server has no parts of a history, or none by the id of a commit.
	if _, all := r.git(ctx, "-C", r.tree, "fetch", "--quiet", "--force", "--", r.Remote, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", "+HEAD:refs/remotes/origin/HEAD"); all != nil {
		return "", err
	}
	for _, name := range []string{what, "refs/tags/" + what, "refs/remotes/origin/" + what} {
		if commit, err := r.parse(ctx, name+"^{commit}"); err == nil {
			return commit, nil
		}
	}
	return "", err
}

func (r *repo) parse(ctx context.Context, name string) (string, error) {
	out, err := r.git(ctx, "-C", r.tree, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
	commit := strings.TrimSpace(out)
	if err == nil && !isCommit(commit) {
		err = fmt.Errorf("%s is no commit: %w", r.Source, spec.ErrNotFound)
	}
	return commit, err
}

// submodules fetches the repositories that this one names, under the same rules.
func (r *repo) submodules(ctx context.Context) error {
	fi, err := os.Lstat(filepath.Join(r.tree, ".gitmodules"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf(".gitmodules is not a regular file: %w", spec.ErrInvalid))
	}
	update := []string{"-C", r.tree, "submodule", "--quiet", "update", "--init", "--recursive", "--force"}
	if _, err := r.git(ctx, append(update, "--depth=1")...); err == nil {
		return nil
	}
	if _, err := r.git(ctx, update...); err != nil {
		return fmt.Errorf("submodules: %w", err)
	}
	return nil
}

// dropGitDirs removes all that is git's own. A repository has no file of this name.
func (r *repo) dropGitDirs() error {
	return filepath.WalkDir(r.tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != ".git" {
			return err
		}
		if err := os.RemoveAll(path); err != nil || !d.IsDir() {
			return err
		}
		return fs.SkipDir
	})
}

// failure is git's own word on what went wrong.
type failure struct{ text string }

// Error implements error.
func (f *failure) Error() string { return "git: " + f.text }

// Unwrap makes errors.Is(err, spec.ErrUnavail) true.
func (f *failure) Unwrap() error { return spec.ErrUnavail }

// git runs git, which ends when this process or ctx does.
func (r *repo) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env, cmd.Dir = r.env, r.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitAfterKill
	// The signal at the parent's death is sent when the thread ends that has started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", &failure{r.explain(errs.String())}
	}
	return out.String(), err
}

// waitAfterKill is how long output is waited for of what git has started.
const waitAfterKill = 5 * time.Second

// explain takes what matters from git's messages, and passwords out.
func (r *repo) explain(text string) string {
	if u, err := url.Parse(r.Remote); err == nil {
		if password, has := u.User.Password(); has && password != "" {
			text = strings.ReplaceAll(text, password, "xxxxx")
		}
	}
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.Map(func(c rune) rune {
			if c < ' ' || c == 0x7f {
				return -1
			}
			return c
		}, line)
		if strings.HasPrefix(line, "hint:") || line == "" {
			continue
		}
		for _, prefix := range []string{"fatal: ", "error: "} {
			line = strings.TrimPrefix(line, prefix)
		}
		lines = append(lines, line)
	}
	const most = 6
	text = strings.Join(lines[max(len(lines)-most, 0):], "; ")
	switch {
	case text == "":
		return "it failed without a word"
	case strings.Contains(text, "terminal prompts disabled"):
		text += " (give --secret id=GIT_AUTH_TOKEN,env=… for a repository that is not public)"
	case strings.Contains(text, "Host key verification failed"):
		text += " (add the host to known_hosts)"
	}
	return text
}
