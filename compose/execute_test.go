package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// recorder is an engine that writes down what it is asked for. The calls that it
// does not have are not for these tests.
type recorder struct {
	Backend
	mu    sync.Mutex
	calls []string
	fail  map[string]bool // calls that fail
	code  int             // exit code of what is waited for
}

func (r *recorder) note(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	call := fmt.Sprintf(format, args...)
	r.calls = append(r.calls, call)
	if r.fail[call] {
		return errors.New("no luck")
	}
	return nil
}

func (r *recorder) Create(_ context.Context, opt engine.CreateOptions) (engine.Container, error) {
	return engine.Container{}, r.note("create %s", opt.Container.Name)
}

func (r *recorder) Rename(_ context.Context, ref, name string) error {
	return r.note("rename %s %s", short(ref), name)
}
func (r *recorder) Start(_ context.Context, ref string) error { return r.note("start %s", short(ref)) }
func (r *recorder) Stop(_ context.Context, ref string, _ engine.StopOptions) error {
	return r.note("stop %s", short(ref))
}

func (r *recorder) Remove(_ context.Context, ref string, _ engine.RemoveOptions) error {
	return r.note("remove %s", short(ref))
}

func (r *recorder) Wait(_ context.Context, ref string, _ engine.WaitCondition) (int, error) {
	return r.code, r.note("wait %s", short(ref))
}

func (r *recorder) NetworkCreate(_ context.Context, opt engine.NetworkCreateOptions) (string, []string, error) {
	return "", nil, r.note("network %s", opt.Name)
}

func (r *recorder) CreateVolume(_ context.Context, opt engine.CreateVolumeOptions) (string, error) {
	return "", r.note("volume %s", opt.Name)
}

func short(ref string) string { return ref[:min(12, len(ref))] }

// Whatever step of a replacement fails, the old container runs afterwards, and
// what was made is gone.
func TestReplacementComesBack(t *testing.T) {
	const id = "000000000003"
	tests := map[string][]string{
		"create 000000000003_shop-web-1":     {"create 000000000003_shop-web-1"},
		"stop " + id:                         {"create 000000000003_shop-web-1", "stop " + id},
		"rename " + id + " 000000000003_old": {"create 000000000003_shop-web-1", "stop " + id, "rename " + id + " 000000000003_old", "remove 000000000003", "start " + id},
		"start shop-web-1": {
			"create 000000000003_shop-web-1", "stop " + id, "rename " + id + " 000000000003_old", "rename 000000000003 shop-web-1", "start shop-web-1",
			"remove shop-web-1", "rename " + id + " shop-web-1", "start " + id,
		},
	}
	for fails, want := range tests {
		t.Run(fails, func(t *testing.T) {
			p := load(t, shop)
			plan, err := PlanUp(p, up(t, p).of("web", old).st, UpOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r := &recorder{fail: map[string]bool{fails: true}}
			if err := (Runner{Engine: r}).Run(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "no luck") {
				t.Errorf("Run = %v", err)
			}
			if diff := cmp.Diff(want, r.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// What does not depend on a step that failed goes on; what does is left out.
func TestOthersGoOn(t *testing.T) {
	p := load(t, shop)
	plan, err := PlanUp(p, nothing(t, p).st, UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{fail: map[string]bool{"start shop-db-1": true}}
	if err := (Runner{Engine: r, Limit: 1}).Run(t.Context(), plan); err == nil {
		t.Error("Run succeeds")
	}
	if slices.Contains(r.calls, "start shop-web-1") {
		t.Error("web is started without db")
	}
	if !slices.Contains(r.calls, "start shop-cache-1") {
		t.Error("cache is not started")
	}
}

func TestFailedMigrationStopsWhatNeedsIt(t *testing.T) {
	p := load(t, "services: {web: {image: x, depends_on: {m: {condition: service_completed_successfully}}}, m: {image: x}}\n")
	plan, err := PlanUp(p, nothing(t, p).st, UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{code: 3}
	err = Runner{Engine: r}.Run(t.Context(), plan)
	if err == nil || !strings.Contains(err.Error(), "exit code 3") || slices.Contains(r.calls, "start shop-web-1") {
		t.Errorf("Run = %v, calls %q", err, r.calls)
	}
}

// Nothing is begun after an interruption.
func TestInterruptedPlanEnds(t *testing.T) {
	p := load(t, shop)
	plan, err := PlanUp(p, nothing(t, p).st, UpOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &recorder{}
	if err := (Runner{Engine: r}).Run(ctx, plan); !errors.Is(err, context.Canceled) || len(r.calls) > 0 {
		t.Errorf("Run = %v, calls %q", err, r.calls)
	}
}
