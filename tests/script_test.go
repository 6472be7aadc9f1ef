package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var scripts atomic.Int32

// TestScripts runs the sessions in testdata. In each, $N is a prefix for
// container names that no other session has; what it leaves is removed.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			n := fmt.Sprintf("s%d-", scripts.Add(1))
			e.Setenv("N", n)
			e.Setenv("PATH", env.path+string(filepath.ListSeparator)+os.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Defer(func() { removeAll(t, n) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":        checkExit,
			"logged":      logged,
			"settled":     settled,
			"restarted":   restarted,
			"killpayload": killPayload,
			"registry":    serveRegistry,
			"sign":        signImage,
			"told":        told,
			"health":      health,
			"logfull":     logFull,
		},
	})
}

// removeAll removes the containers whose names begin with prefix.
func removeAll(t *testing.T, prefix string) {
	out := mustCleat(t, "ps", "-a", "--format", "{{.Names}}")
	for name := range strings.Lines(out) {
		if name = strings.TrimSpace(name); strings.HasPrefix(name, prefix) {
			mustCleat(t, "rm", "-f", "-v", name)
		}
	}
}

// checkExit is the script command "exit CODE COMMAND…": the command must end
// with just that exit code.
func checkExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND [ARG]...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		code = -1
		if e, ok := err.(interface{ ExitCode() int }); ok {
			code = e.ExitCode()
		}
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// eventually calls ok until it returns true. There is no event to wait for:
// what is watched is another program's output.
func eventually(ts *testscript.TestScript, what string, ok func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("still not: %s", what)
		}
	}
}

func output(args ...string) string {
	out, _ := cleat(args...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// logged is "logged CONTAINER TEXT": waits until its output has TEXT.
func logged(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "logged "+args[1], func() bool { return strings.Contains(output("logs", args[0]), args[1]) })
}

// settled is "settled CONTAINER": waits until it has ended for good.
func settled(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "exited", func() bool {
		return output("inspect", "-f", "{{.State.Status}}", args[0]) == "exited"
	})
}

// restarted is "restarted CONTAINER N": waits until it runs again after its
// Nth automatic restart.
func restarted(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "restarted", func() bool {
		return output("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", args[0]) == "running "+args[1]
	})
}

// killPayload is "killpayload CONTAINER": what the kernel or an administrator
// does, as opposed to "cleat kill".
func killPayload(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("cleat", "host", "shell", "systemctl", "kill", "-s", "KILL", "cleat-"+args[0]+".service"))
}

// told is "told CONTAINER EVENT": waits until the journal has that event.
func told(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "told "+args[1], func() bool {
		return output("events", "--since", "10m", "--until", "0s", "--filter", "container="+args[0], "--filter", "event="+args[1]) != ""
	})
}
