package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

// What a renaming leaves that is killed after its first step neither blocks the
// name nor stays.
func TestKilledRenaming(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, b := spec.Container{ID: "aa", Name: "web"}, spec.Container{ID: "bb", Name: "db"}
	for _, c := range []spec.Container{a, b} {
		if err := s.Create(t.Context(), c, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Claim(t.Context(), "db", "aa"); !errors.Is(err, spec.ErrExists) {
		t.Errorf("claim of a name that is taken: %v", err)
	}
	lock, err := s.Lock(t.Context(), "aa")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(t.Context(), "new", "aa"); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.IDs(); err != nil || len(ids) != 2 {
		t.Errorf("while it goes on there are %v, %v", ids, err)
	}
	if err := s.Claim(t.Context(), "new", "bb"); !errors.Is(err, spec.ErrExists) {
		t.Errorf("claim while the renaming goes on: %v", err)
	}
	if err := s.Claim(t.Context(), "new", "aa"); err != nil {
		t.Errorf("claim of a name by whom it is reserved for: %v", err)
	}
	lock.Release() // killed
	if left, err := s.Sweep(t.Context(), false); err != nil || len(left) != 1 {
		t.Errorf("found %v, %v", left, err)
	}
	if err := s.Claim(t.Context(), "new", "bb"); err != nil {
		t.Errorf("claim after it was killed: %v", err)
	}
	b.Name = "new"
	if err := s.Update(b); err != nil {
		t.Fatal(err)
	}
	if err := s.ReleaseNames(b); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"web": "aa", "new": "bb", "db": ""} {
		if c, err := s.Find(name); c.ID != id || (err == nil) != (id != "") {
			t.Errorf("%s is %q, %v", name, c.ID, err)
		}
	}
	if left, err := s.Sweep(t.Context(), true); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestPinnedUnits(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const unit = "cleat-web.service"
	c := spec.Container{ID: "aa", Name: "web2", Unit: unit}
	if err := s.Create(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	if _, pinned := s.PinnedUnit(unit); pinned {
		t.Error("pinned from the start")
	}
	if err := s.PinUnit(unit, "aa"); err != nil {
		t.Fatal(err)
	}
	if id, pinned := s.PinnedUnit(unit); id != "aa" || !pinned {
		t.Errorf("pinned to %q, %v", id, pinned)
	}
	c.Unit = ""
	if err := s.Update(c); err != nil { // and killed before the pin is taken back
		t.Fatal(err)
	}
	if _, pinned := s.PinnedUnit(unit); pinned {
		t.Error("the pin of a unit that the record does not name counts")
	}
	if left, err := s.Sweep(t.Context(), true); err != nil || len(left) != 1 {
		t.Errorf("found %v, %v", left, err)
	}
	if err := errors.Join(s.PinUnit(unit, "aa"), s.ReleaseNames(c)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(s.Root(), "pins", unit)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin is still there: %v", err)
	}
	c.Unit = unit
	if err := errors.Join(s.Update(c), s.PinUnit(unit, "aa"), s.Remove(c)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(s.Root(), "pins", unit)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin outlives its container: %v", err)
	}
}
