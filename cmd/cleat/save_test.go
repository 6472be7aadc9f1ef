package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
)

// packer is an engine that saves its arguments.
type packer struct {
	backend
	fail error
}

func (p packer) Save(_ context.Context, w io.Writer, names []string, opt engine.SaveOptions) error {
	_, err := io.WriteString(w, strings.Join(append(names, opt.Format, opt.Platform), "|"))
	return errors.Join(err, p.fail)
}

func TestSave(t *testing.T) {
	t.Parallel()
	want(t, try(t, packer{}, "save", "a", "b:1"), outcome{Out: "a|b:1||"})
	want(t, try(t, packer{}, "image", "save", "--format", "oci-archive", "--platform", "linux/arm64", "a"), outcome{Out: "a|oci-archive|linux/arm64"})
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	want(t, try(t, packer{}, "save", "-o", path, "a"), outcome{})
	read := func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := read(); got != "a||" {
		t.Errorf("file has %q", got)
	}
	want(t, try(t, packer{fail: errors.New("no such image: b")}, "save", "-o", path, "b"), outcome{Err: "cleat: no such image: b\n", Code: 1})
	if got := read(); got != "a||" {
		t.Errorf("after a failure the file has %q", got)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", fi.Mode(), err)
	}
	messages := map[string]string{}
	for _, output := range []string{dir, dir + "/no/such/dir"} {
		messages[output] = try(t, packer{}, "save", "-o", output, "a").Err
	}
	if diff := cmp.Diff(map[string]string{
		dir:                  "cleat: invalid output path: " + dir + " is a directory\n",
		dir + "/no/such/dir": "cleat: invalid output path: directory \"" + dir + "/no/such\" does not exist\n",
	}, messages); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	want(t, try(t, packer{}, "save", "-o", link, "c"), outcome{})
	if fi, err := os.Lstat(link); err != nil || fi.Mode().IsRegular() || read() != "c||" {
		t.Errorf("through a symlink: %v, %v, file has %q", fi.Mode(), err, read())
	}
	want(t, try(t, packer{}, "save", "-o", "/dev/null", "a"), outcome{})
	if fi, err := os.Stat("/dev/null"); err != nil || fi.Mode().IsRegular() {
		t.Errorf("/dev/null is %v, %v", fi.Mode(), err)
	}
}
