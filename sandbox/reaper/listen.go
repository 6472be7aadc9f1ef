package reaper

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A command that was given sockets looks whether they are for it by $LISTEN_PID,
// see sd_listen_fds(3). Its number is not known before it runs, so it begins as
// this program, which sets the variable and becomes the command.
const (
	self       = "/proc/self/exe"
	verbListen = "--listen" // followed by the program's path and its argument vector
	listenPID  = "LISTEN_PID"
)

// firstSocket is SD_LISTEN_FDS_START.
const firstSocket = 3

// inherited returns the sockets that this process was given.
func inherited() []uintptr {
	if os.Getenv(listenPID) != strconv.Itoa(os.Getpid()) {
		return nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return nil
	}
	var fds []uintptr
	for i := range n {
		fds = append(fds, uintptr(firstSocket+i))
	}
	return fds
}

// forget closes sockets that are the command's alone.
func forget(fds []uintptr) {
	for _, fd := range fds {
		_ = unix.Close(int(fd))
	}
}

// becomeListener executes the program at path args[0] with the argument vector
// args[1:]. It returns, with the exit code, only if that fails.
func becomeListener(args []string) int {
	env := os.Environ()
	for i, kv := range env {
		if strings.HasPrefix(kv, listenPID+"=") {
			env[i] = listenPID + "=" + strconv.Itoa(os.Getpid())
		}
	}
	err := syscall.Exec(args[0], args[1:], env)
	fmt.Fprintf(os.Stderr, "docker-init: exec %q: %v\n", args[1], err)
	return 126
}
