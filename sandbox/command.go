package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/sandbox/inroot"
)

// command is a program about to be executed.
type command struct {
	path string // as execve(2) takes it
	argv []string
	env  []string
}

// environment returns the environment of a process whose user's home is home.
// Entries without a name or a "=" are left out: some libraries take them for
// something else (CVE-2026-57231).
func environment(env []string, home string) []string {
	out := make([]string, 0, len(env)+1)
	hasHome := false
	for _, e := range env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" || strings.ContainsRune(e, 0) || name == "HOME" && value == "" {
			continue
		}
		hasHome = hasHome || name == "HOME"
		out = append(out, e)
	}
	if !hasHome {
		out = append(out, "HOME="+home)
	}
	return out
}

// getenv returns the value of name in env; the last one counts.
func getenv(env []string, name string) string {
	for _, e := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// find looks for the program argv[0] as its future user, whom the calling
// thread has become already: a name without a slash in the directories of PATH.
func (c *command) find() error {
	if len(c.argv) == 0 || c.argv[0] == "" {
		return &CommandError{ExitNotFound, errors.New("no command specified")}
	}
	name := c.argv[0]
	if strings.ContainsRune(name, '/') {
		c.path = name
		return commandError(name, runnable(name))
	}
	var denied error
	for _, dir := range strings.Split(getenv(c.env, "PATH"), ":") {
		if dir == "" {
			dir = "." // as in execvp(3)
		}
		path := dir + "/" + name
		err := runnable(path)
		if err == nil {
			c.path = path
			return nil
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = err
		}
	}
	if denied != nil {
		return commandError(name, denied)
	}
	return &CommandError{ExitNotFound, fmt.Errorf("exec: %q: executable file not found in $PATH", name)}
}

// runnable reports why the file at path cannot be executed.
func runnable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	// Unlike exec(2), access(2) grants root what nobody may execute.
	if st.Mode&0o111 == 0 || unix.Faccessat2(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil {
		return unix.EACCES
	}
	return nil
}

// commandError words err, about the command name, as Docker does.
func commandError(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return &CommandError{ExitNotFound, fmt.Errorf("exec: %q: %w", name, err)}
	case errors.Is(err, fs.ErrPermission):
		return &CommandError{ExitNotExecutable, fmt.Errorf("exec: %q: permission denied", name)}
	}
	return &CommandError{ExitNotExecutable, fmt.Errorf("exec: %q: %w", name, err)}
}

// exec replaces the process. It returns only if that fails.
func (c *command) exec() error {
	err := syscall.Exec(c.path, c.argv, c.env)
	if errors.Is(err, unix.ENOENT) {
		// The file is there: what is missing is its interpreter.
		err = fmt.Errorf("exec %s: %w", c.path, err)
		return &CommandError{ExitNotFound, err}
	}
	return commandError(c.argv[0], err)
}

// enterDir makes dir, a path in the container, the working directory. If
// create is set it is made if it is missing. A way out of the root, which a
// leaked descriptor may open (CVE-2024-21626), is found by asking the kernel
// where that is.
func enterDir(root inroot.Root, dir string, create bool) error {
	if dir == "" {
		dir = "/"
	}
	if dir[0] != '/' {
		return fmt.Errorf("working directory %q is not absolute", dir)
	}
	open := func() (int, error) { return root.Open(dir, unix.O_PATH|unix.O_DIRECTORY) }
	if create {
		open = func() (int, error) { return root.Make(dir, inroot.Dir) }
	}
	fd, err := open()
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	defer closeFd(fd)
	if err := unix.Fchdir(fd); err != nil {
		return fmt.Errorf("working directory %s: %w", dir, err)
	}
	return nil
}

// checkDir makes sure that the working directory is inside the root of the
// calling thread.
func checkDir() error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	if n == 0 || buf[0] != '/' {
		return errors.New("working directory is outside the container")
	}
	return nil
}

// rlimitNames are the resource limits by number, see getrlimit(2). The numbers
// are those of every architecture that cleat is built for.
var rlimitNames = [...]string{
	unix.RLIMIT_AS: "RLIMIT_AS", unix.RLIMIT_CORE: "RLIMIT_CORE", unix.RLIMIT_CPU: "RLIMIT_CPU",
	unix.RLIMIT_DATA: "RLIMIT_DATA", unix.RLIMIT_FSIZE: "RLIMIT_FSIZE", unix.RLIMIT_LOCKS: "RLIMIT_LOCKS",
	unix.RLIMIT_MEMLOCK: "RLIMIT_MEMLOCK", unix.RLIMIT_MSGQUEUE: "RLIMIT_MSGQUEUE", unix.RLIMIT_NICE: "RLIMIT_NICE",
	unix.RLIMIT_NOFILE: "RLIMIT_NOFILE", unix.RLIMIT_NPROC: "RLIMIT_NPROC", unix.RLIMIT_RSS: "RLIMIT_RSS",
	unix.RLIMIT_RTPRIO: "RLIMIT_RTPRIO", unix.RLIMIT_RTTIME: "RLIMIT_RTTIME", unix.RLIMIT_SIGPENDING: "RLIMIT_SIGPENDING",
	unix.RLIMIT_STACK: "RLIMIT_STACK",
}

// setRlimits sets the limits that setrlimit(2) knows. Warn is told about those
// that the machine does not let anybody raise.
func setRlimits(limits []specs.POSIXRlimit, warn func(string)) error {
	for _, l := range limits {
		n := slices.Index(rlimitNames[:], l.Type)
		if n < 0 {
			return fmt.Errorf("resource limit %q is not known", l.Type)
		}
		err := unix.Setrlimit(n, &unix.Rlimit{Cur: l.Soft, Max: l.Hard})
		if errors.Is(err, unix.EPERM) {
			err = raiseToHard(n, l, warn)
		}
		if err != nil {
			return fmt.Errorf("set %s to %d:%d: %w", l.Type, l.Soft, l.Hard, err)
		}
	}
	return nil
}

// raiseToHard sets a limit as far as the present hard limit allows.
func raiseToHard(n int, l specs.POSIXRlimit, warn func(string)) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(n, &now); err != nil {
		return err
	}
	warn(fmt.Sprintf("%s cannot be raised to %d here: the hard limit stays %d", l.Type, l.Hard, now.Max))
	return unix.Setrlimit(n, &unix.Rlimit{Cur: min(l.Soft, now.Max), Max: min(l.Hard, now.Max)})
}
