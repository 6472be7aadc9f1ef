package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/netd/link"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// minIdle is the shortest idle timeout: the look for what a container has to do
// costs a process.
const minIdle = time.Second

// checkActivation refuses what a container that connections start cannot be. Ports
// are what it publishes.
func (e *Engine) checkActivation(c spec.Container, ports []spec.Port) error {
	a := c.Activation
	switch {
	case a.IdleTimeout < 0:
		return invalid("idle timeout %s: must not be negative", a.IdleTimeout)
	case a.IdleTimeout > 0 && a.Mode != spec.ActivateProxy:
		return invalid("an idle timeout needs --activate proxy: else no connection would start the container again through its proxy")
	case a.IdleTimeout > 0 && a.IdleTimeout < minIdle:
		return invalid("idle timeout %s: must be at least %s", a.IdleTimeout, minIdle)
	case !c.Activated():
		return nil
	case a.Mode != spec.ActivateFD && a.Mode != spec.ActivateProxy:
		return invalid("activation %q: must be fd or proxy", a.Mode)
	case len(ports) == 0:
		return invalid("--activate needs ports whose connections start the container: publish some with -p")
	case c.AutoRemove:
		return conflict("a container that connections start is started again and again: --rm would remove it after its first run")
	}
	for _, p := range ports {
		if p.Proto == spec.SCTP {
			return invalid("port %s: a connection over sctp cannot start a container, only one over tcp or udp", p)
		}
	}
	if a.Mode == spec.ActivateFD {
		return nil
	}
	if len(c.Network.Endpoints) == 0 {
		return conflict("--activate proxy needs a network of containers, not network mode %q: use --activate fd there", c.Network.Mode)
	}
	gateway, err := e.gateway(c)
	if err == nil && gateway == nil {
		err = conflict("--activate proxy needs a network with a way to the host: those of container %q are all internal", c.Name)
	}
	return err
}

// checkStillActivated refuses a change of its networks that would leave connections
// to c without a way.
func (e *Engine) checkStillActivated(c spec.Container) error {
	if c.Activation.Mode != spec.ActivateProxy {
		return nil
	}
	ports, err := assignable(c)
	if err == nil {
		err = e.checkActivation(c, ports)
	}
	if err != nil {
		err = fmt.Errorf("connections could not start container %q any more: %w", c.Name, err)
	}
	return err
}

// isWired reports whether the start of c needs to know of networks or ports.
func isWired(c spec.Container) bool {
	return len(c.Network.Endpoints) > 0 || c.Activation.Mode == spec.ActivateFD
}

// Launch brings up a container that has just been made: it starts it or, if
// connections are to do that, opens its sockets.
func (e *Engine) Launch(ctx context.Context, ref string) error {
	c, err := e.state.Find(ref)
	if err != nil {
		return err
	}
	if !c.Activated() {
		return e.Start(ctx, ref)
	}
	return e.withLock(ctx, c.ID, func(c spec.Container) error {
		conn, err := e.systemd(ctx)
		if err != nil {
			return err
		}
		r, err := e.readyUnits(ctx, c)
		if err != nil {
			return err
		}
		return e.openSockets(ctx, conn, r)
	})
}

// ready is a container that is ready to be started.
type ready struct {
	c     spec.Container
	ports []spec.Port // with their ports on the host
	units []unitgen.Unit
}

// readyUnits computes the units of c for a start by hand, and makes sure of all that
// they need. A container for one run alone is removed if that fails.
func (e *Engine) readyUnits(ctx context.Context, c spec.Container) (r ready, err error) {
	if err := e.ensureDaemons(ctx, c); err != nil {
		return r, err
	}
	if c.Unit != "" {
		if c, err = e.settleUnit(ctx, c); err != nil {
			return r, err
		}
	}
	if err := e.noteManualStart(c); err != nil {
		return r, err
	}
	r.c = c
	if err = errors.Join(checkSecrets(c), e.checkNetworksOf(c)); err == nil {
		r.ports, err = e.portsForStart(ctx, c)
	}
	if err == nil {
		r.units, err = e.containerUnits(ctx, c, r.ports)
	}
	if err != nil {
		return r, errors.Join(err, e.discardUnstarted(ctx, c))
	}
	return r, nil
}

