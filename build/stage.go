package build

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// state is how far a stage has come: the file system, and how to run it.
type state struct {
	layers  []engine.BuildLayer
	config  engine.RunConfig
	author  string
	history []engine.ImageHistory
	args    []string // NAME=value of ARG

	cmdSet bool // CMD was given in this stage
	fresh  bool // the cache is not asked
	index  int  // of the stage
	number int  // of the step, for people
	total  int

	id     string // of what is there, for people; see Options.Sequential
	reused bool   // the cache had the last step
}

// clone returns a copy that changes apart from s.
func (s *state) clone() *state {
	c := *s
	c.layers, c.history, c.args = slices.Clip(s.layers), slices.Clip(s.history), slices.Clip(s.args)
	c.config = s.config.Clone()
	return &c
}

// stage makes stage i from its base.
func (b *builder) stage(ctx context.Context, i int) (*state, error) {
	st := &b.file.stages[i]
	b.tellInstruction(st.SourceCode)
	s, err := b.base(ctx, st)
	if err != nil {
		return nil, b.file.at(st.Location, err)
	}
	triggers, err := triggers(s.config.OnBuild)
	if err != nil {
		return nil, b.file.at(st.Location, err)
	}
	s.config.OnBuild, s.index = nil, i
	s.fresh = slices.ContainsFunc(b.opt.NoCacheStages, func(name string) bool { return strings.EqualFold(name, st.Name) && name != "" })
	b.tellBase(s, len(triggers))
	cmds := slices.Concat(triggers, st.Commands)
	s.number, s.total = 1, 1
	for _, cmd := range cmds {
		if isStep(cmd) {
			s.total++
		}
	}
	for n, cmd := range cmds {
		where := cmd.Location()
		if n < len(triggers) {
			where = st.Location
		} else {
			b.tellInstruction(fmt.Sprint(cmd))
		}
		s.reused = false
		if err := b.do(ctx, st, s, cmd); err != nil {
			return nil, b.file.at(where, err)
		}
		b.tellMade(s, n < len(triggers)-1)
	}
	return s, nil
}

// base begins a stage.
func (b *builder) base(ctx context.Context, st *stage) (*state, error) {
	if err := b.checkPlatform(st.Platform); err != nil {
		return nil, err
	}
	if st.base >= 0 {
		from, err := b.wait(ctx, st.base)
		if err != nil {
			return nil, err
		}
		s := from.clone()
		s.cmdSet, s.config.OnBuild = false, slices.Clone(from.config.OnBuild)
		return s, nil
	}
	if st.BaseName == scratch {
		return &state{config: engine.RunConfig{WorkingDir: "/", Env: []string{defaultPath}}}, nil
	}
	if where, ok := b.opt.Contexts[st.BaseName]; ok && !isImage(where) {
		return b.baseOfFiles(ctx, st)
	}
	x, err := b.image(ctx, b.aliased(st.BaseName))
	if err != nil {
		return nil, err
	}
	if err := b.checkPlatform(x.img.Platform.OS + "/" + x.img.Platform.Architecture); err != nil && x.img.Platform.OS != "" {
		return nil, fmt.Errorf("base image %q: %w", st.BaseName, err)
	}
	s := &state{id: string(x.img.ID), config: x.img.Config.Clone(), author: x.img.Author, layers: slices.Clip(x.layers), history: fillHistory(x.img)}
	if s.config.WorkingDir == "" {
		s.config.WorkingDir = "/"
	}
	if !hasEnv(s.config.Env, "PATH") {
		s.config.Env = append(s.config.Env, defaultPath)
	}
	v := b.out.begin(b.title(st, &state{number: 1, total: stepsOf(st)}, "FROM "+st.BaseName))
	v.cached()
	return s, nil
}

