package broker

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

func TestListenFDs(t *testing.T) {
	t.Parallel()
	own := strconv.Itoa(os.Getpid())
	for name, tt := range map[string]struct {
		pid, fds, names string
		err             error
	}{
		"not from systemd":   {"", "", "", nil},
		"of another process": {"1", "3", "a:b:c", nil},
		"no number":          {own, "x", "", spec.ErrInvalid},
		"negative":           {own, "-1", "", spec.ErrInvalid},
		"names do not fit":   {own, "2", "a", spec.ErrInvalid},
	} {
		env := map[string]string{"LISTEN_PID": tt.pid, "LISTEN_FDS": tt.fds, "LISTEN_FDNAMES": tt.names}
		listener, _, err := ListenFDs(func(key string) string { return env[key] })
		if !errors.Is(err, tt.err) || listener != -1 {
			t.Errorf("%s: listener %d, %v, want %v", name, listener, err, tt.err)
		}
	}
}
