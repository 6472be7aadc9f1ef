package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/cleat-project/cleat/spec"
)

// MountParser returns the parser of --mount: comma separated KEY=VALUE in the
// syntax of one line of CSV. A source that begins with a dot lies below dir.
func MountParser(dir string) func(string) (spec.Mount, error) {
	return func(s string) (spec.Mount, error) {
		lines := csv.NewReader(strings.NewReader(s))
		fields, err := lines.Read()
		if err != nil {
			return spec.Mount{}, fmt.Errorf("read %q as comma separated values: %w", s, err)
		}
		if _, err := lines.Read(); !errors.Is(err, io.EOF) {
			return spec.Mount{}, fmt.Errorf("%q has more than one line", s)
		}
		m := spec.Mount{Type: spec.MountVolume}
		used := make(map[string]bool) // families of options: "bind", "volume", "tmpfs"
		for _, field := range fields {
			if err := mountField(&m, used, field, dir); err != nil {
				return spec.Mount{}, err
			}
		}
		if err := checkMount(&m, used, s); err != nil {
			return spec.Mount{}, err
		}
		return m, nil
	}
}

// mountField applies one KEY=VALUE.
func mountField(m *spec.Mount, used map[string]bool, field, dir string) error {
	key, value, hasValue := strings.Cut(field, "=")
	key = strings.ToLower(key)
	if !hasValue {
		switch key {
		case "readonly", "ro", "volume-nocopy", "bind-nonrecursive":
			value = "true"
		default:
			return fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
	}
	if family, _, ok := strings.Cut(key, "-"); ok {
		used[family] = true
	}
	switch key {
	case "type":
		return mountType(m, strings.ToLower(value))
	case "source", "src":
		if strings.HasPrefix(value, "./") || strings.HasPrefix(value, "../") || value == "." || value == ".." {
			value = filepath.Join(dir, value)
		}
		m.Source = value
	case "target", "dst", "destination":
		m.Target = value
	case "readonly", "ro":
		return setBool(&m.ReadOnly, key, value)
	case "consistency":
		return oneOf(key, value, "consistent", "cached", "delegated", "default")
	default:
		return mountTypeField(m, key, value, field)
	}
	return nil
}

func mountType(m *spec.Mount, value string) error {
	switch t := spec.MountType(value); t {
	case spec.MountBind, spec.MountVolume, spec.MountTmpfs:
		m.Type = t
		return nil
	case "image", "npipe", "cluster":
		return fmt.Errorf("mounts of type '%s' are not supported", value)
	}
	return fmt.Errorf("mount type unknown: %q", value)
}

// mountTypeField applies a key that belongs to one type of mount.
func mountTypeField(m *spec.Mount, key, value, field string) error {
	switch key {
	case "bind-propagation":
		m.Propagation = strings.ToLower(value)
		return oneOf(key, m.Propagation, "private", "rprivate", "shared", "rshared", "slave", "rslave")
	case "bind-nonrecursive":
		return setBool(&m.NonRecursive, key, value)
	case "bind-recursive":
		return bindRecursive(m, value)
	case "volume-nocopy":
		return setBool(&m.NoCopy, key, value)
	case "volume-subpath":
		m.Subpath = value
	case "volume-driver":
		return oneOf(key, value, "", "local")
	case "volume-label":
		return setPair(&m.VolumeLabels, value)
	case "volume-opt":
		return setPair(&m.VolumeOptions, value)
	case "image-subpath":
		return fmt.Errorf("'%s' is not supported", key)
	case "tmpfs-size":
		return setSize(&m.TmpfsBytes, key, value)
	case "tmpfs-mode":
		return setMode(&m.TmpfsMode, key, value)
	default:
		return fmt.Errorf("unexpected key '%s' in '%s'", key, field)
	}
	return nil
}

func bindRecursive(m *spec.Mount, value string) error {
	switch value {
	case "enabled":
		m.NonRecursive = false
	case "disabled":
		m.NonRecursive = true
	case "writable", "readonly":
		return fmt.Errorf("'bind-recursive=%s' is not supported", value)
	default:
		return fmt.Errorf(`invalid value for bind-recursive: %s (must be "enabled" or "disabled")`, value)
	}
	return nil
}

// checkMount checks what can be said only once all fields are read.
func checkMount(m *spec.Mount, used map[string]bool, whole string) error {
	if m.Target == "" {
		return errors.New("target is required")
	}
	for _, family := range []spec.MountType{spec.MountBind, spec.MountVolume, spec.MountTmpfs} {
		if used[string(family)] && m.Type != family {
			return fmt.Errorf("cannot mix '%s-*' options with mount type '%s'", family, m.Type)
		}
	}
	if err := mountSource(m); err != nil {
		return err
	}
	return cleanTarget(m, whole)
}

func mountSource(m *spec.Mount) error {
	switch {
	case m.Type == spec.MountTmpfs && m.Source != "":
		return errors.New(`invalid mount config for type "tmpfs": field Source must not be specified`)
	case m.Type == spec.MountBind && m.Source == "":
		return errors.New(`invalid mount config for type "bind": field Source must not be empty`)
	case m.Type == spec.MountBind && !path.IsAbs(m.Source):
		return fmt.Errorf(`invalid mount config for type "bind": invalid mount path: '%s' mount path must be absolute`, m.Source)
	case m.Type == spec.MountBind:
		m.Source = filepath.Clean(m.Source)
	case m.Type == spec.MountVolume && m.Source == "" && m.VolumeOptions != nil:
		return errors.New("volume-opt needs a volume with a name: give one with src=NAME")
	case m.Type == spec.MountVolume && m.Source == "":
		m.Anonymous = true
	case m.Type == spec.MountVolume:
		return volumeName(m.Source)
	}
	return nil
}

// setPair adds KEY=VALUE, or KEY alone, to a map.
func setPair(dst *map[string]string, pair string) error {
	key, value, _ := strings.Cut(pair, "=")
	if key == "" {
		return fmt.Errorf("invalid argument '%s': it has the form KEY=VALUE", pair)
	}
	if *dst == nil {
		*dst = make(map[string]string)
	}
	(*dst)[key] = value
	return nil
}

func setBool(dst *bool, key, value string) (err error) {
	if *dst, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("invalid value for %s: %s", key, value)
	}
	return nil
}

func setSize(dst *int64, key, value string) (err error) {
	if *dst, err = units.RAMInBytes(value); err != nil {
		return fmt.Errorf("invalid value for %s: %s", key, value)
	}
	return nil
}

func setMode(dst *uint32, key, value string) error {
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil || mode > 0o7777 {
		return fmt.Errorf("invalid value for %s: %s", key, value)
	}
	*dst = uint32(mode)
	return nil
}

func oneOf(key, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("invalid value for %s: %s", key, value)
}
