package image_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/compress"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

// at makes an image of a given age with a layer of its own and a shared one.
func at(tb testing.TB, created time.Time, name string) imagetest.Image {
	return imagetest.New(tb, func(c *image.ConfigFile) {
		c.Created, c.Config.Labels = created, map[string]string{"name": name}
	}, files(tb, "shared"), files(tb, name))
}

func TestPrune(t *testing.T) {
	old, young := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		opt  image.PruneOptions
		left string // names by the label of the images that stay
		used string
	}{
		"without a tag":          {image.PruneOptions{}, "a b used", "used"},
		"all":                    {image.PruneOptions{All: true}, "used", "used"},
		"all, nothing used":      {image.PruneOptions{All: true}, "", ""},
		"all before":             {image.PruneOptions{All: true, Match: func(i image.Image) bool { return i.Created.Before(young) }}, "b bydigest used", "used"},
		"those that match":       {image.PruneOptions{All: true, Match: func(i image.Image) bool { return i.Config.Labels["name"] == "b" }}, "a bydigest nameless used", "used"},
		"nameless that match":    {image.PruneOptions{Match: func(i image.Image) bool { return i.Config.Labels["name"] != "nameless" }}, "a b nameless used", "used"},
		"used, also without tag": {image.PruneOptions{}, "a b nameless used", "nameless"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			made := map[string]imagetest.Image{"a": at(t, old, "a"), "nameless": at(t, old, "nameless"), "b": at(t, young, "b"), "bydigest": at(t, young, "bydigest"), "used": at(t, old, "used")}
			store := image.New(root, image.Options{InUse: func(context.Context) ([]image.Use, error) {
				if tt.used == "" {
					return nil, nil
				}
				return []image.Use{{Container: "c1", Image: made[tt.used].ID()}}, nil
			}})
			made["a"].Add(t, store, "a:1", "a:2")
			made["b"].Add(t, store, "b")
			made["nameless"].Add(t, store)
			made["bydigest"].Add(t, store, "bydigest@"+string(made["bydigest"].Digest()))
			made["used"].Add(t, store, "used")
			litter(t, root)
			before := sizeOf(t, root)
			done, err := store.Prune(t.Context(), tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			left := []string{}
			list, err := store.List()
			if err != nil {
				t.Fatal(err)
			}
			for _, img := range list {
				left = append(left, img.Config.Labels["name"])
			}
			slices.Sort(left)
			if diff := cmp.Diff(strings.Fields(tt.left), left); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			blobs, layers, other := rest(t, root)
			wantLayers := len(left)
			if wantLayers > 0 {
				wantLayers++
			}
			if blobs != len(left)*2+wantLayers || layers != wantLayers || other != 0 {
				t.Errorf("left are %d blobs, %d layers, %d others", blobs, layers, other)
			}
			if freed := before - sizeOf(t, root); done.FreedBytes < freed/2 || done.FreedBytes < 1000 {
				t.Errorf("freed are %d bytes, said to be %d", freed, done.FreedBytes)
			}
			deleted := 0
			for _, r := range done.Removed {
				if strings.HasPrefix(r.Deleted, "sha256:") {
					deleted++
				}
			}
			if want := 5 - len(left); deleted < want || want == 0 && deleted > 0 {
				t.Errorf("said to be removed: %v", done.Removed)
			}
		})
	}
}

// litter leaves what nothing leads to.
func litter(t *testing.T, root string) {
	t.Helper()
	for _, path := range []string{"images/blobs/sha256/" + strings.Repeat("0", 64), "layers/" + strings.Repeat("0", 64) + "/file", "layers/.tmp-1/dead/file"} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 500), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func sizeOf(t *testing.T, root string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			sum += fi.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// The files of a session are not garbage while it lasts; its end takes what
// Prune had to leave.
func TestPruneDuringSession(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	at(t, time.Now(), "a").Add(t, store, "a")
	in, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done, err := store.Prune(t.Context(), image.PruneOptions{All: true})
	if err != nil || done.FreedBytes != 0 || len(done.Removed) == 0 {
		t.Errorf("Prune = %+v, %v", done, err)
	}
	if _, layers, _ := rest(t, root); layers != 2 {
		t.Errorf("%d layers are left during the session", layers)
	}
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, other := rest(t, root); blobs+layers+other != 0 {
		t.Errorf("left are %d blobs, %d layers, %d others", blobs, layers, other)
	}
}

// The test program removes images for its parent if this variable has a store's
// root and what to do.
const removeVariable = "CLEAT_TEST_REMOVE"

func TestMain(m *testing.M) {
	if root, how, ok := strings.Cut(os.Getenv(removeVariable), " "); ok {
		os.Exit(removeForParent(root, how))
	}
	os.Exit(m.Run())
}

func removeForParent(root, how string) int {
	store := image.New(root, image.Options{})
	fmt.Println("ready")
	var err error
	if how == "prune" {
		_, err = store.Prune(context.Background(), image.PruneOptions{All: true, Match: func(i image.Image) bool { return i.Config.Labels["name"] != "keep" }})
	} else {
		for _, name := range strings.Fields(how) {
			if _, e := store.Remove(context.Background(), name, image.RemoveOptions{Force: true}); e != nil {
				err = e
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// However early or late a removal is killed, what is listed is whole.
func TestRemovalKilledAnywhere(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	keep := at(t, time.Now(), "keep")
	keep.Add(t, store, "keep")
	names := []string{"v1", "v2", "v3", "v4"}
	killed := 0
	for round := range rounds {
		for _, name := range names {
			at(t, time.Now(), name).Add(t, store, name)
		}
		how := strings.Join(names, " ")
		if round%2 == 0 {
			how = "prune"
		}
		if killRemoval(t, root, how) {
			killed++
		}
		problems, err := store.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if p.Image != "" {
				t.Errorf("round %d, %s: image %s: %s", round, how, p.Image.Short(), p.What)
			}
		}
		imagetest.CheckWhole(t, store, func(path, _ string) (io.ReadCloser, error) {
			f, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { _ = f.Close() })
			r, _, err := compress.NewReader(f)
			return r, err
		})
	}
	if killed == 0 {
		t.Error("no removal was killed: nothing is tested")
	}
	if _, err := store.Prune(t.Context(), image.PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, other := rest(t, root); blobs+layers+other != 0 {
		t.Errorf("left are %d blobs, %d layers, %d others", blobs, layers, other)
	}
}

// killRemoval removes in another process and kills that somewhere. It reports
// whether the kill came before the end.
func killRemoval(t *testing.T, root, how string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), removeVariable+"="+root+" "+how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(12_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait() != nil
}
