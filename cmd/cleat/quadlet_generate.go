package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/quadlet"
)

// generatorName is what systemd calls this program as, see systemd.generator(7).
const generatorName = "cleat-generator"

// sweepUnit removes, at boot, the containers whose files are gone.
const sweepUnit = "cleat-quadlet-sweep.service"

func newQuadletGenerate(c *cli) *cobra.Command {
	var dirs []string
	cmd := &cobra.Command{
		Use: "generate DIR [DIR DIR]", Short: "Write units for systemd, which calls this as " + generatorName, Hidden: true,
		Args: between(1, 3), Annotations: map[string]string{placeKey: placeAnywhere},
	}
	cmd.Flags().StringArrayVar(&dirs, "directory", nil, "Directory of files instead of the usual ones")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(dirs) == 0 {
			dirs = quadlet.Directories()
		}
		errs := c.generateQuadlets(dirs, args[0])
		if len(errs) == 0 {
			return nil
		}
		if _, bySystemd := c.lookup("SYSTEMD_SCOPE"); bySystemd {
			logProblems(errs)
		}
		return errs
	}
	return cmd
}

// generateQuadlets writes the units of all files in dirs to out. What is wrong with
// one of them does not keep the others from being written.
func (c *cli) generateQuadlets(dirs []string, out string) errorList {
	set, err := quadlet.ReadDirs(dirs)
	errs := flat(err)
	owner := map[string]string{} // of a unit: the file
	for _, name := range set.Names() {
		if err := c.generateQuadlet(set, set[name], out, owner); err != nil {
			errs = append(errs, flat(err)...)
		}
	}
	if hasDirectory(dirs) {
		if err := c.writeSweep(out); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func hasDirectory(dirs []string) bool {
	for _, dir := range dirs {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return true
		}
	}
	return false
}

func (c *cli) generateQuadlet(set quadlet.Set, f *quadlet.File, out string, owner map[string]string) error {
	units, err := c.describedUnits(set, f)
	if err != nil {
		return err
	}
	o, err := set.Object(f)
	if err != nil {
		return err
	}
	target := f.Unit()
	if f.Kind == quadlet.KindContainer {
		target = engine.UnitOf(o.Name)
	}
	if other := owner[target]; other != "" {
		return &quadlet.Problem{Path: f.Path, Text: fmt.Sprintf("%s describes a %s of the same name, %s", other, f.Kind, o.Name)}
	}
	owner[target] = f.Path
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write unit: %w", err)
		}
	}
	links := o.Links(target)
	paths := make([]string, 0, len(links))
	for path := range links {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		if err := link(links[path], filepath.Join(out, path)); err != nil {
			return &quadlet.Problem{Path: f.Path, Text: err.Error()}
		}
	}
	return nil
}

// link makes a symbolic link and its directory.
func link(to, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := os.Symlink(to, path)
	if have, readErr := os.Readlink(path); errors.Is(err, fs.ErrExist) && readErr == nil && have == to {
		return nil
	}
	return err
}

func (c *cli) writeSweep(out string) error {
	p, err := c.program()
	if err != nil {
		return err
	}
	text := "# Made by cleat.\n\n[Unit]\nDescription=Containers Whose Files Are Gone\nDocumentation=man:cleat-quadlet(1)\n" +
		"\n[Service]\nType=oneshot\nExecStart=" + p.Command("quadlet", "sweep") + "\n"
	if err := os.WriteFile(filepath.Join(out, sweepUnit), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write unit: %w", err)
	}
	return link("../"+sweepUnit, filepath.Join(out, "multi-user.target.wants", sweepUnit))
}
