package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/journal/stdio"
	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/sandbox/profile"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/unitgen"
)

// buildSlice is where the steps of builds run.
const buildSlice = "cleat-build.slice"

// RunStep is a command that a build runs.
type RunStep struct {
	What    string // for the unit's description
	Argv    []string
	Env     []string
	Dir     string
	User    string
	Network string   // "" is the default network; "none" or "host"
	Hosts   []string // NAME:ADDRESS
	Mounts  []StepMount
	Limits  spec.Limits

	ShmBytes int64
	Ulimits  []spec.Ulimit

	Stdout, Stderr io.Writer
	Begun          func(id string) // called with the id of its container before that starts; nil for none
}

// StepMount is something that a step sees and its layer does not get.
type StepMount struct {
	Target   string // absolute path in the container
	ReadOnly bool

	// One of these says what it is.
	Tree   func(ctx context.Context, w io.Writer) error // a tar of one entry called "t", with all that is in it; what is written is lost
	Cache  *CacheMount
	Tmpfs  *TmpfsMount
	Secret *SecretMount
	Agent  *AgentMount
}

// CacheMount is a directory that lasts from build to build.
type CacheMount struct {
	Name    string // hex digits: equal names are the same directory
	What    string // its id, for people
	Sharing string // "shared", "private" or "locked"

	// Of the directory when it is made.
	UID, GID int
	Mode     os.FileMode
	Tree     func(ctx context.Context, w io.Writer) error // what it begins with, as in StepMount; nil is nothing
}

// TmpfsMount is memory.
type TmpfsMount struct{ Bytes int64 } // 0 means unlimited

// SecretMount is a file in memory.
type SecretMount struct {
	Data     []byte
	UID, GID int
	Mode     os.FileMode
}

// ExitError says that a command of a build has failed.
type ExitError struct{ Code int }

// Error implements error.
func (e *ExitError) Error() string { return "exit code: " + strconv.Itoa(e.Code) }

// Run runs a command on a chain of layers, as an ordinary container, and returns
// the layer that it makes; nil if it changes nothing. If the command fails the
// error is an *ExitError. If the caller is killed, so is the command.
func (b *Build) Run(ctx context.Context, layers []BuildLayer, r RunStep) (_ *BuildLayer, err error) {
	if err := b.Need(ctx, layers); err != nil {
		return nil, err
	}
	step, err := b.e.state.MakeStep(ctx, newID())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, step.Close()) }()
	if r.Begun != nil {
		r.Begun(step.ID)
	}
	mounts, release, err := b.prepareMounts(ctx, step, r.Mounts)
	defer release()
	if err != nil {
		return nil, err
	}
	c, err := b.container(ctx, step, r, mounts)
	if err != nil {
		return nil, err
	}
	if onNetworks(c.Network.Mode) { // post has kept its addresses for a next start
		defer func() { err = errors.Join(err, b.e.wires().Forget(c.ID)) }()
	}
	if err := b.execute(ctx, step, layers, c, r); err != nil {
		return nil, err
	}
	return b.capture(ctx, step, layers, stubs(c.Mounts))
}

// stubs are the paths that the start of a step makes as mount points. They are not
// removed, which has led others to remove files of the host (CVE-2024-23652), but
// left out of the layer while they are empty.
func stubs(mounts []spec.Mount) []string {
	ignore := slices.Clone(madeByStart)
	for _, m := range mounts {
		for dir := path.Clean(m.Target); dir != "/"; dir = path.Dir(dir) {
			ignore = append(ignore, dir)
		}
	}
	return ignore
}

// container describes what runs in a step.
func (b *Build) container(ctx context.Context, step *state.Step, r RunStep, mounts []spec.Mount) (spec.Container, error) {
	now := time.Duration(0)
	c := spec.Container{
		Version: 1, ID: step.ID, Name: "build-" + spec.ShortID(step.ID), Created: time.Now().UTC(),
		Image: spec.Image{Reference: r.What}, Slice: buildSlice,
		Process: spec.Process{Cmd: r.Argv, Env: mergeEnv([]string{defaultPath}, r.Env), Dir: r.Dir, User: r.User},
		Mounts:  mounts, Limits: r.Limits, ShmBytes: r.ShmBytes, Ulimits: r.Ulimits,
		Hostname:    "buildkitsandbox",
		Network:     spec.Network{Mode: r.Network, ExtraHosts: r.Hosts},
		StopTimeout: &now,
		Log:         spec.LogConfig{Driver: "none"},
	}
	if len(r.Argv) == 0 {
		return c, invalid("no command to run")
	}
	if c.Process.Dir == "" {
		c.Process.Dir = "/"
	}
	return c, b.e.settleNetwork(ctx, &c, nil)
}

