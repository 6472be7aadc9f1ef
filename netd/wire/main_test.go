package wire_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// cgroup is a control group that looks as if a container ran in it.
const cgroup = "test.slice/container.service"

const inner = "CLEAT_TEST_INNER"

// TestMain runs the tests in a mount namespace of their own, in which the tree of
// control groups is a fake: whether a container runs is read there, and not every
// machine has that of version 2 at the ordinary place.
func TestMain(m *testing.M) {
	switch {
	case os.Getuid() != 0:
		os.Exit(m.Run()) // they will say that they need root
	case os.Getenv(inner) == "":
		os.Exit(again())
	}
	if err := fakeCgroup(); err != nil {
		fmt.Fprintln(os.Stderr, "make a tree of control groups:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inner+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func fakeCgroup() error {
	const root = "/sys/fs/cgroup"
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, cgroup), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, cgroup, "cgroup.events"), []byte("populated 1\nfrozen 0\n"), 0o644)
}
