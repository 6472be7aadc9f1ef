package spec_test

import (
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

func TestMachineName(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0123456789abcdef", 4)
	long := strings.Repeat("x", 100)
	for unit, want := range map[string]string{
		"cleat-web.service":          "cleat-web",
		"cleat-Web-2.service":        "cleat-Web-2",
		"cleat-a_b.service":          "cleat-a-b-0123456789ab",
		"cleat-a.b.service":          "cleat-a-b-0123456789ab",
		"cleat-a-.service":           "cleat-a-0123456789ab",
		"cleat-" + long + ".service": "cleat-" + long[:45] + "-0123456789ab",
	} {
		if got := spec.MachineName(unit, id); got != want || len(got) > 64 {
			t.Errorf("%s: %s, want %s", unit, got, want)
		}
	}
}
