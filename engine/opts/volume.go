package opts

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

// VolumeParser returns the parser of --volume: [SOURCE:]TARGET[:OPTIONS].
// SOURCE is an absolute path, a path that begins with a dot and lies below the
// directory dir, or the name of a volume; without one the volume is anonymous.
func VolumeParser(dir string) func(string) (spec.Mount, error) {
	return func(s string) (spec.Mount, error) {
		fields := strings.Split(s, ":")
		for _, f := range fields {
			if f == "" {
				return spec.Mount{}, fmt.Errorf("invalid volume specification: '%s'", s)
			}
		}
		m := spec.Mount{Type: spec.MountVolume}
		options := ""
		switch len(fields) {
		case 1:
			m.Target, m.Anonymous = fields[0], true
		case 2:
			m.Source, m.Target = fields[0], fields[1]
			if !path.IsAbs(m.Target) && validVolumeOptions(m.Target) {
				return spec.Mount{}, fmt.Errorf("invalid volume specification: '%s'", s)
			}
		case 3:
			m.Source, m.Target, options = fields[0], fields[1], fields[2]
		default:
			return spec.Mount{}, fmt.Errorf("invalid volume specification: '%s'", s)
		}
		if err := volumeSource(&m, dir); err != nil {
			return spec.Mount{}, err
		}
		if err := cleanTarget(&m, s); err != nil {
			return spec.Mount{}, err
		}
		if options == "" {
			return m, nil
		}
		return m, volumeOptions(&m, options)
	}
}

// volumeSource tells a path of the host from the name of a volume.
func volumeSource(m *spec.Mount, dir string) error {
	switch {
	case m.Anonymous:
		return nil
	case path.IsAbs(m.Source):
		m.Source = filepath.Clean(m.Source)
	case m.Source[0] == '.':
		m.Source = filepath.Join(dir, m.Source)
	default:
		return volumeName(m.Source)
	}
	m.Type, m.CreateSource = spec.MountBind, true
	return nil
}

func volumeName(name string) error {
	if len(name) < 2 {
		return errors.New("volume name is too short, names should be at least two alphanumeric characters")
	}
	for i, r := range name {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || i > 0 && strings.ContainsRune("_.-", r)
		if !ok {
			return fmt.Errorf("%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name)
		}
	}
	return nil
}

// cleanTarget checks the path in the container. Whole is what the user typed.
func cleanTarget(m *spec.Mount, whole string) error {
	if !path.IsAbs(m.Target) {
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", m.Target)
	}
	m.Target = path.Clean(m.Target)
	if m.Target == "/" {
		return fmt.Errorf("invalid specification: destination can't be '/': '%s'", whole)
	}
	return nil
}

// volumeOption classifies one word of --volume's options: at most one word of
// each class may be given. "" means that the word is unknown.
func volumeOption(word string) (class string) {
	switch word {
	case "ro", "rw":
		return "mode"
	case "z", "Z":
		return "label"
	case "nocopy":
		return "copy"
	case "consistent", "cached", "delegated":
		return "consistency"
	case "private", "rprivate", "shared", "rshared", "slave", "rslave":
		return "propagation"
	}
	return ""
}

func validVolumeOptions(options string) bool {
	seen := make(map[string]bool)
	for word := range strings.SplitSeq(options, ",") {
		class := volumeOption(word)
		if class == "" || seen[class] {
			return false
		}
		seen[class] = true
	}
	return true
}

func volumeOptions(m *spec.Mount, options string) error {
	if !validVolumeOptions(options) {
		return fmt.Errorf("invalid mode: %s", options)
	}
	for word := range strings.SplitSeq(options, ",") {
		switch volumeOption(word) {
		case "mode":
			m.ReadOnly = word == "ro"
		case "copy":
			if m.Type == spec.MountBind {
				return fmt.Errorf("invalid mode: %s: nocopy is for volumes", options)
			}
			m.NoCopy = true
		case "propagation":
			if m.Type != spec.MountBind {
				return fmt.Errorf("invalid mode: %s: propagation is for bind mounts", options)
			}
			m.Propagation = word
		default:
			// SELinux labels (z, Z) and the consistency words have no effect on
			// this system, in Docker as well.
		}
	}
	return nil
}

// Tmpfs parses --tmpfs: TARGET[:OPTIONS].
func Tmpfs(s string) (spec.Mount, error) {
	target, options, _ := strings.Cut(s, ":")
	m := spec.Mount{Type: spec.MountTmpfs, Target: target}
	if err := cleanTarget(&m, s); err != nil {
		return spec.Mount{}, err
	}
	for word := range strings.SplitSeq(options, ",") {
		if word == "" {
			continue
		}
		if err := tmpfsOption(&m, word); err != nil {
			return spec.Mount{}, err
		}
	}
	return m, nil
}

func tmpfsOption(m *spec.Mount, word string) error {
	key, value, hasValue := strings.Cut(word, "=")
	switch key {
	case "size":
		if strings.HasSuffix(value, "%") { // of the machine's memory: the kernel's business
			m.Options = append(m.Options, word)
			return nil
		}
		return setSize(&m.TmpfsBytes, key, value)
	case "mode":
		return setMode(&m.TmpfsMode, key, value)
	case "ro", "rw":
		m.ReadOnly = key == "ro"
		return nil
	case "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge":
		if !hasValue || value == "" {
			return fmt.Errorf("invalid tmpfs option %q: it needs a value", word)
		}
	case "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "atime", "noatime",
		"diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime":
	default:
		return fmt.Errorf("invalid tmpfs option %q", word)
	}
	m.Options = append(m.Options, word)
	return nil
}
