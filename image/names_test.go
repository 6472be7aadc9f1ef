package image_test

import (
	"slices"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
)

func TestNamesAreThoseOfTheImages(t *testing.T) {
	store := image.New(t.TempDir(), image.Options{})
	if names, err := store.Names(); err != nil || len(names) != 0 {
		t.Errorf("an empty store has the names %v, %v", names, err)
	}
	for _, name := range []string{"b:2", "a:1", "c"} {
		imagetest.New(t, nil, imagetest.GzipLayer(t, map[string]string{"f": name})).Add(t, store, name)
	}
	names, err := store.Names()
	var got []string
	for _, ref := range names {
		got = append(got, ref.Familiar())
	}
	if want := []string{"a:1", "b:2", "c:latest"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the names are %v, %v, want %v", got, err, want)
	}
}
