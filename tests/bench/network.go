package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// onBridge returns the engines that can start a container on their default
// network.
func (b *bench) onBridge(ctx context.Context) []peer {
	var able []peer
	for _, p := range b.peers {
		argv := p.argv("run-bridge")
		if argv == nil {
			continue
		}
		if _, err := timed(ctx, argv); err != nil {
			fmt.Fprintf(os.Stderr, "%s has no default network, its rows are left out: %v\n", p.name, err)
			continue
		}
		able = append(able, p)
	}
	return able
}

// bridge measures a run on the default network, and what that adds to one on none.
func (b *bench) bridge(ctx context.Context) ([]result, error) {
	able := b.onBridge(ctx)
	results, err := interleave(ctx, "run, bridge", b.rounds, able, func(p peer) []string { return p.argv("run-bridge") })
	if err != nil {
		return nil, err
	}
	without, err := interleave(ctx, "run, none, for comparison", b.rounds, able, func(p peer) []string { return p.argv("run") })
	return append(results, without...), err
}

// parallel measures starts on the default network, eight at a time.
func (b *bench) parallel(ctx context.Context) ([]result, error) {
	const starts, atOnce = 80, 8
	var results []result
	for _, p := range b.onBridge(ctx) {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		begin := time.Now()
		for range starts {
			argv := p.argv("run-d-bridge")
			g.Go(func() error { _, err := timed(gctx, argv); return err })
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		rate := starts / time.Since(begin).Seconds()
		results = append(results, result{what: "starts a second, 8 at a time", engine: p.name, unit: "/s", values: []float64{rate}})
		if err := fill(ctx, p, 1); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// ports measures a start with one published port, next to none and next to 500.
func (b *bench) ports(ctx context.Context) ([]result, error) {
	cleat := b.peers[:1]
	publish := func(p peer) []string { return p.argv("run-port") }
	first, err := interleave(ctx, "run -p, the first port", b.rounds, cleat, publish)
	if err != nil {
		return nil, err
	}
	if _, err := timed(ctx, cleat[0].argv("run-d-500")); err != nil {
		return nil, err
	}
	last, err := interleave(ctx, "run -p, after 500 ports", b.rounds, cleat, publish)
	if err != nil {
		return nil, err
	}
	_, err = timed(ctx, append(cleat[0].argv("rm"), "bench-500"))
	return append(first, last...), err
}

// The neighbour from whose namespace published ports are called.
const (
	lanSpace = "cleat-bench-lan"
	lanHost  = "10.231.0.1"
	lanPeer  = "10.231.0.2"
)

const pourBytes = 4 << 30

// throughput measures TCP from a container to the host, and from outside to a
// published port, in MB/s.
func (b *bench) throughput(ctx context.Context) ([]result, error) {
	for _, line := range []string{
		"ip netns add " + lanSpace,
		"ip link add bench0 type veth peer name bench1 netns " + lanSpace,
		"ip addr add " + lanHost + "/24 dev bench0", "ip link set bench0 up",
		"ip -n " + lanSpace + " addr add " + lanPeer + "/24 dev bench1", "ip -n " + lanSpace + " link set bench1 up",
	} {
		if _, err := timed(ctx, strings.Fields(line)); err != nil {
			return nil, err
		}
	}
	defer func() {
		_ = exec.CommandContext(context.WithoutCancel(ctx), "ip", "netns", "del", lanSpace).Run() // its cable goes with it
	}()
	var out, in []result
	able := b.onBridge(ctx)
	for range 3 {
		for i, p := range able {
			if len(out) < len(able) {
				out = append(out, result{what: "container to host", engine: p.name, unit: "MB/s"})
				in = append(in, result{what: "outside to published port", engine: p.name, unit: "MB/s"})
			}
			rate, err := b.pourOut(ctx, p)
			if err != nil {
				return nil, err
			}
			out[i].values = append(out[i].values, rate)
			if rate, err = b.pourIn(ctx, p); err != nil {
				return nil, err
			}
			in[i].values = append(in[i].values, rate)
		}
	}
	return append(out, in...), nil
}

func perSecond(ms float64) float64 { return pourBytes / 1e6 / (ms / 1000) }

// pourOut sends from a container to a server on the host's address.
func (b *bench) pourOut(ctx context.Context, p peer) (float64, error) {
	server := exec.CommandContext(ctx, b.peerProgram(), "serve", "tcp4:"+lanHost+":7000")
	if err := begin(server); err != nil {
		return 0, err
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	ms, err := timed(ctx, append(p.argv("run-bridge-peer"), "pour", "tcp4", lanHost+":7000", fmt.Sprint(pourBytes)))
	return perSecond(ms), err
}

// pourIn sends from the neighbour to a published port.
func (b *bench) pourIn(ctx context.Context, p peer) (float64, error) {
	if _, err := timed(ctx, p.argv("run-d-peer")); err != nil {
		return 0, err
	}
	defer func() {
		_, _ = timed(context.WithoutCancel(ctx), append(p.argv("rm"), "bench-peer"))
	}()
	ask := []string{"ip", "netns", "exec", lanSpace, b.peerProgram(), "ask", "tcp4", lanHost + ":7100"}
	for deadline := time.Now().Add(10 * time.Second); ; { // until it listens
		if _, err := timed(ctx, ask); err == nil {
			break
		} else if time.Now().After(deadline) {
			return 0, err
		}
	}
	ms, err := timed(ctx, append(ask[:5:5], "pour", "tcp4", lanHost+":7100", fmt.Sprint(pourBytes)))
	return perSecond(ms), err
}

// begin starts a server and returns once it says that it is ready.
func begin(server *exec.Cmd) error {
	stdout, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	_, err = stdout.Read(make([]byte, 64))
	return err
}

func (b *bench) peerProgram() string { return filepath.Join(b.bin, "peer") }
