package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// ExecRecord is a further command of a container that is created first, and
// started and asked for later, as Docker's API has it. It is kept until the next
// boot or for some minutes after its end, whoever has made it.
type ExecRecord struct {
	ID          string // 64 hex digits
	ContainerID string
	Options     ExecOptions
	DetachKeys  string // as the client gave them; for clients

	Started  bool // it was started, or that was tried
	PID      int  // of the command as the host sees it; 0 before its start
	ExitCode *int // nil until it has ended, or if nobody was there to see it

	Ticks uint64 // start time of PID, which tells it from later processes of that number
}

// execKept is how long the record of a command is there at least.
const execKept = 5 * time.Minute

// ExecCreate prepares a further command in a running container, and returns its
// id. Nothing runs before ExecStart.
func (e *Engine) ExecCreate(_ context.Context, ref string, r ExecRecord) (id string, err error) {
	c, err := e.execTarget(ref)
	if err != nil {
		return "", err
	}
	if len(r.Options.Argv) == 0 {
		return "", invalid("no command given")
	}
	e.sweepExecs(time.Now().Add(-execKept))
	r.ID, r.ContainerID = newID(), c.ID
	if err := e.state.SaveExec(r.ID, r); err != nil {
		return "", fmt.Errorf("record the command: %w", err)
	}
	e.execTeller(c, r.ID, r.Options.Argv)("exec_create")
	return r.ID, nil
}

// ExecStartOptions says how to start a command that was created before.
type ExecStartOptions struct {
	Detach        bool
	Height, Width uint16 // of the terminal, in characters; 0 leaves what was asked for before
}

// ExecStart starts the command of a record, which can be done once. The rest is as
// with Exec.
func (e *Engine) ExecStart(ctx context.Context, id string, opt ExecStartOptions) (*Exec, error) {
	r, err := e.ExecInspect(ctx, id)
	if err != nil {
		return nil, err
	}
	c, err := e.execTarget(r.ContainerID)
	if err != nil {
		return nil, err
	}
	r.Options.Detach = opt.Detach
	if opt.Height != 0 && opt.Width != 0 {
		r.Options.Height, r.Options.Width = opt.Height, opt.Width
	}
	if err := e.state.ClaimExec(id); errors.Is(err, spec.ErrExists) {
		return nil, conflict("exec command %s has already run", spec.ShortID(id))
	} else if err != nil {
		return nil, fmt.Errorf("record the start of the command: %w", err)
	}
	r.Started = true
	x, err := e.startExec(ctx, c, r.Options, e.execTeller(c, id, r.Options.Argv))
	if err != nil {
		if failed, ok := errors.AsType[*StartError](err); ok {
			r.ExitCode = &failed.Code
		}
		return nil, errors.Join(err, e.state.SaveExec(id, r))
	}
	r.PID = x.proc.PID
	r.Ticks, _ = processTicks(r.PID) // one that has ended already is never asked for
	told := x.ended
	x.ended = func(code int) {
		told(code)
		r.ExitCode = &code
		_ = e.state.SaveExec(id, r) // then the code is unknown, as after a crash
	}
	if err := e.state.SaveExec(id, r); err != nil {
		x.Close()
		return nil, fmt.Errorf("record the command: %w", err)
	}
	return x, nil
}

// ExecInspect returns the record of a command.
func (e *Engine) ExecInspect(_ context.Context, id string) (ExecRecord, error) {
	var r ExecRecord
	err := e.state.LoadExec(id, &r)
	if isNotFound(err) {
		return r, worded{"No such exec instance: " + id, spec.ErrNotFound}
	}
	return r, err
}

// Running reports whether the command of the record runs.
func (r ExecRecord) Running() bool {
	if !r.Started || r.PID == 0 || r.ExitCode != nil {
		return false
	}
	ticks, err := processTicks(r.PID)
	return err == nil && ticks == r.Ticks
}

// sweepExecs forgets commands that nobody has touched since before: those that
// have ended, and those that were never started.
func (e *Engine) sweepExecs(before time.Time) {
	ids, err := e.state.ExecIDs(before)
	if err != nil {
		return // what is not removed now is later
	}
	for _, id := range ids {
		var r ExecRecord
		if err := e.state.LoadExec(id, &r); err == nil && !r.Running() {
			_ = e.state.RemoveExec(id)
		}
	}
}

// processTicks returns the start time of a process in clock ticks after boot, see
// proc_pid_stat(5). A zombie has none.
func processTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, start = 0, 22 - 3 // the third field is the first one here
	var ticks uint64
	if len(fields) <= start || fields[state][0] == 'Z' {
		return 0, fmt.Errorf("process %d does not run: %w", pid, spec.ErrNotFound)
	}
	_, err = fmt.Sscan(string(fields[start]), &ticks)
	return ticks, err
}
