package health

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

// While connections wait for the first success it is looked for between the checks;
// what is found then counts only if it is one.
func TestLook(t *testing.T) {
	second := spec.Healthcheck{Interval: time.Second, Timeout: 500 * time.Millisecond, Retries: 2}
	for name, tt := range map[string]struct {
		words string
		d     time.Duration
		want  []string
	}{
		"at once":          {"ok", 1500 * time.Millisecond, []string{"0s ok", "0s is healthy", "1s ok"}},
		"a moment later":   {"fail fail odd ok", 1500 * time.Millisecond, []string{"0s fail", "50ms fail", "150ms odd", "350ms ok", "350ms is healthy", "1.35s ok"}},
		"after some time":  {"fail fail fail fail fail fail ok", 2500 * time.Millisecond, []string{"0s fail", "50ms fail", "150ms fail", "350ms fail", "750ms fail", "1s fail", "1.8s ok", "1.8s is healthy"}},
		"never":            {"fail", 3500 * time.Millisecond, []string{"0s fail", "50ms fail", "150ms fail", "350ms fail", "750ms fail", "1s fail", "1.8s fail", "2s fail", "2s is unhealthy", "2s act", "3s fail", "3s act"}},
		"one that hangs":   {"hang ok", 2500 * time.Millisecond, []string{"0s hang", "550ms ok", "550ms is healthy", "1.55s ok"}},
		"one that freezes": {"freeze ok", 2500 * time.Millisecond, []string{"0s freeze"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _ := watch(t, tt.d, second, tt.words, func(m *monitor) { m.awaited = true })
				if diff := cmp.Diff(tt.want, f.said); diff != "" {
					t.Errorf("what happened (-want +got):\n%s", diff)
				}
			})
		})
	}
}
