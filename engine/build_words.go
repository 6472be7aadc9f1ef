package engine

import (
	"fmt"

	"github.com/cleat-project/cleat/internal/signal"
	"github.com/cleat-project/cleat/netd"
)

// CheckSignal returns an error unless s is a signal's name or number.
func CheckSignal(s string) error {
	_, err := signal.Parse(s)
	return err
}

// ExposedPorts returns the keys, such as "80/tcp", of the ports that s means: one or
// a range, with or without protocol.
func ExposedPorts(s string) ([]string, error) {
	ports, err := netd.ParsePorts(s)
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(ports))
	for _, p := range ports {
		keys = append(keys, fmt.Sprintf("%d/%s", p.ContainerPort, p.Proto))
	}
	return keys, nil
}
