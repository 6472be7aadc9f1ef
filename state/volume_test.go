package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func makeVolumes(t *testing.T, s *state.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		if made, err := s.EnsureVolume(t.Context(), state.Volume{Name: name}); err != nil || !made {
			t.Fatalf("EnsureVolume(%q) = %v, %v", name, made, err)
		}
	}
}

func volumeNames(t *testing.T, s *state.Store) (names []string) {
	t.Helper()
	list, err := s.Volumes()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		names = append(names, v.Name)
	}
	return names
}

// user makes a container that mounts a volume.
func user(t *testing.T, s *state.Store, name, id, volume string) {
	t.Helper()
	c := spec.Container{ID: id, Name: name, Mounts: []spec.Mount{{Type: spec.MountVolume, Source: volume}, {Type: spec.MountVolume, Source: volume, Target: "/2"}}}
	if err := s.Create(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyUnusedVolumesAreRemoved(t *testing.T) {
	s := newStore(t)
	makeVolumes(t, s, "b", "a", "used")
	user(t, s, "web", id("aa"), "used")
	got, err := s.RemoveUnusedVolumes(t.Context(), []string{"b", "used", "a", "b"}, nil)
	want := state.VolumeRemoval{Removed: []string{"b", "a"}, Users: map[string][]string{"used": {id("aa")}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"used"}, volumeNames(t, s)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := s.RemoveUnusedVolumes(t.Context(), []string{"nope", "../volumes"}, nil); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("a volume that is not there: %v", err)
	}
}

func TestAVolumeThatCannotBeReleasedStays(t *testing.T) {
	s := newStore(t)
	makeVolumes(t, s, "a", "b")
	busy := errors.New("busy")
	got, err := s.RemoveUnusedVolumes(t.Context(), []string{"a", "b"}, func(_ context.Context, v state.Volume) error {
		if v.Name == "a" {
			return busy
		}
		return nil
	})
	if diff := cmp.Diff([]string{"b"}, got.Removed); diff != "" || !errors.Is(err, busy) {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"a"}, volumeNames(t, s)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A container that takes a volume in the middle of its removal keeps it.
func TestAVolumeTakenDuringItsRemovalStays(t *testing.T) {
	s := newStore(t)
	makeVolumes(t, s, "a", "b")
	dir := filepath.Join(s.Root(), "volumes", "b")
	if err := os.WriteFile(filepath.Join(s.VolumeDir("b"), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// What a removal that is killed between its two looks leaves behind.
	if err := os.Rename(filepath.Join(dir, "volume.json"), filepath.Join(dir, "volume.removing")); err != nil {
		t.Fatal(err)
	}
	user(t, s, "web", id("aa"), "b")
	if found := swept(t, s, true); len(found) != 1 {
		t.Errorf("swept %v", found)
	}
	if _, err := os.Stat(filepath.Join(s.VolumeDir("b"), "file")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, volumeNames(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnsureTakesBackAnInterruptedRemoval(t *testing.T) {
	s := newStore(t)
	makeVolumes(t, s, "kept", "half")
	for name, record := range map[string]string{"kept": "volume.removing", "half": ".gone"} {
		if err := os.WriteFile(filepath.Join(s.VolumeDir(name), "old"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(s.Root(), "volumes", name)
		if err := os.Rename(filepath.Join(dir, "volume.json"), filepath.Join(dir, record)); err != nil {
			t.Fatal(err)
		}
	}
	for name, made := range map[string]bool{"kept": false, "half": true} {
		got, err := s.EnsureVolume(t.Context(), state.Volume{Name: name})
		_, old := os.Stat(filepath.Join(s.VolumeDir(name), "old"))
		if got != made || err != nil || (old == nil) == made {
			t.Errorf("%s: made %v, error %v, old files: %v", name, got, err, old)
		}
	}
}

// What cannot be read may use anything.
func TestNothingIsRemovedBesideABrokenContainer(t *testing.T) {
	s := newStore(t)
	makeVolumes(t, s, "a")
	create(t, s, "web", id("aa"))
	if err := os.WriteFile(filepath.Join(s.Dir(id("aa")), "container.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.RemoveUnusedVolumes(t.Context(), []string{"a"}, nil); err == nil || len(got.Removed) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"a"}, volumeNames(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever the order, a container that exists has its volumes.
func TestVolumesAreCreatedAndRemovedAtOnce(t *testing.T) {
	s := newStore(t)
	volume := state.Volume{Name: "contested", Anonymous: true}
	taken := 0
	for i := range 100 {
		c := spec.Container{ID: fmt.Sprintf("%064x", i+1), Name: fmt.Sprintf("c%d", i), AutoRemove: true, Mounts: []spec.Mount{{Type: spec.MountVolume, Source: volume.Name}}}
		var made error
		var group sync.WaitGroup
		group.Go(func() {
			_, first := s.EnsureVolume(t.Context(), volume)
			create := s.Create(t.Context(), c, nil)
			_, last := s.EnsureVolume(t.Context(), volume)
			made = errors.Join(first, create, last)
		})
		removed, err := s.RemoveUnusedVolumes(t.Context(), []string{volume.Name}, nil)
		group.Wait()
		if err != nil && !errors.Is(err, spec.ErrNotFound) || made != nil {
			t.Fatal(err, made)
		}
		taken += len(removed.Removed)
		if _, err := s.LoadVolume(volume.Name); err != nil {
			t.Fatalf("round %d: removed %v, and then: %v", i, removed.Removed, err)
		}
		if err := s.Remove(c); err != nil {
			t.Fatal(err)
		}
	}
	if taken == 0 {
		t.Log("no removal has ever been first")
	}
}
