package compose

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/engine/opts"
	"github.com/cleat-project/cleat/spec"
)

// injected is a file that is written into a container before its first start.
type injected struct {
	Target   string
	Data     []byte
	UID, GID int
	Mode     int64
}

func (p *Project) mounts(w *wanted) error {
	ct := &w.create.Container
	for _, v := range w.service.Volumes {
		m, err := p.mount(v)
		if err != nil {
			return err
		}
		ct.Mounts = append(ct.Mounts, m)
	}
	tmpfs, err := parseAll(w.service.Tmpfs, opts.Tmpfs)
	if err != nil {
		return at("tmpfs", err)
	}
	ct.Mounts = append(ct.Mounts, tmpfs...)
	for _, entry := range w.service.VolumesFrom {
		if container, ok := strings.CutPrefix(entry, types.ContainerPrefix); ok {
			w.create.VolumesFrom = append(w.create.VolumesFrom, container)
			continue
		}
		service, mode, given := strings.Cut(entry, ":")
		name, err := p.firstContainer(service)
		if err != nil {
			return at("volumes_from", err)
		}
		if given {
			name += ":" + mode
		}
		w.bound = append(w.bound, service)
		w.create.VolumesFrom = append(w.create.VolumesFrom, name)
	}
	return nil
}

func (p *Project) mount(v types.ServiceVolumeConfig) (spec.Mount, error) {
	m := spec.Mount{Type: spec.MountType(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
	if !path.IsAbs(v.Target) {
		return m, fmt.Errorf("mount at %q: must be an absolute path", v.Target)
	}
	switch v.Type {
	case types.VolumeTypeBind:
		m.CreateSource = true
		if b := v.Bind; b != nil {
			m.Propagation, m.NonRecursive, m.CreateSource = b.Propagation, b.Recursive == "disabled", bool(b.CreateHostPath)
		}
	case types.VolumeTypeVolume:
		if v.Source != "" {
			volume, ok := p.model.Volumes[v.Source]
			if !ok {
				return m, fmt.Errorf("the project has no volume %q", v.Source)
			}
			m.Source = volume.Name
		}
		if o := v.Volume; o != nil {
			m.NoCopy, m.Subpath = o.NoCopy, o.Subpath
			if len(o.Labels) > 0 {
				m.VolumeLabels = o.Labels
			}
		}
	case types.VolumeTypeTmpfs:
		m.Source = ""
		if o := v.Tmpfs; o != nil {
			m.TmpfsBytes, m.TmpfsMode = int64(o.Size), o.Mode
		}
	default:
		return m, fmt.Errorf("mounts of type %q are not supported", v.Type)
	}
	return m, nil
}

func (p *Project) secrets(w *wanted) error {
	for _, ref := range w.service.Secrets {
		object, ok := p.model.Secrets[ref.Source]
		if !ok {
			return fmt.Errorf("the project has no secret %q", ref.Source)
		}
		target := or(ref.Target, ref.Source)
		if !path.IsAbs(target) {
			target = path.Join("/run/secrets", target)
		}
		if err := w.addFile(types.FileReferenceConfig(ref), types.FileObjectConfig(object), target); err != nil {
			return fmt.Errorf("secret %q: %w", ref.Source, err)
		}
	}
	return nil
}

func (p *Project) configs(w *wanted) error {
	for _, ref := range w.service.Configs {
		object, ok := p.model.Configs[ref.Source]
		if !ok {
			return fmt.Errorf("the project has no config %q", ref.Source)
		}
		target := or(ref.Target, ref.Source)
		if !path.IsAbs(target) {
			target = path.Join("/", target)
		}
		if err := w.addFile(types.FileReferenceConfig(ref), types.FileObjectConfig(object), target); err != nil {
			return fmt.Errorf("config %q: %w", ref.Source, err)
		}
	}
	return nil
}

// addFile puts a secret or config into a service: a file of the host as a bind
// mount, as Docker does, unless it is to have another owner or mode. Then, and
// where it comes from a variable or the compose file, it is written into the
// container.
func (w *wanted) addFile(ref types.FileReferenceConfig, object types.FileObjectConfig, target string) error {
	own := ref.UID != "" || ref.GID != "" || ref.Mode != nil
	if object.File != "" && !own {
		w.create.Container.Mounts = append(w.create.Container.Mounts, spec.Mount{
			Type: spec.MountBind, Source: object.File, Target: target, ReadOnly: true,
		})
		return nil
	}
	f := injected{Target: target, Data: []byte(object.Content), Mode: 0o444}
	var err error
	if object.File != "" {
		if f.Data, err = os.ReadFile(object.File); err != nil {
			return err
		}
	}
	if ref.UID != "" {
		if f.UID, err = strconv.Atoi(ref.UID); err != nil {
			return fmt.Errorf("uid %q: must be a number", ref.UID)
		}
	}
	if ref.GID != "" {
		if f.GID, err = strconv.Atoi(ref.GID); err != nil {
			return fmt.Errorf("gid %q: must be a number", ref.GID)
		}
	}
	if ref.Mode != nil {
		f.Mode = int64(*ref.Mode)
	}
	if w.service.ReadOnly {
		return errors.New("has to be a file of the host without uid, gid and mode: the service is read_only")
	}
	w.files = append(w.files, f)
	return nil
}
