package serve

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/netd/dns"
)

func addrs(all ...string) (out []netip.Addr) {
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// lookup asks a server that sees what the directory shows to a container.
func lookup(t *testing.T, d *directory, name, question string, kind dnsmessage.Type) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	view := func() dns.View { v := d.view(id(name)); v.Upstreams = nil; return v }
	go func() { _ = (&dns.Server{}).ServePacket(t.Context(), pc, view) }()
	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := exchange(c, "udp", question, kind, limit)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestView(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, n := range []string{"front", "back", "far", netd.DefaultName} {
		w.network(n)
	}
	w.run("web", netd.Live{
		Names:     []string{"0123456789ab"},
		Endpoints: []netd.Endpoint{on("front", "10.1.0.2", "www", "pool", "WEB"), on("back", "10.2.0.2")},
		Links: []netd.Link{
			{ContainerID: id("db"), Alias: "database"}, {ContainerID: id("lone"), Alias: "far"},
			{ContainerID: id("dead"), Alias: "ghost"}, {ContainerID: id("plain"), Alias: "old"},
		},
	})
	w.run("db", netd.Live{Endpoints: []netd.Endpoint{on("back", "10.2.0.3", "pool")}})
	w.run("cache", netd.Live{Endpoints: []netd.Endpoint{on("front", "10.1.0.4", "pool")}})
	w.run("lone", netd.Live{Endpoints: []netd.Endpoint{on("nosuch", "10.3.0.2"), on("far", "10.5.0.2")}})
	w.run("plain", netd.Live{Endpoints: []netd.Endpoint{on(netd.DefaultName, "10.4.0.2", "flat")}})
	w.run("dead", netd.Live{Endpoints: []netd.Endpoint{on("front", "10.1.0.5")}})
	w.end("dead")
	cfg := w.config()
	cfg.Warn = func(string, ...any) {} // of the network that does not exist
	d, err := newDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.watch.close()
	for rule, tt := range map[string]struct {
		from, name, want string
	}{
		"a neighbour":                             {"cache", "web", "10.1.0.2"},
		"its further name":                        {"cache", "0123456789ab", "10.1.0.2"},
		"its alias":                               {"cache", "www", "10.1.0.2"},
		"with the network":                        {"cache", "www.front", "10.1.0.2"},
		"with a network that one is not on":       {"cache", "web.back", "NameError"},
		"itself":                                  {"cache", "cache", "10.1.0.4"},
		"an alias of two":                         {"cache", "pool", "10.1.0.2 10.1.0.4"},
		"an alias counts in its network alone":    {"db", "www", "NameError"},
		"the same alias elsewhere":                {"db", "pool", "10.2.0.3"},
		"on two networks, the first is asked":     {"web", "pool", "10.1.0.2 10.1.0.4"},
		"the other one by name":                   {"web", "pool.back", "10.2.0.3"},
		"somebody on another network":             {"cache", "db", "NameError"},
		"one that has ended":                      {"cache", "dead", "NameError"},
		"asked by one that has ended":             {"dead", "web", "NameError"},
		"asked by a stranger":                     {"nosuch", "web", "NameError"},
		"a link":                                  {"web", "database", "10.2.0.3"},
		"a link with the network":                 {"web", "database.back", "10.2.0.3"},
		"a link is nobody else's":                 {"cache", "database", "NameError"},
		"a link to where one is not":              {"web", "far", "NameError"},
		"a link to one that has ended":            {"web", "ghost", "NameError"},
		"the default network resolves nothing":    {"plain", "plain", "NameError"},
		"nor does it for aliases":                 {"plain", "flat", "NameError"},
		"the others are not":                      {"lone", "lone", "10.5.0.2"},
		"a network without record is left out":    {"lone", "lone.nosuch", "NameError"},
		"an alias that is a name again is no 2nd": {"cache", "WEB", "10.1.0.2"},
	} {
		t.Run(rule, func(t *testing.T) {
			if got := lookup(t, d, tt.from, tt.name, dnsmessage.TypeA); got != tt.want {
				t.Errorf("%s asks for %s: got %s, want %s", tt.from, tt.name, got, tt.want)
			}
		})
	}
	for from, question := range map[string]string{"web": "3.0.2.10.in-addr.arpa", "db": "2.0.2.10.in-addr.arpa"} {
		want := map[string]string{"web": "db.back.", "db": "web.back."}[from]
		if got := lookup(t, d, from, question, dnsmessage.TypePTR); got != want {
			t.Errorf("%s asks for %s: got %s, want %s", from, question, got, want)
		}
	}
}

// Records that are replaced and control groups that are emptied are noticed
// without anybody asking the watcher.
func TestViewFollowsRecords(t *testing.T) {
	t.Parallel()
	w := front(t)
	d, err := newDirectory(w.config())
	if err != nil {
		t.Fatal(err)
	}
	defer d.watch.close()
	ask := func(want string) {
		t.Helper()
		if got := lookup(t, d, "web", "db", dnsmessage.TypeA); got != want {
			t.Errorf("db is %s, want %s", got, want)
		}
	}
	ask("10.1.0.3")
	for _, addr := range []string{"10.1.0.4", "10.1.0.5", "10.1.0.6"} { // within one tick of the clock
		w.run("db", netd.Live{Endpoints: []netd.Endpoint{on("front", addr)}})
		ask(addr)
	}
	w.run("db", netd.Live{})
	ask("NameError")
	w.run("db", netd.Live{Endpoints: []netd.Endpoint{on("front", "10.1.0.7")}})
	ask("10.1.0.7")
	w.write("live/"+id("db"), "{") // damaged: left out, and the others stay
	w.run("web", netd.Live{Names: []string{"more"}, Endpoints: []netd.Endpoint{on("front", "10.1.0.2")}})
	ask("NameError")
	if got := lookup(t, d, "web", "more", dnsmessage.TypeA); got != "10.1.0.2" {
		t.Errorf("more is %s", got)
	}
}

func TestUpstreams(t *testing.T) {
	t.Parallel()
	const stub = "nameserver 127.0.0.53\n"
	for rule, tt := range map[string]struct {
		first, second string
		want          []string
	}{
		"servers in order":                {"# a\nsearch x\nnameserver 10.0.0.1\nnameserver fd00::1\n", "", []string{"10.0.0.1:53", "[fd00::1]:53"}},
		"with a zone":                     {"nameserver fe80::1%eth0\n", "", []string{"[fe80::1%eth0]:53"}},
		"no more than resolvers take":     {"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4", "", []string{"1.1.1.1:53", "1.1.1.2:53", "1.1.1.3:53"}},
		"nonsense is passed over":         {"nameserver\nnameserver x\n;nameserver 1.1.1.1\nnameserver 1.1.1.2 # b\n", "", []string{"1.1.1.2:53"}},
		"the stub's servers":              {stub, "nameserver 10.0.0.9\n", []string{"10.0.0.9:53"}},
		"the stub where there is no more": {stub, "", []string{"127.0.0.53:53"}},
		"the stub among others":           {stub + "nameserver 10.0.0.1\n", "nameserver 10.0.0.9\n", []string{"127.0.0.53:53", "10.0.0.1:53"}},
		"none":                            {"", "", []string{"127.0.0.1:53"}},
	} {
		t.Run(rule, func(t *testing.T) {
			w := newWorld(t)
			w.resolvConf(tt.first)
			if tt.second != "" {
				w.write("resolved.conf", tt.second)
			}
			u := &upstreams{files: w.config().ResolvConf}
			var got []string
			for _, s := range u.list() {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUpstreamsAreReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := &upstreams{files: w.config().ResolvConf}
	for _, step := range []struct{ file, text, want string }{
		{"resolv.conf", "nameserver 10.0.0.1\n", "10.0.0.1:53"},
		{"resolv.conf", "nameserver 10.0.0.2\n", "10.0.0.2:53"}, // of the same length, within one tick
		{"resolv.conf", "nameserver 127.0.0.53\n", "127.0.0.53:53"},
		{"resolved.conf", "nameserver 10.0.0.3\n", "10.0.0.3:53"},
		{"resolv.conf", "nameserver 10.0.0.4\n", "10.0.0.4:53"},
	} {
		w.write(step.file, step.text)
		if got := u.list(); len(got) != 1 || got[0].String() != step.want {
			t.Errorf("after %q in %s: %v", step.text, step.file, got)
		}
	}
}

func TestVersionIsCurrent(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	s := stamp{ino: 1, changed: at(0)}
	for rule, tt := range map[string]struct {
		read, asked int
		now         stamp
		want        bool
	}{
		"read long after the change":  {1000, 2000, s, true},
		"read just after the change":  {20, 2000, s, false},
		"read since it was asked for": {20, 10, s, true},
		"changed meanwhile":           {1000, 2000, stamp{ino: 1, changed: at(1500)}, false},
		"replaced by an older one":    {1000, 2000, stamp{ino: 2, changed: at(0)}, false},
		"gone":                        {1000, 2000, stamp{}, false},
	} {
		if got := (version{s, at(tt.read)}).current(tt.now, at(tt.asked)); got != tt.want {
			t.Errorf("%s: %v", rule, got)
		}
	}
}
