package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/sandbox/plan"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/unitgen"
)

// GenerateOptions says which units to write out, and how.
type GenerateOptions struct {
	Own     bool // those that the container is
	Plain   bool // the one that runs it with systemd alone
	Explain bool // with the reason above each setting
}

// UnitFile is a unit as text.
type UnitFile struct {
	Name string
	Text string
}

// Generate returns the units of a container as files, whether it runs or not.
func (e *Engine) Generate(ctx context.Context, ref string, opt GenerateOptions) ([]UnitFile, error) {
	c, err := e.state.Find(ref)
	if err != nil {
		return nil, err
	}
	var units []unitgen.Unit
	if opt.Own {
		ports, err := e.chosenPorts(c)
		if err != nil {
			return nil, err
		}
		if units, err = e.containerUnits(ctx, c, ports); err != nil {
			return nil, err
		}
	}
	if opt.Plain {
		u, err := e.plainUnit(c)
		if err != nil {
			return nil, err
		}
		units = append(units, u)
	}
	text := unitgen.Text
	if opt.Explain {
		text = unitgen.Explain
	}
	var files []UnitFile
	for _, u := range units {
		t := text(u)
		if u.Plain {
			t = plainNote(c) + t
		}
		files = append(files, UnitFile{u.Name, t})
	}
	return files, nil
}

// plainRoot is where the note above a plain unit has the file system put.
const plainRoot = "/var/lib/machines"

func (e *Engine) plainUnit(c spec.Container) (unitgen.Unit, error) {
	p, err := plan.Load(e.state.Dir(c.ID))
	if err != nil {
		return unitgen.Unit{}, err
	}
	in := unitgen.PlainInput{RootDirectory: filepath.Join(plainRoot, c.Name), Volumes: map[string]string{}, Capabilities: []string{}}
	if p.Config.Process != nil && p.Config.Process.Capabilities != nil {
		in.Capabilities = p.Config.Process.Capabilities.Bounding
	}
	for _, m := range c.Mounts {
		if m.Type == spec.MountVolume {
			in.Volumes[m.Source] = filepath.Join(e.state.VolumeDir(m.Source), m.Subpath)
		}
	}
	return unitgen.Plain(c, in)
}

// plainNote says how to get there, and what systemd alone does not do.
func plainNote(c spec.Container) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Runs the container without cleat. Its file system first:\n#   mkdir -p %[1]s/%[2]s && cleat export %[2]s | tar -x -C %[1]s/%[2]s\n# What is lost:\n", plainRoot, c.Name)
	lost := []string{"exec, attach, cp and logs by container; layers shared with other containers; --rm", "the seccomp profile, for which SystemCallFilter= has groups of its own"}
	switch {
	case len(c.Network.Endpoints) > 0:
		lost = append(lost, "its networks: addresses, names, published ports: it has the host's network")
	case strings.HasPrefix(c.Network.Mode, "container:"):
		lost = append(lost, "the network that it shares with another container: see JoinsNamespaceOf=")
	}
	if c.Process.TTY {
		lost = append(lost, "the terminal (-t)")
	}
	if c.Init {
		lost = append(lost, "the init that reaps processes (--init)")
	}
	if c.Watched() {
		lost = append(lost, "health checks, or what the payload says of its readiness")
	}
	if c.Activated() {
		lost = append(lost, "its start by connections: write a socket unit")
	}
	for _, l := range lost {
		b.WriteString("# - " + l + "\n")
	}
	return b.String()
}
