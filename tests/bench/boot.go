package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bootServices is how many services a boot starts.
const bootServices = 100

// boot measures how long systemd takes to start a hundred services in one
// transaction, as a boot does: containers on each kind of network, and as the floor
// units that run the same program without one.
func (b *bench) boot(ctx context.Context) (results []result, err error) {
	cleat := b.peers[0]
	kinds := []struct{ what, engine, units string }{
		{"start 100 boot services, none", cleat.name, "cleat-bench-none-"},
		{"start 100 boot services, bridge", cleat.name, "cleat-bench-bridge-"},
		{"start 100 boot services, floor", "plain units", "bench-plain-"},
	}
	defer func() {
		_, _ = timed(context.WithoutCancel(ctx), append([]string{"systemctl", "stop"}, kinds[2].units+"*"))
		_ = fill(context.WithoutCancel(ctx), cleat, 1)
	}()
	for i := range bootServices {
		for _, network := range []string{"none", "bridge"} {
			name := fmt.Sprintf("bench-%s-%d", network, i)
			if _, err := timed(ctx, append(cleat.argv("boot"), "--network", network, "--name", name, benchImage, "sleep", "3600")); err != nil {
				return nil, err
			}
		}
		text := "[Service]\nType=exec\nExecStart=/bin/busybox sleep 3600\n"
		if err := runtimeUnit(fmt.Sprintf("%s%d.service", kinds[2].units, i), text); err != nil {
			return nil, err
		}
	}
	for _, k := range kinds {
		var wants strings.Builder
		for i := range bootServices {
			fmt.Fprintf(&wants, "Wants=%s%d.service\n", k.units, i)
		}
		if err := runtimeUnit(k.units+"all.target", "[Unit]\n"+wants.String()); err != nil {
			return nil, err
		}
		results = append(results, result{what: k.what, engine: k.engine, unit: "ms"})
	}
	if _, err := timed(ctx, []string{"systemctl", "daemon-reload"}); err != nil {
		return nil, err
	}
	for range 5 {
		for i, k := range kinds {
			if _, err := timed(ctx, []string{"systemctl", "stop", k.units + "*"}); err != nil {
				return nil, err
			}
			ms, err := timed(ctx, []string{"systemctl", "start", k.units + "all.target"})
			if err != nil {
				return nil, err
			}
			results[i].values = append(results[i].values, ms)
			if _, err := timed(ctx, []string{"systemctl", "stop", k.units + "*"}); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// runtimeUnit writes a unit file that is gone with the next boot.
func runtimeUnit(name, text string) error {
	const dir = "/run/systemd/system"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
}
