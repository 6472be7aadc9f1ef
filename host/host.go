// Package host brings its own systemd where PID 1 is not systemd: in a build
// sandbox, a CI container or on a development box.
//
// An embedded host is the distribution's systemd as PID 1 of a PID, mount, UTS
// and cgroup namespace of its own, in a cgroup of its own, with a minimal set of
// units: the journal and cleat's. It shares the machine's file systems and, unless
// told otherwise, its network; /run, the journal and the unit files are its own.
// Of the machine it changes nothing and starts nothing. Hosts with different
// roots run side by side.
//
// A program that uses this package calls Init first thing in main, because the
// package runs the program itself anew: as the first process of a host, and as
// the same command inside of it.
package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// EnvRoot is set, to the root of the host, for every process that Enter and
// Shell start inside of one.
const EnvRoot = "CLEAT_EMBEDDED_HOST"

// Options says which embedded host is meant and how to start it.
type Options struct {
	Root           string // cleat's root directory, which identifies the host; made if missing
	RunRoot        string // cleat's sockets, as seen inside; "" means /run/cleat
	Libexec        string // directory of the helper binaries; "" means that of this program
	PrivateNetwork bool   // a network namespace of its own, with nothing but lo; ignored for a host that runs
}

// Needed reports whether commands need an embedded host: whether this process
// is not below a systemd. The test is that of sd_booted(3).
func Needed() bool { return !fsx.Exists("/run/systemd/system") }

// Inside returns the root of the embedded host that this process was brought
// into by Enter or Shell, or "".
func Inside() string { return os.Getenv(EnvRoot) }

// dirs are the places of one host, below its root.
type dirs struct {
	root    string // absolute, without symlinks
	units   string // boot units: /etc/systemd/system inside
	etc     string // /etc/systemd inside
	journal string // /run/log/journal inside
	extra   string // what the machine's /etc lacks
	lock    string // held while the host starts and stops
	state   string // record of the running host
	bootLog string // what PID 1 says before the journal runs
}

// newDirs makes the directories of a host that are missing.
func newDirs(root string) (dirs, error) {
	if root == "" {
		return dirs{}, fmt.Errorf("embedded host without a root directory: %w", spec.ErrInvalid)
	}
	if err := os.MkdirAll(filepath.Join(root, "host"), 0o700); err != nil {
		return dirs{}, fmt.Errorf("make the embedded host's directory: %w", err)
	}
	d, err := findDirs(root)
	if err != nil {
		return d, err
	}
	for _, dir := range []string{d.units, d.journal, d.extra, filepath.Join(d.etc, "system")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return d, fmt.Errorf("make the embedded host's directories: %w", err)
		}
	}
	return d, nil
}

// findDirs names the directories of a host without touching anything.
func findDirs(root string) (dirs, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return dirs{}, fmt.Errorf("root of the embedded host: %w", err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	if abs == "/run" || strings.HasPrefix(abs, "/run/") {
		return dirs{}, fmt.Errorf("root %s of the embedded host: it has a /run of its own and would not see that: %w", abs, spec.ErrInvalid)
	}
	in := func(elem ...string) string { return filepath.Join(append([]string{abs, "host"}, elem...)...) }
	return dirs{
		root:    abs,
		units:   filepath.Join(abs, "units"),
		etc:     in("etc"),
		journal: in("journal"),
		extra:   in("extra"),
		lock:    in("lock"),
		state:   in("state.json"),
		bootLog: in("boot.log"),
	}, nil
}

// cgroupName is the name of the host's cgroup, unique for its root.
func (d dirs) cgroupName() string {
	sum := sha256.Sum256([]byte(d.root))
	return "cleat-host-" + hex.EncodeToString(sum[:6])
}

// EnsureRunning starts the host unless it runs, and reports whether it did. Of
// many commands that do so at the same time one starts it, and the others wait.
// It returns once the host can start containers.
func EnsureRunning(ctx context.Context, o Options) (started bool, err error) {
	d, err := findDirs(o.Root)
	if err != nil {
		return false, err
	}
	if _, ok := d.running(); ok {
		return false, nil
	}
	return start(ctx, o)
}

// Start is EnsureRunning for those who do not mind.
func Start(ctx context.Context, o Options) error {
	_, err := EnsureRunning(ctx, o)
	return err
}

// start takes the lock, looks again, and boots.
func start(ctx context.Context, o Options) (started bool, err error) {
	if os.Geteuid() != 0 {
		return false, fmt.Errorf("start the embedded host as uid %d, only root may: %w", os.Geteuid(), spec.ErrDenied)
	}
	d, err := newDirs(o.Root)
	if err != nil {
		return false, err
	}
	lock, err := fsx.Acquire(ctx, d.lock)
	if err != nil {
		return false, fmt.Errorf("start the embedded host: %w", err)
	}
	defer lock.Release()
	if _, ok := d.running(); ok {
		return false, nil
	}
	if err := d.boot(ctx, o); err != nil {
		return false, fmt.Errorf("start the embedded host: %w", err)
	}
	return true, nil
}

// systemdDir returns the directory of systemd's own programs.
func systemdDir() (string, error) {
	for _, dir := range []string{"/usr/lib/systemd", "/lib/systemd"} {
		if unix.Access(filepath.Join(dir, "systemd"), unix.X_OK) == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no systemd is installed; install it, on Debian with 'apt-get install systemd': %w", spec.ErrUnsupport)
}
