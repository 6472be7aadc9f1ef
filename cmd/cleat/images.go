package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/engine/listing"
)

type imageLister interface {
	imageFinder
	Images(ctx context.Context) ([]engine.Image, error)
	ImageUsage(ctx context.Context) ([]engine.ImageUsage, error)
}

// imagesFlags are the flags of images.
type imagesFlags struct {
	all, digests, noTrunc, quiet, tree bool
	format                             string
}

func newImages(c *cli) *cobra.Command {
	f := &imagesFlags{}
	cmd := &cobra.Command{
		Use: "images [OPTIONS] [REPOSITORY[:TAG]]", Short: "List images",
		Annotations: also("image ls", "image list", "images"),
		Args:        between(0, 1), ValidArgsFunction: completeImages(c),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all", "a", false, "Show all images (there are no intermediate images to hide)")
	fs.BoolVar(&f.digests, "digests", false, "Show digests")
	filters := defineFilter(fs, "f", "Filter output based on conditions provided")
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Only show image IDs")
	fs.BoolVar(&f.tree, "tree", false, "List images with the platform that they are for, as a tree")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := listing.NewImageFilter(listing.Filters(filters), args, time.Now())
		if err != nil {
			return err
		}
		if err := f.check(); err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.images(cmd.Context(), eng, f, filter)
	}
	return cmd
}

// check refuses what does not go together.
func (f *imagesFlags) check() error {
	if !f.tree {
		return nil
	}
	for name, set := range map[string]bool{"--digests": f.digests, "--format": f.format != "", "--no-trunc": f.noTrunc, "--quiet": f.quiet} {
		if set {
			return fmt.Errorf("%s does not go together with --tree", name)
		}
	}
	return nil
}

func (c *cli) images(ctx context.Context, eng imageLister, f *imagesFlags, filter *listing.ImageFilter) error {
	match, err := filter.Compile(ctx, eng)
	if err != nil {
		return err
	}
	if f.tree {
		return c.imageTree(ctx, eng, match)
	}
	all, err := eng.Images(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	var rows []imageRow
	for _, img := range all {
		rows = append(rows, imageRows(img, f, now, match)...)
	}
	if f.quiet { // an image with several names is one id
		rows = slices.CompactFunc(rows, func(a, b imageRow) bool { return a.ID == b.ID })
	}
	return imageList(f.digests).Print(c.out, f.format, f.quiet, rows)
}

// imageRow is an image under one name, as images shows it.
type imageRow struct {
	Containers, CreatedAt, CreatedSince, Digest, ID string
	Repository, SharedSize, Size, Tag               string
	UniqueSize, VirtualSize                         string
}

const none = "<none>"

func imageList(digests bool) format.List[imageRow] {
	l := format.List[imageRow]{
		Columns: []format.Column[imageRow]{
			{Header: "REPOSITORY", Cell: func(r imageRow) string { return r.Repository }},
			{Header: "TAG", Cell: func(r imageRow) string { return r.Tag }},
			{Header: "DIGEST", Cell: func(r imageRow) string { return r.Digest }},
			{Header: "IMAGE ID", Cell: func(r imageRow) string { return r.ID }},
			{Header: "CREATED", Cell: func(r imageRow) string { return r.CreatedSince }},
			{Header: "SIZE", Cell: func(r imageRow) string { return r.Size }},
		},
		Quiet: func(r imageRow) string { return r.ID },
		Headers: imageRow{
			Containers: "CONTAINERS", CreatedAt: "CREATED AT", CreatedSince: "CREATED", Digest: "DIGEST", ID: "IMAGE ID", Repository: "REPOSITORY",
			SharedSize: "SHARED SIZE", Size: "SIZE", Tag: "TAG", UniqueSize: "UNIQUE SIZE", VirtualSize: "SIZE",
		},
	}
	if !digests {
		l.Columns = slices.Delete(l.Columns, 2, 3)
	}
	return l
}

// imageRows returns a row for every name of an image that matches. An image
// without a name has one row, with the repository that it was pulled from.
func imageRows(img engine.Image, f *imagesFlags, now time.Time, match listing.ImageTest) []imageRow {
	base := imageRow{
		ID: img.ID.Short(), Containers: "N/A", SharedSize: "N/A", UniqueSize: "N/A", Repository: none, Tag: none, Digest: none,
		CreatedSince: format.Ago(now, img.Created), CreatedAt: img.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		Size: format.Size(img.SizeBytes), VirtualSize: units.HumanSize(float64(img.SizeBytes)),
	}
	if f.noTrunc {
		base.ID = string(img.ID)
	}
	names := img.References
	if len(names) == 0 {
		names = img.RepoDigests
	}
	if len(names) == 0 {
		names = []engine.Reference{{}}
	}
	var rows []imageRow
	for _, ref := range names {
		if !match(img, ref) {
			continue
		}
		r := base
		if !ref.IsZero() {
			r.Repository, r.Digest = ref.FamiliarRepository(), repoDigest(img, ref)
		}
		if ref.Tag() != "" {
			r.Tag = ref.Tag()
		}
		rows = append(rows, r)
	}
	return rows
}

func repoDigest(img engine.Image, ref engine.Reference) string {
	for _, d := range img.RepoDigests {
		if d.Repository() == ref.Repository() {
			return string(d.Digest())
		}
	}
	return none
}
