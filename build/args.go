package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/cleat-project/cleat/engine"
)

// proxyArgs need no ARG, are seen by RUN alone, and neither count for the cache nor
// show in the history.
var proxyArgs = []string{
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy",
	"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
}

// platformArgs are the arguments that say where the build runs and what for. Both
// are this machine's.
func platformArgs(p engine.Platform, target string) map[string]string {
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	args := map[string]string{}
	for _, who := range []string{"BUILD", "TARGET"} {
		args[who+"PLATFORM"], args[who+"OS"], args[who+"ARCH"], args[who+"VARIANT"] = name, p.OS, p.Architecture, p.Variant
	}
	args["TARGETSTAGE"] = target
	if target == "" {
		args["TARGETSTAGE"] = "default"
	}
	return args
}

// globals gives the arguments before the first FROM their values, as NAME=value.
func (f *file) globals(given, platform map[string]string) (map[string]string, error) {
	values := maps.Clone(platform)
	lex := f.lex()
	for _, cmd := range f.args {
		expand := func(word string) (string, error) {
			got, _, err := lex.ProcessWord(word, shell.EnvsFromSlice(pairs(values)))
			return got, err
		}
		if err := cmd.Expand(expand); err != nil {
			return nil, f.at(cmd.Location(), fmt.Errorf("ARG: %w", err))
		}
		for _, arg := range cmd.Args {
			if v, ok := given[arg.Key]; ok {
				values[arg.Key] = v
			} else if arg.Value != nil {
				values[arg.Key] = *arg.Value
			}
		}
	}
	return values, nil
}

// pairs writes a map as NAME=value, sorted.
func pairs(m map[string]string) []string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return list
}

// setEnv sets a variable in a list of NAME=value.
func setEnv(env []string, name, value string) []string {
	entry := name + "=" + value
	for i, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); k == name {
			env = slices.Clone(env)
			env[i] = entry
			return env
		}
	}
	return append(slices.Clip(env), entry)
}

func hasEnv(env []string, name string) bool {
	return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// declare carries out ARG: the value comes from the command line, else from the
// instruction, else from the argument of that name before the first FROM.
func (s *state) declare(c *instructions.ArgCommand, b *builder) {
	for _, arg := range c.Args {
		value, ok := b.opt.Args[arg.Key]
		if ok {
			b.useArg(arg.Key)
		} else if arg.Value != nil {
			value, ok = *arg.Value, true
		} else {
			value, ok = b.global[arg.Key]
		}
		s.args = slices.DeleteFunc(slices.Clone(s.args), func(kv string) bool { return strings.HasPrefix(kv, arg.Key+"=") })
		if ok {
			s.args = append(s.args, arg.Key+"="+value)
		}
	}
}

// env is what words are expanded with and commands run with: ENV outweighs ARG.
func (s *state) env() []string {
	env := slices.Clone(s.config.Env)
	for _, kv := range s.args {
		if name, _, _ := strings.Cut(kv, "="); !hasEnv(s.config.Env, name) {
			env = append(env, kv)
		}
	}
	return env
}

// proxies are the given arguments that need no declaration.
func (b *builder) proxies(s *state) []string {
	var env []string
	for _, name := range proxyArgs {
		if v, ok := b.opt.Args[name]; ok {
			b.useArg(name)
			if !hasEnv(s.config.Env, name) && !hasEnv(s.args, name) {
				env = append(env, name+"="+v)
			}
		}
	}
	return env
}
