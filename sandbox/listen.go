package sandbox

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// The variables by which a process learns of sockets that it was given from
// descriptor 3 on, see sd_listen_fds(3).
const (
	listenPID   = "LISTEN_PID="
	listenFDs   = "LISTEN_FDS="
	listenNames = "LISTEN_FDNAMES="
)

// listenEnv returns the variables for n sockets but for the process's id, which is
// not known yet.
func listenEnv(names []string, n int) []string {
	if n == 0 {
		return nil
	}
	env := []string{listenFDs + strconv.Itoa(n)}
	if len(names) > 0 {
		env = append(env, listenNames+strings.Join(names, ":"))
	}
	return env
}

// withListenPID joins environments, of which own has the variables of listenEnv.
// What planned says about sockets is about others.
func withListenPID(own, planned []string) []string {
	planned = slices.DeleteFunc(slices.Clone(planned), func(kv string) bool {
		return strings.HasPrefix(kv, listenPID) || strings.HasPrefix(kv, listenFDs) || strings.HasPrefix(kv, listenNames)
	})
	return slices.Concat(own, planned, []string{listenPID + strconv.Itoa(os.Getpid())})
}
