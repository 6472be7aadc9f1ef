package main

import (
	"context"
	"slices"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

// imageTree lists each image with its names and, below, the platform that it is
// for. U in the last column says that a container uses it.
func (c *cli) imageTree(ctx context.Context, eng imageLister, match listing.ImageTest) error {
	all, err := eng.ImageUsage(ctx)
	if err != nil {
		return err
	}
	lines := [][]string{{"IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"}}
	for _, u := range all {
		names := treeNames(u.Image, match)
		if len(names) == 0 {
			continue
		}
		used := ""
		if u.Containers > 0 {
			used = "U"
		}
		numbers := []string{u.ID.Short(), format.Size(u.SizeBytes + u.ContentBytes), format.Size(u.ContentBytes), used}
		for _, name := range names[:len(names)-1] {
			lines = append(lines, []string{name, "", "", "", ""})
		}
		lines = append(lines,
			append([]string{names[len(names)-1]}, numbers...),
			append([]string{"└─ " + u.Platform.String()}, numbers...))
	}
	return format.Table(c.out, lines)
}

// treeNames returns the names under which an image is shown.
func treeNames(img engine.Image, match listing.ImageTest) []string {
	refs := img.References
	if len(refs) == 0 {
		refs = img.RepoDigests
	}
	if len(refs) == 0 && match(img, engine.Reference{}) {
		return []string{"<untagged>"}
	}
	refs = slices.DeleteFunc(slices.Clone(refs), func(r engine.Reference) bool { return !match(img, r) })
	names := make([]string, 0, len(refs))
	for _, r := range refs {
		names = append(names, r.Familiar())
	}
	return names
}
