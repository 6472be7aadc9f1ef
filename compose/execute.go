package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// Runner runs plans.
type Runner struct {
	Engine Backend
	Limit  int        // calls at a time; 0 means 16
	Tell   func(Told) // what happens, one call at a time; nil drops it

	Progress func(engine.PullEvent) // of pulls; nil drops it
}

// Told is what happens to an object.
type Told struct {
	Kind  string // "Container", "Network", "Volume", "Image" or "Slice"
	Name  string
	State string // for example "Started"
	Err   error  // it failed, and the plan goes on where it can
}

// Run runs a plan. A step whose predecessors have failed is left out; what does
// not depend on it goes on, so that no service stays half replaced because of
// another. The error has all that failed.
func (r Runner) Run(ctx context.Context, plan *Plan) error {
	x := &execution{Runner: r, plan: plan, failed: make([]bool, len(plan.Steps)), done: make([]chan struct{}, len(plan.Steps))}
	for i := range x.done {
		x.done[i] = make(chan struct{})
	}
	limit := r.Limit
	if limit <= 0 {
		limit = 16
	}
	x.slots = make(chan struct{}, limit)
	var all sync.WaitGroup
	for i := range plan.Steps {
		all.Go(func() { x.step(ctx, i) })
	}
	all.Wait()
	if ctx.Err() != nil && slices.Contains(x.failed, true) {
		x.errs = append(x.errs, context.Cause(ctx))
	}
	return errors.Join(x.errs...)
}

// execution is a plan under way.
type execution struct {
	Runner
	plan  *Plan
	done  []chan struct{} // by step, closed when it is over
	slots chan struct{}

	mu     sync.Mutex
	failed []bool // by step
	errs   []error
}

// step waits for what the step needs, and makes its call.
func (x *execution) step(ctx context.Context, i int) {
	defer close(x.done[i])
	s := x.plan.Steps[i]
	for _, n := range s.After {
		<-x.done[n]
	}
	if x.broken(s) || ctx.Err() != nil {
		x.fail(i, nil)
		return
	}
	if s.Op != OpExited && s.Op != OpHealthy && s.Op != OpUp { // that one takes no place from those that it waits for
		x.slots <- struct{}{}
		defer func() { <-x.slots }()
	}
	err := x.call(ctx, s)
	if err == nil {
		return
	}
	err = fmt.Errorf("%s %s: %w", s.Op, s.Object, err)
	if s.Soft {
		x.tell(s, "", err)
		return
	}
	x.fail(i, errors.Join(err, x.takeBack(ctx, s)))
}

// broken reports whether a step that s needs has failed.
func (x *execution) broken(s Step) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range s.After {
		if x.failed[n] {
			return true
		}
	}
	return false
}

func (x *execution) fail(i int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed[i] = true
	if err != nil {
		x.errs = append(x.errs, err)
	}
}

// takeBack makes the calls that undo the steps before a failed one. They are made
// even after an interruption: something is to run that does not.
func (x *execution) takeBack(ctx context.Context, s Step) error {
	ctx = context.WithoutCancel(ctx)
	for _, back := range s.Back {
		if err := x.call(ctx, back); err != nil && !errors.Is(err, spec.ErrNotFound) {
			return fmt.Errorf("bring the old container back: %s %s: %w", back.Op, back.Object, err)
		}
	}
	return nil
}

