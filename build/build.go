package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Options says what to build.
type Options struct {
	Context *Context // the files that COPY takes; nil is an empty context

	// In place of Context: what Build fetches, see IsRemote, or unpacks.
	Remote  string
	Archive io.Reader

	Dockerfile     []byte // nil: it is in the context
	DockerfileName string // there, and for messages; "" means Dockerfile

	Names    []string          // of the image; none leaves it without
	Args     map[string]string // of ARG
	Target   string            // stage to build; "" is the last one
	Labels   map[string]string // of the image, in addition
	Secrets  map[string][]byte // by id
	SSH      map[string]string // sockets of ssh agents by id
	Contexts map[string]string // further ones by name: a directory, docker-image://REFERENCE, oci-layout://DIRECTORY, or what IsRemote knows

	Platform      string            // "" means this machine's, which is the only one
	Network       string            // of RUN; "" is the default network
	AllowHost     bool              // RUN --network=host is allowed
	Hosts         []string          // NAME:ADDRESS for RUN
	NoCache       bool              // run every step
	NoCacheStages []string          // run every step of these stages
	Pull          engine.PullPolicy // of base images

	// Sequential makes every stage up to the target, one after the other, and tells
	// of every instruction: as Docker's classic builder does.
	Sequential  bool
	Credentials []engine.Credentials                 // for registries of base images; for others those of a login count
	Pulling     func(ref string, e engine.PullEvent) // how base images come, in detail; nil means as events

	ShmBytes int64
	Ulimits  []spec.Ulimit
	Limits   spec.Limits

	// Epoch is the time of everything that is made, so that the same build makes
	// the same image wherever and whenever it runs; nil is now.
	Epoch *time.Time

	CacheFrom []engine.CacheStore // caches of other machines
	CacheTo   []CacheTarget

	Push bool // the image, to the registry of each of its names

	Export   func(ctx context.Context, r Result) error // takes the result instead of the image store; nil for none
	Progress func(Event)                               // called from several goroutines; nil drops it
	Version  string
}

// Result is what a build has made.
type Result struct {
	Image  engine.Image      // as the store has it; zero with Options.Export
	Tree   *engine.BuildTree // the files, while Options.Export runs
	Config engine.ImageConfigFile
}

// builder is one build under way.
type builder struct {
	opt    Options
	eng    *engine.Engine
	b      *engine.Build
	file   *file
	global map[string]string // ARG before the first FROM
	host   engine.Platform
	target int

	contextDigests *digests
	group          *errgroup.Group
	slots          chan struct{} // one for each step that may work at a time
	stages         []*future
	out            *progress
	told           int // instructions that were told of

	mu       sync.Mutex
	usedArgs map[string]bool
	bases    map[string]*base
	named    map[string]*named
	newDir   func(context.Context) (dir string, release func() error, err error)
	releases []func() error // of what was fetched
	kept     []keptStep     // with Options.CacheTo, what to export
	notes    map[string]string
}

// future is a stage that is being made, or will be.
type future struct {
	once  sync.Once
	done  chan struct{}
	state *state
}

// base is an image that something stands on; each is looked for once.
type base struct {
	once   sync.Once
	img    engine.Image
	layers []engine.BuildLayer
	err    error
}

// Build makes an image. If it fails, or ctx ends, nothing of it is left but what the
// cache keeps for the next try.
func Build(ctx context.Context, eng *engine.Engine, opt Options) (res Result, err error) {
	opt.DockerfileName = or(opt.DockerfileName, DefaultDockerfile)
	b := &builder{
		opt: opt, eng: eng, host: engine.HostPlatform(), usedArgs: map[string]bool{},
		bases: map[string]*base{}, named: map[string]*named{}, out: newProgress(opt.Progress),
	}
	if opt.Remote == "" && opt.Archive == nil { // mistakes are told of before anything is done
		if err := b.read(); err != nil {
			return Result{}, err
		}
	}
	session := engine.BuildOptions{}
	if opt.Epoch != nil {
		session.Latest = *opt.Epoch
	}
	if b.b, err = eng.BeginBuild(ctx, session); err != nil {
		return Result{}, err
	}
	b.newDir = b.b.Scratch
	defer func() { err = errors.Join(err, b.release(), b.b.Close(ctx)) }()
	if b.file == nil {
		if err := b.fetchContext(ctx); err != nil {
			return Result{}, err
		}
		if err := b.read(); err != nil {
			return Result{}, err
		}
	}
	if err := b.importCaches(ctx); err != nil {
		return Result{}, err
	}
	s, err := b.run(ctx)
	if err != nil {
		return Result{}, err
	}
	b.warnArgs()
	return b.finish(ctx, s)
}

