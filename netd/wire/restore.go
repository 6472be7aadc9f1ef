package wire

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/nft"
	"github.com/cleat-project/cleat/spec"
)

// lockFile is locked by who changes the firewall: shared for one container's
// ports, exclusively to replace everything by what the records say. A record is
// there before its ports are and goes after them.
func (h Host) lockFile() string { return filepath.Join(h.RunRoot, "net/lock") }

// open adds what a starting container needs to the firewall. If somebody has
// flushed that, all containers get back what they need.
func (h Host) open(ctx context.Context, table string, more nft.State) error {
	lock, err := fsx.AcquireShared(ctx, h.lockFile())
	if err != nil {
		return err
	}
	err = nft.New(table).Extend(more)
	lock.Release()
	if errors.Is(err, spec.ErrNotFound) {
		return h.restoreTable(ctx, table)
	}
	return err
}

// Restore brings back what the running containers need on the host, whatever has
// happened to it: bridges, their ports and settings, and the firewall, called
// table for containers that start now. What is in order stays as it is, and where
// there is nothing to protect, nothing is made. Trouble with one network does not
// keep the others.
func (h Host) Restore(ctx context.Context, table string) error {
	lives, err := h.running()
	if err != nil {
		return err
	}
	err = h.eachNetwork(lives, link.Restore)
	four, six, unroutedErr := link.Unrouted()
	exists, existsErr := nft.New(table).Exists()
	err = errors.Join(err, unroutedErr, existsErr)
	tables := map[string]bool{table: four || six || exists}
	for _, l := range lives {
		tables[l.Table] = true
	}
	for name, needed := range tables {
		if needed {
			err = errors.Join(err, h.restoreTable(ctx, name))
		}
	}
	return err
}

// Check calls Restore if a table that Restore would make or set has lost rules.
// That is the cheap answer to the news that somebody has deleted something.
func (h Host) Check(ctx context.Context, table string) error {
	lives, err := h.running()
	if err != nil {
		return err
	}
	tables := map[string]bool{}
	for _, l := range lives {
		tables[l.Table] = true
	}
	if four, six, err := link.Unrouted(); err != nil {
		return err
	} else if four || six {
		tables[table] = true
	}
	for name := range tables {
		intact, err := nft.New(name).Intact()
		if err != nil {
			return err
		}
		if !intact {
			return h.Restore(ctx, table)
		}
	}
	return nil
}

// restoreTable makes the firewall called table what the running containers need.
func (h Host) restoreTable(ctx context.Context, table string) error {
	lives, release, err := h.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	wanted, err := h.wanted(table, lives)
	return errors.Join(err, nft.New(table).Set(wanted))
}

// hold keeps others from the firewall until it is released, and returns the
// records of containers that run.
func (h Host) hold(ctx context.Context) (running []netd.Live, release func(), err error) {
	lock, err := fsx.Acquire(ctx, h.lockFile())
	if err != nil {
		return nil, nil, err
	}
	if running, err = h.running(); err != nil {
		lock.Release()
		return nil, nil, err
	}
	return running, lock.Release, nil
}

// running returns the records of containers that run.
func (h Host) running() ([]netd.Live, error) {
	all, err := h.Lives().All()
	if err != nil {
		return nil, err
	}
	running := all[:0]
	for _, l := range all {
		if l.Running() {
			running = append(running, l)
		}
	}
	return running, nil
}

// wanted returns what the firewall called table is to have: the networks and ports
// of those of lives that it is for. An error does not keep the rest.
func (h Host) wanted(table string, lives []netd.Live) (s nft.State, err error) {
	s.Unrouted4, s.Unrouted6, err = link.Unrouted()
	var mine []netd.Live
	for _, l := range lives {
		if l.Table == table {
			mine = append(mine, l)
			s.Ports = append(s.Ports, mappings(l)...)
		}
	}
	return s, errors.Join(err, h.eachNetwork(mine, func(n *netd.Network, _ []netd.Endpoint) error {
		if n.Device != "" {
			s.Networks = append(s.Networks, nft.NetworkOf(n))
		}
		return nil
	}))
}

// eachNetwork calls do with each network of lives and the endpoints in it, and
// joins the errors.
func (h Host) eachNetwork(lives []netd.Live, do func(*netd.Network, []netd.Endpoint) error) (err error) {
	var ids []string
	ends := map[string][]netd.Endpoint{}
	for _, l := range lives {
		for _, e := range l.Endpoints {
			if ends[e.NetworkID] == nil {
				ids = append(ids, e.NetworkID)
			}
			ends[e.NetworkID] = append(ends[e.NetworkID], e)
		}
	}
	for _, id := range ids {
		n, nerr := h.Network(id)
		if errors.Is(nerr, spec.ErrNotFound) {
			continue
		}
		if nerr == nil {
			nerr = do(&n, ends[id])
		}
		if nerr != nil {
			err = errors.Join(err, fmt.Errorf("network %s: %w", spec.ShortID(id), nerr))
		}
	}
	return err
}

// Problem is something that is not as the running containers need it.
type Problem struct {
	Object string // for example `network "web"`
	What   string
}

// Inspect finds what Restore would repair. Networks returns all that there are, and
// started says whether a container has got through its start: until then it may
// have its ports or not. Nothing is changed.
func (h Host) Inspect(ctx context.Context, table string, networks func() ([]netd.Network, error), started func(id string) bool) ([]Problem, error) {
	lives, release, err := h.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	nets, err := networks()
	if err != nil {
		return nil, err
	}
	var ready []netd.Live
	tables := map[string]bool{table: true}
	for _, l := range lives {
		if started(l.ContainerID) {
			ready = append(ready, l)
		}
		tables[l.Table] = true
	}
	var found []Problem
	err = h.eachNetwork(ready, func(n *netd.Network, ends []netd.Endpoint) error {
		problems, err := link.Inspect(n, ends)
		for _, p := range problems {
			found = append(found, Problem{fmt.Sprintf("network %q", n.Name), p})
		}
		return err
	})
	for name := range tables {
		problems, terr := h.inspectTable(name, lives, ready, nets)
		found = append(found, problems...)
		err = errors.Join(err, terr)
	}
	return found, err
}

// inspectTable compares one table with what it must have for ready and may have
// for lives. It may also have networks on which nobody is.
func (h Host) inspectTable(table string, lives, ready []netd.Live, networks []netd.Network) ([]Problem, error) {
	must, err := h.wanted(table, ready)
	if err != nil {
		return nil, err
	}
	may, err := h.wanted(table, lives)
	if err != nil {
		return nil, err
	}
	may.Networks = nil
	for _, n := range networks {
		may.Networks = append(may.Networks, nft.NetworkOf(&n))
	}
	problems, err := nft.New(table).Inspect(must, may)
	found := make([]Problem, 0, len(problems))
	for _, p := range problems {
		found = append(found, Problem{"firewall", p})
	}
	return found, err
}
