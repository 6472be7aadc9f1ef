package link

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumped returns what list returns, which is asked again if somebody has changed
// something while the kernel listed it (NLM_F_DUMP_INTR of netlink(7)).
func dumped[T any](list func() ([]T, error)) (all []T, err error) {
	const attempts = 20
	for range attempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}
