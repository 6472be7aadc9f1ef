package serve

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns"
	"github.com/cleat-project/cleat/spec"
)

// directory knows the containers that run, and under which names each of them
// sees the others. It follows the records on disk: a question that is asked after
// a record was written is answered by it.
type directory struct {
	lives   netd.Lives
	network func(id string) (netd.Network, error)
	cgroups string
	host    *upstreams
	watch   *watcher
	warn    func(format string, args ...any)

	mu       sync.Mutex
	version  version // of the directory of the records
	top      int     // its watch
	records  map[string]*record
	watches  map[int]*record         // by the watch of their control group
	networks map[string]netd.Network // by id; a name never changes
	zones    map[string]*dns.Records // by network; nil after a change
	views    map[string]dns.View     // by container; nil after a change
}

// record is a container's record on disk.
type record struct {
	stamp   stamp
	live    netd.Live
	watch   int  // of its control group's events; 0 if there is none
	running bool // once it is false it remains so: another run has another record
}

func (d *directory) eventsFile(l netd.Live) string { return netd.EventsFile(d.cgroups, l.Cgroup) }

// view returns what a container sees now. One that does not run sees nothing.
func (d *directory) view(id string) dns.View {
	asked := time.Now()
	now := stampOf(d.lives.Dir())
	d.mu.Lock()
	d.refresh(now, asked)
	v, ok := d.views[id]
	if !ok {
		v = d.makeView(id)
		if d.views == nil {
			d.views = map[string]dns.View{}
		}
		d.views[id] = v
	}
	d.mu.Unlock()
	return v
}

// running reports whether a container runs. It looks itself, since what the
// watcher tells of may not have been read yet.
func (d *directory) running(id string) bool {
	asked := time.Now()
	now := stampOf(d.lives.Dir())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh(now, asked)
	r := d.records[id]
	if r != nil {
		d.look(r)
	}
	return r != nil && r.running
}

// load reads the records for the first time.
func (d *directory) load() {
	asked := time.Now()
	now := stampOf(d.lives.Dir())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh(now, asked)
}

// find returns the id of the running container whose short id is given, or "".
func (d *directory) find(short string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, r := range d.records {
		if r.running && spec.ShortID(id) == short {
			return id
		}
	}
	return ""
}

// refresh reads the records anew if they may have changed for somebody who came
// at asked, and then found the directory with stamp now. The caller holds mu.
func (d *directory) refresh(now stamp, asked time.Time) {
	if d.version.current(now, asked) {
		return
	}
	d.version = version{now, time.Now()}
	entries, err := os.ReadDir(d.lives.Dir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.warn("read the records of containers: %v, going on with the old ones", err)
		return
	}
	if err == nil {
		if d.top, err = d.watch.add(d.lives.Dir(), unix.IN_DELETE|unix.IN_ONLYDIR); err != nil {
			d.warn("%v, ignoring", err)
		}
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		if fsx.IsTemp(e.Name()) {
			continue
		}
		there[e.Name()] = true
		d.reload(e.Name(), stampOf(filepath.Join(d.lives.Dir(), e.Name())))
	}
	for id := range d.records {
		if !there[id] {
			d.drop(id)
		}
	}
}

// reload reads the record of a container if it has changed.
func (d *directory) reload(id string, now stamp) {
	old := d.records[id]
	if old != nil && old.stamp == now {
		return
	}
	live, err := d.lives.Load(id)
	switch {
	case errors.Is(err, spec.ErrNotFound): // it ended meanwhile
		d.drop(id)
		return
	case err != nil:
		d.warn("container %s is left out: %v", spec.ShortID(id), err)
		d.drop(id)
		return
	}
	d.drop(id)
	r := &record{stamp: now, live: live}
	// Watched first and read then, so that the end is not missed.
	r.watch, err = d.watch.add(d.eventsFile(live), unix.IN_MODIFY)
	switch {
	case err == nil:
		d.watches[r.watch] = r
	case !errors.Is(err, os.ErrNotExist):
		d.warn("%v: the end of container %s will be noticed late", err, spec.ShortID(id))
	}
	r.running = live.Cgroup != "" && netd.Populated(d.eventsFile(live))
	d.records[id] = r
}

// drop forgets the record of a container.
func (d *directory) drop(id string) {
	d.changed()
	r := d.records[id]
	if r == nil {
		return
	}
	delete(d.records, id)
	if r.watch != 0 && d.watches[r.watch] == r {
		delete(d.watches, r.watch)
		d.watch.remove(r.watch)
	}
}

// changed has everything that was made of the records made anew.
func (d *directory) changed() { d.zones, d.views = nil, nil }

