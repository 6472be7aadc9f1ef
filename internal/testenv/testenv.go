// Package testenv holds what privileged tests ask of their surroundings.
package testenv

import (
	"os"
	"testing"
)

// NeedRoot skips the test unless it runs as root. With CLEAT_TEST_ROOT=1, as
// "make test" sets it, the test fails instead, so that nothing is skipped unseen.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CLEAT_TEST_ROOT") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}