// baseOfFiles begins a stage on the files of a further context.
func (b *builder) baseOfFiles(ctx context.Context, st *stage) (*state, error) {
	s := &state{config: engine.RunConfig{WorkingDir: "/", Env: []string{defaultPath}}, index: st.index, number: 1, total: stepsOf(st)}
	t := transfer{sources: []selection{{pattern: "/"}}, dest: "/", stage: st.index, from: st.BaseName}
	return s, b.transfer(ctx, st, s, "FROM "+st.BaseName, t)
}

// defaultPath is what an image gets that does not say where programs are, as
// BuildKit has it.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func stepsOf(st *stage) int {
	n := 1
	for _, cmd := range st.Commands {
		if isStep(cmd) {
			n++
		}
	}
	return n
}

// fillHistory returns the history of an image with a step for each of its layers.
func fillHistory(img engine.Image) []engine.ImageHistory {
	history, missing := slices.Clone(img.History), len(img.Layers)
	for _, h := range history {
		if !h.EmptyLayer {
			missing--
		}
	}
	for range max(missing, 0) {
		history = append(history, engine.ImageHistory{Created: img.Created})
	}
	return history
}

// isStep reports whether an instruction may change files.
func isStep(cmd instructions.Command) bool {
	switch cmd.(type) {
	case *instructions.RunCommand, *instructions.CopyCommand, *instructions.AddCommand, *instructions.WorkdirCommand:
		return true
	}
	return false
}

// title is what progress calls a step.
func (b *builder) title(st *stage, s *state, what string) string {
	name := st.Name
	if name == "" && len(b.file.stages) > 1 {
		name = "stage-" + strconv.Itoa(st.index)
	}
	if name != "" {
		name += " "
	}
	return fmt.Sprintf("[%s%*d/%d] %s", name, len(strconv.Itoa(s.total)), s.number, s.total, oneLine(what))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// do carries out one instruction.
func (b *builder) do(ctx context.Context, st *stage, s *state, cmd instructions.Command) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := b.expand(s, cmd); err != nil {
		return err
	}
	if isStep(cmd) {
		s.number++
	}
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		return b.runCommand(ctx, st, s, c)
	case *instructions.CopyCommand:
		return b.copyCommand(ctx, st, s, c)
	case *instructions.AddCommand:
		return b.addCommand(ctx, st, s, c)
	case *instructions.WorkdirCommand:
		return b.workdir(ctx, st, s, c)
	case *instructions.ArgCommand:
		s.declare(c, b)
		return nil
	}
	if err := s.set(cmd); err != nil {
		return err
	}
	s.note(fmt.Sprint(cmd), nil)
	return nil
}

// note adds a step to the history. A zero time is that of the image.
func (s *state) note(what string, made *engine.BuildRecord) {
	h := engine.ImageHistory{CreatedBy: what, EmptyLayer: true}
	if made != nil {
		h.Created, h.EmptyLayer = made.Created, made.DiffID == ""
	}
	s.history = append(s.history, h)
}

// expand replaces variables in the words of an instruction.
func (b *builder) expand(s *state, cmd instructions.Command) error {
	lex, env := b.file.lex(), shell.EnvsFromSlice(s.env())
	expand := func(word string) (string, error) {
		got, _, err := lex.ProcessWord(word, env)
		return got, err
	}
	if c, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		if err := c.Expand(expand); err != nil {
			return fmt.Errorf("%s: %w: %w", strings.ToUpper(cmd.Name()), err, spec.ErrInvalid)
		}
	}
	if c, ok := cmd.(instructions.SupportsSingleWordExpansionRaw); ok {
		raw := shell.NewLex('\\')
		raw.SkipProcessQuotes = true
		if err := c.ExpandRaw(func(word string) (string, error) {
			got, _, err := raw.ProcessWord(word, env)
			return got, err
		}); err != nil {
			return fmt.Errorf("%s: %w: %w", strings.ToUpper(cmd.Name()), err, spec.ErrInvalid)
		}
	}
	if c, ok := cmd.(*instructions.ExposeCommand); ok {
		var ports []string
		for _, p := range c.Ports {
			words, err := lex.ProcessWords(p, env)
			if err != nil {
				return fmt.Errorf("EXPOSE: %w", err)
			}
			ports = append(ports, words...)
		}
		c.Ports = ports
	}
	return nil
}

