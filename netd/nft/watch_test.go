package nft_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/nstest"
	"github.com/cleat-project/cleat/netd/nft"
)

// What containers do at their start and end is not heard, a flush is, whatever
// else the ruleset has.
func TestWatch(t *testing.T) {
	needNft(t)
	host := nstest.New(t, "host")
	table, all := nft.New(""), sample(t)
	do(t, host, func() error { return table.Set(all) })
	fd := -1
	do(t, host, func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err == nil {
			err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (nft.Group - 1)})
		}
		return err
	})
	t.Cleanup(func() { _ = unix.Close(fd) })
	heard := func() int {
		n, err := nft.Watch(fd)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	do(t, host, func() error { return table.Remove(all) })
	if heard() == 0 {
		t.Error("a socket without a filter hears nothing")
	}
	do(t, host, func() error { return table.Add(all) })
	do(t, host, func() error { return table.Remove(nft.State{Ports: all.Ports}) })
	do(t, host, func() error { return table.Add(all) })
	host.Run("nft", "add table inet other; add chain inet other c; add rule inet other c accept; add set inet other s { type ipv4_addr; }")
	if n := heard(); n > 0 {
		t.Errorf("%d messages although nothing was deleted", n)
	}
	for _, what := range []string{
		"flush table inet cleat", "delete chain inet cleat version-2", "delete table inet cleat", "flush ruleset",
		"add table inet new; add chain inet new c; flush ruleset", "flush ruleset; add table inet machine",
	} {
		do(t, host, func() error { return table.Set(all) })
		heard()
		if intact(t, host) != true {
			t.Errorf("%s: not intact before", what)
		}
		host.Run("nft", what)
		if heard() == 0 {
			t.Errorf("%s: not heard", what)
		}
		if intact(t, host) {
			t.Errorf("%s: intact afterwards", what)
		}
	}
}

func intact(t *testing.T, host *nstest.NS) (ok bool) {
	t.Helper()
	do(t, host, func() (err error) {
		ok, err = nft.New("").Intact()
		return err
	})
	return ok
}
