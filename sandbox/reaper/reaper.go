// Package reaper is the init of a container that was asked for one: it runs the
// container's command as its child, passes signals on to it, collects orphans,
// and ends as the command did.
package reaper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Name is what the program is called in a container: /sbin/docker-init.
const Name = "docker-init"

// Main runs the command args, which may follow "--", and returns its exit code:
// 128+n if signal n ended it, 127 if it is not there, 126 if it cannot be run.
func Main(args []string) int {
	if len(args) > 1 && args[0] == verbListen {
		return becomeListener(args[1:])
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: docker-init [--] command [argument ...]")
		return 125
	}
	// Before the child is there, so that no signal is lost.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pid, err := spawn(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "docker-init: exec %q: %v\n", args[0], err)
		if errors.Is(err, fs.ErrNotExist) {
			return 127
		}
		return 126
	}
	limitLike(pid)
	return attend(pid, signals)
}

// limitLike takes over the command's limit of open files, which Go's runtime has
// raised for this process alone: what is executed in the container later gets
// the limits of its first process.
func limitLike(pid int) {
	var limit unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit) == nil { // else it has ended
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) // lowers the soft limit only
	}
}

// attend looks after the command until it ends.
func attend(pid int, signals <-chan os.Signal) int {
	for sig := range signals {
		switch sig {
		case syscall.SIGCHLD:
			if code, ended := reap(pid); ended {
				return code
			}
		case syscall.SIGURG, syscall.SIGTTIN, syscall.SIGTTOU:
			// The first is Go's own, the others are about this process's output.
		default:
			if s, ok := sig.(syscall.Signal); ok {
				_ = unix.Kill(pid, s) // if it has ended, SIGCHLD is on its way
			}
		}
	}
	return 125 // the channel of package signal is never closed
}

// reap collects every child that has ended and reports whether the command is
// among them.
func reap(pid int) (code int, ended bool) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || got <= 0 {
			return code, ended
		}
		if got == pid {
			code, ended = ws.ExitStatus(), true
			if ws.Signaled() {
				code = 128 + int(ws.Signal())
			}
		}
	}
}

// spawn starts the command in a process group of its own, the foreground one if
// there is a terminal, so that the keyboard's signals reach it once.
func spawn(args []string) (int, error) {
	path, err := find(args[0])
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	sockets := inherited()
	if len(sockets) > 0 {
		attr.Files = append(attr.Files, sockets...)
		path, args = self, append([]string{Name, verbListen, path}, args...)
		defer forget(sockets)
	}
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil {
		attr.Sys.Setpgid, attr.Sys.Foreground = false, true
	}
	return syscall.ForkExec(path, args, attr)
}

// find returns the path of the program name.
func find(name string) (string, error) {
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	err := fs.ErrNotExist
	for _, dir := range strings.Split(os.Getenv("PATH"), ":") {
		if dir == "" {
			dir = "."
		}
		path := dir + "/" + name
		st, statErr := os.Stat(path)
		if statErr != nil || st.IsDir() {
			continue
		}
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
		err = fs.ErrPermission
	}
	return "", err
}