// read reads the Dockerfile.
func (b *builder) read() (err error) {
	if b.file, err = parse(b.opt.DockerfileName, b.opt.Dockerfile); err != nil {
		return err
	}
	return b.prepare()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// prepare finds out what is to be made.
func (b *builder) prepare() error {
	if b.opt.Push && len(b.opt.Names) == 0 {
		return fmt.Errorf("push: the image has no name: give it one with --tag: %w", spec.ErrInvalid)
	}
	if err := b.checkPlatform(b.opt.Platform); err != nil {
		return err
	}
	var err error
	if b.global, err = b.file.globals(b.opt.Args, platformArgs(b.host, b.opt.Target)); err != nil {
		return err
	}
	for _, cmd := range b.file.args {
		for _, arg := range cmd.Args {
			b.useArg(arg.Key)
		}
	}
	if err := b.file.link(pairs(b.global)); err != nil {
		return err
	}
	if b.target, err = b.file.target(b.opt.Target); err != nil {
		return err
	}
	b.slots = make(chan struct{}, max(runtime.GOMAXPROCS(0), 2))
	for range b.file.stages {
		b.stages = append(b.stages, &future{done: make(chan struct{})})
	}
	for _, w := range b.file.warnings {
		b.out.warn(w)
	}
	if b.file.syntax != "" {
		b.out.note("# syntax=" + b.file.syntax + " is not fetched: the built-in Dockerfile parser is used")
	}
	return nil
}

// checkPlatform refuses what this machine cannot run.
func (b *builder) checkPlatform(s string) error {
	if s == "" {
		return nil
	}
	p, err := engine.ParsePlatform(s)
	if err != nil {
		return err
	}
	if p.OS != b.host.OS || p.Architecture != b.host.Architecture || p.Variant != "" && b.host.Variant != "" && p.Variant != b.host.Variant {
		return fmt.Errorf("platform %s: this machine builds for %s/%s only: %w", s, b.host.OS, b.host.Architecture, spec.ErrUnsupport)
	}
	return nil
}

// run makes the target and what it needs.
func (b *builder) run(ctx context.Context) (*state, error) {
	b.openDigests()
	var gctx context.Context
	b.group, gctx = errgroup.WithContext(ctx)
	if b.opt.Sequential {
		b.oneByOne(gctx)
	} else {
		for _, i := range slices.Sorted(maps.Keys(b.file.needed(b.target))) {
			b.start(gctx, i)
		}
	}
	err := b.group.Wait()
	b.keepDigests()
	if err != nil {
		return nil, err
	}
	return b.stages[b.target].state, nil
}

// start makes a stage, unless that is under way.
func (b *builder) start(ctx context.Context, i int) {
	f := b.stages[i]
	f.once.Do(func() {
		b.group.Go(func() error {
			s, err := b.stage(ctx, i)
			if err != nil {
				return err
			}
			f.state = s
			close(f.done)
			return nil
		})
	})
}

// wait returns what stage i has become.
func (b *builder) wait(ctx context.Context, i int) (*state, error) {
	b.start(ctx, i)
	select {
	case <-b.stages[i].done:
		return b.stages[i].state, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// slot waits until there is room for one more step.
func (b *builder) slot(ctx context.Context) (release func(), err error) {
	select {
	case b.slots <- struct{}{}:
		return func() { <-b.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (b *builder) useArg(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usedArgs[name] = true
}

// warnArgs tells of arguments that nothing has asked for.
func (b *builder) warnArgs() {
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(b.opt.Args)) {
		if !b.usedArgs[name] && !slices.Contains(proxyArgs, name) && name != epochArg {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 {
		b.out.warn("One or more build-args [" + strings.Join(unused, " ") + "] were not consumed")
	}
}

// epochArg is the argument that says when all this is to have happened.
const epochArg = "SOURCE_DATE_EPOCH"

// ParseEpoch reads a value of SOURCE_DATE_EPOCH.
func ParseEpoch(s string) (*time.Time, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // documented: none
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%s %q: want seconds since 1970: %w", epochArg, s, spec.ErrInvalid)
	}
	return new(time.Unix(n, 0).UTC()), nil
}

// image returns an image that something stands on.
func (b *builder) image(ctx context.Context, ref string) (*base, error) {
	b.mu.Lock()
	x := b.bases[ref]
	if x == nil {
		x = &base{}
		b.bases[ref] = x
	}
	b.mu.Unlock()
	x.once.Do(func() {
		v := b.out.begin("[internal] load metadata for " + ref)
		if dir, ok := strings.CutPrefix(ref, layoutPrefix); ok {
			x.img, x.layers, x.err = b.b.Layout(ctx, dir)
		} else {
			x.img, x.layers, x.err = b.b.Base(ctx, engine.CreateOptions{Image: ref, Pull: b.opt.Pull, Progress: b.pulling(ref, v), Credentials: b.credentials(ref)})
		}
		v.end(x.err)
	})
	return x, x.err
}

// scratch is the name of no image at all.
const scratch = "scratch"

// files opens what a step takes files from: a stage, a further context, an image, or
// without a name the context. The layers tell trees apart; of a context there are none.
func (b *builder) files(ctx context.Context, from string, stage int) (open func() (*files, error), id []engine.Digest, local bool, err error) {
	if from == "" {
		return b.openContext, nil, true, nil
	}
	var layers []engine.BuildLayer
	what := "image " + from
	if i := b.file.fileStage(from, stage); i >= 0 {
		s, err := b.wait(ctx, i)
		if err != nil {
			return nil, nil, false, err
		}
		layers, what = s.layers, "stage "+strconv.Quote(or(b.file.stages[i].Name, strconv.Itoa(i)))
	} else if where, ok := b.opt.Contexts[from]; ok && !isImage(where) {
		c, err := b.context(ctx, from)
		if err != nil {
			return nil, nil, false, err
		}
		return func() (*files, error) { return c.open("build context " + strconv.Quote(from)) }, nil, true, nil
	} else {
		x, err := b.image(ctx, b.aliased(from))
		if err != nil {
			return nil, nil, false, err
		}
		layers = x.layers
	}
	return func() (*files, error) {
		t, err := b.b.Files(ctx, layers)
		if err != nil {
			return nil, err
		}
		return &files{tree: t, what: what, keep: true}, nil
	}, diffIDs(layers), false, nil
}

// What begins a further context that is an image.
const (
	imagePrefix  = "docker-image://"
	layoutPrefix = "oci-layout://"
)

func isImage(where string) bool {
	return strings.HasPrefix(where, imagePrefix) || strings.HasPrefix(where, layoutPrefix)
}

// aliased replaces the name of an image by that of a further context.
func (b *builder) aliased(ref string) string {
	where, ok := b.opt.Contexts[ref]
	if !ok || !isImage(where) {
		return ref
	}
	return strings.TrimPrefix(where, imagePrefix)
}

func diffIDs(layers []engine.BuildLayer) []engine.Digest {
	ids := make([]engine.Digest, 0, len(layers))
	for _, l := range layers {
		ids = append(ids, l.DiffID)
	}
	return ids
}

func (b *builder) openContext() (*files, error) {
	if b.opt.Context == nil {
		return nil, fmt.Errorf("there is no build context: it was not given: %w", spec.ErrInvalid)
	}
	return b.opt.Context.open("build context")
}

func (b *builder) digestNote() string {
	if b.opt.Context == nil || b.opt.Context.temporary {
		return ""
	}
	dir, err := filepath.Abs(b.opt.Context.dir)
	if err != nil {
		return ""
	}
	return keyOf("context", dir)
}

func (b *builder) openDigests() {
	b.contextDigests = newDigests(nil)
	if name := b.digestNote(); name != "" {
		b.contextDigests = newDigests(b.b.Note(name))
	}
}

func (b *builder) keepDigests() {
	if name := b.digestNote(); name != "" {
		if data, ok := b.contextDigests.note(); ok {
			_ = b.b.KeepNote(name, data) // the next build reads the files again
		}
	}
}
