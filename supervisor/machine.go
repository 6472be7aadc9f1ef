package supervisor

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// systemd-machined on the bus, see org.freedesktop.machine1(5).
const (
	machined          = "org.freedesktop.machine1"
	machinedPath      = objectPath("/org/freedesktop/machine1")
	machinedInterface = machined + ".Manager"
	machinedService   = "cleat" // who has registered a machine
)

// MachinesDir is where systemd-machined has a file for each machine that it knows.
const MachinesDir = "/run/systemd/machines"

// Machine is a container as systemd-machined sees it. Its unit is that of its leader.
type Machine struct {
	Name   string // see spec.MachineName
	ID     string // of the container
	Leader int    // its main process
}

// Register tells systemd-machined of m, in the place of an earlier run of the same
// name. Where there is no systemd-machined, or none that may be started, the error
// wraps spec.ErrUnavail.
func (m Machine) Register(ctx context.Context) error {
	leader, err := registeredLeader(filepath.Join(MachinesDir, m.Name))
	if err != nil || leader == m.Leader {
		return err
	}
	id, err := hex.DecodeString(m.ID)
	if err != nil || len(id) < 16 {
		return fmt.Errorf("container id %q: %w", m.ID, spec.ErrInvalid)
	}
	l, err := dialMachined(ctx)
	if err != nil {
		return err
	}
	defer l.close(errClosed)
	if leader != 0 {
		if err := unregister(ctx, l, m.Name); err != nil {
			return err
		}
	}
	_, err = l.callTo(ctx, machined, machinedPath, machinedInterface, "RegisterMachine",
		m.Name, id[:16], machinedService, "container", uint32(m.Leader), "")
	return machinedError(err)
}

// Unregister has systemd-machined forget m. It is no error if it never knew of it.
func (m Machine) Unregister(ctx context.Context) error {
	l, err := dialMachined(ctx)
	if err != nil {
		return err
	}
	defer l.close(errClosed)
	return unregister(ctx, l, m.Name)
}

// registeredLeader reads a machine's file: the leader's process id, 0 without one.
// One that is not ours is spec.ErrConflict.
func registeredLeader(path string) (leader int, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	service := ""
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "SERVICE":
			service = value
		case "LEADER":
			if leader, err = strconv.Atoi(value); err != nil {
				return 0, fmt.Errorf("%s: leader %q: %w", path, value, spec.ErrInvalid)
			}
		}
	}
	if service != machinedService {
		return 0, fmt.Errorf("machine %s belongs to %q: %w", filepath.Base(path), service, spec.ErrConflict)
	}
	return leader, nil
}

// dialMachined connects to the system bus.
func dialMachined(ctx context.Context) (*link, error) {
	l, err := dialPrivate(ctx, SystemBus)
	if err != nil {
		return nil, err
	}
	if err := l.greet(ctx); err != nil {
		l.close(err)
		return nil, err
	}
	return l, nil
}

func unregister(ctx context.Context, l *link, name string) error {
	_, err := l.callTo(ctx, machined, machinedPath, machinedInterface, "UnregisterMachine", name)
	if bus, ok := errors.AsType[*BusError](err); ok && bus.Name == machined+".NoSuchMachine" {
		return nil
	}
	return machinedError(err)
}

// machinedError wraps spec.ErrUnavail if there is no systemd-machined: none is
// installed, or it is masked, or it could not be started.
func machinedError(err error) error {
	bus, ok := errors.AsType[*BusError](err)
	if !ok {
		return err
	}
	switch {
	case strings.HasPrefix(bus.Name, "org.freedesktop.DBus.Error.ServiceUnknown"), strings.HasPrefix(bus.Name, "org.freedesktop.DBus.Error.Spawn."),
		strings.HasPrefix(bus.Name, "org.freedesktop.systemd1."), bus.Name == "org.freedesktop.DBus.Error.NameHasNoOwner":
		return fmt.Errorf("systemd-machined: %w: %w", err, spec.ErrUnavail)
	}
	return fmt.Errorf("systemd-machined: %w", err)
}
