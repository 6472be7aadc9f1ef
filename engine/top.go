package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// ProcessTable is what ps(1) shows of a container's processes. The last column
// may have spaces.
type ProcessTable struct {
	Titles    []string
	Processes [][]string
}

// Top lists the processes of a running container, as the host sees them. Without
// psArgs the table is that of "ps -ef"; otherwise the host's ps makes it. Nothing
// of the container's image is run (CVE-2022-1227).
func (e *Engine) Top(ctx context.Context, ref string, psArgs []string) (ProcessTable, error) {
	c, err := e.Get(ctx, ref)
	if err != nil {
		return ProcessTable{}, err
	}
	switch c.Status {
	case StatusRunning, StatusPaused:
	case StatusRestarting:
		return ProcessTable{}, conflict("container %q is restarting, wait until it runs", c.Name)
	case StatusCreated, StatusExited, StatusDead:
		return ProcessTable{}, conflict("container %q is not running", c.Name)
	}
	pids, err := processesOf(cgroupOf(c.Container))
	if err != nil {
		return ProcessTable{}, fmt.Errorf("list the processes of %q: %w", c.Name, err)
	}
	var table ProcessTable
	if len(psArgs) == 0 || slices.Equal(psArgs, []string{"-ef"}) {
		table, err = fullFormat(pids, time.Now())
	} else {
		table, err = hostPS(ctx, psArgs, pids)
	}
	if err != nil {
		return ProcessTable{}, err
	}
	e.tellContainer(c.Container, "top")
	return table, nil
}

// processesOf returns the processes in a control group and those below it.
func processesOf(group string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != group {
			return nil // a group that has just gone
		}
		if err != nil || !d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, word := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	slices.Sort(pids)
	return pids, err
}

// hostPS runs the host's ps and keeps the lines of pids.
func hostPS(ctx context.Context, args []string, pids []int) (ProcessTable, error) {
	program, err := exec.LookPath("ps")
	if err != nil {
		return ProcessTable{}, fmt.Errorf("options of ps need that program on the host, which has none (install procps): %w", spec.ErrUnsupport)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ProcessTable{}, context.Cause(ctx)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return ProcessTable{}, invalid("ps %s: %s", strings.Join(args, " "), cmp.Or(strings.TrimPrefix(first, "error: "), err.Error()))
	}
	return parsePS(stdout.String(), pids)
}

// parsePS reads the output of ps and keeps the lines whose column PID is one of
// pids.
func parsePS(output string, pids []int) (ProcessTable, error) {
	var t ProcessTable
	pidColumn := -1
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		if t.Titles == nil {
			t.Titles = words
			if pidColumn = slices.Index(words, "PID"); pidColumn < 0 {
				return ProcessTable{}, invalid("couldn't find PID field in ps output: which processes are the container's is told by it")
			}
			continue
		}
		if len(words) <= pidColumn {
			continue
		}
		pid, err := strconv.Atoi(words[pidColumn])
		if err != nil {
			return ProcessTable{}, invalid("unexpected pid %q in the output of ps", words[pidColumn])
		}
		if !slices.Contains(pids, pid) {
			continue
		}
		if last := len(t.Titles) - 1; len(words) > last+1 {
			words = append(words[:last:last], strings.Join(words[last:], " "))
		}
		t.Processes = append(t.Processes, words)
	}
	return t, nil
}
