package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

func TestCheck(t *testing.T) {
	root := t.TempDir()
	store := image.New(root, image.Options{})
	problems := func() string {
		t.Helper()
		found, err := store.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, p := range found {
			lines = append(lines, p.Image.Short()+" "+strings.ReplaceAll(p.What, root, "ROOT"))
		}
		return strings.Join(lines, "\n")
	}
	if got := problems(); got != "" {
		t.Errorf("in no store: %s", got)
	}
	img := imagetest.New(t, nil, files(t, "a")).Add(t, store, "a", "a:2")
	if got := problems(); got != "" {
		t.Errorf("in a sound store: %s", got)
	}
	if err := os.Mkdir(filepath.Join(root, "layers/.tmp-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := problems(); got != " nothing needs ROOT/layers/.tmp-1" {
		t.Errorf("with a rest: %s", got)
	}
	if ok, err := store.Sweep(t.Context()); !ok || err != nil || problems() != "" {
		t.Errorf("Sweep = %v, %v, then %s", ok, err, problems())
	}
	if err := os.RemoveAll(store.LayerDir(img.Layers[0])); err != nil {
		t.Fatal(err)
	}
	if got := problems(); !strings.HasPrefix(got, img.ID.Short()+" stat ROOT/layers/"+img.Layers[0].Hex()) {
		t.Errorf("without a layer: %s", got)
	}
	if _, err := store.Remove(t.Context(), string(img.ID), image.RemoveOptions{}); err != nil || problems() != "" {
		t.Errorf("after its removal: %v, %s", err, problems())
	}
}
