package image_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/spec"
)

func TestRemove(t *testing.T) {
	shared, own := files(t, "shared"), files(t, "own")
	a := imagetest.New(t, nil, shared, own)
	chain := image.ChainIDs([]image.Digest{image.DigestOf(shared.Tar), image.DigestOf(own.Tar)})[1]
	id := string(a.ID())
	digestName := "app@" + string(a.Digest())
	stopped, running := image.Use{Container: "0123456789abcdef", Image: a.ID()}, image.Use{Container: "0123456789abcdef", Image: a.ID(), Running: true}
	tests := map[string]struct {
		names  []string
		uses   []image.Use
		remove string
		force  bool
		want   []string
		fails  string
	}{
		"last name":                    {names: []string{"app"}, remove: "app", want: []string{"Untagged: app:latest", "Deleted: " + id, "Deleted: " + string(chain)}},
		"last name and its digest":     {names: []string{"app", digestName}, remove: "app", want: []string{"Untagged: app:latest", "Untagged: " + digestName, "Deleted: " + id, "Deleted: " + string(chain)}},
		"one of two names":             {names: []string{"app", "app:1"}, remove: "app:1", want: []string{"Untagged: app:1"}},
		"one of two repositories":      {names: []string{"app", "b", digestName}, remove: "app", want: []string{"Untagged: app:latest", "Untagged: " + digestName}},
		"id":                           {names: []string{"app", "app:1"}, remove: id, want: []string{"Untagged: app:latest", "Untagged: app:1", "Deleted: " + id, "Deleted: " + string(chain)}},
		"short id of nameless":         {remove: a.ID().Short(), want: []string{"Deleted: " + id, "Deleted: " + string(chain)}},
		"id in two repositories":       {names: []string{"app", "b"}, remove: id, fails: "(must be forced) - image is referenced in multiple repositories"},
		"the same by force":            {names: []string{"app", "b"}, remove: id, force: true, want: []string{"Untagged: app:latest", "Untagged: b:latest", "Deleted: " + id, "Deleted: " + string(chain)}},
		"id used by stopped":           {names: []string{"app"}, uses: []image.Use{stopped}, remove: id, fails: "(must be forced) - image is being used by stopped container 0123456789ab"},
		"id used by stopped, by force": {names: []string{"app"}, uses: []image.Use{stopped}, remove: id, force: true, want: []string{"Untagged: app:latest", "Deleted: " + id, "Deleted: " + string(chain)}},
		"id used by running, by force": {names: []string{"app"}, uses: []image.Use{stopped, running}, remove: id, force: true, fails: "(cannot be forced) - image is being used by running container 0123456789ab"},
		"name used by stopped":         {names: []string{"app"}, uses: []image.Use{stopped}, remove: "app", fails: `unable to remove repository reference "app" (must force) - container 0123456789ab is using`},
		"second name, used":            {names: []string{"app", "app:1"}, uses: []image.Use{running}, remove: "app", want: []string{"Untagged: app:latest"}},
		"name used by running, forced": {names: []string{"app"}, uses: []image.Use{running}, remove: "app", force: true, want: []string{"Untagged: app:latest"}},
		"unknown":                      {names: []string{"app"}, remove: "nosuch", fails: "no such image: nosuch:latest"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{InUse: func(context.Context) ([]image.Use, error) { return tt.uses, nil }})
			a.Add(t, store, tt.names...)
			imagetest.New(t, nil, shared).Add(t, store, "other")
			done, err := store.Remove(t.Context(), tt.remove, image.RemoveOptions{Force: tt.force})
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) || len(summary(t, store)) != 2 {
					t.Fatalf("Remove: %v, want an error with %q and nothing removed", err, tt.fails)
				}
				if want := spec.ErrConflict; !errors.Is(err, want) && !errors.Is(err, spec.ErrNotFound) {
					t.Errorf("error %v has no class", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range done {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Remove (-want +got):\n%s", diff)
			}
			deleted := strings.Contains(strings.Join(got, "\n"), "Deleted")
			wantBlobs, wantLayers := 6-1, 2 // two manifests, two configurations, two layers; shared is shared
			wantBlobs++
			if deleted {
				wantBlobs, wantLayers = 3, 1
			}
			blobs, layers, other := rest(t, root)
			if blobs != wantBlobs || layers != wantLayers || other != 0 {
				t.Errorf("left are %d blobs, %d layers, %d others; want %d, %d, 0", blobs, layers, other, wantBlobs, wantLayers)
			}
			for _, line := range summary(t, store) {
				if strings.Contains(line, "MISSING") {
					t.Error(line)
				}
			}
		})
	}
}

// Layers of a container outlive the image that was removed by force.
func TestRemoveKeepsLayersInUse(t *testing.T) {
	root := t.TempDir()
	l := files(t, "a")
	a := imagetest.New(t, nil, l)
	uses := []image.Use{{Container: "c1", Image: a.ID(), Layers: []image.Digest{image.DigestOf(l.Tar)}}}
	store := image.New(root, image.Options{InUse: func(context.Context) ([]image.Use, error) { return uses, nil }})
	a.Add(t, store, "app")
	if _, err := store.Remove(t.Context(), "app", image.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, _ := rest(t, root); blobs != 0 || layers != 1 {
		t.Errorf("left are %d blobs and %d layers, want 0 and 1", blobs, layers)
	}
	uses = nil
	if ok, err := store.Sweep(t.Context()); !ok || err != nil {
		t.Fatalf("Sweep = %v, %v", ok, err)
	}
	if _, layers, _ := rest(t, root); layers != 0 {
		t.Errorf("%d layers left after the container is gone", layers)
	}
}

// A removal during a session deletes nothing that the session may need; the
// session's end does.
func TestRemoveDuringSession(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	l := files(t, "a")
	imagetest.New(t, nil, l).Add(t, store, "old")
	in, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Remove(t.Context(), "old", image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if ok, err := store.Sweep(t.Context()); ok || err != nil {
		t.Fatalf("Sweep = %v, %v during a session", ok, err)
	}
	if !in.HasLayer(image.DigestOf(l.Tar)) || !in.HasBlob(image.DigestOf(l.Blob), int64(len(l.Blob))) {
		t.Error("the session has lost a layer that it may have counted on")
	}
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if blobs, layers, other := rest(t, root); blobs+layers+other != 0 {
		t.Errorf("left are %d blobs, %d layers, %d others", blobs, layers, other)
	}
}

func TestARemovalWhileTheStoreIsHeldIsNoFinding(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	imagetest.New(t, nil, imagetest.GzipLayer(t, map[string]string{"f": "x"})).Add(t, store, "app")
	hold, err := store.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Remove(t.Context(), "app", image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	hold.Release()
	if found, err := store.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("what is left to the next session is found: %v, %v", found, err)
	}
	imagetest.New(t, nil, imagetest.GzipLayer(t, map[string]string{"f": "y"})).Add(t, store, "other")
	if list, err := store.List(); err != nil || len(list) != 1 {
		t.Errorf("the images are %v, %v", list, err)
	}
	if found, err := store.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("the next session has left: %v, %v", found, err)
	}
}
