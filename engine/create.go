package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/internal/signal"
	"github.com/cleat-project/cleat/internal/undo"
	"github.com/cleat-project/cleat/netd"
	"github.com/cleat-project/cleat/sandbox/profile"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
)

// Create creates a container and does not start it. It pulls the image if it
// has to. If it fails, nothing is left behind.
func (e *Engine) Create(ctx context.Context, opt CreateOptions) (_ Container, err error) {
	e = e.withWarn(opt.Warn)
	c := opt.Container
	if c.Name != "" {
		if err := checkName(c.Name); err != nil {
			return Container{}, err
		}
		if other, err := e.state.Find(c.Name); err == nil && other.Name == c.Name { // and not one whose id begins like that
			return Container{}, nameTaken(c.Name) // before a long pull; the claim below decides
		}
	}
	c.Version, c.ID, c.Created = 1, newID(), time.Now().UTC()
	_, _ = e.systemd(ctx) // most are started next; it answers while the rest is done

	img, err := e.resolveImage(ctx, opt)
	if err != nil {
		return Container{}, err
	}
	// From here until the container exists, its image must not be removed.
	hold, err := e.images.Hold(ctx)
	if err != nil {
		return Container{}, fmt.Errorf("hold image: %w", err)
	}
	defer hold.Release()
	if img, err = e.images.Get(string(img.ID)); err != nil {
		return Container{}, err
	}
	if err := e.admit(opt.Image, img); err != nil {
		return Container{}, err
	}
	if err := fillFromImage(&c, opt, img); err != nil {
		return Container{}, err
	}
	if err := errors.Join(checkLimits(c.Limits), checkDependencies(c), e.checkSurvival(ctx, c)); err != nil {
		return Container{}, err
	}
	secrets, err := e.settleSecrets(&c, opt.SecretData)
	if err != nil {
		return Container{}, err
	}
	if err := e.settleNetwork(ctx, &c, opt.Networks); err != nil {
		return Container{}, err
	}
	if err := e.resolveNames(&c, opt); err != nil {
		return Container{}, err
	}
	lock, err := e.state.Lock(ctx, c.ID)
	if err != nil {
		return Container{}, err
	}
	defer lock.Release()
	var u undo.Stack
	defer u.OnError(ctx, &err)
	if err := e.prepareMounts(ctx, &c, &u); err != nil {
		return Container{}, err
	}
	if err := e.store(ctx, &c, opt, img, secrets); err != nil {
		return Container{}, err
	}
	u.Push("remove container", func(context.Context) error { return e.state.Remove(c) })
	if err := e.keepVolumes(ctx, c); err != nil {
		return Container{}, err
	}
	e.warnLimits(c.Limits)
	e.tellContainer(c, "create")
	return Container{Container: c, Status: StatusCreated}, nil
}

func nameTaken(name string) error {
	return fmt.Errorf("container name %q is taken: remove or rename that container, or choose another name: %w", name, spec.ErrExists)
}

// resolveImage returns the image to run, pulled as the policy says.
func (e *Engine) resolveImage(ctx context.Context, opt CreateOptions) (Image, error) {
	if opt.Image == "" {
		return Image{}, invalid("no image given")
	}
	if opt.Pull == PullAlways {
		return e.Pull(ctx, opt.Image, PullOptions{Platform: opt.Platform, Progress: opt.Progress, Credentials: opt.Credentials})
	}
	img, err := e.images.Get(opt.Image)
	switch {
	case err == nil && platformFits(img, opt.Platform):
		return img, nil
	case err != nil && !isNotFound(err):
		return Image{}, err
	case opt.Pull == PullNever && err != nil:
		return Image{}, fmt.Errorf("image %q is not on this machine and --pull=never forbids fetching it: %w", opt.Image, spec.ErrNotFound)
	case opt.Pull == PullNever:
		return Image{}, fmt.Errorf("image %q is not for %s: %w", opt.Image, opt.Platform, spec.ErrNotFound)
	}
	if opt.Missing != nil {
		opt.Missing(opt.Image)
	}
	return e.Pull(ctx, opt.Image, PullOptions{Platform: opt.Platform, Progress: opt.Progress, Credentials: opt.Credentials})
}

func platformFits(img Image, want string) bool {
	if want == "" {
		return true
	}
	p, err := image.ParsePlatform(want)
	return err != nil || p.OS == img.Platform.OS && p.Architecture == img.Platform.Architecture && (p.Variant == "" || p.Variant == img.Platform.Variant)
}

