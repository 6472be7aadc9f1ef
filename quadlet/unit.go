package quadlet

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Unit returns the unit that people know the file by: "web.service" for
// web.container, "data-volume.service" for data.volume.
func (f *File) Unit() string {
	if f.Kind == KindContainer {
		return f.Base + ".service"
	}
	return f.Base + "-" + string(f.Kind) + ".service"
}

// Program is how a generated unit calls cleat.
type Program struct {
	Cleat string   // the program
	Args  []string // its options, before the verb
}

// Command returns a command line of cleat, for ExecStart= and its kin.
func (p Program) Command(verb ...string) string {
	words := append(append([]string{p.Cleat}, p.Args...), verb...)
	for i, w := range words {
		words[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(w) + `"`
	}
	return strings.Join(words, " ")
}

// Service returns the unit of o. Base is the unit of the container, as a file: what
// the description says comes behind it, and so counts. For the other kinds it is "".
func (o *Object) Service(base string, p Program) string {
	f := o.File
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by cleat of %s. Change that, or use \"systemctl edit\".\n", f.Path)
	b.WriteString(base)
	b.WriteString("\n[Unit]\nSourcePath=" + strings.ReplaceAll(f.Path, "%", "%%") + "\n")
	if o.waitsForNetwork() {
		if f.Kind != KindContainer {
			b.WriteString("Wants=network-online.target\n")
		}
		b.WriteString("After=network-online.target\n")
	}
	if len(o.needs) > 0 {
		units := strings.Join(o.needs, " ")
		b.WriteString("Requires=" + units + "\nAfter=" + units + "\n")
	}
	passOn(&b, f.sections["Unit"])
	b.WriteString("\n[Service]\nEnvironment=HOME=/root\n")
	if f.Kind == KindContainer {
		b.WriteString("ExecStartPre=" + p.Command("quadlet", "apply", f.Path) + "\n")
		b.WriteString("ExecStopPost=-" + p.Command("quadlet", "sweep") + "\n") // if the file is gone, so is the container
	} else {
		b.WriteString("Type=oneshot\nRemainAfterExit=yes\nSyslogIdentifier=cleat\nTimeoutStartSec=infinity\nExecStart=" + p.Command("quadlet", "apply", f.Path) + "\n")
	}
	passOn(&b, f.sections["Service"])
	fmt.Fprintf(&b, "\n[X-%s]\n", f.Kind.section())
	passOn(&b, f.sections[f.Kind.section()])
	return b.String()
}

// waitsForNetwork reports whether the unit comes after network-online.target if
// something else starts that.
func (o *Object) waitsForNetwork() bool {
	for _, e := range o.File.sections["Quadlet"] {
		if on, err := parseBool(e.Value); e.Key == "DefaultDependencies" && err == nil && !on {
			return false
		}
	}
	return slices.Contains([]Kind{KindContainer, KindImage, KindBuild}, o.File.Kind)
}

// passOn writes entries as they are. No value has a newline or ends with a
// backslash: the lines are joined already.
func passOn(b *strings.Builder, entries []Entry) {
	for _, e := range entries {
		b.WriteString(e.Key + "=" + e.Value + "\n")
	}
}

// Links returns the links that enable a unit called target and that give it its
// other names: paths below the directory of units, and where they lead.
func (o *Object) Links(target string) map[string]string {
	links := map[string]string{}
	if o.File.Unit() != target {
		links[o.File.Unit()] = target
	}
	for _, e := range o.File.sections["Install"] {
		for _, unit := range strings.Fields(e.Value) {
			if filepath.Base(unit) != unit || unit == "." || unit == ".." {
				continue // a name, and no way out of the directory
			}
			switch e.Key {
			case "Alias":
				links[unit] = target
			case "WantedBy":
				links[unit+".wants/"+target] = "../" + target
			case "RequiredBy":
				links[unit+".requires/"+target] = "../" + target
			case "UpheldBy":
				links[unit+".upholds/"+target] = "../" + target
			}
		}
	}
	return links
}

// Names returns the files of the set, sorted.
func (s Set) Names() []string {
	names := sortedKeys(s)
	slices.Sort(names)
	return names
}