// set carries out an instruction that changes the configuration alone.
func (s *state) set(cmd instructions.Command) error {
	c := &s.config
	switch cmd := cmd.(type) {
	case *instructions.EnvCommand:
		for _, kv := range cmd.Env {
			c.Env = setEnv(c.Env, kv.Key, kv.Value)
		}
	case *instructions.LabelCommand:
		for _, kv := range cmd.Labels {
			c.Labels = with(c.Labels, kv.Key, kv.Value)
		}
	case *instructions.MaintainerCommand:
		s.author = cmd.Maintainer
	case *instructions.CmdCommand:
		c.Cmd, s.cmdSet = s.command(cmd.ShellDependantCmdLine), true
	case *instructions.EntrypointCommand:
		if c.Entrypoint = s.command(cmd.ShellDependantCmdLine); !s.cmdSet {
			c.Cmd = nil
		}
	case *instructions.HealthCheckCommand:
		h := cmd.Health
		c.Healthcheck = &engine.Healthcheck{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
	case *instructions.ExposeCommand:
		return s.expose(cmd.Ports)
	case *instructions.UserCommand:
		c.User = cmd.User
	case *instructions.VolumeCommand:
		for _, v := range cmd.Volumes {
			if strings.TrimSpace(v) == "" {
				return fmt.Errorf("VOLUME specified can not be an empty string: %w", spec.ErrInvalid)
			}
			c.Volumes = with(c.Volumes, v, struct{}{})
		}
	case *instructions.StopSignalCommand:
		if err := engine.CheckSignal(cmd.Signal); err != nil {
			return err
		}
		c.StopSignal = cmd.Signal
	case *instructions.ShellCommand:
		c.Shell = cmd.Shell
	case *instructions.OnbuildCommand:
		c.OnBuild = append(slices.Clip(c.OnBuild), cmd.Expression)
	default:
		return fmt.Errorf("%s is %w", strings.ToUpper(cmd.Name()), spec.ErrUnsupport)
	}
	return nil
}

// with returns m with one more entry.
func with[V any](m map[string]V, k string, v V) map[string]V {
	if m = maps.Clone(m); m == nil {
		m = map[string]V{}
	}
	m[k] = v
	return m
}

// expose adds ports, each of which may be a range.
func (s *state) expose(ports []string) error {
	for _, p := range ports {
		keys, err := engine.ExposedPorts(p)
		if err != nil {
			return fmt.Errorf("EXPOSE %s: %w", p, err)
		}
		for _, k := range keys {
			s.config.ExposedPorts = with(s.config.ExposedPorts, k, struct{}{})
		}
	}
	return nil
}

// command returns a command line, with the shell if it is in the shell's form.
func (s *state) command(c instructions.ShellDependantCmdLine) []string {
	if !c.PrependShell {
		return c.CmdLine
	}
	return s.withShell(c.CmdLine)
}

func (s *state) withShell(args []string) []string {
	sh := s.config.Shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(sh), strings.Join(args, " "))
}

// dir returns a path of the image, from the working directory on.
func (s *state) dir(p string) string {
	if !path.IsAbs(p) {
		return path.Join("/", s.config.WorkingDir, p)
	}
	return path.Clean(p)
}

// work is what a step has to do unless the cache knows the result.
type work struct {
	title string
	what  string // the instruction as the history has it
	key   string
	do    func(ctx context.Context, v *vertex) (*engine.BuildLayer, error)
}

