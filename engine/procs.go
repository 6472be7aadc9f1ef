package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// procStat is what engine needs of /proc/<pid>/stat, see proc_pid_stat(5).
type procStat struct {
	pid, ppid int
	uid       uint32
	command   string
	state     byte
	tty       int
	ticks     uint64 // of CPU time, in user and kernel mode
	start     uint64 // ticks after the boot
	threads   int64
}

// clockTicks is USER_HZ, the same everywhere.
const clockTicks = 100

// readStat reads what the kernel says of a process. One that has gone is
// fs.ErrNotExist.
func readStat(pid int) (procStat, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	data, err := os.ReadFile(dir + "/stat")
	if errors.Is(err, syscall.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return procStat{}, err
	}
	p, err := parseStat(string(data))
	if err != nil {
		return p, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return p, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		p.uid = owner.Uid
	}
	return p, nil
}

func parseStat(text string) (procStat, error) {
	// The command may have spaces and parentheses; nothing behind it has.
	head, rest, ok := cutLast(text, ") ")
	first, command, ok2 := strings.Cut(head, " (")
	f := strings.Fields(rest)
	if !ok || !ok2 || len(f) < 20 {
		return procStat{}, fmt.Errorf("parse process status %q", text)
	}
	p := procStat{command: command, state: f[0][0]}
	var errs []error
	number := func(s string) uint64 {
		n, err := strconv.ParseInt(s, 10, 64)
		errs = append(errs, err)
		return uint64(n)
	}
	const third = 3 // number of the field that f begins with
	p.pid, p.ppid, p.tty = int(number(first)), int(number(f[4-third])), int(number(f[7-third]))
	p.ticks, p.threads, p.start = number(f[14-third])+number(f[15-third]), int64(number(f[20-third])), number(f[22-third])
	if err := errors.Join(errs...); err != nil {
		return p, fmt.Errorf("parse process status: %w", err)
	}
	return p, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(sep):], true
}

// fullFormat is the table of "ps -ef" of the processes pids at the time now.
func fullFormat(pids []int, now time.Time) (ProcessTable, error) {
	t := ProcessTable{Titles: strings.Fields("UID PID PPID C STIME TTY TIME CMD")}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return t, fmt.Errorf("read clock: %w", err)
	}
	users := userNames()
	for _, pid := range pids {
		p, err := readStat(pid)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return t, err
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty if it has just ended
		t.Processes = append(t.Processes, p.row(users, now, time.Duration(up.Nano()), string(line)))
	}
	return t, nil
}

// row is the line of p at the time now, when the machine has been up for so long.
func (p procStat) row(users map[uint32]string, now time.Time, up time.Duration, cmdline string) []string {
	user := cmp.Or(users[p.uid], strconv.FormatUint(uint64(p.uid), 10))
	if len(user) > 8 {
		user = user[:7] + "+"
	}
	age := max(up-time.Duration(p.start)*time.Second/clockTicks, 0)
	load := uint64(0)
	if seconds := uint64(age / time.Second); seconds > 0 {
		load = min(p.ticks/seconds, 99) // percent, as a second has a hundred ticks
	}
	return []string{
		user, strconv.Itoa(p.pid), strconv.Itoa(p.ppid), strconv.FormatUint(load, 10), startText(now.Add(-age), now),
		terminalText(p.tty), cpuTimeText(p.ticks / clockTicks), p.commandText(cmdline),
	}
}

// startText is the time of day for a process of today, else the day, or the year.
func startText(start, now time.Time) string {
	switch start, now = start.Local(), now.Local(); {
	case start.Year() != now.Year():
		return start.Format("2006")
	case start.YearDay() != now.YearDay():
		return start.Format("Jan02")
	}
	return start.Format("15:04")
}

// terminalText names a controlling terminal by its device number.
func terminalText(tty int) string {
	major, minor := unix.Major(uint64(tty)), unix.Minor(uint64(tty))
	const console, firstPTY, lastPTY = 4, 136, 143
	switch {
	case major >= firstPTY && major <= lastPTY:
		return "pts/" + strconv.FormatUint(uint64(major-firstPTY)<<8+uint64(minor), 10)
	case major == console && minor < 64:
		return "tty" + strconv.FormatUint(uint64(minor), 10)
	case major == console:
		return "ttyS" + strconv.FormatUint(uint64(minor-64), 10)
	}
	return "?"
}

func cpuTimeText(seconds uint64) string {
	text := fmt.Sprintf("%02d:%02d:%02d", seconds/3600%24, seconds/60%60, seconds%60)
	if days := seconds / 86400; days > 0 {
		text = fmt.Sprintf("%d-%s", days, text)
	}
	return text
}

// commandText is the command line, or the name of the command in brackets if it
// has none. Like ps it shows a question mark for what would drive a terminal.
func (p procStat) commandText(cmdline string) string {
	text := strings.TrimRight(strings.ReplaceAll(cmdline, "\x00", " "), " ")
	if text == "" {
		text = "[" + p.command + "]"
		if p.state == 'Z' {
			text += " <defunct>"
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}

// userNames returns the host's names of users, as its /etc/passwd has them.
func userNames() map[uint32]string {
	names := map[uint32]string{}
	data, _ := os.ReadFile("/etc/passwd") // without it there are numbers
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 {
			continue
		}
		if uid, err := strconv.ParseUint(f[2], 10, 32); err == nil && names[uint32(uid)] == "" {
			names[uint32(uid)] = f[0]
		}
	}
	return names
}
