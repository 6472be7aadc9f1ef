package archive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/archive"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

func TestCommit(t *testing.T) {
	img := testImage(t)
	layer := imagetest.Tar(t, map[string]string{"new": "content"})
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	tests := map[string]struct {
		parent  imagetest.Image
		layer   []byte
		layers  []image.Digest
		history image.HistoryEntry
	}{
		"a layer": {
			img, layer, []image.Digest{image.DigestOf(layer)},
			image.HistoryEntry{Created: at, CreatedBy: "sh -c x", Author: "me", Comment: "why"},
		},
		"on an image of Docker's": {
			dockerForm(img), layer, []image.Digest{image.DigestOf(layer)},
			image.HistoryEntry{Created: at, CreatedBy: "sh -c x", Author: "me", Comment: "why"},
		},
		"a layer without entries is none": {
			img, make([]byte, 1024), nil,
			image.HistoryEntry{Created: at, CreatedBy: "sh -c x", Author: "me", Comment: "why", EmptyLayer: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			parent := tt.parent.Add(t, store, "base")
			got, err := archive.Commit(t.Context(), store, bytes.NewReader(tt.layer), archive.CommitOptions{
				Unpack: imagetest.Unpack, Parent: parent, Config: image.Config{Cmd: []string{"x"}}, Reference: imagetest.Ref(t, "made"),
				Author: "me", Message: "why", CreatedBy: "sh -c x", Created: at,
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append(parent.Layers, tt.layers...), got.Layers); diff != "" {
				t.Errorf("layers (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append(parent.History, tt.history), got.History); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(image.Config{Cmd: []string{"x"}}, got.Config); diff != "" || got.Author != "me" || got.Comment != "why" || !got.Created.Equal(at) || got.Platform != parent.Platform {
				t.Errorf("image is %+v (-want +got):\n%s", got, diff)
			}
			if _, err := store.Get("made"); err != nil {
				t.Error(err)
			}
			check(t, root, store)
			skopeoReads(t, store, "made", got.ID)
		})
	}
}

// skopeoReads has skopeo, if it is here, copy an image that was saved, which
// checks all digests, and compares the id.
func skopeoReads(t *testing.T, store *image.Store, name string, id image.Digest) {
	t.Helper()
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Log("skopeo is not installed")
		return
	}
	for _, format := range []archive.Format{archive.FormatDocker, archive.FormatOCI} {
		data, err := save(t, store, format, name)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "in.tar"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", string(format)+":"+filepath.Join(dir, "in.tar"), "dir:"+filepath.Join(dir, "out")).CombinedOutput()
		if err != nil {
			t.Errorf("skopeo copies %s: %v: %s", format, err, out)
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "out", "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var m image.Manifest
		if err := json.Unmarshal(text, &m); err != nil || m.Config.Digest != id {
			t.Errorf("skopeo reads image %s from %s, %v, want %s", m.Config.Digest, format, err, id)
		}
	}
}

// Readers count the layers by the history, so one that lacks steps is filled up.
func TestCommitOnAnImageWithoutHistory(t *testing.T) {
	img := imagetest.New(t, func(c *image.ConfigFile) { c.History = nil }, imagetest.GzipLayer(t, map[string]string{"a": "a"}))
	root := t.TempDir()
	store := image.New(root, image.Options{})
	parent := img.Add(t, store, "base")
	got, err := archive.Commit(t.Context(), store, bytes.NewReader(imagetest.Tar(t, map[string]string{"b": "b"})),
		archive.CommitOptions{Unpack: imagetest.Unpack, Parent: parent})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.History) != 2 || len(got.Layers) != 2 || len(got.References) != 0 {
		t.Errorf("image is %+v", got)
	}
	check(t, root, store)
}

func TestCommitRefuses(t *testing.T) {
	img := testImage(t)
	data := imagetest.Tar(t, map[string]string{"a": "content"})
	broken := errors.New("the container was removed")
	for name, r := range map[string]io.Reader{
		"an error before the first entry": failing{broken},
		"an error in the middle":          io.MultiReader(bytes.NewReader(data[:600]), failing{broken}),
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			store := image.New(root, image.Options{})
			parent := img.Add(t, store, "base")
			_, err := archive.Commit(t.Context(), store, r, archive.CommitOptions{Unpack: imagetest.Unpack, Parent: parent, Reference: imagetest.Ref(t, "made")})
			if !errors.Is(err, broken) {
				t.Errorf("Commit: %v", err)
			}
			if _, err := store.Get("made"); err == nil {
				t.Error("an image was made")
			}
			check(t, root, store)
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
