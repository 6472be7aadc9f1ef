package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/compose"
	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/internal/fsx"
)

func newConfig(c *cli) *cobra.Command {
	var format, output, hash string
	var variables, resolve, lock bool
	var services, images, volumes, networks, profiles, environment, quiet bool
	cmd := anywhere(&cobra.Command{Use: "config [OPTIONS] [SERVICE...]", Aliases: []string{"convert"}, Short: "Parse, resolve and render compose file in canonical format"})
	fs := cmd.Flags()
	fs.StringVar(&format, "format", "yaml", `Format the output. Values: [yaml | json]`)
	fs.BoolVar(&services, "services", false, "Print the service names, one per line.")
	fs.BoolVar(&images, "images", false, "Print the image names, one per line.")
	fs.BoolVar(&volumes, "volumes", false, "Print the volume names, one per line.")
	fs.BoolVar(&networks, "networks", false, "Print the network names, one per line.")
	fs.BoolVar(&profiles, "profiles", false, "Print the profile names, one per line.")
	fs.BoolVar(&environment, "environment", false, "Print environment used for interpolation.")
	fs.StringVar(&hash, "hash", "", "Print the service config hash, one per line (\"*\" for all).")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only validate the configuration, don't print anything")
	fs.BoolVar(&c.load.NoInterpolate, "no-interpolate", false, "Don't interpolate environment variables")
	fs.BoolVar(&c.load.NoNormalize, "no-normalize", false, "Don't normalize compose model")
	fs.BoolVar(&c.load.NoPaths, "no-path-resolution", false, "Don't resolve file paths")
	fs.BoolVar(&c.load.NoConsistency, "no-consistency", false, "Don't check model consistency - warning: may produce invalid Compose output")
	fs.StringVarP(&output, "output", "o", "", "Save to file (default to stdout)")
	fs.BoolVar(&c.load.NoEnvFiles, "no-env-resolution", false, "Don't resolve service env files")
	fs.BoolVar(&variables, "variables", false, "Print model variables and default values.")
	fs.BoolVar(&resolve, "resolve-image-digests", false, "Pin image tags to digests")
	fs.BoolVar(&lock, "lock-image-digests", false, "Produces an override file with image digests")
	refuseBool(fs, "models", "is not supported: services have no models")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if variables {
			return c.variables(cmd.Context(), format)
		}
		p, err := c.project(cmd.Context())
		if err != nil {
			return err
		}
		if len(args) > 0 {
			if p, err = p.Select(args, compose.SelectOptions{}); err != nil {
				return err
			}
		}
		if quiet {
			return p.Check()
		}
		lists := []struct {
			on   bool
			list []string
		}{
			{services, p.Services()}, {images, p.Images()}, {volumes, p.Volumes()}, {networks, p.Networks()}, {profiles, p.Profiles()}, {environment, p.Environment()},
		}
		for _, l := range lists {
			if l.on {
				return c.lines(l.list)
			}
		}
		if hash != "" {
			return c.hashes(p, hash)
		}
		if resolve || lock {
			if p, err = c.pin(cmd.Context(), p, lock); err != nil {
				return err
			}
		}
		data, err := p.Config(format)
		if err != nil {
			return err
		}
		if output != "" {
			return fsx.WriteFile(output, data, 0o644)
		}
		_, err = os.Stdout.Write(data)
		return err
	}
	return cmd
}

// variables prints what the files of the project interpolate.
func (c *cli) variables(ctx context.Context, format string) error {
	list, err := compose.Variables(ctx, c.load)
	if err != nil {
		return err
	}
	if format == "json" {
		return json.NewEncoder(c.out).Encode(list)
	}
	w := newTable(c)
	fmt.Fprintln(w, "NAME\tREQUIRED\tDEFAULT VALUE\tALTERNATE VALUE")
	for _, v := range list {
		fmt.Fprintf(w, "%s\t%t\t%s\t%s\n", v.Name, v.Required, v.DefaultValue, v.AlternateValue)
	}
	return w.Flush()
}

// pin asks the registries for the digests of images. With alone, nothing else of
// the project is left.
func (c *cli) pin(ctx context.Context, p *compose.Project, alone bool) (*compose.Project, error) {
	eng, err := c.engine()
	if err != nil {
		return nil, err
	}
	return p.Pin(alone, func(image string) (string, error) {
		m, err := eng.RemoteManifest(ctx, image, engine.RemoteManifestOptions{})
		return string(m.Descriptor.Digest), err
	})
}

func (c *cli) lines(list []string) error {
	for _, line := range list {
		fmt.Fprintln(c.out, line)
	}
	return nil
}

func (c *cli) hashes(p *compose.Project, which string) error {
	all, err := p.Hashes()
	if err != nil {
		return err
	}
	wanted := strings.Split(which, ",")
	for _, name := range p.Services() {
		if which == "*" || slices.Contains(wanted, name) {
			fmt.Fprintln(c.out, name, all[name])
		}
	}
	return nil
}

func newVersion(c *cli) *cobra.Command {
	var short bool
	var format string
	cmd := anywhere(&cobra.Command{Use: "version [OPTIONS]", Short: "Show the Docker Compose version information", Args: cobra.NoArgs})
	cmd.Short = "Show the version of cleat compose"
	cmd.Flags().BoolVar(&short, "short", false, "Shows only the version number")
	cmd.Flags().StringVarP(&format, "format", "f", "pretty", "Format the output. Values: [pretty | json]")
	cmd.RunE = func(*cobra.Command, []string) error {
		switch {
		case short:
			fmt.Fprintln(c.out, version)
		case format == "json":
			fmt.Fprintf(c.out, "{\"version\":%q}\n", version)
		case format == "pretty":
			fmt.Fprintf(c.out, "cleat compose version %s\n", version)
		default:
			return usageError{fmt.Errorf("--format %q: must be pretty or json", format)}
		}
		return nil
	}
	return cmd
}
