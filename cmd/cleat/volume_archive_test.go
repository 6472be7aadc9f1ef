package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

// archivist is an engine with one volume, whose archive is a word.
type archivist struct {
	backend
	imported string
}

func (*archivist) ExportVolume(_ context.Context, name string, w io.Writer) error {
	if name != "vol" {
		return classError{"no such volume: " + name, spec.ErrNotFound}
	}
	_, err := io.WriteString(w, "archive")
	return err
}

func (a *archivist) ImportVolume(_ context.Context, name string, r io.Reader) error {
	data, err := io.ReadAll(r)
	a.imported = name + ":" + string(data)
	return err
}

func TestVolumeArchives(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "vol.tar")
	want(t, try(t, &archivist{}, "volume", "export", "vol"), outcome{Out: "archive"})
	want(t, try(t, &archivist{}, "volume", "export", "--output", file, "vol"), outcome{})
	if data, err := os.ReadFile(file); string(data) != "archive" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	want(t, try(t, &archivist{}, "volume", "export", "-o", file+"2", "nope"), outcome{Err: "cleat: no such volume: nope\n", Code: 1})
	if _, err := os.Stat(file + "2"); err == nil {
		t.Error("a failed export has left a file")
	}
	a := &archivist{}
	want(t, try(t, a, "volume", "import", "vol", file), outcome{})
	if a.imported != "vol:archive" {
		t.Errorf("imported %q", a.imported)
	}
	want(t, tryWith(t, a, "piped", "volume", "import", "v2", "-"), outcome{})
	if a.imported != "v2:piped" {
		t.Errorf("imported %q", a.imported)
	}
	if got := try(t, a, "volume", "import", "vol", file+"3"); got.Code != 1 || !strings.Contains(got.Err, "no such file") {
		t.Errorf("%+v", got)
	}
}
