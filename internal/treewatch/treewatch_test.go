package treewatch_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cleat-project/cleat/internal/treewatch"
)

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	tree, single, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "single"), filepath.Join(dir, "outside")
	in := func(name string) string { return filepath.Join(tree, name) }
	mkdir := func(path string) error { return os.MkdirAll(path, 0o755) }
	write := func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(mkdir(in("old/deep")))
	ok(mkdir(in("skipped")))
	ok(mkdir(outside))
	ok(write(single))
	ok(write(in("old/deep/file")))
	w, err := treewatch.New([]string{tree, single}, func(dir string) bool { return filepath.Base(dir) == "skipped" })
	ok(err)
	defer w.Close()
	for _, step := range []struct {
		what string
		do   func() error
		want string // has to be told
	}{
		{"a file is made", func() error { return write(in("new")) }, in("new")},
		{"a file is written", func() error { return write(in("old/deep/file")) }, in("old/deep/file")},
		{"a file is removed", func() error { return os.Remove(in("new")) }, in("new")},
		{"a directory is made", func() error { return mkdir(in("a/b")) }, in("a/b")},
		{"a file in a new directory", func() error { return write(in("a/b/c")) }, in("a/b/c")},
		{"a mode is changed", func() error { return os.Chmod(in("a/b/c"), 0o700) }, in("a/b/c")},
		{"a link is made", func() error { return os.Symlink("b", in("a/link")) }, in("a/link")},
		{"a second name is made", func() error { return os.Link(in("a/b/c"), in("a/hard")) }, in("a/hard")},
		{"a directory goes elsewhere", func() error { return os.Rename(in("a"), filepath.Join(outside, "a")) }, in("a")},
		{"a directory comes from elsewhere", func() error { return os.Rename(filepath.Join(outside, "a"), in("back")) }, in("back/b/c")},
		{"a file in what came", func() error { return write(in("back/b/c")) }, in("back/b/c")},
		{"a single file is written", func() error { return write(single) }, single},
		{"a single file is replaced", func() error {
			if err := write(single + ".tmp"); err != nil {
				return err
			}
			return os.Rename(single+".tmp", single)
		}, single},
	} {
		ok(step.do())
		for {
			paths, err := w.Next(t.Context(), 5*time.Millisecond)
			ok(err)
			for _, path := range paths {
				if path != single && !filepath.IsLocal(path[len(dir)+1:]) || filepath.Dir(path) == outside || path == single+".tmp" {
					t.Errorf("%s: told of %s", step.what, path)
				}
			}
			if slices.Contains(paths, step.want) {
				break
			}
			t.Logf("%s: told of %q before", step.what, paths)
		}
	}
}

// What is left out, and what has gone elsewhere, is not told of.
func TestWatcherIsSilent(t *testing.T) {
	dir := t.TempDir()
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	for _, path := range []string{tree + "/skipped", tree + "/goes/deep", outside} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w, err := treewatch.New([]string{tree}, func(dir string) bool { return filepath.Base(dir) == "skipped" })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.Rename(tree+"/goes", outside+"/gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(t.Context(), time.Millisecond); err != nil { // the going itself
		t.Fatal(err)
	}
	for _, path := range []string{tree + "/skipped/x", outside + "/gone/deep/x", tree + "/last"} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths, err := w.Next(t.Context(), time.Millisecond)
	if err != nil || !slices.Equal(paths, []string{tree + "/last"}) {
		t.Errorf("told of %q, %v", paths, err)
	}
}

func TestWatcherOfNothing(t *testing.T) {
	if _, err := treewatch.New([]string{filepath.Join(t.TempDir(), "missing")}, nil); err == nil {
		t.Error("no error")
	}
}
