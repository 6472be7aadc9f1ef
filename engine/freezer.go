package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cleat-project/cleat/internal/fsx"
	"github.com/cleat-project/cleat/internal/pause"
	"github.com/cleat-project/cleat/spec"
	"github.com/cleat-project/cleat/supervisor"
)

// systemd answers a request to freeze or thaw once the kernel has told it that it
// is done. A daemon-reload meanwhile loses the answer, a client that was killed
// leaves a request behind that makes the next one "busy", and a thaw that comes
// before the kernel is done with freezing is answered and not carried out
// (systemd 252). So the kernel has the last word here.
const (
	answerWait   = 3 * time.Second       // for one answer, which takes milliseconds
	busyWait     = 20 * time.Millisecond // before a unit that is busy is asked again
	freezeTrials = 5
)

// freezerRuns is systemd's word for a unit that is neither frozen nor about to be.
const freezerRuns = "running"

// setFrozen freezes or thaws the unit of a container.
func setFrozen(ctx context.Context, conn *supervisor.Conn, c spec.Container, want bool) error {
	do := (*supervisor.Conn).Thaw
	if want {
		do = (*supervisor.Conn).Freeze
	}
	for trial := 1; ; trial++ {
		err := ask(ctx, conn, c.UnitName(), do)
		if err == nil && !want {
			return release(c)
		}
		if err == nil || ctx.Err() != nil || !isUnanswered(err) {
			return err
		}
		if told, known := toldToFreeze(c); known && told == want && frozen(c) == want {
			return nil
		}
		if trial == freezeTrials {
			return err
		}
		if err := pause.For(ctx, busyWait); err != nil {
			return err
		}
	}
}

func ask(ctx context.Context, conn *supervisor.Conn, unit string, do func(*supervisor.Conn, context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return do(conn, ctx, unit)
}

// isUnanswered reports whether a request may have been carried out, or may be the
// next time.
func isUnanswered(err error) bool {
	busy, ok := errors.AsType[*supervisor.BusError](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && busy.Name == "org.freedesktop.systemd1.UnitBusy"
}

// freezeFile is where the kernel is told to freeze the processes of a container,
// see its cgroup-v2 documentation.
func freezeFile(c spec.Container) string { return filepath.Join(cgroupOf(c), "cgroup.freeze") }

func toldToFreeze(c spec.Container) (told, known bool) {
	data, err := fsx.ReadFile(freezeFile(c))
	return strings.TrimSpace(string(data)) == "1", err == nil
}

// release thaws what systemd takes for thawed.
func release(c spec.Container) error {
	if told, known := toldToFreeze(c); !told || !known {
		return nil
	}
	f, err := os.OpenFile(freezeFile(c), os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the container has just ended
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("0")
	return errors.Join(err, f.Close())
}
