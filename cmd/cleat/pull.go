package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type puller interface {
	imageFinder
	Pull(ctx context.Context, ref string, opt engine.PullOptions) (engine.Image, error)
	RemoteTags(ctx context.Context, repository string) ([]engine.Reference, error)
}

type imageFinder interface {
	Image(ctx context.Context, ref string) (engine.Image, error)
}

func newPull(c *cli) *cobra.Command {
	var quiet, allTags bool
	var platform string
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Short: "Download an image from a registry",
		Annotations: also("image pull", "pull"),
		Args:        exactly(1), ValidArgsFunction: completeImages(c),
	}
	cmd.Flags().BoolVarP(&allTags, "all-tags", "a", false, "Download all tagged images in the repository")
	cmd.Flags().StringVar(&platform, "platform", "", "Set platform if the image is there for several")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress verbose output")
	refuse(cmd.Flags(), []refusedFlag{{name: "disable-content-trust", reason: noTrust, isBool: true, harmless: "true"}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		if allTags {
			return c.pullAll(cmd.Context(), eng, args[0], platform, quiet)
		}
		return c.pull(cmd.Context(), eng, args[0], platform, quiet)
	}
	return cmd
}

// pullAll pulls every tag of a repository, one after the other.
func (c *cli) pullAll(ctx context.Context, eng puller, repository, platform string, quiet bool) error {
	tags, err := eng.RemoteTags(ctx, repository)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := c.pull(ctx, eng, tag.String(), platform, quiet); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) pull(ctx context.Context, eng puller, name, platform string, quiet bool) error {
	ref, err := engine.ParseReference(name)
	if err != nil {
		return err
	}
	if !quiet {
		if ref.Digest() == "" && !strings.HasSuffix(name, ":"+ref.Tag()) {
			fmt.Fprintf(c.out, "Using default tag: %s\n", ref.Tag())
		}
		fmt.Fprintf(c.out, "%s: Pulling from %s\n", ref.TagOrDigest(), ref.Path())
	}
	before, beforeErr := eng.Image(ctx, name)
	p := newProgress(c.out, quiet)
	img, err := eng.Pull(ctx, name, engine.PullOptions{Platform: platform, Progress: p.event})
	p.close()
	if err != nil {
		return err
	}
	if !quiet {
		status := "Downloaded newer image for"
		if beforeErr == nil && before.ID == img.ID {
			status = "Image is up to date for"
		}
		fmt.Fprintf(c.out, "Digest: %s\nStatus: %s %s\n", img.PulledDigest(ref), status, ref.Familiar())
	}
	fmt.Fprintln(c.out, ref)
	return nil
}
