// Package rootfs makes and removes the root filesystems of containers: it
// mounts the layers of an image as one tree, fills new volumes from it, and
// takes directories away again. Unpacking layers is package rootfs/layer.
//
// The package is linked into cleat-init, the hot path: it imports the standard
// library and golang.org/x/sys/unix only, and holds no state.
package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount says how the root filesystem of a container is put together. It is
// mounted with overlayfs, see the kernel's Documentation/filesystems/overlayfs.
type Mount struct {
	// Lower are the directories of the unpacked layers, the topmost first.
	Lower []string

	// Upper takes what the container writes and Work is overlayfs's own
	// directory on the same filesystem. Both are empty for a read-only tree.
	Upper, Work string

	// Volatile drops every fsync in the container, on kernels that can (5.10):
	// for containers that are removed when they end. After a power cut Upper
	// must be thrown away.
	Volatile bool
}

// optionPage is the size of what mount(2) reads of its options, with the final
// NUL, on every machine that has pages of 4 KiB.
const optionPage = 4096

// fixedOptions are set whatever the kernel's defaults are, so that Upper has
// the plain form that a diff can be taken from: whole files, no redirects. A
// redirect that got into a layer all the same is not followed.
var fixedOptions = [][2]string{{"index", "off"}, {"metacopy", "off"}, {"redirect_dir", "nofollow"}}

// Do mounts the tree on the directory target, in the mount namespace of the
// calling thread. Target may be /proc/self/fd/N. Neither the number of layers
// (up to the 500 of overlayfs on Linux 6.5, some 200 before) nor the length of
// their names nor the characters in them matter. If Do fails nothing is mounted.
//
// A single layer without Upper is bind-mounted read-only and Upper without a
// layer is bind-mounted as it is, because overlayfs accepts neither.
func (m Mount) Do(target string) error {
	if (m.Upper == "") != (m.Work == "") {
		return fmt.Errorf("mount root filesystem on %s: upper and work directory go together: %w", target, unix.EINVAL)
	}
	var err error
	switch {
	case len(m.Lower) == 0 && m.Upper == "":
		err = fmt.Errorf("neither layers nor an upper directory: %w", unix.EINVAL)
	case len(m.Lower) == 0:
		err = bind(m.Upper, target)
	case len(m.Lower) == 1 && m.Upper == "":
		err = bindReadOnly(m.Lower[0], target)
	default:
		err = m.overlay(target)
	}
	if err != nil {
		return fmt.Errorf("mount root filesystem on %s: %w", target, err)
	}
	return nil
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	return nil
}

func bindReadOnly(source, target string) error {
	if err := bind(source, target); err != nil {
		return err
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		_ = unix.Unmount(target, unix.MNT_DETACH) // the first error says more
		return fmt.Errorf("make %s read-only: %w", source, err)
	}
	return nil
}

// layers are the open directories of a Mount. The overlay is built from
// descriptors: option strings are short (256 bytes in fsconfig(2), a page in
// mount(2)) and give ':', ',' and '\' a meaning.
type layers struct {
	lower       []int
	upper, work int // -1 without an upper directory
	volatile    bool
}

func (m Mount) overlay(target string) error {
	l, err := m.open()
	defer l.close()
	if err != nil {
		return err
	}
	if m.Volatile && m.Upper != "" {
		unmarkVolatile(l.work)
	}
	err = l.mountNew(target, layerFd)
	if errors.Is(err, errOldKernel) {
		err = l.mountNew(target, layerName) // Linux 6.5 to 6.12
	}
	if errors.Is(err, errOldKernel) || errors.Is(err, errOldOverlay) {
		err = l.mountOld(target)
	}
	return err
}

// unmarkVolatile removes the mark of volatile mounts, for which overlayfs
// refuses a work directory even after a clean unmount. The content is in doubt
// only after a power cut, and then the owner of a volatile Mount throws it
// away. Should it fail, so does the mount.
func unmarkVolatile(work int) {
	if unix.Unlinkat(work, "work/incompat/volatile/dirty", 0) == nil {
		_ = unix.Unlinkat(work, "work/incompat/volatile", unix.AT_REMOVEDIR)
	}
}

// open opens all directories. Close is to be called on the result even after
// an error.
func (m Mount) open() (*layers, error) {
	l := &layers{lower: make([]int, 0, len(m.Lower)), upper: -1, work: -1, volatile: m.Volatile && m.Upper != ""}
	for _, dir := range m.Lower {
		fd, err := openDir(dir)
		if err != nil {
			return l, err
		}
		l.lower = append(l.lower, fd)
	}
	if m.Upper == "" {
		return l, nil
	}
	var err error
	if l.upper, err = openDir(m.Upper); err != nil {
		return l, err
	}
	l.work, err = openDir(m.Work)
	return l, err
}

func (l *layers) close() {
	for _, fd := range append(l.lower, l.upper, l.work) {
		if fd >= 0 {
			closeFd(fd)
		}
	}
}

