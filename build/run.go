package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// runCommand does a RUN.
func (b *builder) runCommand(ctx context.Context, st *stage, s *state, c *instructions.RunCommand) error {
	argv, script := s.runArgv(c)
	mounts, keys, err := b.mounts(ctx, st, s, c)
	if err != nil {
		return err
	}
	agent := agentEnv(mounts)
	if script != nil {
		mounts = append(mounts, scriptMount(*script))
		keys = append(keys, script.Data)
	}
	network, err := b.network(c)
	if err != nil {
		return err
	}
	env := s.env()
	layers, config := s.layers, s.config
	what := s.runText(argv)
	return b.step(ctx, s, work{
		title: b.title(st, s, fmt.Sprint(c)),
		what:  what,
		key:   b.key("run", layers, argv, env, config.User, config.WorkingDir, network, b.opt.Hosts, keys),
		do: func(ctx context.Context, v *vertex) (*engine.BuildLayer, error) {
			layer, err := b.b.Run(ctx, layers, engine.RunStep{
				What: oneLine(fmt.Sprint(c)), Argv: argv, Env: slices.Concat(b.proxies(s), env, agent),
				Dir: config.WorkingDir, User: config.User,
				Network: network, Hosts: b.opt.Hosts, Mounts: mounts,
				ShmBytes: b.opt.ShmBytes, Ulimits: b.opt.Ulimits, Limits: b.opt.Limits,
				Stdout: v, Stderr: stderrOf{v}, Begun: b.tellRunning,
			})
			var exit *engine.ExitError
			if errors.As(err, &exit) {
				err = &CommandError{Command: strings.Join(argv, " "), Err: exit}
			}
			return layer, err
		},
	})
}

// runText is how the history shows a command: with the arguments that it was given.
func (s *state) runText(argv []string) string {
	text := strings.Join(argv, " ")
	if len(s.args) > 0 {
		text = fmt.Sprintf("|%d %s %s", len(s.args), strings.Join(s.args, " "), text)
	}
	return "RUN " + text
}

// runArgv returns what RUN executes. Script is a here-document that begins with the
// name of its interpreter: it is run as a file.
func (s *state) runArgv(c *instructions.RunCommand) (argv []string, script *instructions.ShellInlineFile) {
	argv = c.CmdLine
	if len(c.Files) > 0 && len(argv) == 1 && c.PrependShell {
		text := argv[0]
		switch {
		case parser.MustParseHeredoc(text) == nil: // the shell makes of it what it wants
			for _, f := range c.Files {
				text += "\n" + f.Data + f.Name
			}
		case strings.HasPrefix(c.Files[0].Data, "#!"):
			script = &c.Files[0]
			text = scriptPath
		default:
			text = c.Files[0].Data
			if c.Files[0].Chomp {
				text = parser.ChompHeredocContent(text)
			}
		}
		argv = []string{text}
	}
	if c.PrependShell {
		argv = s.withShell(argv)
	}
	return argv, script
}

// scriptPath is where a here-document with an interpreter is, in the command's /dev,
// which is no part of any layer.
const scriptPath = "/dev/pipes/script"

func scriptMount(f instructions.ShellInlineFile) engine.StepMount {
	data := f.Data
	if f.Chomp {
		data = parser.ChompHeredocContent(data)
	}
	it := item{dst: mountTop, data: append([]byte{}, data...), entry: engine.BuildEntry{Mode: 0o755, Size: int64(len(data))}}
	return engine.StepMount{Target: scriptPath, ReadOnly: true, Tree: func(ctx context.Context, w io.Writer) error {
		return (&files{what: "Dockerfile"}).pack(ctx, w, []item{it}, packing{})
	}}
}

// network returns the network of a RUN.
func (b *builder) network(c *instructions.RunCommand) (string, error) {
	if sec := instructions.GetSecurity(c); sec != instructions.SecuritySandbox {
		return "", fmt.Errorf("RUN --security=%s is not supported: steps run in the sandbox of an ordinary container: %w", sec, spec.ErrUnsupport)
	}
	switch mode := instructions.GetNetwork(c); mode {
	case instructions.NetworkNone:
		return "none", nil
	case instructions.NetworkHost:
		if b.opt.Network != "host" && !b.opt.AllowHost {
			return "", fmt.Errorf("RUN --network=host needs --allow network.host: %w", spec.ErrDenied)
		}
		return "host", nil
	}
	return b.opt.Network, nil
}