// defaultPath is what a command finds programs by if the image does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// execute runs c, and again if its layers were moved just then.
func (b *Build) execute(ctx context.Context, step *state.Step, layers []BuildLayer, c spec.Container, r RunStep) error {
	for _, l := range layers {
		c.Image.DiffIDs = append(c.Image.DiffIDs, string(l.DiffID))
	}
	for attempt := 1; ; attempt++ {
		lower, err := b.paths(layers)
		if err != nil {
			return err
		}
		if err := b.writePlan(ctx, step, c, lower); err != nil {
			return err
		}
		err = b.runOnce(ctx, c, r)
		var start *StartError
		if !errors.As(err, &start) || attempt == moveAttempts || !moved(lower) {
			return err
		}
	}
}

// writePlan writes what cleat-init needs to start c.
func (b *Build) writePlan(ctx context.Context, step *state.Step, c spec.Container, lower []string) error {
	in, err := b.e.profileInput(c, CreateOptions{}, Image{})
	if err != nil {
		return err
	}
	in.Layers = slices.Clone(lower)
	slices.Reverse(in.Layers)
	p, err := profile.Build(c, in)
	if err != nil {
		return err
	}
	p.Annex.Rootfs = plan.Rootfs{Lower: lower, Skeleton: in.Skeleton, Upper: step.Upper(), Work: step.Work(), Volatile: true}
	files, err := p.Encode()
	if err != nil {
		return err
	}
	etc, err := b.e.networkFiles(ctx, c)
	if err != nil {
		return err
	}
	for name, data := range etc {
		files[name] = data
	}
	files["hostname"] = []byte(c.Hostname + "\n")
	return step.Write(c, files)
}

// runOnce starts c, passes its output on, and waits for its end.
func (b *Build) runOnce(ctx context.Context, c spec.Container, r RunStep) (err error) {
	e := b.e
	if err := e.ensureDaemons(ctx, c); err != nil {
		return err
	}
	scope, err := b.scope.get(ctx, e)
	if err != nil {
		return err
	}
	session, err := stdio.Attach(ctx, e.stdioSocket(), stdio.AttachRequest{ID: c.ID, Stdout: true, Stderr: true, Patience: -1})
	if err != nil {
		return fmt.Errorf("attach to build step: %w", err)
	}
	defer func() { _ = session.Close() }() // it is read to its end, or given up
	if err := e.state.ForgetExit(c.ID); err != nil {
		return err
	}
	if err := b.startStep(ctx, c, scope); err != nil {
		return errors.Join(err, b.stopStep(ctx, c))
	}
	if err := session.Copy(ctx, r.Stdout, r.Stderr); err != nil {
		return errors.Join(err, b.stopStep(ctx, c))
	}
	exit, err := e.awaitEnd(ctx, c)
	if err != nil {
		return errors.Join(err, b.stopStep(ctx, c))
	}
	if err := b.stopStep(ctx, c); err != nil { // its last command has just ended
		return err
	}
	if exit.Code != 0 {
		return &ExitError{exit.Code}
	}
	return nil
}

// startStep starts the unit of a step.
func (b *Build) startStep(ctx context.Context, c spec.Container, scope string) error {
	conn, err := b.e.systemd(ctx)
	if err != nil {
		return err
	}
	version, err := conn.Version(ctx)
	if err != nil {
		return err
	}
	u, err := unitgen.Service(c, unitgen.ServiceInput{
		InitPath: filepath.Join(b.e.opt.Libexec, initProgram), Root: b.e.opt.Root, RunRoot: b.e.opt.RunRoot,
		SystemdVersion: version, Names: asksForNames(c), BindsTo: scope,
	})
	if err != nil {
		return err
	}
	if err := conn.StartTransient(ctx, u); err != nil {
		return b.e.explainStart(ctx, c, err)
	}
	return b.e.confirmStart(ctx, c)
}

// stopStep ends what is left of a step, also after the caller was told to stop.
func (b *Build) stopStep(ctx context.Context, c spec.Container) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopStepWait)
	defer cancel()
	conn, err := b.e.systemd(ctx)
	if err != nil {
		return err
	}
	return settle(ctx, conn, c.UnitName())
}

// stopStepWait is far longer than SIGKILL and cleaning up take.
const stopStepWait = 30 * time.Second

// onceScope is the scope unit that this process is in while it builds. The units of
// steps are bound to it, so that they end when this process does, however that
// comes.
type onceScope struct {
	mu   sync.Mutex
	name string
}

// get moves this process into a scope, the first time that it is called.
func (o *onceScope) get(ctx context.Context, e *Engine) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.name != "" {
		return o.name, nil
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return "", err
	}
	if err := e.state.SweepSteps(); err != nil { // of builders that were killed
		return "", err
	}
	u := unitgen.Scope("cleat-builder-"+spec.ShortID(newID())+".scope", "cleat build", buildSlice, os.Getpid())
	if err := conn.StartTransient(ctx, u); err != nil {
		return "", fmt.Errorf("enter scope of build: %w", err)
	}
	o.name = u.Name
	return o.name, nil
}

