package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Watched are the files that develop.watch of some services name, and what is to
// happen when they change.
type Watched struct {
	Roots    []string // directories and files of this machine, absolute
	services []string // sorted
	rules    map[string][]rule
	general  map[string]*matcher // by service: what never matters
}

// rule is one entry of develop.watch.
type rule struct {
	path, target    string
	action          types.WatchAction
	exec            *engine.ExecOptions
	ignore, include *matcher // nil: nothing, all
	initial         bool
}

// matcher knows patterns of paths below a directory.
type matcher struct {
	dir string
	m   *patternmatcher.PatternMatcher
}

// ephemeral are files that editors make while they write others, and what belongs
// to version control.
var ephemeral = []string{
	"**/.git", "**/*~", "**/.#*", "**/#*#", "**/*.swp", "**/*.swo", "**/*.swx", "**/4913", "**/*___jb_tmp___", "**/*___jb_old___", "**/.~lock.*", "**/*.tmp.*",
}

// Watched returns what the active services want to be watched for.
func (p *Project) Watched() (*Watched, error) {
	w := &Watched{rules: map[string][]rule{}, general: map[string]*matcher{}}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		if s.Develop == nil || len(s.Develop.Watch) == 0 {
			continue
		}
		for i, t := range s.Develop.Watch {
			r, err := p.watchRule(s, t)
			if err != nil {
				return nil, p.refusef("services."+name+".develop.watch", "entry %d: %w", i+1, err)
			}
			w.rules[name] = append(w.rules[name], r)
			w.Roots = append(w.Roots, r.path)
		}
		w.services = append(w.services, name)
		general, err := generalIgnores(s)
		if err != nil {
			return nil, err
		}
		w.general[name] = general
	}
	if len(w.services) == 0 {
		return nil, fmt.Errorf("none of the selected services has a key develop.watch, so there is nothing to watch: %w", spec.ErrInvalid)
	}
	slices.Sort(w.Roots)
	w.Roots = slices.Compact(w.Roots)
	return w, nil
}

func (p *Project) watchRule(s types.ServiceConfig, t types.Trigger) (r rule, err error) {
	r = rule{path: t.Path, target: t.Target, action: t.Action, initial: t.InitialSync}
	if !filepath.IsAbs(r.path) {
		r.path = filepath.Join(p.model.WorkingDir, r.path)
	}
	r.path = filepath.Clean(r.path)
	if _, err := os.Stat(r.path); err != nil {
		return r, err
	}
	switch r.action {
	case types.WatchActionRebuild:
		if s.Build == nil {
			return r, errors.New("the action rebuild needs the key \"build\" of the service")
		}
	case types.WatchActionSync, types.WatchActionSyncRestart, types.WatchActionSyncExec:
		if !path.IsAbs(r.target) {
			return r, fmt.Errorf("the action %s needs a target, an absolute path in the container", r.action)
		}
	case types.WatchActionRestart:
	default:
		return r, fmt.Errorf("the action %q is none of sync, rebuild, restart, sync+restart and sync+exec", r.action)
	}
	if r.initial && r.target == "" {
		return r, fmt.Errorf("initial_sync needs an action that copies, not %s", r.action)
	}
	if r.action == types.WatchActionSyncExec {
		if r.exec, err = hookOptions(t.Exec); err != nil {
			return r, err
		}
	}
	if r.ignore, err = newMatcher(r.path, t.Ignore); err == nil {
		r.include, err = newMatcher(r.path, t.Include)
	}
	return r, err
}

// newMatcher returns nil without patterns.
func newMatcher(dir string, patterns []string) (*matcher, error) {
	if len(patterns) == 0 {
		return nil, nil //nolint:nilnil // documented
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("patterns %q: %w", patterns, err)
	}
	return &matcher{dir, m}, nil
}

// generalIgnores are those of the service's build, and what never matters.
func generalIgnores(s types.ServiceConfig) (*matcher, error) {
	patterns, dir := slices.Clone(ephemeral), "/"
	if s.Build != nil && filepath.IsAbs(s.Build.Context) {
		dir = s.Build.Context
		own, err := readIgnores(filepath.Join(dir, ".dockerignore"))
		if err != nil {
			return nil, err
		}
		patterns = append(own, patterns...)
	}
	return newMatcher(dir, patterns)
}

