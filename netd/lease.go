package netd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// Leases is the directory in which the addresses of running containers are
// written down: <dir>/<network id>/<address> is a symbolic link whose target is
// the owner. Making a symbolic link is one atomic step that fails if the name is
// taken (symlink(2)), so a lease is never there without its owner, whenever the
// power fails, and taking one needs no lock. The directory lies on a tmpfs: a
// reboot releases everything.
//
// All methods may be called by many processes at a time.
type Leases struct{ dir string }

// NewLeases returns the leases below dir, for example /run/cleat/net. The
// directory is made when it is needed.
func NewLeases(dir string) Leases { return Leases{dir} }

// Owner is who holds a lease.
type Owner struct {
	ContainerID string // 64 hex digits
	Cgroup      string // of its unit, below the root of cgroup2: it tells whether the run still goes on
}

func (o Owner) String() string { return o.ContainerID + " " + o.Cgroup }

// Running reports whether the run for which the address was taken goes on.
func (o Owner) Running() bool { return occupied(o.Cgroup) }

func parseOwner(s string) Owner {
	id, cgroup, _ := strings.Cut(s, " ")
	return Owner{id, cgroup}
}

// Lease is one address that is held.
type Lease struct {
	NetworkID string
	Addr      netip.Addr
	Owner     Owner
}

// InUse is the error of an address that somebody else holds. It wraps
// spec.ErrConflict.
type InUse struct{ Lease }

// Error says which address is held by whom.
func (e *InUse) Error() string {
	return fmt.Sprintf("address %s is in use by container %s", e.Addr, spec.ShortID(e.Owner.ContainerID))
}

// Unwrap returns spec.ErrConflict.
func (e *InUse) Unwrap() error { return spec.ErrConflict }

// The cursor is a link beside the leases that says which address was given out
// last. It is a hint: whoever reads an old one only tries a few more addresses.
const cursor = ".last"

const lockFile = ".lock"

// Take leases the given address of a network. Taking what the same container
// holds already is no error. If somebody else holds it, the error is an *InUse.
func (l Leases) Take(networkID string, a netip.Addr, o Owner) error {
	dir, err := l.network(networkID)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, a.String())
	for range 3 { // a holder that goes between two steps leaves the address to be tried again
		err := os.Symlink(o.String(), path)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		held, err := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if by := parseOwner(held); by.ContainerID != o.ContainerID {
			return &InUse{Lease{networkID, a, by}}
		}
		return nil
	}
	return fmt.Errorf("take address %s: its holders come and go: %w", a, spec.ErrUnavail)
}