// prepareMounts makes what the mounts of a step show. Release gives it up, also
// after an error.
func (b *Build) prepareMounts(ctx context.Context, step *state.Step, mounts []StepMount) (made []spec.Mount, release func(), err error) {
	var held []*fsx.Lock
	var stops []func()
	secrets := filepath.Join(b.e.buildSecrets(), step.ID)
	release = func() {
		for _, l := range held {
			l.Release()
		}
		for _, stop := range stops {
			stop()
		}
		_ = os.RemoveAll(secrets) // a sweep would find what is left
	}
	for i, m := range mounts {
		sm := spec.Mount{Type: spec.MountBind, Target: m.Target, ReadOnly: m.ReadOnly}
		dir := filepath.Join(step.Dir(), "mount-"+strconv.Itoa(i))
		switch {
		case m.Tree != nil:
			sm.Source, err = unpackTree(ctx, dir, m.Tree)
		case m.Cache != nil:
			var lock *fsx.Lock
			sm.Source, lock, err = b.openCache(ctx, *m.Cache)
			held = append(held, lock)
		case m.Secret != nil:
			sm.Source, err = writeSecret(secrets, strconv.Itoa(i), *m.Secret)
		case m.Agent != nil:
			var stop func()
			if sm.Source, stop, err = serveAgent(ctx, secrets, strconv.Itoa(i), *m.Agent); stop != nil {
				stops = append(stops, stop)
			}
		case m.Tmpfs != nil:
			sm = spec.Mount{Type: spec.MountTmpfs, Target: m.Target, ReadOnly: m.ReadOnly, TmpfsBytes: m.Tmpfs.Bytes}
		}
		if err != nil {
			return nil, release, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		made = append(made, sm)
	}
	return made, release, nil
}

// unpackTree copies a tree to dir, which is made, and returns where its top is.
// What is mounted is the copy, so that no symbolic link in the original leads
// anywhere (CVE-2024-1753), whoever changes it meanwhile (CVE-2024-23651).
func unpackTree(ctx context.Context, dir string, pack func(context.Context, io.Writer) error) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	f, err := OpenBuildTree(dir)
	if err != nil {
		return "", err
	}
	defer f.Close()
	tar := stream(func(w io.Writer) error { return pack(ctx, w) })
	defer func() { _ = tar.Close() }() // waits for the writer
	if err := (&BuildFiles{*f}).Extract(ctx, "/", tar, nil); err != nil {
		return "", err
	}
	top := filepath.Join(dir, "t")
	fi, err := os.Lstat(top)
	if err == nil && !fi.IsDir() && !fi.Mode().IsRegular() {
		err = invalid("source is neither a directory nor a regular file")
	}
	return top, err
}

// sweepSecrets removes what builds have left in memory that were killed.
func (e *Engine) sweepSecrets() {
	entries, err := os.ReadDir(e.buildSecrets())
	if err != nil {
		return // there are none
	}
	for _, en := range entries {
		if lock := e.state.TryLock(en.Name()); lock != nil {
			_ = os.RemoveAll(filepath.Join(e.buildSecrets(), en.Name())) // or the next build does
			lock.Release()
		}
	}
}

// writeSecret puts a secret where a mount finds it: in memory.
func writeSecret(dir, name string, s SecretMount) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	if err := fsx.WriteFileVolatile(file, s.Data, 0o600); err != nil {
		return "", err
	}
	if err := os.Chown(file, s.UID, s.GID); err != nil {
		return "", err
	}
	return file, os.Chmod(file, s.Mode)
}

// maxPrivate is how many builds can use a private cache mount at once.
const maxPrivate = 64

// openCache returns the directory of a cache mount, and the lock that keeps it.
func (b *Build) openCache(ctx context.Context, m CacheMount) (string, *fsx.Lock, error) {
	how := map[string]state.Sharing{"": state.Shared, "shared": state.Shared, "locked": state.Locked, "private": state.Unshared}[m.Sharing]
	name := m.Name
	for i := 1; ; i++ {
		lock, made, err := b.e.state.OpenBuildMount(ctx, state.BuildMount{Name: name, What: m.What}, how)
		if how == state.Unshared && errors.Is(err, spec.ErrConflict) && i < maxPrivate {
			name = m.Name + "-" + strconv.Itoa(i)
			continue
		}
		if err != nil {
			return "", nil, err
		}
		dir := b.e.state.BuildMountDir(name)
		if made {
			err = furnishCache(ctx, dir, m)
		}
		if err != nil {
			lock.Release()
			return "", nil, errors.Join(err, b.e.state.RemoveBuildMount(ctx, name))
		}
		return dir, lock, nil
	}
}

// furnishCache fills a new cache mount.
func furnishCache(ctx context.Context, dir string, m CacheMount) error {
	if m.Tree != nil {
		f, err := OpenBuildTree(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		tar := stream(func(w io.Writer) error { return m.Tree(ctx, w) })
		defer func() { _ = tar.Close() }() // waits for the writer
		if err := (&BuildFiles{*f}).Extract(ctx, "/", tar, nil); err != nil {
			return err
		}
	}
	if err := os.Chown(dir, m.UID, m.GID); err != nil {
		return err
	}
	return os.Chmod(dir, m.Mode)
}
