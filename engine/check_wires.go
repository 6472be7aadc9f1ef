package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/netd/wire"
	"github.com/cleat-project/cleat/spec"
)

// checkWires finds what is not in order with the networks on the host: records
// and addresses of runs that have ended, bridges that belong to nobody, and
// whatever a running container lacks, be it that somebody flushed the firewall.
func (e *Engine) checkWires(ctx context.Context, repair bool) ([]Finding, error) {
	var found []Finding
	for _, check := range []func(context.Context, bool) ([]Finding, error){e.checkNetFiles, e.checkEnded, e.checkLeases, e.checkRestored, e.checkLookups, e.checkBridges} {
		more, err := check(ctx, repair)
		found = append(found, more...)
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// checkNetFiles finds the temporary files of killed writers.
func (e *Engine) checkNetFiles(_ context.Context, repair bool) ([]Finding, error) {
	var found []Finding
	for _, dir := range []string{"net/live", "net/last"} {
		paths, err := fsx.SweepTemp(filepath.Join(e.opt.RunRoot, dir), repair)
		for _, path := range paths {
			found = append(found, Finding{path, "half-written file", repair})
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// checkEnded finds what runs hold that have ended without giving it back.
func (e *Engine) checkEnded(ctx context.Context, repair bool) ([]Finding, error) {
	lives, err := e.wires().Lives().All()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, l := range lives {
		ended, err := e.hasEnded(ctx, l.ContainerID, l.Running)
		if err != nil {
			return found, err
		}
		if !ended {
			continue
		}
		if repair {
			if err := e.wires().Release(ctx, l.ContainerID, wire.KeepNothing); err != nil {
				return found, err
			}
		}
		found = append(found, Finding{"container " + spec.ShortID(l.ContainerID), "has ended, and its network connection is still recorded", repair})
	}
	return found, nil
}

// hasEnded reports whether the run of a container has ended for good. Between the
// end of the payload and the command that records it nobody is in the control
// group, but the unit is still at it.
func (e *Engine) hasEnded(ctx context.Context, id string, running func() bool) (bool, error) {
	if running() {
		return false, nil
	}
	c, err := e.state.Load(id)
	if isNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, nil //nolint:nilerr // checkContainers tells
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return false, err
	}
	props, err := conn.Properties(ctx, c.UnitName())
	if err != nil && !isNotFound(err) || err == nil && hasProcesses(props) {
		return false, err
	}
	return !running(), nil
}

// checkLeases finds addresses whose holders have ended.
func (e *Engine) checkLeases(ctx context.Context, repair bool) ([]Finding, error) {
	leases, err := e.wires().Leases().All()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, l := range leases {
		if _, err := e.wires().Lives().Load(l.Owner.ContainerID); err == nil {
			continue // checkEnded tells
		}
		ended, err := e.hasEnded(ctx, l.Owner.ContainerID, l.Owner.Running)
		if err != nil {
			return found, err
		}
		if !ended {
			continue
		}
		if repair {
			if err := e.wires().Leases().Release(ctx, l.NetworkID, l.Addr, l.Owner.ContainerID); err != nil {
				return found, err
			}
		}
		found = append(found, Finding{"address " + l.Addr.String(), fmt.Sprintf("is held by container %s, which has ended", spec.ShortID(l.Owner.ContainerID)), repair})
	}
	return found, nil
}

// checkRestored finds what the running containers lack on the host.
func (e *Engine) checkRestored(ctx context.Context, repair bool) ([]Finding, error) {
	before, err := e.inspectWires(ctx)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	var after []wire.Problem
	if repair {
		if err := e.wires().Restore(ctx, e.table()); err != nil {
			return nil, err
		}
		if after, err = e.inspectWires(ctx); err != nil {
			return nil, err
		}
	}
	var found []Finding
	for _, p := range before {
		found = append(found, Finding{p.Object, p.What, repair && !slices.Contains(after, p)})
	}
	return found, nil
}

func (e *Engine) inspectWires(ctx context.Context) ([]wire.Problem, error) {
	return e.wires().Inspect(ctx, e.table(), e.networks, func(id string) bool {
		_, err := e.state.LoadLive(id)
		return err == nil
	})
}

// checkLookups finds running containers that have lost their name server: before
// version 254 systemd gives up the sockets that it keeps when somebody stops it.
func (e *Engine) checkLookups(ctx context.Context, repair bool) ([]Finding, error) {
	lives, err := e.wires().Lives().All()
	if err != nil {
		return nil, err
	}
	lost, err := e.wires().Unanswered(ctx, lives)
	if err != nil {
		return []Finding{{Object: resolverSocket, Problem: err.Error() + ": is it enabled and started?"}}, nil //nolint:nilerr // it is what was found
	}
	var found []Finding
	for _, l := range lost {
		run, err := e.state.LoadLive(l.ContainerID)
		if err != nil || !l.Running() {
			continue // it is just starting or ending, or checkRuns tells
		}
		if repair {
			if err := e.answerAgain(ctx, l.ContainerID, run.PID); err != nil && !isNotFound(err) {
				return found, err
			}
		}
		found = append(found, Finding{"container " + spec.ShortID(l.ContainerID), "the name server has lost its sockets", repair})
	}
	return found, nil
}

// answerAgain has the names looked up that a container asks for whose payload is
// process pid.
func (e *Engine) answerAgain(ctx context.Context, id string, pid int) error {
	return e.state.WithLock(ctx, id, func(spec.Container) error {
		run, err := e.state.LoadLive(id)
		if err != nil || run.PID != pid {
			return err
		}
		ns, err := wire.Namespace(pid)
		if err != nil {
			return err
		}
		defer ns.Close()
		return e.wires().Answer(ctx, id, int(ns.Fd()))
	})
}

// checkBridges finds bridges of networks that do not exist.
func (e *Engine) checkBridges(_ context.Context, repair bool) ([]Finding, error) {
	var keepErr error
	var claimed map[string]bool
	keep := func(device string) bool {
		if claimed == nil { // asked once the bridges are known: a network is there before its bridge
			claimed, keepErr = e.devices()
		}
		return keepErr != nil || claimed[device]
	}
	find := link.Unclaimed
	if repair {
		find = link.CleanUp
	}
	devices, err := find(e.place(), keep)
	var found []Finding
	for _, d := range devices {
		found = append(found, Finding{"bridge " + d, "belongs to a network that is gone", repair})
	}
	if err == nil {
		err = keepErr
	}
	return found, err
}

// devices returns the bridges of all networks, those included that are being
// removed.
func (e *Engine) devices() (map[string]bool, error) {
	all, err := e.networks()
	if err != nil {
		return nil, err
	}
	hidden, err := e.state.HiddenNetworkIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range hidden {
		var n netd.Network
		if err := e.state.LoadHiddenNetwork(id, &n); err == nil {
			all = append(all, n)
		}
	}
	devices := map[string]bool{}
	for _, n := range all {
		devices[n.Device] = true
	}
	return devices, nil
}