// step does work, or finds it done, and adds its layer to s.
func (b *builder) step(ctx context.Context, s *state, w work) error {
	v := b.out.begin(w.title)
	if b.recall(s, w, v) {
		return nil
	}
	release, err := b.slot(ctx)
	if err != nil {
		return v.stop(ctx, err)
	}
	defer release()
	lock, err := b.b.Lock(ctx, w.key)
	if err != nil {
		return v.stop(ctx, err)
	}
	defer lock.Release()
	if b.recall(s, w, v) { // somebody else has done it meanwhile
		return nil
	}
	v.start()
	layer, err := w.do(ctx, v)
	if err != nil {
		return v.stop(ctx, err)
	}
	rec := engine.BuildRecord{Key: w.key, Created: b.now(), What: w.what}
	if layer != nil {
		rec.DiffID = string(layer.DiffID)
	}
	if err := b.b.Remember(rec, layer); err != nil {
		return v.stop(ctx, err)
	}
	s.add(w, rec, layer)
	b.keep(s.index, rec, layer)
	v.end(nil)
	return nil
}

// recall looks for the result of work in the cache.
func (b *builder) recall(s *state, w work, v *vertex) bool {
	if b.opt.NoCache || s.fresh {
		return false
	}
	rec, layer, err := b.b.Cached(w.key)
	if err != nil {
		return false // what is not found, or broken, is done again
	}
	s.add(w, rec, layer)
	b.keep(s.index, rec, layer)
	s.reused = true
	v.cached()
	return true
}

func (s *state) add(w work, rec engine.BuildRecord, layer *engine.BuildLayer) {
	if layer != nil {
		s.layers = append(slices.Clip(s.layers), *layer)
	}
	s.note(w.what, &rec)
}

// now is the time of what is made.
func (b *builder) now() time.Time {
	if b.opt.Epoch != nil {
		return *b.opt.Epoch
	}
	return time.Now().UTC()
}

// key hashes what all steps depend on and what the caller adds.
func (b *builder) key(kind string, layers []engine.BuildLayer, values ...any) string {
	var epoch int64 = -1
	if b.opt.Epoch != nil {
		epoch = b.opt.Epoch.Unix()
	}
	return keyOf(kind, b.host, epoch, diffIDs(layers), values)
}

// workdir sets the working directory, and makes it.
func (b *builder) workdir(ctx context.Context, st *stage, s *state, c *instructions.WorkdirCommand) error {
	if c.Path == "" {
		return fmt.Errorf("WORKDIR: the path is empty: %w", spec.ErrInvalid)
	}
	s.config.WorkingDir = s.dir(c.Path)
	dir, user := s.config.WorkingDir, s.config.User
	if dir == "/" {
		s.note("WORKDIR /", nil)
		return nil
	}
	layers := s.layers
	return b.step(ctx, s, work{
		title: b.title(st, s, "WORKDIR "+c.Path),
		what:  "WORKDIR " + dir,
		key:   b.key("workdir", layers, dir, user),
		do: func(ctx context.Context, _ *vertex) (*engine.BuildLayer, error) {
			return b.b.Change(ctx, layers, func(f *engine.BuildFiles) error { return b.makeDir(ctx, f, dir, user) })
		},
	})
}

// makeDir makes a directory that is not there, and gives it to a user.
func (b *builder) makeDir(ctx context.Context, f *engine.BuildFiles, dir, user string) error {
	real, err := f.Resolve(dir)
	if err != nil {
		return err
	}
	if e, err := f.Stat(real); err == nil {
		if !e.Mode.IsDir() {
			return fmt.Errorf("%s is not a directory: %w", dir, spec.ErrInvalid)
		}
		return nil
	}
	owner, err := ownerOf(f, user)
	if err != nil {
		return err
	}
	return extract(ctx, f, func(ctx context.Context, w writer) error {
		return (&files{}).pack(ctx, w, nil, packing{dirs: missingDirs(f, real), owner: owner, time: b.now()})
	})
}

// missingDirs lists the directories of a real path that are not there.
func missingDirs(f *engine.BuildFiles, real string) []string {
	var dirs []string
	for dir := real; dir != "/"; dir = path.Dir(dir) {
		if _, err := f.Stat(dir); err == nil {
			break
		}
		dirs = append(dirs, dir[1:])
	}
	slices.Reverse(dirs)
	return dirs
}

