package tests

import "testing"

// A name may be what another container's id begins with: names come first.
func TestNameLikeAnID(t *testing.T) {
	t.Parallel()
	s := shared()
	first := s.run(t, "n-first", "busybox", "sleep", "1000")
	name := first[:12]
	second := s.run(t, name, "busybox", "sleep", "1000")
	if got := s.inspect(t, name, "{{.Id}}"); got != second {
		t.Errorf("%s is container %s, want %s", name, got, second)
	}
}
