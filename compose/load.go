// Package compose runs Compose projects on the engine: files that describe
// several containers, their networks and volumes.
//
// It plans first: what a project wants and what there is at present become a
// list of engine calls, as data. A plan can be printed (--dry-run) or run, in
// the order of its dependencies and otherwise in parallel. What exists carries
// Docker's own labels, so that Docker's tools see the same project.
package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"github.com/cleat-project/cleat/spec"
)

// LoadOptions says which project is meant, as the global options of Docker's
// compose do. What is empty comes from the environment (COMPOSE_FILE,
// COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES), a file .env, and
// the working directory.
type LoadOptions struct {
	Files    []string // -f; "-" is the standard input
	Dir      string   // --project-directory
	Name     string   // --project-name
	Profiles []string // --profile
	EnvFiles []string // --env-file

	NoInterpolate bool // leave variables as they are
	NoNormalize   bool // leave defaults out
	NoPaths       bool // leave relative paths as they are
	NoEnvFiles    bool // do not read the env_file of services
	NoConsistency bool // do not check that what is referred to exists

	Warn func(string) // what the user should know; nil drops it
}

// Project is a loaded project.
type Project struct {
	model    *types.Project
	findings []finding // attributes that cannot be done, of all services
}

// Name returns the project's name.
func (p *Project) Name() string { return p.model.Name }

// Load reads the files of a project. If there are none, the error wraps
// spec.ErrNotFound.
func Load(ctx context.Context, opt LoadOptions) (*Project, error) {
	defer hearWarnings(opt.Warn)()
	po, err := projectOptions(opt)
	if err != nil {
		return nil, err
	}
	if len(po.ConfigPaths) == 0 {
		return nil, fmt.Errorf("no compose file in this directory or above: name one with -f: %w", spec.ErrNotFound)
	}
	p := &Project{}
	if err := cli.WithLoadOptions(p.findUnsupported())(po); err != nil {
		return nil, err
	}
	if p.model, err = po.LoadProject(ctx); err != nil {
		return nil, explainLoad(po.ConfigPaths, err)
	}
	if p.model.Name == "" {
		return nil, errors.New("the project has no name: the directory's has no letter or digit; name it with -p")
	}
	return p, nil
}

// FindName returns the name of a project without its files: what the user gave,
// else what the files or the directory say.
func FindName(ctx context.Context, opt LoadOptions) (string, error) {
	defer hearWarnings(nil)()
	po, err := projectOptions(opt)
	if err != nil {
		return "", err
	}
	if po.Name != "" {
		return po.Name, nil
	}
	if name := po.Environment["COMPOSE_PROJECT_NAME"]; name != "" {
		return name, nil
	}
	if len(po.ConfigPaths) > 0 {
		p, err := Load(ctx, opt)
		if err != nil {
			return "", err
		}
		return p.Name(), nil
	}
	dir, err := po.GetWorkingDir()
	return loader.NormalizeProjectName(filepath.Base(dir)), err
}

func projectOptions(opt LoadOptions) (*cli.ProjectOptions, error) {
	if list := os.Getenv("COMPOSE_ENV_FILES"); list != "" && len(opt.EnvFiles) == 0 {
		opt.EnvFiles = strings.Split(list, ",")
	}
	po, err := cli.NewProjectOptions(opt.Files,
		cli.WithWorkingDirectory(opt.Dir),
		cli.WithOsEnv,
		cli.WithEnvFiles(opt.EnvFiles...), cli.WithDotEnv,
		cli.WithConfigFileEnv, cli.WithDefaultConfigPath,
		cli.WithEnvFiles(opt.EnvFiles...), cli.WithDotEnv, // now beside the file
		cli.WithDefaultProfiles(opt.Profiles...),
		cli.WithName(opt.Name),
		cli.WithInterpolation(!opt.NoInterpolate),
		cli.WithNormalization(!opt.NoNormalize),
		cli.WithResolvedPaths(!opt.NoPaths),
		cli.WithConsistency(!opt.NoConsistency),
	)
	if err != nil {
		return nil, fmt.Errorf("find the project: %w", err)
	}
	if opt.NoEnvFiles {
		err = cli.WithoutEnvironmentResolution(po)
	}
	return po, err
}

// hearWarnings leads what compose-go logs to warn, until the result is called.
func hearWarnings(warn func(string)) func() {
	logger := logrus.StandardLogger()
	out, hooks := logger.Out, logger.ReplaceHooks(logrus.LevelHooks{})
	logger.SetOutput(io.Discard)
	if warn != nil {
		logger.AddHook(warningHook(warn))
	}
	return func() {
		logger.SetOutput(out)
		logger.ReplaceHooks(hooks)
	}
}

type warningHook func(string)

// Levels implements logrus.Hook.
func (warningHook) Levels() []logrus.Level {
	return []logrus.Level{logrus.WarnLevel, logrus.ErrorLevel}
}

// Fire implements logrus.Hook.
func (w warningHook) Fire(e *logrus.Entry) error {
	w(strings.TrimSuffix(e.Message, "."))
	return nil
}

// explainLoad says what is wrong with a file where compose-go's error says it
// for programmers.
func explainLoad(files []string, err error) error {
	for _, path := range files {
		if path == "-" {
			continue
		}
		if top := topLevel(path); isVersion1(top) {
			return fmt.Errorf("%s is a compose file of version 1, whose services are at the top level: put them below a key \"services:\": %w", path, spec.ErrInvalid)
		}
	}
	if len(files) == 1 && files[0] != "-" && !strings.Contains(err.Error(), files[0]) {
		return fmt.Errorf("%s: %w", files[0], err)
	}
	return err
}

// isVersion1 reports whether a file is of the format before 2016: no "services",
// and services at the top.
func isVersion1(top map[string]any) bool {
	if _, ok := top["services"]; ok || len(top) == 0 {
		return false
	}
	for _, v := range top {
		service, ok := v.(map[string]any)
		if !ok {
			continue
		}
		_, image := service["image"]
		_, build := service["build"]
		if image || build {
			return true
		}
	}
	return false
}

// Select returns the project with the services of names alone, and what they
// depend on unless alone is set. Without names it is all that the profiles
// activate. A service that is named is activated with its profiles.
func (p *Project) Select(names []string, opt SelectOptions) (*Project, error) {
	model := p.model
	if len(names) > 0 {
		for _, name := range names {
			if _, ok := model.AllServices()[name]; !ok {
				return nil, fmt.Errorf("no such service: %q: %w", name, spec.ErrNotFound)
			}
		}
		var err error
		if model, err = model.WithServicesEnabled(names...); err != nil {
			return nil, err
		}
		dependencies := types.IncludeDependencies
		if opt.Alone {
			dependencies = types.IgnoreDependencies
		}
		if model, err = model.WithSelectedServices(names, dependencies); err != nil {
			return nil, err
		}
	}
	next := *p
	next.model = model.WithoutUnnecessaryResources()
	return &next, nil
}

// SelectOptions says what Select takes along.
type SelectOptions struct {
	Alone bool // not the services that they depend on
}

// Services returns the names of the active services, sorted.
func (p *Project) Services() []string { return p.model.ServiceNames() }

// known reports whether the project has a service, active or not.
func (p *Project) known(service string) bool {
	_, ok := p.model.AllServices()[service]
	return ok
}

// configFiles returns the label of the files that the project is made of.
func (p *Project) configFiles() string {
	files := slices.Clone(p.model.ComposeFiles)
	for i, f := range files {
		if f == "-" {
			continue
		}
		if abs, err := filepath.Abs(f); err == nil {
			files[i] = abs
		}
	}
	return strings.Join(files, ",")
}
