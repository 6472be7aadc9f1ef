package api

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// convertMount turns an entry of HostConfig.Mounts into ours. What is in both
// syntaxes is checked by the parser of the other one.
func convertMount(in mount.Mount) (spec.Mount, error) {
	m := spec.Mount{Type: spec.MountType(in.Type), Source: in.Source, Target: in.Target, ReadOnly: in.ReadOnly}
	if err := optionsFit(in); err != nil {
		return m, err
	}
	if !path.IsAbs(in.Target) || path.Clean(in.Target) == "/" {
		return m, invalid("invalid mount target %q: it has to be an absolute path below /", in.Target)
	}
	m.Target = path.Clean(in.Target)
	switch in.Type {
	case mount.TypeBind:
		return bindMount(m, in.BindOptions)
	case mount.TypeVolume:
		return volumeMount(m, in.VolumeOptions)
	case mount.TypeTmpfs:
		return tmpfsMount(m, in)
	case mount.TypeImage, mount.TypeCluster, mount.TypeNamedPipe:
		return m, unsupported("mounts of type %q are not supported", in.Type)
	}
	return m, invalid("mount type unknown: %q", in.Type)
}

// optionsFit refuses options that belong to another type of mount.
func optionsFit(in mount.Mount) error {
	for kind, given := range map[mount.Type]bool{
		mount.TypeBind: in.BindOptions != nil, mount.TypeVolume: in.VolumeOptions != nil, mount.TypeTmpfs: in.TmpfsOptions != nil,
		mount.TypeImage: in.ImageOptions != nil, mount.TypeCluster: in.ClusterOptions != nil,
	} {
		if given && in.Type != kind {
			return invalid("invalid mount config for type %q: it cannot have the options of type %q", in.Type, kind)
		}
	}
	return nil
}

func bindMount(m spec.Mount, o *mount.BindOptions) (spec.Mount, error) {
	if !path.IsAbs(m.Source) {
		return m, invalid(`invalid mount config for type "bind": invalid mount path: '%s' mount path must be absolute`, m.Source)
	}
	m.Source = path.Clean(m.Source)
	if o == nil {
		return m, nil
	}
	if o.ReadOnlyNonRecursive || o.ReadOnlyForceRecursive {
		return m, unsupported("choosing whether mounts below a read-only bind mount are read-only is not supported")
	}
	if o.Propagation != "" && !slices.Contains(mount.Propagations, o.Propagation) {
		return m, invalid("invalid propagation mode: %s", o.Propagation)
	}
	m.Propagation, m.NonRecursive, m.CreateSource = string(o.Propagation), o.NonRecursive, o.CreateMountpoint
	return m, nil
}

func volumeMount(m spec.Mount, o *mount.VolumeOptions) (spec.Mount, error) {
	m.Anonymous = m.Source == ""
	if !m.Anonymous {
		if _, err := opts.VolumeParser("/")(m.Source + ":/x"); err != nil {
			return m, err
		}
		if strings.ContainsAny(m.Source, "/:") || m.Source[0] == '.' {
			return m, invalid("%q is not the name of a volume", m.Source)
		}
	}
	if o == nil {
		return m, nil
	}
	m.NoCopy, m.Subpath, m.VolumeLabels = o.NoCopy, o.Subpath, o.Labels
	if d := o.DriverConfig; d != nil {
		if d.Name != "" && d.Name != "local" {
			return m, unsupported("the volume driver %q is not supported: volumes are local directories", d.Name)
		}
		if m.VolumeOptions = d.Options; m.Anonymous && len(d.Options) > 0 {
			return m, invalid("options of a volume need a volume with a name")
		}
	}
	return m, nil
}

func tmpfsMount(m spec.Mount, in mount.Mount) (spec.Mount, error) {
	if in.Source != "" {
		return m, invalid(`invalid mount config for type "tmpfs": field Source must not be specified`)
	}
	if in.TmpfsOptions == nil {
		return m, nil
	}
	m.TmpfsBytes, m.TmpfsMode = in.TmpfsOptions.SizeBytes, uint32(in.TmpfsOptions.Mode&os.ModePerm|in.TmpfsOptions.Mode&0o7000)
	for _, pair := range in.TmpfsOptions.Options {
		parsed, err := opts.Tmpfs("/x:" + strings.Join(pair, "="))
		if err != nil {
			return m, err
		}
		m.Options = append(m.Options, parsed.Options...)
	}
	return m, nil
}
