package spec

// NotifyMode says when systemd is told that a container is ready: its start, and
// the start of what comes after it, ends then.
type NotifyMode string

// The modes.
const (
	NotifyStarted   NotifyMode = ""          // once its command has been executed
	NotifyContainer NotifyMode = "container" // when its payload says so, see sd_notify(3)
	NotifyHealthy   NotifyMode = "healthy"   // when its health check succeeds for the first time
)

// Watched reports whether the container, while it runs, is the business of the
// daemon of package health.
func (c Container) Watched() bool { return c.Healthcheck.Argv() != nil || c.Notify != NotifyStarted }
