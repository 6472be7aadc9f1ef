package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/image"
)

// Layers count once, however many images have them and however often one does.
func TestImageDisk(t *testing.T) {
	t.Parallel()
	digest := func(c string) image.Digest { return image.Digest("sha256:" + strings.Repeat(c, 64)) }
	base, app, tool, empty := digest("1"), digest("2"), digest("3"), digest("4")
	images := []Image{
		{ID: "app", Layers: []image.Digest{base, app}},
		{ID: "tool", Layers: []image.Digest{base, tool, empty, empty}},
	}
	var used Container
	used.Image.ID = "app"
	total, list := imageDisk(images, []Container{used, used}, layerSizes{known: map[image.Digest]int64{base: 1000, app: 200, tool: 30, empty: 4}})
	want := []ImageDisk{{Image: images[0], SharedBytes: 1000, Containers: 2}, {Image: images[1], SharedBytes: 1000}}
	if diff := cmp.Diff(want, list, cmp.AllowUnexported(image.Reference{})); diff != "" || total != 1234 {
		t.Errorf("total %d (-want +got):\n%s", total, diff)
	}
}
