package vm

import "testing"

func testSoftReboot(t *testing.T, m *machine) {
}
