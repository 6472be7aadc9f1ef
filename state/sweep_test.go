package state_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// swept returns the last elements of the paths that Sweep finds.
func swept(t *testing.T, s *state.Store, remove bool) []string {
	t.Helper()
	found, err := s.Sweep(t.Context(), remove)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range found {
		names = append(names, filepath.Base(l.Path))
	}
	return names
}

func TestSweepVolumes(t *testing.T) {
	s := newStore(t)
	living, making := id("aa"), id("bb")
	create(t, s, "web", living)
	taker := spec.Container{ID: id("cc"), Name: "taker", Mounts: []spec.Mount{{Type: spec.MountVolume, Source: "taken"}}}
	if err := s.Create(t.Context(), taker, nil); err != nil {
		t.Fatal(err)
	}
	for _, v := range []state.Volume{
		{Name: "named"},
		{Name: "left-to-the-user", Anonymous: true},
		{Name: "of-a-container", Anonymous: true, Owner: living},
		{Name: "being-made", Anonymous: true, Owner: making},
		{Name: "taken", Anonymous: true, Owner: id("dd")},
		{Name: "orphan", Anonymous: true, Owner: id("ee")},
	} {
		if _, err := s.EnsureVolume(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.Root(), "volumes", "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock(t.Context(), making)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"half", "orphan"}
	if diff := cmp.Diff(want, swept(t, s, false)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, swept(t, s, true)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	lock.Release() // its maker was killed
	if diff := cmp.Diff([]string{"being-made"}, swept(t, s, true)); diff != "" {
		t.Errorf("after the kill (-want +got):\n%s", diff)
	}
	if left := swept(t, s, false); left != nil {
		t.Errorf("a second sweep finds %v", left)
	}
}

func TestKeptVolumesAreNotSwept(t *testing.T) {
	s := newStore(t)
	c := spec.Container{ID: id("aa"), Name: "web", Mounts: []spec.Mount{{Type: spec.MountVolume, Source: "anon", Anonymous: true}}}
	if _, err := s.EnsureVolume(t.Context(), state.Volume{Name: "anon", Anonymous: true, Owner: c.ID}); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepAnonymousVolumes(c); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(c); err != nil {
		t.Fatal(err)
	}
	if found := swept(t, s, true); found != nil {
		t.Errorf("swept %v", found)
	}
	if _, err := s.LoadVolume("anon"); err != nil {
		t.Error(err)
	}
}

func TestSweepTakesLocksAndHalfWrittenFiles(t *testing.T) {
	s := newStore(t)
	create(t, s, "web", id("aa"))
	for _, path := range []string{
		filepath.Join(s.Dir(id("aa")), ".cleat-tmp-1"), filepath.Join(s.ExitDir(), ".cleat-tmp-2"),
		filepath.Join(s.RunRoot(), "locks", id("bb")), filepath.Join(s.RunRoot(), "locks", "volume-x"),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{".cleat-tmp-2", ".cleat-tmp-1"}, swept(t, s, true)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Join(s.RunRoot(), "locks"))
	if err != nil || len(entries) > 0 {
		t.Errorf("locks left: %v, %v", entries, err)
	}
}
