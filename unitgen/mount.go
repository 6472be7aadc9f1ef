package unitgen

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/cleat-project/cleat/spec"
)

// MountInput is a file system that is mounted while a container uses it.
type MountInput struct {
	Where       string // the directory, absolute and without symbolic links
	What        string // a device, a directory, HOST:/PATH, or what its type makes of it
	Type        string // of the file system; "" lets mount(8) find out
	Options     string // separated by commas, as for mount(8)
	Description string
}

// maxUnitName is systemd's limit on the length of a unit's name, in bytes.
const maxUnitName = 255

// MountName returns the name that systemd wants a mount unit for the directory
// where to have, see "systemd-escape --path --suffix=mount".
func MountName(where string) (string, error) {
	if !filepath.IsAbs(where) || filepath.Clean(where) != where || where == "/" {
		return "", fmt.Errorf("mount point %q is not absolute and clean: %w", where, spec.ErrInvalid)
	}
	var b strings.Builder
	for i, c := range []byte(where[1:]) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i == 0, !inUnitName(c):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteString(".mount")
	if b.Len() > maxUnitName {
		return "", fmt.Errorf("mount point %q: the name of its unit would have %d characters, the limit is %d: %w", where, b.Len(), maxUnitName, spec.ErrInvalid)
	}
	return b.String(), nil
}

func inUnitName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(":_.", c) >= 0
}

// Mount returns the unit that mounts in. It has a file form alone. The units
// that require it pull it up, and it goes down with the last one of them.
//
// systemd makes the source of a bind mount if it is missing, which would hide a
// disk that is not there: that is asserted.
func Mount(in MountInput) (Unit, error) {
	name, err := MountName(in.Where)
	if err != nil {
		return Unit{}, err
	}
	for what, s := range map[string]string{"device": in.What, "type": in.Type, "options": in.Options} {
		if s != strings.TrimSpace(s) || strings.ContainsFunc(s, unprintable) || !utf8.ValidString(s) || strings.HasSuffix(s, `\`) {
			return Unit{}, fmt.Errorf("%s %q of a mount has a character that systemd cannot take: %w", what, s, spec.ErrInvalid)
		}
	}
	if in.What == "" {
		return Unit{}, fmt.Errorf("mount on %s: no device given: %w", in.Where, spec.ErrInvalid)
	}
	u := Unit{Name: name, Properties: []Property{
		{"Description", printable(in.Description)},
		{"Documentation", []string{"man:cleat(1)"}},
		{"StartLimitIntervalUSec", uint64(0)}, // a container that is started again and again fails for its own reasons
		{"StopWhenUnneeded", true},
		{"What", in.What},
		{"Where", in.Where},
	}}
	if in.Type != "" {
		u.Properties = append(u.Properties, Property{"Type", in.Type})
	}
	if in.Options != "" {
		u.Properties = append(u.Properties, Property{"Options", in.Options})
	}
	if isBindMount(in.Options) {
		u.Properties = append(u.Properties, Property{"AssertPathExists", in.What})
	}
	sortProperties(u.Properties)
	return u, nil
}

func isBindMount(options string) bool {
	for word := range strings.SplitSeq(options, ",") {
		if word == "bind" || word == "rbind" {
			return true
		}
	}
	return false
}