// portsForStart is choosePorts, but for a container whose sockets are open: it has
// its ports already.
func (e *Engine) portsForStart(ctx context.Context, c spec.Container) ([]spec.Port, error) {
	if !c.Activated() {
		return e.choosePorts(c)
	}
	open, err := e.socketsOpen(ctx, c)
	if err != nil {
		return nil, err
	}
	if open {
		return e.chosenPorts(c)
	}
	return e.choosePorts(c)
}

// socketsOpen reports whether connections can start c.
func (e *Engine) socketsOpen(ctx context.Context, c spec.Container) (bool, error) {
	units, err := e.units(ctx, unitgen.SocketName(c.UnitName()))
	return err == nil && isOpen(units, c), err
}

// isOpen reports whether, of the given units, the sockets of c are open.
func isOpen(units map[string]supervisor.UnitStatus, c spec.Container) bool {
	return c.Activated() && units[unitgen.SocketName(c.UnitName())].ActiveState == "active"
}

// openSockets writes the unit files of a container that connections start, and
// opens its sockets. If they are to come back at boot they are enabled; its service
// never is.
func (e *Engine) openSockets(ctx context.Context, conn *supervisor.Conn, r ready) error {
	if err := checkHostAddresses(r.ports); err != nil {
		return err
	}
	if err := e.writeUnitFiles(ctx, conn, r.c, r.units, r.c.Restart.Boot()); err != nil {
		return err
	}
	for _, u := range r.units {
		if err := refresh(ctx, conn, u.Name); err != nil {
			return err
		}
	}
	var err error
	for range portAttempts {
		err = conn.Start(ctx, unitgen.SocketName(r.c.UnitName()))
		var job *supervisor.JobError
		if !errors.As(err, &job) {
			return err
		}
		if taken := e.portTaken(ctx, conn, r.c, r.ports); taken != nil {
			return taken
		}
	}
	return err
}

// writeUnitFiles writes unit files of c, its service last: it refers to the others. It
// enables what brings c back at boot, or disables it.
func (e *Engine) writeUnitFiles(ctx context.Context, conn *supervisor.Conn, c spec.Container, units []unitgen.Unit, enable bool) error {
	for _, u := range slices.Backward(units) {
		if err := conn.WriteUnitFile(ctx, u.Name, unitgen.Text(u)); err != nil {
			return err
		}
	}
	if enable {
		return e.enable(ctx, conn, c)
	}
	return e.disable(ctx, conn, c)
}

// bootUnit returns the unit that is enabled if c is to come back at boot.
func bootUnit(c spec.Container) string {
	if c.Activated() {
		return unitgen.SocketName(c.UnitName())
	}
	return c.UnitName()
}

// hasUnitFiles reports whether the units of c are files rather than transient.
func hasUnitFiles(c spec.Container) bool { return c.Restart.Boot() || c.Activated() }

// stopWaiting closes the sockets of c, which is to stop, for good.
func (e *Engine) stopWaiting(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	if err := e.noteStopped(c); err != nil {
		return err
	}
	if err := e.closeSockets(ctx, conn, c); err != nil {
		return err
	}
	if c.Restart.Mode != spec.RestartUnlessStopped {
		return nil
	}
	return e.disable(ctx, conn, c) // a manual stop lasts over a reboot
}

// closeSockets ends the waiting of c for connections, and the proxy that carries
// those that are open.
func (e *Engine) closeSockets(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	for _, unit := range []string{unitgen.SocketName(c.UnitName()), unitgen.ProxyName(c.UnitName())} {
		if err := conn.Stop(ctx, unit); err != nil && !isNotFound(err) {
			return fmt.Errorf("stop %q: close its sockets: %w", c.Name, err)
		}
	}
	return nil
}

// freePorts returns once nobody has a port of c any more.
func (e *Engine) freePorts(ctx context.Context, conn *supervisor.Conn, c spec.Container) error {
	name := c.UnitName()
	units, err := conn.Units(ctx, unitgen.SocketName(name), unitgen.ProxySocketName(name), unitgen.ProxyName(name))
	if err != nil {
		return err
	}
	for _, u := range units {
		if err := conn.Stop(ctx, u.Name); err != nil && !isNotFound(err) {
			return fmt.Errorf("stop %q: release its ports: %w", c.Name, err)
		}
	}
	return nil
}

