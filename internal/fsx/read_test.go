package fsx_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 1, 511, 512, 4096, 1 << 20} {
		path := filepath.Join(dir, "f")
		want := bytes.Repeat([]byte{'x'}, size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := fsx.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("a file of %d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	for path, want := range map[string]error{"none": fs.ErrNotExist, ".": unix.EISDIR} {
		if _, err := fsx.ReadFile(filepath.Join(dir, path)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	for _, kernel := range []string{"/proc/self/status", "/proc/cpuinfo"} { // whose size is 0
		want, err := os.ReadFile(kernel)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fsx.ReadFile(kernel); err != nil || len(got) < len(want)/2 {
			t.Errorf("%s: %d bytes of about %d, %v", kernel, len(got), len(want), err)
		}
	}
}