// fillFromImage merges the image's defaults into c, as Docker merges them.
func fillFromImage(c *spec.Container, opt CreateOptions, img Image) error {
	cfg := img.Config
	c.Image = spec.Image{Reference: opt.Image, ID: string(img.ID)}
	for _, d := range img.Layers {
		c.Image.DiffIDs = append(c.Image.DiffIDs, string(d))
	}
	p := &c.Process
	if p.Entrypoint == nil && !opt.NoEntrypoint {
		if p.Cmd == nil {
			p.Cmd = cfg.Cmd
		}
		p.Entrypoint = cfg.Entrypoint
	}
	if len(p.Entrypoint)+len(p.Cmd) == 0 {
		return invalid("no command given, and image %q has none", opt.Image)
	}
	p.Env = mergeEnv(cfg.Env, p.Env)
	p.Dir = cmp.Or(p.Dir, cfg.WorkingDir)
	p.User = cmp.Or(p.User, cfg.User)
	c.StopSignal = cmp.Or(c.StopSignal, cfg.StopSignal)
	if c.StopTimeout == nil && cfg.StopTimeout != nil {
		t := time.Duration(*cfg.StopTimeout) * time.Second
		c.StopTimeout = &t
	}
	labels := map[string]string{}
	for k, v := range cfg.Labels {
		labels[k] = v
	}
	for k, v := range c.Labels {
		labels[k] = v
	}
	c.Labels = labels
	if err := fillHealth(c, cfg); err != nil {
		return err
	}
	if c.Notify == spec.NotifyHealthy && c.Healthcheck.Argv() == nil {
		return invalid("sdnotify=healthy: there is no health check: give a command with --health-cmd")
	}
	for _, target := range sortedKeys(cfg.Volumes) {
		if !hasTarget(c.Mounts, target) {
			c.Mounts = append(c.Mounts, spec.Mount{Type: spec.MountVolume, Target: target})
		}
	}
	c.Network.Exposed = addExposed(c.Network.Exposed, cfg.ExposedPorts)
	if c.StopSignal != "" {
		if _, err := signal.Parse(c.StopSignal); err != nil {
			return err
		}
	}
	return nil
}

// addExposed adds the ports that an image exposes, keys such as "80/tcp". What is
// not a port is left out: it comes from a careless image and has no effect.
func addExposed(ports []spec.Port, keys map[string]struct{}) []spec.Port {
	for _, key := range sortedKeys(keys) {
		more, err := netd.ParsePorts(key)
		if err != nil {
			continue
		}
		for _, p := range more {
			p = spec.Port{Proto: p.Proto, ContainerPort: p.ContainerPort}
			if !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
	}
	return ports
}

// mergeEnv returns base with the variables of over set, replaced, or, where
// they have no "=", removed. An entry without "=" in base comes from a careless
// image: it sets nothing, and must not be filled from anywhere.
func mergeEnv(base, over []string) []string {
	var env []string
	for _, kv := range slices.Concat(base, over) {
		name, _, set := strings.Cut(kv, "=")
		if name == "" {
			continue
		}
		at := slices.IndexFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		switch {
		case set && at >= 0:
			env[at] = kv
		case set:
			env = append(env, kv)
		case at >= 0:
			env = slices.Delete(env, at, at+1)
		}
	}
	return env
}

func hasTarget(mounts []spec.Mount, target string) bool {
	return slices.ContainsFunc(mounts, func(m spec.Mount) bool { return filepath.Clean(m.Target) == filepath.Clean(target) })
}

// resolveNames replaces what the user wrote of other containers by their ids and
// mounts.
func (e *Engine) resolveNames(c *spec.Container, opt CreateOptions) error {
	for _, mode := range []*string{&c.PIDMode, &c.IPCMode, &c.Network.Mode} {
		ref, ok := strings.CutPrefix(*mode, "container:")
		if !ok {
			continue
		}
		other, err := e.state.Find(ref)
		if err != nil {
			return err
		}
		*mode = "container:" + other.ID
		if mode == &c.Network.Mode {
			if c.Hostname != "" {
				return invalid("a container in another's network has that one's host name: --hostname cannot be given")
			}
			c.Hostname, c.Domainname = profile.Hostname(other), other.Domainname
		}
	}
	return e.takeVolumes(c, opt.VolumesFrom)
}

// takeVolumes adds the mounts of the containers in from that c has not itself.
func (e *Engine) takeVolumes(c *spec.Container, from []string) error {
	for _, entry := range from {
		ref, mode, _ := strings.Cut(entry, ":")
		if !slices.Contains([]string{"", "rw", "ro", "z", "Z"}, mode) {
			return invalid("volumes-from %q: mode must be ro or rw", entry)
		}
		other, err := e.state.Find(ref)
		if err != nil {
			return err
		}
		for _, m := range other.Mounts {
			if m.Type == spec.MountTmpfs || hasTarget(c.Mounts, m.Target) {
				continue
			}
			m.Anonymous = false // it stays its first container's
			m.ReadOnly = m.ReadOnly || mode == "ro"
			c.Mounts = append(c.Mounts, m)
		}
	}
	return nil
}

// prepareMounts makes the volumes and bind sources that c needs, and pushes to
// u how to remove those that were not there.
func (e *Engine) prepareMounts(ctx context.Context, c *spec.Container, u *undo.Stack) error {
	for i := range c.Mounts {
		m := &c.Mounts[i]
		switch m.Type {
		case spec.MountVolume:
			if err := e.prepareVolume(ctx, c.ID, m, u); err != nil {
				return err
			}
		case spec.MountBind:
			if err := prepareBind(*m); err != nil {
				return err
			}
			if exposesHost(m.Source) {
				e.warnf("bind mount of %s lets the container talk to systemd, D-Bus and cleat as the host's root", m.Source)
			}
		case spec.MountTmpfs:
		}
	}
	return nil
}

func (e *Engine) prepareVolume(ctx context.Context, id string, m *spec.Mount, u *undo.Stack) error {
	if m.Source == "" {
		m.Source, m.Anonymous = newID(), true
	}
	if !m.Anonymous {
		if err := checkVolumeName(m.Source); err != nil {
			return err
		}
	}
	v := newVolume(*m, id)
	if _, err := e.volumeMount(v); err != nil {
		return fmt.Errorf("create volume %q: %w", v.Name, err)
	}
	made, err := e.state.EnsureVolume(ctx, v)
	if err != nil {
		return err
	}
	if made {
		e.tellVolume("create", m.Source)
		u.Push("remove volume "+m.Source, func(ctx context.Context) error {
			_, err := e.state.RemoveUnusedVolumes(ctx, []string{v.Name}, nil)
			return err
		})
	}
	return nil
}

// newVolume is the volume that mount m of container id needs, if there is none.
func newVolume(m spec.Mount, id string) state.Volume {
	v := state.Volume{Name: m.Source, Created: time.Now().UTC(), Anonymous: m.Anonymous, Labels: m.VolumeLabels, Options: m.VolumeOptions}
	if m.Anonymous {
		v.Owner, v.Labels = id, withLabel(v.Labels, anonymousLabel)
	}
	return v
}

// keepVolumes makes again what a removal has taken away before it could see
// container c, see state.RemoveUnusedVolumes.
func (e *Engine) keepVolumes(ctx context.Context, c spec.Container) error {
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume {
			continue
		}
		if _, err := e.state.EnsureVolume(ctx, newVolume(m, c.ID)); err != nil {
			return err
		}
	}
	return nil
}

