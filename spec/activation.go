package spec

import "time"

// Activation says whether the published ports of a container start it.
type Activation struct {
	Mode ActivationMode `json:",omitempty"`

	// IdleTimeout is how long no connection has to be open before the container is
	// put to sleep; 0 means never. It is for ActivateProxy.
	IdleTimeout time.Duration `json:",omitempty"`
}

// ActivationMode is a way to start a container by a connection.
type ActivationMode string

// The ways to start a container by a connection. Its sockets are open while it
// does not run.
const (
	ActivateNever ActivationMode = ""      // the ports are reserved while the container runs
	ActivateFD    ActivationMode = "fd"    // the payload inherits the sockets, see sd_listen_fds(3)
	ActivateProxy ActivationMode = "proxy" // the payload listens as ever, and a proxy carries the first connections to it
)

// Activated reports whether a connection starts the container.
func (c Container) Activated() bool { return c.Activation.Mode != ActivateNever }