// Next leases the next free address of a subnet, going round: an address that
// was just released is the last to be given out again. The gateway and the
// auxiliary addresses never are. If all are taken, the error wraps
// spec.ErrConflict.
func (l Leases) Next(networkID string, s Subnet, o Owner) (netip.Addr, error) {
	dir, err := l.network(networkID)
	if err != nil {
		return netip.Addr{}, err
	}
	pool := s.Range
	if !pool.IsValid() {
		pool = s.Prefix
	}
	first, end := pool.Masked().Addr(), last(pool)
	hint := filepath.Join(dir, cursor+family(first))
	from := after(hint, pool)
	for a := from; ; {
		if s.CheckAddr(a) == nil && !s.reserved(a) {
			err := os.Symlink(o.String(), filepath.Join(dir, a.String()))
			if err == nil {
				return a, writeCursor(hint, a)
			}
			if !errors.Is(err, fs.ErrExist) {
				return netip.Addr{}, err
			}
		}
		if a == end {
			a = first
		} else {
			a = a.Next()
		}
		if a == from {
			return netip.Addr{}, fmt.Errorf("no free address left in %s: %w", pool, spec.ErrConflict)
		}
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// after returns the address after the one that the cursor names, or the first.
func after(hint string, pool netip.Prefix) netip.Addr {
	first := pool.Masked().Addr()
	target, err := os.Readlink(hint)
	if err != nil {
		return first
	}
	a, err := netip.ParseAddr(target)
	if err != nil || !pool.Contains(a) || a == last(pool) {
		return first
	}
	return a.Next()
}

// writeCursor replaces the cursor. The lease that was just made gives the
// temporary name: nobody else can have it.
func writeCursor(hint string, a netip.Addr) error {
	tmp := hint + "." + a.String()
	if err := os.Symlink(a.String(), tmp); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(tmp, hint)
}

func (s Subnet) reserved(a netip.Addr) bool {
	for _, aux := range s.Aux {
		if a == aux {
			return true
		}
	}
	return a == s.Gateway
}

// Release gives back one address of a container. Releasing what it does not
// hold is no error.
func (l Leases) Release(ctx context.Context, networkID string, a netip.Addr, containerID string) error {
	return l.drop(ctx, networkID, []string{a.String()}, func(o Owner) bool { return o.ContainerID == containerID })
}

// ReleaseAll gives back every address of a container, in all networks.
func (l Leases) ReleaseAll(ctx context.Context, containerID string) error {
	_, err := l.Sweep(ctx, func(o Owner) bool { return o.ContainerID != containerID })
	return err
}

// Sweep gives back the addresses of all owners that are not live and returns the
// leases that it has ended.
func (l Leases) Sweep(ctx context.Context, live func(Owner) bool) ([]Lease, error) {
	all, err := l.All()
	if err != nil {
		return nil, err
	}
	dead := map[string][]string{}
	swept := make([]Lease, 0)
	for _, lease := range all {
		if !live(lease.Owner) {
			dead[lease.NetworkID] = append(dead[lease.NetworkID], lease.Addr.String())
			swept = append(swept, lease)
		}
	}
	gone := func(o Owner) bool { return !live(o) }
	for id, names := range dead {
		err = errors.Join(err, l.drop(ctx, id, names, gone))
	}
	return swept, err
}

// drop removes leases if their owner is still the right one. Only removals are
// done under the lock: nobody can take an address while it is held, so what
// was read cannot change before it is removed.
func (l Leases) drop(ctx context.Context, networkID string, names []string, mine func(Owner) bool) error {
	dir := filepath.Join(l.dir, networkID)
	lock, err := fsx.Acquire(ctx, filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	for _, name := range names {
		path := filepath.Join(dir, name)
		held, err := os.Readlink(path)
		if err == nil && mine(parseOwner(held)) {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release address: %w", err)
		}
	}
	return nil
}

// All returns the leases of all networks, in the order of their names.
func (l Leases) All() ([]Lease, error) {
	networks, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Lease
	for _, n := range networks {
		if !n.IsDir() {
			continue
		}
		leases, err := l.Of(n.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, leases...)
	}
	return all, nil
}

// Of returns the leases of one network.
func (l Leases) Of(networkID string) ([]Lease, error) {
	entries, err := os.ReadDir(filepath.Join(l.dir, networkID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var leases []Lease
	for _, e := range entries {
		a, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue // the cursor or the lock
		}
		held, err := os.Readlink(filepath.Join(l.dir, networkID, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		leases = append(leases, Lease{networkID, a, parseOwner(held)})
	}
	return leases, nil
}

// Forget removes what a network that is gone has left. If addresses are still
// leased, the error wraps spec.ErrConflict.
func (l Leases) Forget(ctx context.Context, networkID string) error {
	dir := filepath.Join(l.dir, networkID)
	lock, err := fsx.Acquire(ctx, filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	leases, err := l.Of(networkID)
	if err != nil {
		return err
	}
	if len(leases) > 0 {
		return &InUse{leases[0]}
	}
	rest, err := os.ReadDir(dir) // the lock, the cursors and what a killed process left of one
	if err != nil {
		return err
	}
	for _, e := range rest {
		if !strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); err != nil { // not empty: somebody has just taken an address
		return fmt.Errorf("forget network %s: %w", spec.ShortID(networkID), err)
	}
	return nil
}

// network makes and returns the directory of a network. The id comes of a
// record on disk, but it becomes part of a path, so it is looked at again.
func (l Leases) network(id string) (string, error) {
	if id == "" || strings.HasPrefix(id, ".") || strings.ContainsRune(id, '/') {
		return "", fmt.Errorf("network id %q: %w", id, spec.ErrInvalid)
	}
	dir := filepath.Join(l.dir, id)
	if err := os.Mkdir(dir, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
		return dir, nil
	}
	return dir, os.MkdirAll(dir, 0o700)
}