// restartOpen restarts c, whose sockets stay open: new connections wait for the next
// run. The lock of c is held.
func (e *Engine) restartOpen(ctx context.Context, c spec.Container, opt StopOptions) error {
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	props, err := conn.Properties(ctx, c.UnitName())
	if err != nil && !isNotFound(err) {
		return err
	}
	if err != nil || !hasProcesses(props) {
		return e.start(ctx, c)
	}
	if e.freeUnit(c) != c.Unit { // it was renamed, and is to get the unit of its name: sockets cannot move
		if err := e.Stop(ctx, c.ID, opt); err != nil {
			return err
		}
		return e.start(ctx, c)
	}
	r, err := e.readyUnits(ctx, c)
	if err != nil {
		return err
	}
	if err := e.openSockets(ctx, conn, r); err != nil {
		return err
	}
	if props.FreezerState != freezerRuns || frozen(c) {
		if err := setFrozen(ctx, conn, c, false); err != nil {
			return err
		}
	}
	if err := e.wires().Close(ctx, c.ID); err != nil {
		return err
	}
	if err := e.state.SetResting(c.ID); err != nil {
		return err
	}
	job, err := conn.RestartNoWait(ctx, c.UnitName())
	if err != nil {
		return err
	}
	// The restart is under way. What was asked for beyond the container's own signal
	// and grace period is for the run that it ends.
	if err := e.end(ctx, conn, c, int(props.MainPID), opt); err != nil {
		job.Forget()
		return err
	}
	if err := job.Wait(ctx); err != nil {
		return e.explainStart(ctx, c, err)
	}
	return e.confirmStart(ctx, c)
}

// userland returns those of the sockets of an ordinary container whose connections
// a proxy has to carry, and the others. Without IPv6 in its network nothing else
// leads from there to it, and [::1] is out of the firewall's reach where bridges are
// filtered, see package nft.
func (e *Engine) userland(c spec.Container, ports []spec.Port) (proxied, plain []unitgen.Listen, err error) {
	all := unitgen.Listens(ports, link.HasIPv6())
	if c.Activated() || len(all) == 0 {
		return nil, all, nil
	}
	gateway, err := e.gateway(c)
	if err != nil {
		return nil, nil, err
	}
	only4, filtered := gateway == nil || gateway.Subnet6() == nil, link.FiltersBridges6()
	for _, l := range all {
		if needsProxy(l, only4, filtered) {
			proxied = append(proxied, l)
		} else {
			plain = append(plain, l)
		}
	}
	return proxied, plain, nil
}

func needsProxy(l unitgen.Listen, only4, filtered bool) bool {
	addr, err := netip.ParseAddrPort(l.Address)
	if err != nil || !addr.Addr().Is6() {
		return false
	}
	a := addr.Addr()
	return only4 || filtered && (a.IsUnspecified() || a.IsLoopback())
}

// socketUnits returns the units of the sockets of c and what serves them, and puts
// to sleep what they have started.
func (e *Engine) socketUnits(c spec.Container, ports []spec.Port) ([]unitgen.Unit, error) {
	proxied, plain, err := e.userland(c, ports)
	if err != nil {
		return nil, err
	}
	in := unitgen.ProxyInput{NetdPath: filepath.Join(e.opt.Libexec, "cleat-netd"), Root: e.opt.Root, RunRoot: e.opt.RunRoot}
	var units []unitgen.Unit
	add := func(u unitgen.Unit, e error) {
		units, err = append(units, u), errors.Join(err, e)
	}
	if len(plain) > 0 {
		add(unitgen.Socket(c, plain))
	}
	if len(proxied) > 0 {
		add(unitgen.ProxySocket(c, proxied))
	}
	if len(proxied) > 0 || c.Activation.Mode == spec.ActivateProxy && len(plain) > 0 {
		add(unitgen.Proxy(c, in))
	}
	if c.Activation.IdleTimeout > 0 {
		idle, idleErr := unitgen.Idle(c, in)
		units, err = append(units, idle...), errors.Join(err, idleErr)
	}
	return units, err
}

// socketNames returns those of units that are sockets.
func socketNames(units []unitgen.Unit) []string {
	var names []string
	for _, u := range units {
		if strings.HasSuffix(u.Name, ".socket") {
			names = append(names, u.Name)
		}
	}
	return names
}

// helperUnits returns the names of the units that c may have beside its service.
func helperUnits(c spec.Container) []string {
	name := c.UnitName()
	names := []string{unitgen.SocketName(name), unitgen.ProxySocketName(name), unitgen.ProxyName(name)}
	if c.Activation.IdleTimeout > 0 {
		names = append(names, unitgen.TimerName(name), unitgen.IdleName(name))
	}
	return names
}
