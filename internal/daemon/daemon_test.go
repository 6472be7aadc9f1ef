package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain becomes a daemon when a test starts it as one.
func TestMain(m *testing.M) {
	how := os.Getenv("DAEMON_TEST")
	if how == "" {
		os.Exit(m.Run())
	}
	Daemon{Name: "testd"}.Main(func(ctx context.Context) error {
		switch how {
		case "idle":
			return nil
		case "broken":
			return errors.New("it is broken")
		}
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Signal(os.Interrupt)
		}
		if err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
}

func TestExitStatus(t *testing.T) {
	for how, want := range map[string]struct {
		code int
		log  string
	}{
		"idle":        {0, ""},
		"interrupted": {75, ""},
		"broken":      {1, "<4>testd: it is broken\n"},
	} {
		var log strings.Builder
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), "DAEMON_TEST="+how), &log
		err := cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want.code || log.String() != want.log {
			t.Errorf("%s: exit status %d (%v), log %q, want %d, %q", how, got, err, &log, want.code, want.log)
		}
	}
}
