package unitgen

import (
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

// A container with a health check starts after the socket of the daemon that runs
// it; one without has nothing to do with that.
func TestHealthDaemonIsThereFirst(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]*spec.Healthcheck{
		"cleat-stdiod.socket\n":                      {Test: []string{"NONE"}},
		"cleat-stdiod.socket cleat-healthd.socket\n": {Test: []string{"CMD", "true"}},
	} {
		c := web()
		c.Healthcheck = h
		u, err := Service(c, testInput)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"After=", "Wants="} {
			if text := Text(u); !strings.Contains(text, key+want) {
				t.Errorf("%v: no line %s%s in\n%s", h.Test, key, want, text)
			}
		}
	}
}