// note takes in what the watcher told of, and reports whether containers may
// have ended.
func (d *directory) note(wds []int, lost bool) (ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, wd := range wds {
		ended = ended || wd == d.top
		if r := d.watches[wd]; r != nil {
			ended = d.look(r) || ended
		}
	}
	if lost {
		for _, r := range d.records {
			d.look(r)
		}
	}
	return ended || lost
}

// look looks whether the run of r goes on, and reports whether it has just been
// found to have ended.
func (d *directory) look(r *record) (ended bool) {
	if !r.running || netd.Populated(d.eventsFile(r.live)) {
		return false
	}
	r.running = false
	d.changed()
	return true
}

// makeView puts together what a container sees: its links, and on each of its
// networks everybody. The caller holds mu.
func (d *directory) makeView(id string) dns.View {
	r := d.records[id]
	if r == nil || !r.running {
		return dns.View{}
	}
	if d.zones == nil {
		d.makeZones()
	}
	parts := []*dns.Records{d.links(r.live)}
	for _, e := range r.live.Endpoints {
		parts = append(parts, d.zones[e.NetworkID])
	}
	v := dns.View{Records: dns.Join(parts...)}
	if !r.live.Internal {
		v.Upstreams = d.servers(r.live)
	}
	return v
}

// servers returns the name servers of a container: its own, if it has any, or
// else the host's of the moment.
func (d *directory) servers(l netd.Live) func() []netip.AddrPort {
	if len(l.DNS) == 0 {
		return d.host.list
	}
	own := make([]netip.AddrPort, 0, len(l.DNS))
	for _, a := range l.DNS {
		own = append(own, dnsAt(a))
	}
	return func() []netip.AddrPort { return own }
}

// makeZones makes the records of every network.
func (d *directory) makeZones() {
	running := make([]netd.Live, 0, len(d.records))
	for _, r := range d.records {
		if r.running {
			running = append(running, r.live)
		}
	}
	slices.SortFunc(running, func(a, b netd.Live) int { return cmp.Compare(a.ContainerID, b.ContainerID) })
	entries := map[string][]dns.Entry{}
	for _, l := range running {
		for _, e := range l.Endpoints {
			if n, ok := d.zoneOf(e.NetworkID); ok {
				entries[e.NetworkID] = append(entries[e.NetworkID], entry(n.Name, e, l.Names, e.Aliases))
			}
		}
	}
	d.zones = make(map[string]*dns.Records, len(entries))
	for id, list := range entries {
		d.zones[id] = dns.NewRecords(list)
	}
}

// zoneOf returns a network in which names are resolved: the default one is none.
func (d *directory) zoneOf(id string) (n netd.Network, ok bool) {
	n, ok = d.networks[id]
	if !ok {
		var err error
		if n, err = d.network(id); err != nil {
			d.warn("names on network %s are left out: %v", spec.ShortID(id), err)
			return n, false
		}
		d.networks[id] = n
	}
	return n, !n.Default()
}

// entry makes the entry of one endpoint, every name once: a container is listed
// once under a name that it has got twice.
func entry(network string, e netd.Endpoint, names ...[]string) dns.Entry {
	out := dns.Entry{Network: network}
	for _, name := range slices.Concat(names...) {
		same := func(s string) bool { return strings.EqualFold(s, name) }
		if !slices.ContainsFunc(out.Names, same) {
			out.Names = append(out.Names, name)
		}
	}
	for _, p := range []netip.Prefix{e.Addr4, e.Addr6} {
		if p.IsValid() {
			out.Addrs = append(out.Addrs, p.Addr())
		}
	}
	return out
}

// links returns the names that a container has chosen for others, which lead to
// them on the networks that both are on.
func (d *directory) links(l netd.Live) *dns.Records {
	if len(l.Links) == 0 {
		return nil
	}
	var entries []dns.Entry
	for _, link := range l.Links {
		to := d.records[link.ContainerID]
		if to == nil || !to.running {
			continue
		}
		for _, e := range to.live.Endpoints {
			mine := func(own netd.Endpoint) bool { return own.NetworkID == e.NetworkID }
			if n, ok := d.zoneOf(e.NetworkID); ok && slices.ContainsFunc(l.Endpoints, mine) {
				// The name that the address leads back to comes first.
				entries = append(entries, entry(n.Name, e, to.live.Names, []string{link.Alias}))
			}
		}
	}
	return dns.NewRecords(entries)
}

func newDirectory(cfg Config) (*directory, error) {
	w, err := newWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch containers: %w", err)
	}
	return &directory{
		lives: cfg.Lives, network: cfg.Network, cgroups: cfg.Cgroups, host: &upstreams{files: cfg.ResolvConf},
		watch: w, warn: cfg.Warn,
		records: map[string]*record{}, watches: map[int]*record{}, networks: map[string]netd.Network{},
	}, nil
}
