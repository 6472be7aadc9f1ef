// Package engine has the verbs of cleat, one exported method each. It ties the
// rooms together (images, state, units, systemd, logs) and holds no state of
// its own: any number of engines, in any number of processes, work on one
// machine at once. Front ends decode a request, make one call here, and encode
// the answer.
package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/internal/config"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
)

// Options says where an engine works. The zero value is the machine's own
// engine.
type Options struct {
	Root    string // of images, layers, containers, volumes; "" means state.DefaultRoot
	RunRoot string // of sockets and locks; "" means state.DefaultRunRoot
	Libexec string // directory of cleat-init; "" means beside the running program, else /usr/libexec/cleat
	Config  string // file with the settings; "" means config.Path

	Version string // of cleat, for Info; "" means "unknown"

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
	StatusSleeping   Status = "sleeping"   // does not run, and the next connection starts it
	StatusDead       Status = "dead"       // its removal failed half-way
)

// Container is a container with what systemd and the last run say of it.
type Container struct {
	spec.Container
	Status Status
	PID    int  // of the payload as the host sees it; 0 unless running or paused
	Ending bool // systemd is stopping what runs still
	Run    state.Run
	Health *state.Health // what its health checks have found; nil if it has none, or was never started
	Ports  []spec.Port   // of the run under way, one for each family; a HostPort of 0 is exposed and not published
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

	Networks []NetworkRequest // in order; none means Container.Network.Mode, and without that the default network

	NoEntrypoint bool     // drop the image's entrypoint (--entrypoint ""); Cmd is then the whole command
	VolumesFrom  []string // containers whose mounts to take over, each NAME or NAME:ro
	LogTag       string   // template of --log-opt tag=
	LogLabels    []string // labels that become journal fields
	LogEnv       []string // variables that become journal fields

	// SecretData are the secrets without a source, by target. They are kept in
	// files that root alone can read: systemd reads them at each start.
	SecretData map[string][]byte

	Missing  func(image string) // called before an image that is not there is pulled; nil for none
	Progress func(PullEvent)    // of a pull; nil drops it

	Credentials Credentials  // for a pull; none: those that a login has stored
	Warn        func(string) // as Options.Warn, for this call; nil means that one
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
	Height     uint16 // of the terminal, in characters; 0 leaves the kernel's
	Width      uint16
	Stdin      bool // attach stdin
	Detach     bool // return once it runs
	Privileged bool
}

// Engine is one process's way to the containers of a machine. It is safe for
// concurrent use.
type Engine struct {
	opt    Options
	config config.Config
	state  *state.Store
	images *image.Store

	bus *connection
}

// connection is the connection to systemd. It is made on first use, at most once at a
// time, and often while something else is waited for: see prefetch.
type connection struct {
	mu   sync.Mutex
	conn *supervisor.Conn
}

// withWarn returns an engine that tells its warnings to warn, unless that is nil,
// and shares everything else with e. It is not closed.
func (e *Engine) withWarn(warn func(string)) *Engine {
	if warn == nil {
		return e
	}
	other := *e
	other.opt.Warn = warn
	return &other
}

// Open returns the engine that opt describes, and makes its directories. The
// caller closes it.
func Open(opt Options) (*Engine, error) {
	if opt.Root == "" {
		opt.Root = state.DefaultRoot
	}
	if opt.RunRoot == "" {
		opt.RunRoot = state.DefaultRunRoot
	}
	if opt.Libexec == "" {
		opt.Libexec = libexec()
	}
	if opt.Config == "" {
		opt.Config = config.Path
	}
	if opt.Version == "" {
		opt.Version = "unknown"
	}
	if opt.Warn == nil {
		opt.Warn = func(string) {}
	}
	cfg, err := config.Load(opt.Config)
	if err != nil {
		return nil, err
	}
	st, err := state.Open(opt.Root, opt.RunRoot)
	if err != nil {
		return nil, err
	}
	e := &Engine{opt: opt, config: cfg, state: st, bus: &connection{}}
	e.images = image.New(opt.Root, image.Options{InUse: e.imagesInUse})
	return e, nil
}

// libexec finds the helper binaries: beside the running program as in a
// checkout, else where packages put them.
func libexec() string {
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		if _, err := os.Stat(filepath.Join(dir, initProgram)); err == nil {
			return dir
		}
	}
	return "/usr/libexec/cleat"
}

// Helper returns the path of one of cleat's own programs.
func Helper(name string) string { return filepath.Join(libexec(), name) }

const initProgram = "cleat-init"

// Close releases the connection to systemd, if there is one.
func (e *Engine) Close() {
	e.bus.mu.Lock()
	defer e.bus.mu.Unlock()
	if e.bus.conn != nil {
		e.bus.conn.Close()
		e.bus.conn = nil
	}
}

// systemd returns the connection to systemd, made on first use.
func (e *Engine) systemd(ctx context.Context) (*supervisor.Conn, error) {
	e.bus.mu.Lock()
	defer e.bus.mu.Unlock()
	if e.bus.conn != nil {
		return e.bus.conn, nil
	}
	conn, err := supervisor.Connect(ctx)
	if err != nil {
		return nil, err
	}
	e.bus.conn = conn
	return conn, nil
}

func (e *Engine) warnf(format string, args ...any) { e.opt.Warn(fmt.Sprintf(format, args...)) }
