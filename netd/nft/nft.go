// Package nft keeps the firewall of container networks: one nftables table of
// family inet, by default called cleat, that no other program has a reason to
// touch, as this one touches no other. The table has a fixed part, its chains
// and rules, which Set and Add build where it is missing, and elements of sets
// and maps, which come and go with networks and published ports: a start or stop
// is one transaction whose cost does not depend on how many there are. It needs
// Linux 5.7, which was the first to know the incoming device after routing.
//
// On a host where br_netfilter is loaded and net.bridge.bridge-nf-call-ip6tables
// is 1, connections of the host to [::1] are not led to containers. The answer's
// destination is translated back to ::1 while the frame is still on the bridge
// (br_nf_pre_routing_ipv6), and whatever comes in with ::1 by another device than
// lo is dropped before any rule sees it (ip6_rcv_core). Untranslated it does not
// get on: the rules that a frame has passed on the bridge are not gone through
// again (ip_sabotage_in), and no bridge can opt out of that setting, only in
// (br_nf_pre_routing). So no rule can help: such connections are left to the socket that reserves the
// port, from which package netd/proxy carries them. There, too, containers of a
// network that forbids neighbours to talk do not reach each other by published
// ports.
//
// # For administrators
//
// The chain "user" is theirs: it is made empty and never changed afterwards.
// Every packet that is forwarded to or from a container, answers included, passes
// it before cleat decides. Translation has happened by then, so the port on the
// host is "ct original proto-dst", the address that the client asked for is
// "ct original ip daddr", and the sender's address is unchanged. For example, to
// let only one network reach port 8080:
//
//	nft add rule inet cleat user ct direction original meta l4proto tcp ct original proto-dst 8080 ip saddr != 192.0.2.0/24 drop
//
// Rules there last until the ruleset is flushed, so they belong into a file that
// begins with "flush chain inet cleat user" and is loaded by an ExecStartPost= in a
// drop-in of cleat-network-restore.service, which runs then.
//
// Where cleat has made the kernel forward packets (net.ipv4.ip_forward is 2, or
// net.ipv6.conf.all.forwarding), the host is no router: what has to do with no
// container is not passed on between its other devices. Who wants a router sets
// the same to 1, in /etc/sysctl.d or at once; in the latter case "systemctl start
// cleat-network-restore.service" makes cleat notice.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/spec"
)

// DefaultTable is the name of the table of the ordinary state directories.
const DefaultTable = "cleat"

// TableOf returns the name of the table of the state directory that place, a word,
// stands for; "" is the ordinary one.
func TableOf(place string) string {
	if place == "" {
		return DefaultTable
	}
	return DefaultTable + "-" + place
}

// Table is the firewall in the network namespace of the thread that calls its
// methods. It holds nothing open and may be used by many processes at a time.
// New makes one.
type Table struct{ name string }

// New returns the table called name; "" means DefaultTable. Two sets of state
// directories on one host need a table and bridges of different names.
func New(name string) Table {
	if name == "" {
		name = DefaultTable
	}
	return Table{name}
}

// Network is what the firewall needs to know of a network.
type Network struct {
	Device   string         `json:"device"`             // the bridge
	Subnets  []netip.Prefix `json:"subnets"`            // masked
	Internal bool           `json:"internal,omitempty"` // no way out
	Isolated bool           `json:"isolated,omitempty"` // its containers do not reach each other
	NoMasq   bool           `json:"no_masq,omitempty"`  // outgoing traffic keeps its source
}

// NetworkOf returns what the firewall needs to know of n.
func NetworkOf(n *netd.Network) Network {
	out := Network{Device: n.Device, Internal: n.Internal, Isolated: n.Isolated, NoMasq: n.NoMasq}
	for _, s := range n.Subnets {
		out.Subnets = append(out.Subnets, s.Prefix)
	}
	return out
}

// Mapping leads a published port to a container. The port has to be assigned
// (see netd.Assign). It is published in each family in which both the port has
// an address to listen on and the container one to be reached at.
type Mapping struct {
	Port  netd.Port  `json:"port"`
	Addr4 netip.Addr `json:"addr4,omitzero"` // the container's; zero means none
	Addr6 netip.Addr `json:"addr6,omitzero"` // likewise
}

// State is what the firewall is to have.
type State struct {
	Networks []Network
	Ports    []Mapping

	// The host forwards packets of this family for cleat's sake alone (see
	// link.Unrouted), so what has to do with no container is not let through.
	Unrouted4, Unrouted6 bool
}

// Set makes the table be exactly what wanted says, in one transaction: there is
// no moment at which a port is closed that was open and is to stay, or a network
// unprotected. It builds the fixed part anew, so it also repairs and upgrades.
// The chain for the administrator is left alone.
func (t Table) Set(wanted State) error {
	stale, err := t.staleMarks()
	if err != nil {
		return err
	}
	b := t.begin()
	b.build(stale)
	b.flushSets()
	b.add(wanted)
	if err := b.commit(); err != nil {
		return fmt.Errorf("set table inet %s: %w", t.name, err)
	}
	return nil
}

