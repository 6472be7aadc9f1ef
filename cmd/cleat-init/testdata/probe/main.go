// Command probe is the payload of the tests: it does what its arguments say and
// prints what it finds.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		dump()
		return
	}
	switch args := os.Args[2:]; os.Args[1] {
	case "dump":
		dump()
	case "exit":
		n, _ := strconv.Atoi(args[0])
		os.Exit(n)
	case "kill":
		n, _ := strconv.Atoi(args[0])
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		select {}
	case "sleep":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("sleeping")
		<-c
	case "write": // file text
		fatal(os.WriteFile(args[0], []byte(args[1]), 0o644))
	case "open-for-writing": // files: prints the error of each
		for _, name := range args {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("overwritten")
			}
			fmt.Printf("%s: %v\n", name, errno(err))
		}
	case "echo":
		_, err := io.Copy(os.Stdout, os.Stdin)
		fatal(err)
	case "reopen": // /dev/stdout, as nginx does
		f, err := os.OpenFile("/dev/stdout", os.O_WRONLY|os.O_APPEND, 0)
		fatal(err)
		fmt.Fprintln(f, "reopened")
		f, err = os.OpenFile("/proc/self/fd/2", os.O_WRONLY, 0)
		fatal(err)
		fmt.Fprintln(f, "reopened stderr")
	case "swap": // link dir target: swaps a directory and a link until SIGTERM
		swap(args[0], args[1])
	case "orphan": // leaves a child behind that outlives its parent
		orphan(args)
	default:
		fatal(fmt.Errorf("unknown command %q", os.Args[1]))
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// swap makes path by turns a directory and a link to target.
func swap(path, target string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("swapping")
	fatal(os.MkdirAll(path+".dir", 0o755))
	_ = os.Remove(path + ".link")
	fatal(os.Symlink(target, path+".link"))
	_ = os.Mkdir(path, 0o755)
	for {
		select {
		case <-c:
			return
		default:
		}
		_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, path+".link", unix.RENAME_EXCHANGE)
		time.Sleep(20 * time.Microsecond)
	}
}

func orphan(args []string) {
	if len(args) > 0 {
		// The child, whose parent ends now, ends soon after.
		time.Sleep(50 * time.Millisecond)
		return
	}
	_, err := os.StartProcess("/bin/probe", []string{"probe", "orphan", "child"}, &os.ProcAttr{Files: []*os.File{nil, nil, nil}})
	fatal(err)
}

func dump() {
	d := map[string]any{
		"args": os.Args, "env": os.Environ(), "uid": os.Getuid(), "gid": os.Getgid(), "pid": os.Getpid(),
		"fds": links("/proc/self/fd"), "ns": links("/proc/self/ns"),
	}
	d["groups"], _ = os.Getgroups()
	d["cwd"], _ = syscall.Getwd()
	d["hostname"], _ = os.Hostname()
	for _, name := range []string{"status", "mountinfo", "cgroup", "limits", "oom_score_adj"} {
		data, _ := os.ReadFile("/proc/self/" + name)
		d[name] = string(data)
	}
	dev, _ := filepath.Glob("/dev/*")
	d["dev"] = strings.Join(dev, " ")
	fatal(json.NewEncoder(os.Stdout).Encode(d))
}

func links(dir string) map[string]string {
	out := make(map[string]string)
	entries, err := os.ReadDir(dir)
	fatal(err)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil { // the directory itself is closed by now
			out[e.Name()] = target
		}
	}
	return out
}
