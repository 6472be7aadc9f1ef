package compose

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cleat-project/cleat/engine"
)

// put makes files below a directory.
func put(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

const watchFile = `
services:
  web:
    build: DIR
    develop:
      watch:
        - {path: DIR/src, action: sync, target: /app/src, ignore: [node_modules/, "**/*.o"]}
        - {path: DIR/etc, action: sync+restart, target: /etc/web, include: ["*.conf"]}
        - {path: DIR/hook, action: sync+exec, target: /hook, exec: {command: [reload]}}
        - {path: DIR/go.mod, action: rebuild}
  api:
    image: app
    develop: {watch: [{path: DIR/src, action: restart}]}
  quiet: {image: app}
`

func TestRefreshes(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "src/a", "etc/web.conf", "hook/x", "go.mod")
	if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("src/secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := load(t, strings.ReplaceAll(watchFile, "DIR", dir)).Watched()
	if err != nil {
		t.Fatal(err)
	}
	in := func(names ...string) (paths []string) {
		for _, name := range names {
			paths = append(paths, filepath.Join(dir, name))
		}
		return paths
	}
	sync := func(name, target string) []SyncPath { return []SyncPath{{filepath.Join(dir, name), target}} }
	restartAPI := Refresh{Service: "api", Restart: true}
	tests := map[string]struct {
		changed []string
		want    []Refresh
	}{
		"files are copied, for each service its own way": {in("src/b/c"), []Refresh{restartAPI, {Service: "web", Sync: sync("src/b/c", "/app/src/b/c")}}},
		"what a rule ignores":                            {in("src/node_modules/x/y", "src/x.o"), []Refresh{restartAPI}},
		"what the build ignores":                         {in("src/secret/x"), []Refresh{restartAPI}},
		"what never matters":                             {in("src/.git/index", "src/.a.swp", "src/a~"), nil},
		"only what is included":                          {in("etc/web.conf", "etc/other"), []Refresh{{Service: "web", Restart: true, Sync: sync("etc/web.conf", "/etc/web/web.conf")}}},
		"a command runs once": {in("hook/x", "hook/y"), []Refresh{{
			Service: "web", Exec: []engine.ExecOptions{{Argv: []string{"reload"}}},
			Sync: append(sync("hook/x", "/hook/x"), sync("hook/y", "/hook/y")...),
		}}},
		"a rebuild brings the rest": {in("go.mod", "etc/web.conf"), []Refresh{{Service: "web", Rebuild: true}}},
		"what is beside":            {in("go.mod2", "srcx/a", "hook2"), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, w.Refreshes(tt.changed), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, want := range map[string]bool{"src": false, "src/b": false, "src/node_modules": false, "src/.git": true, "other": true} { // api wants all of src
		if got := w.Skip(filepath.Join(dir, name)); got != want {
			t.Errorf("Skip(%s) is %t", name, got)
		}
	}
}

func TestInitialSync(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "src/a", "src/deep/b", "src/no.o", "src/.git/x")
	file := "services: {web: {image: app, develop: {watch: [{path: " + dir + "/src, action: sync, target: /app, initial_sync: true, ignore: ['*.o']}]}}}\n"
	w, err := load(t, file).Watched()
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Initial()
	want := []Refresh{{Service: "web", Sync: []SyncPath{{dir + "/src/a", "/app/a"}, {dir + "/src/deep/b", "/app/deep/b"}}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestWatchRefusals(t *testing.T) {
	dir := t.TempDir()
	for entry, want := range map[string]string{
		"{path: " + dir + ", action: rebuild}":                         `needs the key "build"`,
		"{path: " + dir + ", action: sync, target: relative}":          "needs a target",
		"{path: " + dir + ", action: sync+exec, target: /x}":           "a hook needs a command",
		"{path: " + dir + ", action: restart, initial_sync: true}":     "initial_sync",
		"{path: " + dir + "/missing, action: restart}":                 "no such file",
		"{path: " + dir + ", action: sync, target: /x, ignore: ['[']}": "patterns",
	} {
		_, err := load(t, "services: {web: {image: app, develop: {watch: ["+entry+"]}}}\n").Watched()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "compose.yaml:1: services.web.develop.watch: entry 1: ") {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
	if _, err := load(t, "services: {web: {image: app}}\n").Watched(); err == nil || !strings.Contains(err.Error(), "nothing to watch") {
		t.Errorf("nothing to watch: %v", err)
	}
}

func TestArchiveOf(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "file")
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	there, gone := present([]SyncPath{
		{dir, "/app"}, {filepath.Join(dir, "file"), "/app/file"}, {filepath.Join(dir, "link"), "/app/link"},
		{filepath.Join(dir, "x"), "/app/x"}, {filepath.Join(dir, "x/y"), "/app/x/y"},
	})
	if want := []string{"/app/x"}; !cmp.Equal(gone, want) {
		t.Errorf("gone %q, want %q", gone, want)
	}
	var b bytes.Buffer
	if err := archiveOf(&b, append(there, SyncPath{filepath.Join(dir, "gone meanwhile"), "/app/z"})); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(r)
		got = append(got, h.Name+" "+h.Linkname+" "+string(data)+" "+h.FileInfo().Mode().String())
	}
	want := []string{"app/   drwxr-xr-x", "app/file  file -rw-r-----", "app/link file  Lrwxrwxrwx"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
