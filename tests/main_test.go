// Package tests drives the built binaries as a user would, on a real systemd:
// the machine's own, or the embedded host where PID 1 is another.
package tests

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// env is where all tests of one run work.
var env struct {
	bin  string // directory of the built binaries
	root string // --root of every command
	path string // directory with a cleat that has --root built in, for scripts
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run sets the machine up, runs the tests, takes everything down, and fails if
// something is left behind.
func run(m *testing.M) int {
	if os.Geteuid() != 0 || os.Getenv("CLEAT_BIN") == "" {
		fmt.Fprintln(os.Stderr, "the end-to-end tests need root and CLEAT_BIN: use 'make e2e'")
		if os.Getenv("CLEAT_TEST_ROOT") == "1" {
			return 1
		}
		return 0
	}
	env.bin = os.Getenv("CLEAT_BIN")
	before := observe()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	env.root = dir
	code := 1
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "set up:", err)
	} else {
		code = m.Run()
	}
	if err := tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "tear down:", err)
		code = 1
	}
	if left := observe().minus(before); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "left behind:\n  %s\n", strings.Join(left, "\n  "))
		code = 1
	}
	return code
}

func setUp() error {
	if out, err := cleat("host", "start").CombinedOutput(); err != nil {
		return fmt.Errorf("host start: %w\n%s", err, out)
	}
	if err := noteGroup(shared()); err != nil {
		return err
	}
	env.path = filepath.Join(env.root, "bin")
	if err := os.Mkdir(env.path, 0o700); err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s/cleat --root %s \"$@\"\n", env.bin, env.root)
	if err := os.WriteFile(filepath.Join(env.path, "cleat"), []byte(script), 0o700); err != nil {
		return err
	}
	return importBusybox(shared())
}

func tearDown() error {
	out, err := cleat("host", "stop").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("host stop: %w\n%s", err, out)
	}
	return errors.Join(err, os.RemoveAll(env.root))
}

// cleat returns a command of the engine under test.
func cleat(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(env.bin, "cleat"), append([]string{"--root", env.root}, args...)...)
}

// mustCleat runs a command that has to succeed and returns its standard output
// without the final newline.
func mustCleat(t testing.TB, args ...string) string {
	t.Helper()
	cmd := cleat(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("cleat %s: %v\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// importBusybox makes the image "busybox" of the distribution's static one.
func importBusybox(s site) error {
	var layer bytes.Buffer
	if err := writeBusybox(&layer); err != nil {
		return err
	}
	cmd := s.cmd("import", "-c", `CMD ["sh"]`, "-", "busybox")
	cmd.Stdin = &layer
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import: %w\n%s", err, out)
	}
	return nil
}

// writeBusybox writes a root file system: busybox, its applets, two users.
func writeBusybox(w io.Writer) error {
	const program = "/bin/busybox"
	data, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%w (install busybox-static)", err)
	}
	applets, err := exec.Command(program, "--list").Output()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		err = errors.Join(err, tw.WriteHeader(&h))
		_, werr := tw.Write(content)
		err = errors.Join(err, werr)
	}
	for _, d := range []string{"bin", "etc", "home", "root", "tmp", "var"} {
		mode := int64(0o755)
		if d == "tmp" {
			mode = 0o1777
		}
		add(tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: mode}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, data)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			add(tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + applet, Linkname: "bin/busybox", Mode: 0o755}, nil)
		}
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"))
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644},
		[]byte("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"))
	return errors.Join(err, tw.Close())
}