// ownerOf returns the numbers of a user, nil for "".
func ownerOf(f *engine.BuildFiles, user string) (*engine.TreeOwner, error) {
	if user == "" {
		return nil, nil //nolint:nilnil // documented
	}
	if !strings.Contains(user, ":") && strings.Trim(user, "0123456789") == "" {
		user += ":" + user // as Docker has it for files, and not for processes
	}
	uid, gid, err := f.Owner(user)
	if err != nil {
		return nil, err
	}
	return &engine.TreeOwner{UID: int(uid), GID: int(gid)}, nil
}

// finish makes the image of what the target has become.
func (b *builder) finish(ctx context.Context, s *state) (Result, error) {
	for _, k := range slices.Sorted(maps.Keys(b.opt.Labels)) {
		s.config.Labels = with(s.config.Labels, k, b.opt.Labels[k])
	}
	config := engine.ImageConfigFile{Author: s.author, Platform: b.host, Config: s.config, History: s.history}
	data, err := json.Marshal(config)
	if err != nil {
		return Result{}, fmt.Errorf("encode image configuration: %w", err)
	}
	created, err := b.created(ctx, b.key("image", s.layers, string(data)))
	if err != nil {
		return Result{}, err
	}
	config.Created = created
	config.History = slices.Clone(s.history)
	for i := range config.History {
		if config.History[i].Created.IsZero() {
			config.History[i].Created = created
		}
	}
	if err := b.exportCaches(ctx, s); err != nil {
		return Result{}, err
	}
	if b.opt.Export != nil {
		return b.export(ctx, s, config)
	}
	v := b.out.begin("exporting to image")
	v.start()
	img, err := b.b.Commit(ctx, engine.BuildImage{Config: config, Layers: s.layers, Names: b.opt.Names})
	if err == nil {
		v.status("writing image " + string(img.ID))
		for _, name := range b.opt.Names {
			v.status("naming to " + name)
		}
	}
	v.end(err)
	if err == nil && b.opt.Push {
		img, err = b.push(ctx, img)
	}
	return Result{Image: img, Config: config}, err
}

// push uploads the image under all its names.
func (b *builder) push(ctx context.Context, img engine.Image) (engine.Image, error) {
	for _, name := range b.opt.Names {
		v := b.out.begin("pushing " + name)
		v.start()
		err := b.eng.Push(ctx, name, engine.PushOptions{Progress: v.pull, Done: func(p engine.PushedImage) {
			v.status("manifest " + string(p.Digest))
			img.ManifestDigest = p.Digest
		}})
		v.end(err)
		if err != nil {
			return img, err
		}
	}
	return img, nil
}

// created returns the time of an image, which is that of the first time it was made.
func (b *builder) created(ctx context.Context, key string) (time.Time, error) {
	if b.opt.Epoch != nil {
		return *b.opt.Epoch, nil
	}
	lock, err := b.b.Lock(ctx, key) // of builds at the same time one decides
	if err != nil {
		return time.Time{}, err
	}
	defer lock.Release()
	rec, _, err := b.b.Cached(key)
	if err != nil || b.opt.NoCache {
		rec = engine.BuildRecord{Key: key, Created: b.now(), What: "image"}
		err = b.b.Remember(rec, nil)
	}
	b.keep(-1, rec, nil)
	return rec.Created, err
}

// export hands the files of the result to whoever wants them.
func (b *builder) export(ctx context.Context, s *state, config engine.ImageConfigFile) (Result, error) {
	v := b.out.begin("exporting files")
	v.start()
	tree, err := b.b.Files(ctx, s.layers)
	if err != nil {
		v.end(err)
		return Result{}, err
	}
	defer tree.Close()
	res := Result{Config: config, Tree: tree}
	err = b.opt.Export(ctx, res)
	v.end(err)
	res.Tree = nil
	return res, err
}
