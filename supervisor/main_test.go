package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/cleat-project/cleat/host"
	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/supervisor"
)

// TestMain brings the tests into an embedded host where PID 1 is not systemd.
func TestMain(m *testing.M) {
	host.Init()
	if !host.Needed() || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	code, err := runInside(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// runInside runs this test binary again inside a host made for it.
func runInside(ctx context.Context) (code int, err error) {
	root, err := os.MkdirTemp("", "cleat-supervisor")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(root) }()
	o := host.Options{Root: root, PrivateNetwork: true}
	if err := host.Start(ctx, o); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() { // its thread stays inside the host, and ends here
		defer close(done)
		code, err = host.Enter(ctx, o)
	}()
	<-done
	if _, stopErr := host.Stop(ctx, root, host.StopOptions{}); stopErr != nil && err == nil {
		err = stopErr
	}
	return code, err
}

// connect returns a connection to systemd for a test.
func connect(t testing.TB) *supervisor.Conn {
	t.Helper()
	testenv.NeedRoot(t)
	c, err := supervisor.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
