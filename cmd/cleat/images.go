package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type imageLister interface {
	Images(ctx context.Context) ([]engine.Image, error)
}

// imagesFlags are the flags of images.
type imagesFlags struct {
	all, digests, noTrunc, quiet bool
	format                       string
	filters                      []string
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
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, "Filter output based on conditions provided")
	asList(fs.Lookup("filter"))
	fs.StringVar(&f.format, "format", "", formatUsage)
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "Only show image IDs")
	refuse(fs, []refusedFlag{{name: "tree", reason: needsBuild, isBool: true, harmless: "false"}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		match, err := imageFilter(f.filters, args)
		if err != nil {
			return err
		}
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.images(cmd.Context(), eng, f, match)
	}
	return cmd
}

func (c *cli) images(ctx context.Context, eng imageLister, f *imagesFlags, match func(engine.Image, engine.Reference) bool) error {
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
func imageRows(img engine.Image, f *imagesFlags, now time.Time, match func(engine.Image, engine.Reference) bool) []imageRow {
	base := imageRow{
		ID: img.ID.Short(), Containers: "N/A", SharedSize: "N/A", UniqueSize: "N/A", Repository: none, Tag: none, Digest: none,
		CreatedSince: format.Ago(now, img.Created), CreatedAt: img.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		Size: format.Size(img.SizeBytes), VirtualSize: format.Size(img.SizeBytes),
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

// imageFilter returns the test that --filter and the argument ask for.
func imageFilter(pairs, args []string) (func(engine.Image, engine.Reference) bool, error) {
	var tests []func(engine.Image, engine.Reference) bool
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("invalid filter '%s': it has the form KEY=VALUE", pair)
		}
		switch key {
		case "dangling":
			if value != "true" && value != "false" {
				return nil, fmt.Errorf("invalid filter 'dangling=%s': it is true or false", value)
			}
			tests = append(tests, func(img engine.Image, _ engine.Reference) bool {
				return (len(img.References) == 0) == (value == "true")
			})
		case "label":
			tests = append(tests, func(img engine.Image, _ engine.Reference) bool { return hasLabel(img.Config.Labels, value) })
		case "reference":
			tests = append(tests, func(_ engine.Image, ref engine.Reference) bool { return matchReference(ref, value) })
		default:
			return nil, fmt.Errorf("invalid filter '%s': the filters are dangling, label, reference", key)
		}
	}
	if len(args) > 0 {
		tests = append(tests, func(_ engine.Image, ref engine.Reference) bool { return matchReference(ref, args[0]) })
	}
	return func(img engine.Image, ref engine.Reference) bool {
		for _, test := range tests {
			if !test(img, ref) {
				return false
			}
		}
		return true
	}, nil
}

// matchReference matches a shell pattern against a name with and without its
// tag, in its short and in its long form.
func matchReference(ref engine.Reference, pattern string) bool {
	if ref.IsZero() {
		return false
	}
	for _, name := range []string{ref.Familiar(), ref.FamiliarRepository(), ref.String(), ref.Repository()} {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}
