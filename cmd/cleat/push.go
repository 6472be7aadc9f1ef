package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type pusher interface {
	Push(ctx context.Context, ref string, opt engine.PushOptions) error
}

// pushFlags are the flags of push.
type pushFlags struct{ allTags, quiet bool }

func newPush(c *cli) *cobra.Command {
	f := &pushFlags{}
	cmd := &cobra.Command{
		Use: "push [OPTIONS] NAME[:TAG]", Short: "Upload an image to a registry",
		Annotations: also("image push", "push"),
		Args:        exactly(1), ValidArgsFunction: completeImages(c),
	}
	cmd.Flags().BoolVarP(&f.allTags, "all-tags", "a", false, "Push all tags of an image to the repository")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "Suppress verbose output")
	refuse(cmd.Flags(), []refusedFlag{{name: "disable-content-trust", reason: noTrust, isBool: true, harmless: "true"}})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.push(cmd.Context(), eng, args[0], f)
	}
	withPlatform(c, cmd, "Push only if the image is for the given platform")
	cmd.MarkFlagsMutuallyExclusive("platform", "all-tags")
	return cmd
}

func (c *cli) push(ctx context.Context, eng pusher, name string, f *pushFlags) error {
	ref, err := engine.ParseReference(name)
	if err != nil {
		return err
	}
	if !f.quiet {
		if !f.allTags && ref.Digest() == "" && !strings.HasSuffix(name, ":"+ref.Tag()) {
			fmt.Fprintf(c.out, "Using default tag: %s\n", ref.Tag())
		}
		fmt.Fprintf(c.out, "The push refers to repository [%s]\n", ref.Repository())
	}
	p := newProgress(c.out, f.quiet)
	err = eng.Push(ctx, name, engine.PushOptions{
		AllTags:  f.allTags,
		Progress: func(e engine.PullEvent) { p.event(e) },
		Done: func(done engine.PushedImage) {
			p.close()
			p = newProgress(c.out, f.quiet)
			if f.quiet {
				fmt.Fprintln(c.out, done.Reference)
				return
			}
			fmt.Fprintf(c.out, "%s: digest: %s size: %d\n", done.Reference.Tag(), done.Digest, done.SizeBytes)
		},
	})
	p.close()
	return err
}
