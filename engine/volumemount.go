package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/state"
	"github.com/cleat-project/cleat/supervisor"
	"github.com/cleat-project/cleat/unitgen"
)

// The options of the driver "local", which are those of Docker's.
const (
	optType   = "type"
	optDevice = "device"
	optMount  = "o"
)

// volumeMount returns the unit of what is mounted on a volume while a container
// uses it, nil if that is nothing. It does not change anything.
func (e *Engine) volumeMount(v state.Volume) (*unitgen.Unit, error) {
	if len(v.Options) == 0 {
		return nil, nil //nolint:nilnil // documented
	}
	in, err := mountOf(v.Options)
	if err != nil {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(e.opt.Root) // systemd follows none
	if err != nil {
		return nil, err
	}
	in.Where = filepath.Join(root, strings.TrimPrefix(e.state.VolumeDir(v.Name), e.opt.Root))
	in.Description = "Volume " + v.Name
	u, err := unitgen.Mount(in)
	return &u, err
}

// mountOf checks options as Docker's driver does, and what it leaves to the
// kernel as far as that can be done without mounting.
func mountOf(options map[string]string) (unitgen.MountInput, error) {
	for _, key := range sortedKeys(options) {
		switch key {
		case optType, optDevice, optMount:
		case "size":
			return unitgen.MountInput{}, fmt.Errorf("option \"size\" needs quotas of the file system, which cleat does not set: %w", spec.ErrUnsupport)
		default:
			return unitgen.MountInput{}, invalid("invalid option: %q: the options are type, device and o", key)
		}
	}
	for _, key := range []string{optDevice, optType} {
		if options[key] == "" {
			return unitgen.MountInput{}, invalid("missing required option: %q", key)
		}
	}
	in := unitgen.MountInput{What: options[optDevice], Type: options[optType], Options: options[optMount]}
	switch words := strings.Split(in.Options, ","); {
	case in.Type == "nfs" || in.Type == "nfs4":
		return nfsMount(in, words)
	case slices.Contains(words, "bind") || slices.Contains(words, "rbind"):
		if !filepath.IsAbs(in.What) || filepath.Clean(in.What) != in.What {
			return in, invalid("device %q of a bind mount: must be an absolute path without \"..\" and doubled slashes", in.What)
		}
	}
	return in, nil
}

// nfsMount puts the server where mount.nfs(8) wants it. Docker, which calls the
// kernel itself, takes it from the option addr=.
func nfsMount(in unitgen.MountInput, words []string) (unitgen.MountInput, error) {
	host, path, found := strings.Cut(in.What, ":/")
	if strings.HasPrefix(in.What, "[") { // an IPv6 address
		if i := strings.Index(in.What, "]:/"); i > 0 {
			host, path, found = in.What[:i+1], in.What[i+3:], true
		}
	}
	if !found {
		return in, invalid("device %q of an NFS mount: must be HOST:/PATH, or :/PATH with the option addr=HOST", in.What)
	}
	var rest []string
	for _, w := range words {
		addr, ok := strings.CutPrefix(w, "addr=")
		switch {
		case w == "":
		case !ok:
			rest = append(rest, w)
		case host == "":
			host = addr
		}
	}
	if host == "" {
		return in, invalid("device %q of an NFS mount: no server given: write HOST:/PATH, or add addr=HOST to the option o", in.What)
	}
	if strings.Contains(host, ":") && host[0] != '[' {
		host = "[" + host + "]"
	}
	in.What, in.Options = host+":/"+path, strings.Join(rest, ",")
	return in, nil
}

// mountedVolumes returns the volumes of c on which something is mounted.
func (e *Engine) mountedVolumes(c spec.Container) ([]state.Volume, error) {
	var list []state.Volume
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume {
			continue
		}
		v, err := e.state.LoadVolume(m.Source)
		if err != nil {
			return nil, err
		}
		if v.Mounted() && !slices.ContainsFunc(list, func(have state.Volume) bool { return have.Name == v.Name }) {
			list = append(list, v)
		}
	}
	return list, nil
}

// volumeUnits makes sure of the mount units of c's volumes and returns their
// names. They are files, so that a boot finds them; their content follows from
// the volume's record, so they need not be taken care of before a start.
func (e *Engine) volumeUnits(ctx context.Context, conn *supervisor.Conn, c spec.Container) ([]string, error) {
	volumes, err := e.mountedVolumes(c)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range volumes {
		u, err := e.volumeMount(v)
		if err == nil {
			err = checkDevice(v)
		}
		if err != nil {
			return nil, fmt.Errorf("mount volume %q: %w", v.Name, err)
		}
		if err := conn.WriteUnitFile(ctx, u.Name, unitgen.Text(*u)); err != nil {
			return nil, err
		}
		if err := refresh(ctx, conn, u.Name); err != nil {
			return nil, err
		}
		names = append(names, u.Name)
	}
	return names, nil
}

// checkDevice looks whether what an absolute path names is there: systemd's own
// complaint is in the journal alone.
func checkDevice(v state.Volume) error {
	device := v.Options[optDevice]
	if !filepath.IsAbs(device) || strings.HasPrefix(device, "//") { // the latter is a share of CIFS
		return nil
	}
	if _, err := os.Stat(device); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its device %s does not exist: %w", device, spec.ErrInvalid)
	}
	return nil
}

// explainMounts returns what is known of the mounts of c that have failed, "" if
// none has.
func (e *Engine) explainMounts(ctx context.Context, c spec.Container) string {
	volumes, err := e.mountedVolumes(c)
	if err != nil {
		return ""
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return ""
	}
	var failed []string
	for _, v := range volumes {
		u, err := e.volumeMount(v)
		if err != nil {
			continue
		}
		p, err := conn.Properties(ctx, u.Name)
		if err == nil && p.ActiveState == "failed" {
			failed = append(failed, fmt.Sprintf("volume %q cannot be mounted (%s): see 'journalctl -u %s'", v.Name, joinPairs(v.Options), strings.ReplaceAll(u.Name, `\`, `\\`)))
		}
	}
	return strings.Join(failed, "; ")
}

// releaseVolume takes away the mount of a volume that nobody uses, and its unit.
func (e *Engine) releaseVolume(ctx context.Context, v state.Volume) error {
	if !v.Mounted() {
		return nil
	}
	u, err := e.volumeMount(v)
	if err != nil {
		return err
	}
	conn, err := e.systemd(ctx)
	if err != nil {
		return err
	}
	if err := conn.Stop(ctx, u.Name); err != nil && !isNotFound(err) {
		return fmt.Errorf("unmount volume %q: %w", v.Name, err)
	}
	if err := conn.ResetFailed(ctx, u.Name); err != nil && !isNotFound(err) {
		return err
	}
	if err := conn.RemoveUnitFile(ctx, u.Name); err != nil {
		return err
	}
	return refresh(ctx, conn, u.Name)
}
