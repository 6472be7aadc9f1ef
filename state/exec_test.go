package state_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

func TestRecordsOfCommands(t *testing.T) {
	s := state.At(t.TempDir(), t.TempDir())
	id := strings.Repeat("a1", 32)
	var got map[string]string
	for _, bad := range []string{id, "", "../x", strings.Repeat("A", 64), id[:63] + "/"} {
		if err := s.LoadExec(bad, &got); !errors.Is(err, spec.ErrNotFound) {
			t.Errorf("LoadExec(%q) = %v, want not found", bad, err)
		}
	}
	want := map[string]string{"a": "b"}
	if err := s.SaveExec(id, want); err != nil {
		t.Fatal(err)
	}
	if err := s.LoadExec(id, &got); err != nil || !cmp.Equal(want, got) {
		t.Errorf("LoadExec = %v, %v, want %v", got, err, want)
	}
	if err := s.ClaimExec(id); err != nil {
		t.Errorf("first claim: %v", err)
	}
	if err := s.ClaimExec(id); !errors.Is(err, spec.ErrExists) {
		t.Errorf("second claim: %v, want one that exists", err)
	}
	if ids, err := s.ExecIDs(time.Now().Add(time.Hour)); err != nil || !cmp.Equal([]string{id}, ids) {
		t.Errorf("ExecIDs = %v, %v", ids, err)
	}
	if ids, err := s.ExecIDs(time.Now().Add(-time.Hour)); err != nil || len(ids) != 0 {
		t.Errorf("ExecIDs of an hour ago = %v, %v", ids, err)
	}
	if err := s.RemoveExec(id); err != nil {
		t.Fatal(err)
	}
	if err := s.LoadExec(id, &got); !errors.Is(err, spec.ErrNotFound) {
		t.Errorf("LoadExec after the removal = %v", err)
	}
}
