package compose

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/cleat-project/cleat/engine"
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
		if err := w.addSecret(types.FileReferenceConfig(ref), types.FileObjectConfig(object)); err != nil {
			return fmt.Errorf("secret %q: %w", ref.Source, err)
		}
	}
	return nil
}

// addSecret has systemd give a secret to a service's containers, as a file in
// memory: one of this machine's files, a credential of its store if it is external,
// or what a variable says. What is to lie elsewhere is written into containers.
func (w *wanted) addSecret(ref types.FileReferenceConfig, object types.FileObjectConfig) error {
	target := or(ref.Target, ref.Source)
	if !path.IsAbs(target) {
		target = path.Join(spec.SecretsDir, target)
	}
	owner, err := ownerOf(ref)
	if err != nil {
		return err
	}
	secret := spec.Secret{Source: object.File, Target: path.Base(target), UID: uint32(owner.UID), GID: uint32(owner.GID), Mode: uint32(owner.Mode)}
	if object.External {
		secret.Source = object.Name
	}
	if path.Dir(target) != spec.SecretsDir || engine.CheckSecret(secret) != nil && !object.External {
		if object.External {
			return fmt.Errorf("an external secret is a credential of systemd, which is a file in %s: the target cannot be %q", spec.SecretsDir, target)
		}
		return w.addFile(ref, object, target)
	}
	if secret.Source == "" {
		if w.create.SecretData == nil {
			w.create.SecretData = map[string][]byte{}
		}
		w.create.SecretData[secret.Target] = []byte(object.Content)
	}
	w.create.Container.Secrets = append(w.create.Container.Secrets, secret)
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
	f, err := ownerOf(ref)
	if err != nil {
		return err
	}
	f.Target, f.Data = target, []byte(object.Content)
	if object.File != "" {
		if f.Data, err = os.ReadFile(object.File); err != nil {
			return err
		}
	}
	if w.service.ReadOnly {
		return errors.New("has to be a file of the host without uid, gid and mode: the service is read_only")
	}
	w.files = append(w.files, f)
	return nil
}

// ownerOf reads to whom a secret or config is to belong, and its mode.
func ownerOf(ref types.FileReferenceConfig) (f injected, err error) {
	f.Mode = spec.DefaultSecretMode
	for _, id := range []struct {
		key, text string
		to        *int
	}{{"uid", ref.UID, &f.UID}, {"gid", ref.GID, &f.GID}} {
		if id.text == "" {
			continue
		}
		n, err := strconv.ParseUint(id.text, 10, 31)
		if err != nil {
			return f, fmt.Errorf("%s %q: must be a number", id.key, id.text)
		}
		*id.to = int(n)
	}
	if ref.Mode != nil {
		f.Mode = int64(*ref.Mode)
	}
	if f.Mode < 1 || f.Mode > 0o777 {
		return f, fmt.Errorf("mode %#o: must be from 1 to 0777", f.Mode)
	}
	return f, nil
}
