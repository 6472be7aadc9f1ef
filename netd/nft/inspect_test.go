package nft_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd/nft"
)

// Every change that somebody can make to the table is found, put into words, and
// repaired by Set.
func TestInspect(t *testing.T) {
	needNft(t)
	const table = "table inet cleat "
	for name, tt := range map[string]struct {
		harm, want string
	}{
		"nothing":             {"", ""},
		"administrator":       {"add rule inet cleat user tcp dport 80 drop", ""},
		"others' tables":      {"add table inet other; add chain inet other forward; add rule inet other forward drop", ""},
		"flushed":             {"flush ruleset", table + "is missing"},
		"chain flushed":       {"flush chain inet cleat guard", "table inet cleat" + `: the rules of chain "guard" are not cleat's`},
		"rule added":          {"insert rule inet cleat forward accept", "table inet cleat" + `: the rules of chain "forward" are not cleat's`},
		"rule changed":        {"flush chain inet cleat output; add rule inet cleat output fib daddr type unicast jump publish", "table inet cleat" + `: the rules of chain "output" are not cleat's`},
		"policy changed":      {"add chain inet cleat forward { policy drop; }", "table inet cleat" + `: the rules of chain "forward" are not cleat's`},
		"mark removed":        {"delete chain inet cleat version-2", table + "is of another version of cleat"},
		"port removed":        {"delete element inet cleat any4 { tcp . 8080 }", table + "has no port 8080:80/tcp to 172.17.0.2"},
		"port on one address": {"delete element inet cleat ports6 { tcp . ::1 . 82 }", table + "has no port [::1]:82:80/tcp to fd00::2"},
		"port led elsewhere": {
			"delete element inet cleat any4 { udp . 53 }; add element inet cleat any4 { udp . 53 : 172.17.0.9 . 5353 }",
			table + "has no port 53:53/udp to 172.17.0.2\n" + table + "has a stale port 53:5353/udp to 172.17.0.9",
		},
		"port added":       {"add element inet cleat ports4 { tcp . 192.0.2.1 . 99 : 172.17.0.9 . 1 }", table + "has a stale port 192.0.2.1:99:1/tcp to 172.17.0.9"},
		"isolation lifted": {`delete element inet cleat internal { "cl-inside" }`, table + `has no entry for device cl-inside in set "internal"`},
		"network added":    {`add element inet cleat bridges { "eth0" }`, table + `has a stale entry for device eth0 in set "bridges"`},
		"subnet removed":   {`delete element inet cleat local4 { "cleat0" . 172.17.0.0/16 }`, table + `has no entry for device cleat0 in set "local4"`},
		"forwarding":       {"delete element inet cleat unrouted { ipv6 }", table + "has no ban on forwarding IPv6 for others than containers"},
		"many things": {
			"flush map inet cleat ports4; flush set inet cleat closed; flush chain inet cleat strangers",
			"table inet cleat" + `: the rules of chain "strangers" are not cleat's` + "\n" + table + `has no entry for device fifteen-letters in set "closed"` + "\n" + table + "has no port 127.0.0.1:81:80/tcp to 172.17.0.2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := nstest.New(t, "host")
			all, n := sample(t), nft.New("")
			do(t, host, func() error { return n.Set(all) })
			if tt.harm != "" {
				host.Run("nft", tt.harm)
			}
			before := host.Run("nft", "list", "ruleset")
			if diff := cmp.Diff(tt.want, inspect(t, host, all, all)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if after := host.Run("nft", "list", "ruleset"); after != before {
				t.Errorf("looking has changed something:\n%s", cmp.Diff(before, after))
			}
			do(t, host, func() error { return n.Set(all) })
			if left := inspect(t, host, all, all); left != "" {
				t.Errorf("after Set: %s", left)
			}
		})
	}
}

func inspect(t *testing.T, host *nstest.NS, must, may nft.State) string {
	t.Helper()
	var found []string
	do(t, host, func() (err error) {
		found, err = nft.New("").Inspect(must, may)
		return err
	})
	return strings.Join(found, "\n")
}

func TestInspectAllowsWhatIsUnderWay(t *testing.T) {
	host := nstest.New(t, "host")
	all, n := sample(t), nft.New("")
	half := nft.State{Networks: all.Networks[:1], Ports: all.Ports[:2], Unrouted4: true, Unrouted6: true}
	if found := inspect(t, host, nft.State{}, nft.State{}); found != "" {
		t.Errorf("without need for a table: %s", found)
	}
	for _, st := range []nft.State{half, all} {
		do(t, host, func() error { return n.Set(st) })
		if found := inspect(t, host, half, all); found != "" {
			t.Error(found)
		}
	}
	if found := inspect(t, host, half, half); !strings.Contains(found, "stale") {
		t.Error(found)
	}
}