// tell reports what has become of a step's object.
func (x *execution) tell(s Step, state string, err error) {
	if x.Tell == nil {
		return
	}
	kind := "Container"
	if _, object, ok := strings.Cut(string(s.Op), " "); ok {
		switch object {
		case "image", "network", "volume", "slice":
			kind = strings.ToUpper(object[:1]) + object[1:]
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.Tell(Told{Kind: kind, Name: s.Object, State: state, Err: err})
}

// call makes the engine call of a step. What is gone already counts as removed.
func (x *execution) call(ctx context.Context, s Step) error {
	before, after := stateWords(s)
	if before != "" {
		x.tell(s, before, nil)
	}
	err := x.perform(ctx, s)
	if s.Op == OpRemove && s.Remove.Force || s.Op == OpRemoveNetwork || s.Op == OpRemoveVolume || s.Op == OpRemoveImage {
		if errors.Is(err, spec.ErrNotFound) {
			err = nil
		}
	}
	if err == nil && after != "" {
		x.tell(s, after, nil)
	}
	return err
}

func (x *execution) perform(ctx context.Context, s Step) error {
	eng := x.Engine
	var err error
	switch s.Op {
	case OpSlice:
		err = eng.SetSlice(ctx, *s.Slice)
	case OpFreeSlice:
		err = eng.SetSlice(ctx, engine.SliceOptions{Name: s.Object})
	case OpPull:
		_, err = eng.Pull(ctx, s.Object, engine.PullOptions{Progress: x.Progress})
	case OpPush:
		err = eng.Push(ctx, s.Object, engine.PushOptions{})
	case OpCreateNetwork:
		_, _, err = eng.NetworkCreate(ctx, *s.Network)
	case OpCreateVolume:
		_, err = eng.CreateVolume(ctx, *s.Volume)
	case OpCreate:
		opt := *s.Create
		opt.Progress = x.Progress
		_, err = eng.Create(ctx, opt)
	case OpCopy:
		err = x.writeFiles(ctx, s)
	case OpRename:
		err = eng.Rename(ctx, s.ref(), s.To)
	case OpStart:
		err = x.start(ctx, s)
	case OpRestart:
		if err = eng.Stop(ctx, s.ref(), s.Stop); err == nil {
			err = x.start(ctx, s)
		}
	case OpStop:
		err = eng.Stop(ctx, s.ref(), s.Stop)
	case OpKill:
		err = eng.Kill(ctx, s.ref(), s.Signal)
	case OpPause:
		err = eng.Pause(ctx, s.ref())
	case OpUnpause:
		err = eng.Unpause(ctx, s.ref())
	case OpRemove:
		err = eng.Remove(ctx, s.ref(), s.Remove)
	case OpExited:
		err = x.awaitExit(ctx, s)
	case OpHealthy:
		err = x.awaitHealth(ctx, s, true)
	case OpUp:
		err = x.awaitHealth(ctx, s, false)
	case OpHook:
		err = x.hook(ctx, s)
	case OpRemoveNetwork:
		err = eng.NetworkRemove(ctx, s.Object)
	case OpRemoveVolume:
		err = eng.RemoveVolume(ctx, s.Object, engine.RemoveVolumeOptions{})
	case OpRemoveImage:
		_, err = eng.RemoveImage(ctx, s.Object, engine.RemoveImageOptions{})
	default:
		err = fmt.Errorf("unknown step %q", s.Op)
	}
	return err
}

// stateWords returns what is said before and after a step.
func stateWords(s Step) (before, after string) {
	switch s.Op {
	case OpSlice:
		return "", "Limited"
	case OpPull:
		return "Pulling", "Pulled"
	case OpPush:
		return "Pushing", "Pushed"
	case OpCreateNetwork, OpCreateVolume, OpCreate:
		return "", "Created"
	case OpStart:
		return "", "Started"
	case OpRestart:
		return "Restarting", "Restarted"
	case OpStop:
		return "Stopping", "Stopped"
	case OpKill:
		return "", "Killed"
	case OpPause:
		return "", "Paused"
	case OpUnpause:
		return "", "Unpaused"
	case OpExited:
		return "Waiting", "Exited"
	case OpHealthy, OpUp:
		return "Waiting", "Healthy"
	case OpRemove, OpRemoveNetwork, OpRemoveVolume, OpRemoveImage:
		return "", "Removed"
	}
	return "", ""
}

// awaitExit waits until a container has ended well.
func (x *execution) awaitExit(ctx context.Context, s Step) error {
	code, err := x.Engine.Wait(ctx, s.ref(), engine.WaitNotRunning)
	if err == nil && code != 0 {
		err = fmt.Errorf("it ended with exit code %d, and what depends on it needs it to succeed; see 'cleat logs %s': %w", code, s.Object, spec.ErrConflict)
	}
	return err
}

// writeFiles writes secrets and configs into a container that has not run yet.
func (x *execution) writeFiles(ctx context.Context, s Step) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range s.Files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Clean(f.Target), "/"),
			Size: int64(len(f.Data)), Mode: f.Mode, Uid: f.UID, Gid: f.GID,
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(f.Data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return x.Engine.CopyTo(ctx, s.ref(), "/", &archive, engine.CopyToOptions{})
}

// hook runs a command in a container that has just started, or is about to stop.
func (x *execution) hook(ctx context.Context, s Step) error {
	opt := *s.Hook
	opt.Detach = false
	run, err := x.Engine.Exec(ctx, s.ref(), opt)
	if err != nil {
		return err
	}
	defer run.Close()
	var last bytes.Buffer
	var readers sync.WaitGroup
	readers.Go(func() { _, _ = last.ReadFrom(run.Stdout) }) // ends with the command
	var stderr bytes.Buffer
	readers.Go(func() { _, _ = stderr.ReadFrom(run.Stderr) })
	code, err := run.Wait(ctx)
	readers.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(last.String()+stderr.String()))
	}
	return err
}
