package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/spec"
)

// record is what is stored of a running host, in state.json. It is written
// once the host is up and removed before it is stopped; after a crash or a
// reboot of the machine it is stale, which running finds out.
type record struct {
	PID            int       // of the host's PID 1, as the machine sees it
	StartTicks     uint64    // when that process began, from /proc/<pid>/stat
	BootID         string    // of the machine's boot
	Started        time.Time // when the host was up
	Cgroup         string    // absolute path of its cgroup
	Delegated      []string  // controllers that were turned on in the machine's hierarchy for it
	PrivateNetwork bool
}

// running returns the record of the host if it runs.
func (d dirs) running() (record, bool) {
	r, err := d.load()
	if err != nil || !r.alive() {
		return record{}, false
	}
	return r, true
}

func (d dirs) load() (record, error) {
	data, err := os.ReadFile(d.state)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("read %s: %w", d.state, err)
	}
	return r, nil
}

func (d dirs) store(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record the embedded host: %w", err)
	}
	if err := fsx.WriteFileVolatile(d.state, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("record the embedded host: %w", err)
	}
	return nil
}

func (d dirs) forget() error {
	if err := os.Remove(d.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the embedded host: %w", err)
	}
	return nil
}

// alive reports whether the process of the record still runs. Its number alone
// would not do: the machine may have given it to another process.
func (r record) alive() bool {
	boot, err := bootID()
	if err != nil || boot != r.BootID {
		return false
	}
	ticks, err := startTicks(r.PID)
	return err == nil && ticks == r.StartTicks
}

// open returns a pidfd of the host's PID 1. The caller closes it.
func (r record) open() (int, error) {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return -1, fmt.Errorf("open the embedded host's process %d: %w", r.PID, err)
	}
	if !r.alive() { // asked after the number was pinned
		_ = unix.Close(fd)
		return -1, fmt.Errorf("embedded host's process %d has ended: %w", r.PID, spec.ErrNotFound)
	}
	return fd, nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// startTicks returns when a process began; fs.ErrNotExist if it has ended.
func startTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

// parseStat reads the start time, field 22, from a line of /proc/<pid>/stat. A
// zombie counts as ended. See proc_pid_stat(5).
func parseStat(stat string) (uint64, error) {
	end := strings.LastIndexByte(stat, ')') // the name before it may hold anything
	if end < 0 {
		return 0, fmt.Errorf("process status %q: %w", stat, spec.ErrInvalid)
	}
	fields := strings.Fields(stat[end+1:]) // from field 3 on
	if len(fields) < 20 {
		return 0, fmt.Errorf("process status %q: %w", stat, spec.ErrInvalid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fs.ErrNotExist
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("process status %q: %w", stat, spec.ErrInvalid)
	}
	return ticks, nil
}