// mountTop is the name of the only entry of a mount's tar.
const mountTop = "t"

// mounts prepares what the --mount flags of RUN ask for. Keys are what the step
// depends on of it.
func (b *builder) mounts(ctx context.Context, st *stage, s *state, c *instructions.RunCommand) (mounts []engine.StepMount, keys []any, err error) {
	agents := 0
	for _, m := range instructions.GetMounts(c) {
		var sm *engine.StepMount
		var key any
		switch m.Type {
		case instructions.MountTypeBind:
			sm, key, err = b.bindMount(ctx, st, s, m)
		case instructions.MountTypeCache:
			sm, key, err = b.cacheMount(ctx, st, s, m)
		case instructions.MountTypeTmpfs:
			sm, err = tmpfsMount(s, m)
			key = []any{"tmpfs", m.Target, m.SizeLimit}
		case instructions.MountTypeSecret:
			sm, err = b.secretMount(s, m)
			key = []any{"secret", m.Target, m.CacheID, m.Source, m.Mode, m.UID, m.GID}
		case instructions.MountTypeSSH:
			sm, err = b.sshMount(s, m, agents)
			key = []any{"ssh", m.Target, m.CacheID, m.Mode, m.UID, m.GID, agents}
			agents++
		default:
			err = fmt.Errorf("--mount=type=%s is %w", m.Type, spec.ErrUnsupport)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("RUN --mount=type=%s: %w", m.Type, err)
		}
		keys = append(keys, key)
		if sm != nil {
			mounts = append(mounts, *sm)
		}
	}
	return mounts, keys, nil
}

// target returns where a mount goes.
func (s *state) mountTarget(m *instructions.Mount) (string, error) {
	if m.Target == "" {
		return "", fmt.Errorf("target is missing: %w", spec.ErrInvalid)
	}
	t := s.dir(m.Target)
	if t == "/" {
		return "", fmt.Errorf("target %q: must not be the root directory: %w", m.Target, spec.ErrInvalid)
	}
	return t, nil
}

// treeOf returns what a mount shows of its source: a function that writes it, and
// its digest.
func (b *builder) treeOf(ctx context.Context, st *stage, m *instructions.Mount) (func(context.Context, io.Writer) error, string, error) {
	open, id, local, err := b.files(ctx, m.From, st.index)
	if err != nil {
		return nil, "", err
	}
	t := transfer{sources: []selection{{pattern: escapePattern(or(m.Source, "/")), whole: true}}}
	list := func(ctx context.Context, f *files, d *digests) ([]item, string, error) {
		items, sum, err := b.collect(ctx, f, t, d)
		if len(items) > 0 {
			top := items[0].dst
			for i := range items {
				items[i].dst = path.Join(mountTop, strings.TrimPrefix(items[i].dst, top))
			}
		}
		return items, sum, err
	}
	with := func(use func(*files) error) error {
		f, err := open()
		if err != nil {
			return err
		}
		defer f.close()
		return use(f)
	}
	var sum string
	if !local {
		sum = b.treeNote(id, t)
	}
	if sum == "" {
		err = with(func(f *files) (err error) {
			d := b.contextDigests
			if !local {
				d = nil
			}
			_, sum, err = list(ctx, f, d)
			return err
		})
		if err != nil {
			return nil, "", err
		}
		if !local {
			b.keepTreeNote(id, t, sum)
		}
	}
	return func(ctx context.Context, w io.Writer) error {
		return with(func(f *files) error {
			items, now, err := list(ctx, f, nil)
			if err == nil && now != sum {
				err = fmt.Errorf("the files changed while they were built with: build again: %w", spec.ErrConflict)
			}
			if err != nil {
				return err
			}
			return f.pack(ctx, w, items, packing{time: b.inlineTime()})
		})
	}, sum, nil
}

