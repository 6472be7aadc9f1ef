package file

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestReadersShareAFile shows that two readers of a file have it in memory once,
// also when it grows.
func TestReadersShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(n int) {
		t.Helper()
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *mapping {
		t.Helper()
		m, err := openMapping(path)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	write(100)
	a, b := open(), open()
	if &a.bytes[0] != &b.bytes[0] {
		t.Error("two readers have the file twice")
	}
	write(10_000)
	for _, m := range []*mapping{a, b} {
		if err := m.grow(); err != nil {
			t.Fatal(err)
		}
		if want := bytes.Repeat([]byte("x"), 10_000); !bytes.Equal(m.bytes, want) {
			t.Errorf("a reader sees %d bytes, want %d", len(m.bytes), len(want))
		}
	}
	if &a.bytes[0] != &b.bytes[0] {
		t.Error("two readers have the file twice after it has grown")
	}
	inode := a.inode
	for _, m := range []*mapping{a, b} {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	views.mu.Lock()
	defer views.mu.Unlock()
	if views.of[inode] != nil {
		t.Error("a file that nobody reads is kept in memory")
	}
}