func readIgnores(file string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ignorefile.ReadAll(f)
}

// matches reports whether a path is one of m's. What is outside its directory is
// told by its name alone.
func (m *matcher) matches(file string) bool {
	if m == nil {
		return false
	}
	rel, err := filepath.Rel(m.dir, file)
	if err != nil || rel == "." {
		return false
	}
	if !filepath.IsLocal(rel) {
		rel = filepath.Base(file)
	}
	ok, err := m.m.MatchesOrParentMatches(filepath.ToSlash(rel))
	return err == nil && ok
}

// skips reports whether all below a directory is m's.
func (m *matcher) skips(dir string) bool { return m.matches(dir) && !m.m.Exclusions() }

// Skip reports whether a directory matters to no service.
func (w *Watched) Skip(dir string) bool {
	for _, name := range w.services {
		if w.general[name].skips(dir) {
			continue
		}
		for _, r := range w.rules[name] {
			if below(r.path, dir) && !r.ignore.skips(dir) {
				return false
			}
		}
	}
	return true
}

// below reports whether file is dir or in it.
func below(dir, file string) bool {
	return file == dir || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}

// covers reports whether a rule is about a file, not looking at what never matters.
func (r rule) covers(file string) bool {
	return below(r.path, file) && !r.ignore.matches(file) && (r.include == nil || r.include.matches(file))
}

// Refresh is what changes of files mean for a service. What is rebuilt is not
// brought up to date otherwise.
type Refresh struct {
	Service string
	Rebuild bool
	Sync    []SyncPath
	Restart bool
	Exec    []engine.ExecOptions
}

// SyncPath is a file or directory whose state goes into containers. What is not
// there any more is removed in them.
type SyncPath struct{ Host, Container string }

// Refreshes returns what to do after some paths have changed, by service.
func (w *Watched) Refreshes(changed []string) (list []Refresh) {
	for _, name := range w.services {
		next := Refresh{Service: name}
		for _, r := range w.rules[name] {
			for _, file := range changed {
				if !w.general[name].matches(file) && r.covers(file) {
					next.note(r, file)
				}
			}
		}
		if next.Rebuild {
			next = Refresh{Service: name, Rebuild: true}
		}
		if next.Rebuild || next.Restart || len(next.Sync) > 0 || len(next.Exec) > 0 {
			list = append(list, next)
		}
	}
	return list
}

// note adds what a rule says of a file that has changed.
func (f *Refresh) note(r rule, file string) {
	switch r.action {
	case types.WatchActionRebuild:
		f.Rebuild = true
		return
	case types.WatchActionRestart:
		f.Restart = true
		return
	case types.WatchActionSyncRestart:
		f.Restart = true
	case types.WatchActionSyncExec:
		if !slices.ContainsFunc(f.Exec, func(o engine.ExecOptions) bool { return slices.Equal(o.Argv, r.exec.Argv) && o.Dir == r.exec.Dir }) {
			f.Exec = append(f.Exec, *r.exec)
		}
	case types.WatchActionSync:
	}
	rel, err := filepath.Rel(r.path, file)
	if err == nil {
		f.Sync = append(f.Sync, SyncPath{file, path.Join(r.target, filepath.ToSlash(rel))})
	}
}

// Initial returns what the rules with initial_sync bring into containers before
// anything has changed.
func (w *Watched) Initial() (list []Refresh, err error) {
	for _, name := range w.services {
		first := Refresh{Service: name}
		for _, r := range w.rules[name] {
			if !r.initial || r.action == types.WatchActionRebuild || r.action == types.WatchActionRestart {
				continue
			}
			r.action = types.WatchActionSync
			err := filepath.WalkDir(r.path, func(file string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if d.IsDir() && file != r.path && w.Skip(file) {
					return fs.SkipDir
				}
				if !d.IsDir() && !w.general[name].matches(file) && r.covers(file) {
					first.note(r, file)
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("look for files of service %q: %w", name, err)
			}
		}
		if len(first.Sync) > 0 {
			list = append(list, first)
		}
	}
	return list, nil
}