// escapePattern keeps characters of a path from being wildcards.
func escapePattern(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

func (b *builder) bindMount(ctx context.Context, st *stage, s *state, m *instructions.Mount) (*engine.StepMount, any, error) {
	target, err := s.mountTarget(m)
	if err != nil {
		return nil, nil, err
	}
	tree, sum, err := b.treeOf(ctx, st, m)
	if err != nil {
		return nil, nil, err
	}
	return &engine.StepMount{Target: target, ReadOnly: m.ReadOnly, Tree: tree}, []any{"bind", target, sum, m.ReadOnly}, nil
}

func (b *builder) cacheMount(ctx context.Context, st *stage, s *state, m *instructions.Mount) (*engine.StepMount, any, error) {
	target, err := s.mountTarget(m)
	if err != nil {
		return nil, nil, err
	}
	id := or(m.CacheID, target)
	mode := fs.FileMode(0o755)
	if m.Mode != nil {
		mode = fs.FileMode(*m.Mode & 0o777)
	}
	cache := &engine.CacheMount{What: id, Sharing: string(m.CacheSharing), UID: number(m.UID), GID: number(m.GID), Mode: mode}
	var sum string
	if m.From != "" {
		tree, got, err := b.treeOf(ctx, st, m)
		if err != nil {
			return nil, nil, err
		}
		cache.Tree, sum = tree, got
	} else if m.Source != "" {
		return nil, nil, fmt.Errorf("source needs from: %w", spec.ErrInvalid)
	}
	cache.Name = keyOf("cache mount", id, sum, cache.UID, cache.GID, uint32(mode))
	return &engine.StepMount{Target: target, ReadOnly: m.ReadOnly, Cache: cache}, []any{"cache", target, id, sum, m.ReadOnly}, nil
}

func number(n *uint64) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

func tmpfsMount(s *state, m *instructions.Mount) (*engine.StepMount, error) {
	target, err := s.mountTarget(m)
	if err != nil {
		return nil, err
	}
	return &engine.StepMount{Target: target, Tmpfs: &engine.TmpfsMount{Bytes: m.SizeLimit}}, nil
}

// secretMount returns nil for a secret that was not given and need not be.
func (b *builder) secretMount(s *state, m *instructions.Mount) (*engine.StepMount, error) {
	if m.Env != nil {
		return nil, fmt.Errorf("env= is not supported: the variable would be written to disk; read the file instead: %w", spec.ErrUnsupport)
	}
	id := or(m.CacheID, m.Source)
	if id == "" {
		id = path.Base(m.Target)
	}
	data, ok := b.opt.Secrets[id]
	if !ok && m.Required {
		return nil, fmt.Errorf("secret %s: not found: give it with --secret id=%s,src=FILE: %w", id, id, spec.ErrNotFound)
	}
	if !ok {
		return nil, nil //nolint:nilnil // documented
	}
	target := "/run/secrets/" + path.Base(id)
	if m.Target != "" {
		var err error
		if target, err = s.mountTarget(m); err != nil {
			return nil, err
		}
	}
	mode := fs.FileMode(0o400)
	if m.Mode != nil {
		mode = fs.FileMode(*m.Mode & 0o777)
	}
	return &engine.StepMount{Target: target, ReadOnly: true, Secret: &engine.SecretMount{Data: data, UID: number(m.UID), GID: number(m.GID), Mode: mode}}, nil
}

// sshMount returns nil for an agent that was not given and need not be. It is the nth
// of its step.
func (b *builder) sshMount(s *state, m *instructions.Mount, n int) (*engine.StepMount, error) {
	id := or(m.CacheID, defaultSSH)
	socket, ok := b.opt.SSH[id]
	if !ok && m.Required {
		return nil, fmt.Errorf("ssh agent %s: not found: give it with --ssh %s: %w", id, id, spec.ErrNotFound)
	}
	if !ok {
		return nil, nil //nolint:nilnil // documented
	}
	target := fmt.Sprintf("/run/buildkit/ssh_agent.%d", n)
	if m.Target != "" {
		var err error
		if target, err = s.mountTarget(m); err != nil {
			return nil, err
		}
	}
	mode := fs.FileMode(0o600)
	if m.Mode != nil {
		mode = fs.FileMode(*m.Mode & 0o777)
	}
	return &engine.StepMount{Target: target, Agent: &engine.AgentMount{Socket: socket, UID: number(m.UID), GID: number(m.GID), Mode: mode}}, nil
}

// agentEnv tells ssh where the first agent is.
func agentEnv(mounts []engine.StepMount) []string {
	for _, m := range mounts {
		if m.Agent != nil {
			return []string{"SSH_AUTH_SOCK=" + m.Target}
		}
	}
	return nil
}
