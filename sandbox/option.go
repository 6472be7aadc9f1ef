package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// mountOptions are the options of one mount of config.json, sorted by who takes
// them. See the table in the OCI runtime specification, config.md, "Linux mount
// options".
type mountOptions struct {
	bind, recursive bool

	set, clear       uint64 // MOUNT_ATTR_*, of the mount itself
	setAll, clearAll uint64 // of it and of those below it

	propagation    uint64 // MS_SHARED and its kin; 0 leaves it
	propagationAll bool   // also of the mounts below

	data []string // for the filesystem: key or key=value
}

// attribute is what an option does to a mount's attributes.
type attribute struct {
	name       string
	flag       uint64
	turnsOff   bool
	accessTime bool // flag is a value of MOUNT_ATTR__ATIME
}

var attributes = [...]attribute{
	{name: "ro", flag: unix.MOUNT_ATTR_RDONLY},
	{name: "rw", flag: unix.MOUNT_ATTR_RDONLY, turnsOff: true},
	{name: "nosuid", flag: unix.MOUNT_ATTR_NOSUID},
	{name: "suid", flag: unix.MOUNT_ATTR_NOSUID, turnsOff: true},
	{name: "nodev", flag: unix.MOUNT_ATTR_NODEV},
	{name: "dev", flag: unix.MOUNT_ATTR_NODEV, turnsOff: true},
	{name: "noexec", flag: unix.MOUNT_ATTR_NOEXEC},
	{name: "exec", flag: unix.MOUNT_ATTR_NOEXEC, turnsOff: true},
	{name: "nodiratime", flag: unix.MOUNT_ATTR_NODIRATIME},
	{name: "diratime", flag: unix.MOUNT_ATTR_NODIRATIME, turnsOff: true},
	{name: "nosymfollow", flag: unix.MOUNT_ATTR_NOSYMFOLLOW},
	{name: "symfollow", flag: unix.MOUNT_ATTR_NOSYMFOLLOW, turnsOff: true},
	{name: "relatime", flag: unix.MOUNT_ATTR_RELATIME, accessTime: true},
	{name: "atime", flag: unix.MOUNT_ATTR_RELATIME, accessTime: true},
	{name: "noatime", flag: unix.MOUNT_ATTR_NOATIME, accessTime: true},
	{name: "strictatime", flag: unix.MOUNT_ATTR_STRICTATIME, accessTime: true},
}

var propagations = [...]struct {
	name string
	flag uint64
}{
	{"private", unix.MS_PRIVATE},
	{"shared", unix.MS_SHARED},
	{"slave", unix.MS_SLAVE},
	{"unbindable", unix.MS_UNBINDABLE},
}

// ignored say what is the case anyway, or how mount(8) is to behave.
var ignored = []string{"defaults", "async", "norelatime", "nostrictatime", "nolazytime", "loud", "silent", "nomand", "noiversion"}

// refused are options whose meaning cleat does not have.
var refused = []string{"remount", "idmap", "ridmap", "tmpcopyup"}

// parseOptions sorts the options of a mount of type fsType. What it does not
// know is for the filesystem, which refuses what it does not know either.
func parseOptions(fsType string, options []string) (mountOptions, error) {
	o := mountOptions{bind: fsType == "bind"}
	for _, opt := range options {
		if slices.Contains(refused, opt) {
			return o, fmt.Errorf("mount option %q: %w", opt, spec.ErrUnsupport)
		}
		if !o.parse(opt) && !slices.Contains(ignored, opt) {
			o.data = append(o.data, opt)
		}
	}
	if o.bind && len(o.data) > 0 {
		return o, fmt.Errorf("mount options %q make no sense for a bind mount: %w", o.data, spec.ErrInvalid)
	}
	// Docker's default for the root of all, and so for what is mounted in it.
	if o.bind && o.propagation == 0 {
		o.propagation, o.propagationAll = unix.MS_SLAVE, true
	}
	// A read-only tree with a writable mount in it is what nobody expects;
	// Docker makes it read-only all the way since version 25.
	if o.recursive && o.set&unix.MOUNT_ATTR_RDONLY != 0 {
		o.setAll |= unix.MOUNT_ATTR_RDONLY
	}
	return o, nil
}

// parse takes an option that is not for the filesystem.
func (o *mountOptions) parse(opt string) bool {
	switch opt {
	case "bind":
		o.bind = true
		return true
	case "rbind":
		o.bind, o.recursive = true, true
		return true
	}
	for _, p := range propagations {
		if opt == p.name || opt == "r"+p.name {
			o.propagation, o.propagationAll = p.flag, opt[0] == 'r'
			return true
		}
	}
	for _, a := range attributes {
		if opt == a.name {
			a.apply(&o.set, &o.clear)
			return true
		}
	}
	// "rro" is the recursive form of "ro"; "ro" itself was found above.
	all, ok := strings.CutPrefix(opt, "r")
	for _, a := range attributes {
		if ok && all == a.name {
			a.apply(&o.setAll, &o.clearAll)
			return true
		}
	}
	return false
}

func (a attribute) apply(set, clear *uint64) {
	switch {
	case a.accessTime:
		*set = *set&^unix.MOUNT_ATTR__ATIME | a.flag
		*clear |= unix.MOUNT_ATTR__ATIME
	case a.turnsOff:
		*set &^= a.flag
		*clear |= a.flag
	default:
		*set |= a.flag
		*clear &^= a.flag
	}
}

// apply gives the tree of mounts at fd, which nobody sees yet, its attributes.
func (o mountOptions) apply(fd int) error {
	all := unix.MountAttr{Attr_set: o.setAll, Attr_clr: o.clearAll}
	one := unix.MountAttr{Attr_set: o.set, Attr_clr: o.clear}
	if o.propagationAll {
		all.Propagation = o.propagation
	} else {
		one.Propagation = o.propagation
	}
	return errors.Join(
		setAttributes(fd, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, all),
		setAttributes(fd, unix.AT_EMPTY_PATH, one),
	)
}

func setAttributes(fd int, flags uint, attr unix.MountAttr) error {
	if attr == (unix.MountAttr{}) {
		return nil
	}
	if err := unix.MountSetattr(fd, "", flags, &attr); err != nil {
		return fmt.Errorf("set mount attributes: %w", err)
	}
	return nil
}
