package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/proxy"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
)

// rest puts container id to sleep if no connection is open and none has come for
// as long as its idle timeout says. A timer has it look from time to time.
func rest(ctx context.Context, store *state.Store, id string) error {
	c, err := store.Load(id)
	if err != nil {
		return err
	}
	w := watched{store: store, host: host(store), id: id}
	if w.live, err = store.LoadLive(id); errors.Is(err, spec.ErrNotFound) {
		return nil // it has just ended
	} else if err != nil {
		return err
	}
	if w.net, err = w.host.Lives().Load(id); errors.Is(err, spec.ErrNotFound) || w.net.Closing {
		return nil
	} else if err != nil {
		return err
	}
	rested, err := w.rested(c.Activation.IdleTimeout)
	if err != nil || !rested || w.frozen() {
		return err
	}
	// From here on new connections wait in the sockets. One that came just before is
	// seen now, or by the proxy that carries it, which looks after us.
	if err := w.host.Close(ctx, id); err != nil {
		return err
	}
	if rested, err = w.rested(c.Activation.IdleTimeout); err != nil || !rested {
		return errors.Join(err, w.host.Open(ctx, id))
	}
	return w.sleep(ctx, c)
}

// watched is a run that may be idle.
type watched struct {
	store *state.Store
	host  wire.Host
	id    string
	live  state.Live
	net   netd.Live
}

// frozen reports whether somebody has paused the container: that is to last.
func (w watched) frozen() bool {
	events, err := os.ReadFile(netd.EventsFile(netd.CgroupRoot, w.net.Cgroup))
	return err == nil && bytes.Contains(events, []byte("frozen 1"))
}

// rested reports whether the run has had nothing to do for so long. What it sees is
// kept for the next look, since the kernel forgets connections.
func (w watched) rested(long time.Duration) (bool, error) {
	last, err := w.lastUse()
	if err != nil {
		return false, err
	}
	note := w.host.UsedFile(w.id)
	if st, err := os.Stat(note); err == nil && !st.ModTime().Before(last) {
		last = st.ModTime()
	} else if err := touch(note, last); err != nil {
		return false, err
	}
	return time.Since(last) >= long, nil
}

// lastUse returns when the run was last used, as far as can be seen now: at the
// latest when it began.
func (w watched) lastUse() (time.Time, error) {
	if proxy.HasConnections(w.live.PID, w.net.Ports) {
		return time.Now(), nil
	}
	addr4, addr6 := wire.Reachable(w.net)
	last, err := link.LastFlow([]netip.Addr{addr4, addr6}, w.net.Ports)
	if last.Before(w.live.StartedAt) {
		last = w.live.StartedAt
	}
	return last, err
}

// touch gives the file at path, which is made if there is none, a time.
func touch(path string, at time.Time) error {
	err := os.Chtimes(path, at, at)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Chtimes(path, at, at)
}

// sleep stops the container's service. A connection that has come meanwhile may have
// asked for the next run already, which takes the place of our stop.
func (w watched) sleep(ctx context.Context, c spec.Container) error {
	conn, err := supervisor.Connect(ctx)
	if err != nil {
		return errors.Join(err, w.host.Open(ctx, w.id))
	}
	defer conn.Close()
	if err := w.store.SetResting(w.id); err != nil {
		return errors.Join(err, w.host.Open(ctx, w.id))
	}
	err = conn.Stop(ctx, c.UnitName())
	if job, ok := errors.AsType[*supervisor.JobError](err); ok && job.Result == "canceled" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put container %q to sleep: %w", c.Name, err)
	}
	return nil
}
