package state

import (
	"fmt"
	"hash/fnv"
)

// Place is "" for the ordinary state directory, and else a short word that
// follows from it: what belongs to the network namespace, which several state
// directories may share, has it in its name.
func (s *Store) Place() string {
	if s.root == DefaultRoot {
		return ""
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.root)) // never fails
	return fmt.Sprintf("%08x", h.Sum32())
}