func checkVolumeName(name string) error {
	if len(name) < 2 || len(name) > maxNameLen || !isNameStart(name[0]) || strings.IndexFunc(name, notNameRune) >= 0 {
		return invalid("volume name %q: must be 2 to %d characters of [a-zA-Z0-9_.-], the first a letter or digit; a host directory must be an absolute path", name, maxNameLen)
	}
	return nil
}

// prepareBind checks the source of a bind mount. As in Docker, --volume makes a
// missing directory and --mount does not.
func prepareBind(m spec.Mount) error {
	if !filepath.IsAbs(m.Source) {
		return invalid("bind source %q: must be an absolute path", m.Source)
	}
	_, err := os.Stat(m.Source)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("bind source: %w", err)
		}
		return nil
	}
	if !m.CreateSource {
		return fmt.Errorf("bind source path does not exist: %s: %w", m.Source, spec.ErrInvalid)
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return fmt.Errorf("create bind source: %w", err)
	}
	return nil
}

// exposesHost reports whether a bind mount of source shows sockets through
// which root is as good as root on the host.
func exposesHost(source string) bool {
	for _, secret := range []string{"/run/systemd", "/run/dbus", "/run/cleat"} {
		if rel, err := filepath.Rel(filepath.Clean(source), secret); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}

// store writes the container with its start plan and takes its name, which it
// invents if the user gave none.
func (e *Engine) store(ctx context.Context, c *spec.Container, opt CreateOptions, img Image, secrets map[string][]byte) error {
	given := c.Name != ""
	for attempt := 0; ; attempt++ {
		if !given {
			c.Name = newName(attempt)
		}
		if err := e.setTag(c, opt.LogTag); err != nil {
			return err
		}
		files, err := e.plan(ctx, *c, opt, img)
		if err != nil {
			return err
		}
		maps.Copy(files, secrets)
		err = e.state.Create(ctx, *c, files)
		if err == nil {
			return e.avoidUnit(ctx, c)
		}
		if given || !errors.Is(err, spec.ErrExists) || attempt > 20 {
			return err
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
