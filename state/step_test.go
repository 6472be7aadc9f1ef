package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func TestStepIsNobodysContainer(t *testing.T) {
	s, err := state.Open(filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("ab", 32)
	st, err := s.MakeStep(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Write(spec.Container{ID: id, Name: "build-ab"}, map[string][]byte{"annex.json": []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.IDs(); err != nil || len(ids) != 0 {
		t.Errorf("IDs: %v %v", ids, err)
	}
	if found, err := s.Sweep(t.Context(), true); err != nil || len(found) != 0 {
		t.Errorf("a step that is under way was swept: %v %v", found, err)
	}
	if _, err := os.Stat(st.Upper()); err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(st.Dir()); err == nil {
		t.Error("the directory is still there")
	}
}

func TestStepOfADeadBuilderIsSwept(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	s, err := state.Open(root, filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(root, "containers", strings.Repeat("cd", 32))
	if err := os.MkdirAll(filepath.Join(dead, "upper"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.RunRoot(), "locks"), 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := s.Sweep(t.Context(), true)
	if err != nil || len(found) != 1 {
		t.Fatalf("Sweep: %v %v", found, err)
	}
	if _, err := os.Stat(dead); err == nil {
		t.Error("the directory is still there")
	}
}
