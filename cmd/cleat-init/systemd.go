package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// systemctl is where systemd's own packages put it.
const systemctl = "/usr/bin/systemctl"

// askWait bounds the question of bySystemd.
const askWait = 5 * time.Second

// bySystemd reports whether the start of a unit that is under way is one of
// systemd's own restarts, and not one by "systemctl start" or "restart": these set
// its count back. It is asked where a restart is expected alone, and without an
// answer it is one.
//
// PID 1 is asked by way of a program because its private socket loses calls that
// come right behind the greeting (systemd 252), and a D-Bus library would slow
// down every start.
func bySystemd(unit string) bool {
	answer, err := ask(systemctl, "show", "--property=NRestarts", "--value", "--", unit)
	return err != nil || strings.TrimSpace(answer) != "0"
}

// ask runs a program and returns what it printed.
func ask(argv ...string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	// Without the environment: a program that knows $NOTIFY_SOCKET tells of its errors there.
	proc, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: []string{}, Files: []*os.File{nil, w, nil}})
	_ = w.Close() // the child has its own
	if err != nil {
		return "", err
	}
	timer := time.AfterFunc(askWait, func() { _ = proc.Kill() })
	defer timer.Stop()
	out, err := io.ReadAll(r)
	st, waitErr := proc.Wait()
	switch {
	case err != nil:
		return "", err
	case waitErr != nil:
		return "", waitErr
	case !st.Success():
		return "", fmt.Errorf("%s: %s", argv[0], st)
	}
	return string(out), nil
}