// errOldKernel means that this way of mounting is not known to the kernel.
var errOldKernel = errors.New("not supported by this kernel")

// errOldOverlay means that overlayfs takes its options as a string only, whichever
// way they are passed (before Linux 6.5). Single strings would be collected
// without a look at them, and refused when it is too late to tell why.
var errOldOverlay = errors.New("this kernel's overlayfs wants all options at once")

// setLayer adds one directory to a filesystem context.
type setLayer func(fsfd int, key string, dir int) error

// layerFd passes the directory itself (Linux 6.13).
func layerFd(fsfd int, key string, dir int) error { return unix.FsconfigSetFd(fsfd, key, dir) }

// layerName passes a short name of the directory (Linux 6.5).
func layerName(fsfd int, key string, dir int) error {
	return unix.FsconfigSetString(fsfd, key, procFd(dir))
}

// mountNew mounts with fsopen(2), one layer at a time.
func (l *layers) mountNew(target string, set setLayer) error {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return errOldKernel // EPERM: a seccomp profile that is older than the call
	}
	if err != nil {
		return fmt.Errorf("open overlay filesystem: %w", err)
	}
	defer closeFd(fsfd)
	if err := l.configure(fsfd, set); err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return withLog(fsfd, fmt.Errorf("create overlay of %d layers: %w", len(l.lower), err))
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return withLog(fsfd, fmt.Errorf("mount overlay: %w", err))
	}
	defer closeFd(mfd)
	err = unix.MoveMount(mfd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	if err != nil {
		return fmt.Errorf("attach overlay: %w", err)
	}
	return nil
}

// configure sets the options of the overlay, the layers first: whether the
// first is accepted tells if the kernel knows this way of passing them.
func (l *layers) configure(fsfd int, set setLayer) error {
	for i, fd := range l.lower {
		err := set(fsfd, "lowerdir+", fd)
		if i == 0 && errors.Is(err, unix.EINVAL) {
			return errOldKernel
		}
		if i == 0 && errors.Is(err, unix.EOPNOTSUPP) {
			return errOldOverlay
		}
		if err != nil {
			return withLog(fsfd, fmt.Errorf("add layer %d from the top: %w", i, err))
		}
	}
	if l.upper >= 0 {
		if err := set(fsfd, "upperdir", l.upper); err != nil {
			return withLog(fsfd, fmt.Errorf("add upper directory: %w", err))
		}
		if err := set(fsfd, "workdir", l.work); err != nil {
			return withLog(fsfd, fmt.Errorf("add work directory: %w", err))
		}
	}
	for _, o := range append(fixedOptions, [2]string{"source", "overlay"}) {
		if err := unix.FsconfigSetString(fsfd, o[0], o[1]); err != nil {
			return withLog(fsfd, fmt.Errorf("set option %s=%s: %w", o[0], o[1], err))
		}
	}
	if l.volatile {
		// lowerdir+ is younger than volatile, so this kernel has it.
		if err := unix.FsconfigSetFlag(fsfd, "volatile"); err != nil {
			return withLog(fsfd, fmt.Errorf("set option volatile: %w", err))
		}
	}
	return nil
}

// withLog adds what the kernel has written about the filesystem context, see
// fsopen(2), to err.
func withLog(fsfd int, err error) error {
	var lines []string
	buf := make([]byte, 1024)
	for len(lines) < 8 {
		n, rerr := unix.Read(fsfd, buf)
		if rerr != nil || n <= 0 {
			break
		}
		_, msg, _ := strings.Cut(string(buf[:n]), " ") // "e overlay: text"
		lines = append(lines, strings.TrimSpace(msg))
	}
	if len(lines) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(lines, "; "))
}

// mountOld mounts with mount(2).
func (l *layers) mountOld(target string) error {
	options := l.options()
	if l.volatile {
		err := mountOptions(target, options+",volatile")
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
		// Linux before 5.10 does not know the option; one fsync more is no harm.
	}
	return mountOptions(target, options)
}

func mountOptions(target, options string) error {
	if len(options) >= optionPage {
		return fmt.Errorf("overlay options of %d bytes: %w", len(options), unix.E2BIG)
	}
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay with %q: %w", options, err)
	}
	return nil
}

// options is the option string of mount(2). Names of descriptors keep it short
// and free of characters that would need an escape.
func (l *layers) options() string {
	var b strings.Builder
	for i, fd := range l.lower {
		if i == 0 {
			b.WriteString("lowerdir=")
		} else {
			b.WriteByte(':')
		}
		b.WriteString(procFd(fd))
	}
	if l.upper >= 0 {
		fmt.Fprintf(&b, ",upperdir=%s,workdir=%s", procFd(l.upper), procFd(l.work))
	}
	for _, o := range fixedOptions {
		fmt.Fprintf(&b, ",%s=%s", o[0], o[1])
	}
	return b.String()
}