// Ensure builds the fixed part if the table has none or that of another
// version, and reports whether it did: then the elements may be missing too, and
// Set should be called with everything.
func (t Table) Ensure() (built bool, err error) {
	current, err := t.current()
	if err != nil || current {
		return false, err
	}
	stale, err := t.staleMarks()
	if err != nil {
		return false, err
	}
	b := t.begin()
	b.build(stale)
	if err := b.commit(); err != nil {
		return false, fmt.Errorf("build table inet %s: %w", t.name, err)
	}
	return true, nil
}

// Add adds networks and ports, building the table if somebody has flushed it.
// What is there already is no error. A port that leads elsewhere is led to the
// new container: who publishes a port has reserved it by a socket, so the old
// element can only be one that a crash has left.
func (t Table) Add(more State) error {
	err := t.apply(func(b *batch) { b.add(more) })
	if errors.Is(err, unix.ENOENT) {
		err = t.apply(func(b *batch) { b.build(nil); b.add(more) })
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		if err := t.removeEach(more.Ports); err != nil {
			return err
		}
		err = t.apply(func(b *batch) { b.add(more) })
	}
	if err != nil {
		return fmt.Errorf("add to table inet %s: %w", t.name, err)
	}
	return nil
}

// Extend is Add for a table that others use too. If somebody has flushed it, so
// that everybody's part is missing, the error wraps spec.ErrNotFound.
func (t Table) Extend(more State) error {
	err := t.apply(func(b *batch) { b.add(more) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("add to table inet %s: %w", t.name, spec.ErrNotFound)
	}
	return t.Add(more)
}

// Exists reports whether the table is there, in whatever state.
func (t Table) Exists() (bool, error) {
	b := t.begin()
	if b.err != nil {
		return false, b.err
	}
	tables, err := b.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(have *nftables.Table) bool { return have.Name == t.name }), nil
}

// Remove removes networks and ports. What is not there is no error.
func (t Table) Remove(less State) error {
	err := t.apply(func(b *batch) { b.remove(less) })
	if !errors.Is(err, unix.ENOENT) {
		return wrap(err, "remove from table inet "+t.name)
	}
	if err := t.removeEach(less.Ports); err != nil {
		return err
	}
	for _, n := range less.Networks {
		for _, e := range elementsOf(n, true) {
			if err := t.removeOne(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeEach removes ports one by one, so that one that is missing does not keep
// the others. It is for tables that are not as they should be.
func (t Table) removeEach(ports []Mapping) error {
	for _, p := range ports {
		for _, e := range p.elements() {
			if err := t.removeOne(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t Table) removeOne(e element) error {
	err := t.apply(func(b *batch) { b.removeElements([]element{e}) })
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return wrap(err, "remove from table inet "+t.name)
}

// CleanUp removes the whole table, the administrator's chain included. That it
// is not there is no error.
func (t Table) CleanUp() error {
	err := t.apply(func(b *batch) { b.conn.DelTable(b.table) })
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return wrap(err, "remove table inet "+t.name)
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// apply runs one transaction.
func (t Table) apply(fill func(*batch)) error {
	b := t.begin()
	fill(b)
	return b.commit()
}

// batch is a transaction that is being put together.
type batch struct {
	conn  *nftables.Conn
	table *nftables.Table
	rules map[string]int // how many rules build has put into each chain
	err   error          // the first
}

func (t Table) begin() *batch {
	conn, err := nftables.New(nftables.WithSockOptions(buffers))
	return &batch{conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: t.name}, rules: map[string]int{}, err: err}
}

// buffers makes room for a whole table, which the kernel takes in one datagram.
// Without the privilege for it, small tables work all the same.
func buffers(c *netlink.Conn) error {
	const size = 16 << 20
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		for _, opt := range []int{unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE} {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt, size)
		}
	})
}

func (b *batch) commit() error {
	if b.err != nil {
		return b.err
	}
	return b.conn.Flush()
}

func (b *batch) note(err error) {
	if b.err == nil {
		b.err = err
	}
}

// current reports whether the table has the fixed part of this version.
func (t Table) current() (bool, error) {
	marks, err := t.marks()
	for _, m := range marks {
		if m == mark {
			return true, err
		}
	}
	return false, err
}

// staleMarks returns the marks of other versions.
func (t Table) staleMarks() ([]string, error) {
	marks, err := t.marks()
	stale := marks[:0]
	for _, m := range marks {
		if m != mark {
			stale = append(stale, m)
		}
	}
	return stale, err
}

// marks returns the table's chains that say which version built it.
func (t Table) marks() ([]string, error) {
	b := t.begin()
	if b.err != nil {
		return nil, b.err
	}
	chains, err := b.conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var marks []string
	for _, c := range chains {
		if c.Table.Name == t.name && len(c.Name) > len(markPrefix) && c.Name[:len(markPrefix)] == markPrefix {
			marks = append(marks, c.Name)
		}
	}
	return marks, nil
}
