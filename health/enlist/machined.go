package enlist

import "golang.org/x/sys/unix"

// Socket is the name of the daemon's socket, below the runtime root.
const Socket = "healthd.sock"

// Machines is where systemd-machined keeps a file for each machine, called like it.
const Machines = "/run/systemd/machines"

// Where systemd-machined is if it runs, and if whoever calls it on the bus has it
// started. An embedded host's bus starts nothing of the machine's.
const (
	machinedRuns   = "/run/systemd/userdb/io.systemd.Machine"
	machinedStarts = "/usr/share/dbus-1/system-services/org.freedesktop.machine1.service"
	embeddedHost   = "/run/cleat-host"
)

// HasMachined reports whether there is a systemd-machined that wants to know of
// containers. That takes microseconds.
func HasMachined() bool {
	return exists(machinedRuns) || exists(machinedStarts) && !exists(embeddedHost)
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

// Introduce is Send for a container that only systemd-machined is to know of: that
// is not worth waiting for, and it goes on without.
func Introduce(socket, id string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.Sendmsg(fd, []byte(id), nil, &unix.SockaddrUnix{Name: socket}, unix.MSG_NOSIGNAL)
}
