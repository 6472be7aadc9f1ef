// Package engine has the verbs of cleat, one exported method each. It ties the
// rooms together (images, state, units, systemd, logs) and holds no state of
// its own: any number of engines, in any number of processes, work on one
// machine at once. Front ends decode a request, make one call here, and encode
// the answer.
package engine

import (
	"context"
	"time"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// Options says where an engine works. The zero value is the machine's own
// engine.
type Options struct {
	Root    string // of images, layers, containers, volumes; "" means state.DefaultRoot
	RunRoot string // of sockets and locks; "" means state.DefaultRunRoot
	Libexec string // directory of cleat-init; "" means beside the running program, else /usr/libexec/cleat
	UnitDir string // of boot units; "" means /etc/systemd/system

	// Warn receives what the user should know although the call goes on, as one
	// sentence without a full stop. Nil drops it.
	Warn func(string)
}

// Status is the state of a container in Docker's words.
type Status string

// The states of a container.
const (
	StatusCreated    Status = "created"    // never started
	StatusRunning    Status = "running"    // its main process lives
	StatusPaused     Status = "paused"     // frozen
	StatusRestarting Status = "restarting" // ended, and systemd is about to start it again
	StatusExited     Status = "exited"     // its last run has ended
	StatusDead       Status = "dead"       // its removal failed half-way
)

// Container is a container with what systemd and the last run say of it.
type Container struct {
	spec.Container
	Status Status
	PID    int // of the payload as the host sees it; 0 unless running or paused
	Run    state.Run
}

// PullPolicy says when an image is fetched from its registry.
type PullPolicy string

// The pull policies of create and run.
const (
	PullMissing PullPolicy = "missing" // unless the image is there; the default
	PullAlways  PullPolicy = "always"
	PullNever   PullPolicy = "never"
)

// CreateOptions says what container to create. Container carries everything
// that is not listed here; its ID, Created and Image are filled in by Create,
// and what Process leaves unset comes from the image.
type CreateOptions struct {
	Container spec.Container
	Image     string     // reference or id
	Platform  string     // os/arch[/variant]; "" means this machine's
	Pull      PullPolicy // "" means PullMissing

	NoEntrypoint bool     // drop the image's entrypoint (--entrypoint ""); Cmd is then the whole command
	VolumesFrom  []string // containers whose mounts to take over, each NAME or NAME:ro
	LogTag       string   // template of --log-opt tag=
	LogLabels    []string // labels that become journal fields
	LogEnv       []string // variables that become journal fields

	Progress func(PullEvent) // of a pull; nil drops it
}

// StopOptions says how to stop a container. The zero value asks for the
// container's own stop signal and grace period.
type StopOptions struct {
	Signal string // for example "SIGINT"; "" means the container's

	// Grace is the time from Signal to SIGKILL. Zero kills at once and a
	// negative value waits for ever; nil means the container's.
	Grace *time.Duration
}

// RemoveOptions says how to remove a container.
type RemoveOptions struct {
	Force   bool // kill it first if it runs
	Volumes bool // also remove its anonymous volumes
}

// WaitCondition says what Wait waits for.
type WaitCondition string

// The conditions of Wait.
const (
	WaitNotRunning WaitCondition = "not-running" // the default: returns at once if it does not run
	WaitNextExit   WaitCondition = "next-exit"
	WaitRemoved    WaitCondition = "removed"
)

// ExecOptions says what to run in a running container.
type ExecOptions struct {
	Argv       []string
	Env        []string // NAME=value, on top of the container's
	Dir        string   // "" means the container's
	User       string   // "" means the container's
	TTY        bool
	Stdin      bool // attach stdin
	Detach     bool // return once it runs
	Privileged bool
}

// verbs is the list of what the engine does; front ends declare the part that
// they use. It is here to be read, and to be checked by the compiler.
type verbs interface {
	Create(ctx context.Context, opt CreateOptions) (Container, error)
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, opt StopOptions) error
	Restart(ctx context.Context, ref string, opt StopOptions) error
	Kill(ctx context.Context, ref, signal string) error
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	Wait(ctx context.Context, ref string, cond WaitCondition) (int, error)
	Remove(ctx context.Context, ref string, opt RemoveOptions) error
	Get(ctx context.Context, ref string) (Container, error)
	List(ctx context.Context) ([]Container, error)
}

var _ verbs = (*Engine)(nil)
