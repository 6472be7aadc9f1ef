package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func newStore(t *testing.T) *state.Store {
	t.Helper()
	dir := t.TempDir()
	s, err := state.Open(filepath.Join(dir, "root"), filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// id returns an id that begins with prefix.
func id(prefix string) string { return prefix + strings.Repeat("0", 64-len(prefix)) }

func create(t *testing.T, s *state.Store, name, cid string) spec.Container {
	t.Helper()
	c := spec.Container{ID: cid, Name: name}
	if err := s.Create(t.Context(), c, map[string][]byte{"config.json": []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFind(t *testing.T) {
	s := newStore(t)
	create(t, s, "web", id("aab"))
	create(t, s, "db", id("aac"))
	create(t, s, "aac", id("ff")) // a name that looks like an id
	tests := map[string]struct {
		ref  string
		want string
		err  error
	}{
		"by name":                          {"web", "web", nil},
		"by name with Docker's slash":      {"/web", "web", nil},
		"by full id":                       {id("aab"), "web", nil},
		"by unique beginning":              {"aab", "web", nil},
		"a name goes before an id":         {"aac", "aac", nil},
		"ambiguous beginning":              {"aa", "", spec.ErrInvalid},
		"unknown":                          {"nope", "", spec.ErrNotFound},
		"empty":                            {"", "", spec.ErrInvalid},
		"a path does not leave the tree":   {"../names/web", "", spec.ErrNotFound},
		"a dot directory is not an object": {"..", "", spec.ErrNotFound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := s.Find(tt.ref)
			if !errors.Is(err, tt.err) || c.Name != tt.want {
				t.Errorf("Find(%q) = %q, %v; want %q, %v", tt.ref, c.Name, err, tt.want, tt.err)
			}
		})
	}
}

func TestOneOfManyGetsTheName(t *testing.T) {
	s := newStore(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := s.Create(t.Context(), spec.Container{ID: id(fmt.Sprintf("%02x", i)), Name: "web"}, nil)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, spec.ErrExists):
				t.Errorf("loser got %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d creations took the name", won.Load())
	}
	if entries, _ := os.ReadDir(filepath.Join(s.Root(), "containers")); len(entries) != 1 {
		t.Errorf("losers left directories: %v", entries)
	}
}

func TestRemoveFreesNameAndLeavesNothing(t *testing.T) {
	s := newStore(t)
	c := create(t, s, "web", id("aa"))
	if _, err := s.SaveStarting(c.ID, state.Live{PID: 1}); err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(c); err != nil {
		t.Fatal(err)
	}
	lock.Release()
	create(t, s, "web", id("bb"))
	if err := s.Remove(c); err != nil { // once more: the name is another's now
		t.Fatal(err)
	}
	if got, err := s.Find("web"); err != nil || got.ID != id("bb") {
		t.Errorf("the new holder of the name is gone: %v", err)
	}
	var left []string
	_ = filepath.Walk(filepath.Dir(s.Root()), func(p string, _ os.FileInfo, _ error) error {
		if strings.Contains(p, c.ID) {
			left = append(left, p)
		}
		return nil
	})
	if left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestSweep(t *testing.T) {
	s := newStore(t)
	kept := create(t, s, "kept", id("aa"))
	containers := filepath.Join(s.Root(), "containers")
	mkdir := func(name string) {
		if err := os.Mkdir(filepath.Join(containers, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(id("bb"))                // killed while creating
	mkdir(".removing-" + id("cc")) // killed while removing
	mkdir(id("dd"))                // being created right now
	busy, err := s.Lock(t.Context(), id("dd"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Release()
	if err := os.Symlink("../containers/"+id("ee"), filepath.Join(s.Root(), "names", "ghost")); err != nil {
		t.Fatal(err)
	}
	want := []string{"ghost", ".removing-" + id("cc"), id("bb")}
	for _, remove := range []bool{false, true} {
		found, err := s.Sweep(t.Context(), remove)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range found {
			got = append(got, filepath.Base(l.Path))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Sweep(%v) (-want +got):\n%s", remove, diff)
		}
	}
	if found, err := s.Sweep(t.Context(), true); err != nil || len(found) > 0 {
		t.Errorf("second sweep: %v, %v", found, err)
	}
	if _, err := s.Find(kept.Name); err != nil {
		t.Error(err)
	}
}

func TestDanglingNameIsTakenOver(t *testing.T) {
	s := newStore(t)
	if err := os.Symlink("../containers/"+id("ee"), filepath.Join(s.Root(), "names", "web")); err != nil {
		t.Fatal(err)
	}
	create(t, s, "web", id("aa"))
	if c, err := s.Find("web"); err != nil || c.ID != id("aa") {
		t.Errorf("got %v, %v", c.ID, err)
	}
}

func TestExitIsAnnounced(t *testing.T) {
	s := newStore(t)
	if _, err := s.LoadExit(id("aa")); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("exit before the end: %v", err)
	}
	if _, err := s.SaveStarting(id("aa"), state.Live{PID: 42}); err != nil {
		t.Fatal(err)
	}
	if err := s.Ended(id("aa"), state.Exit{Code: 137}); err != nil {
		t.Fatal(err)
	}
	if exit, err := s.LoadExit(id("aa")); err != nil || exit.Code != 137 {
		t.Errorf("LoadExit = %v, %v", exit, err)
	}
	if _, err := s.LoadLive(id("aa")); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("still live: %v", err)
	}
	if err := s.SweepExits(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadExit(id("aa")); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("exit of a container that is gone was kept: %v", err)
	}
}

func TestAnonymousVolumesGoWithTheirContainer(t *testing.T) {
	s := newStore(t)
	for _, v := range []state.Volume{{Name: "anon", Anonymous: true}, {Name: "shared", Anonymous: true}, {Name: "named"}} {
		if _, err := s.EnsureVolume(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	c := spec.Container{ID: id("aa"), Name: "a", Mounts: []spec.Mount{
		{Type: spec.MountVolume, Source: "anon", Anonymous: true},
		{Type: spec.MountVolume, Source: "shared", Anonymous: true},
		{Type: spec.MountVolume, Source: "named"},
	}}
	other := spec.Container{ID: id("bb"), Name: "b", Mounts: []spec.Mount{{Type: spec.MountVolume, Source: "shared"}}}
	for _, c := range []spec.Container{c, other} {
		if err := s.Create(t.Context(), c, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RemoveAnonymousVolumes(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, name := range []string{"anon", "shared", "named"} {
		if _, err := s.LoadVolume(name); err == nil {
			left = append(left, name)
		}
	}
	if diff := cmp.Diff([]string{"shared", "named"}, left); diff != "" {
		t.Errorf("volumes left (-want +got):\n%s", diff)
	}
}

func TestWithLockAfterRemoval(t *testing.T) {
	s := newStore(t)
	err := s.WithLock(context.Background(), id("aa"), func(spec.Container) error { return nil })
	if !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Join(s.RunRoot(), "locks")); len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
}

func TestStoppedIsApartFromTheRun(t *testing.T) {
	s := newStore(t)
	c := create(t, s, "web", id("aa"))
	run, err := s.LoadRun(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetStopped(c.ID, true); err != nil { // between load and save of the helper
		t.Fatal(err)
	}
	run.ExitCode = 7
	if err := s.SaveRun(c.ID, run); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadRun(c.ID); err != nil || !got.Stopped || got.ExitCode != 7 {
		t.Errorf("LoadRun = %+v, %v", got, err)
	}
	if err := s.SetStopped(c.ID, false); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.LoadRun(c.ID); got.Stopped {
		t.Error("still stopped")
	}
}

// At boot systemd starts a container before any front end has run.
func TestRunRootIsMadeWhenNeeded(t *testing.T) {
	dir := t.TempDir()
	s := state.At(filepath.Join(dir, "root"), filepath.Join(dir, "run"))
	st, err := s.SaveStarting(id("aa"), state.Live{PID: 42})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Confirm(); err != nil {
		t.Fatal(err)
	}
	if live, err := s.LoadLive(id("aa")); err != nil || live.PID != 42 {
		t.Errorf("LoadLive = %+v, %v", live, err)
	}
	if err := s.Ended(id("aa"), state.Exit{}); err != nil {
		t.Error(err)
	}
}

func TestAwaitStart(t *testing.T) {
	tests := map[string]struct {
		decide func(*state.Store, *state.Starting) error
		want   bool
	}{
		"executed": {func(_ *state.Store, st *state.Starting) error { return st.Confirm() }, true},
		"executed and ended": {func(s *state.Store, st *state.Starting) error {
			return errors.Join(st.Confirm(), s.Ended(id("aa"), state.Exit{}))
		}, true},
		"ended, then executed": {func(s *state.Store, st *state.Starting) error {
			return errors.Join(s.Ended(id("aa"), state.Exit{}), st.Confirm())
		}, true},
		"its maker ended": {func(_ *state.Store, st *state.Starting) error { st.Abandon(); return nil }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			st, err := s.SaveStarting(id("aa"), state.Live{PID: 42})
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan bool)
			go func() {
				executed, err := s.AwaitStart(id("aa"))
				if err != nil {
					t.Error(err)
				}
				got <- executed
			}()
			if err := tt.decide(s, st); err != nil {
				t.Fatal(err)
			}
			if executed := <-got; executed != tt.want {
				t.Errorf("executed: %v, want %v", executed, tt.want)
			}
			if _, err := s.LoadLive(id("aa")); name == "ended, then executed" && err == nil {
				t.Error("a run that has ended lives")
			}
		})
	}
}
