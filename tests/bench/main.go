// Command bench measures cleat against systemd-run, docker and podman, where
// they are installed and run, in one go: figures of different runs are not
// comparable, ratios of one run are. It asserts nothing.
//
// Where PID 1 is not systemd, it runs itself inside the embedded host, so that
// the cost of entering that is a row of its own and not part of every other.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// bench is one run of all measurements.
type bench struct {
	bin    string // directory of the binaries
	root   string // --root of every cleat command
	rounds int
	only   string // name of the one scenario to run, "" for all
	peers  []peer
}

// peer is an engine that is measured.
type peer struct {
	name string
	// argv returns the command line of a scenario, nil if the engine has no such thing.
	argv func(scenario string) []string
}

func main() {
	b := bench{}
	flag.StringVar(&b.root, "root", "", "directory for all state; a temporary one by default")
	flag.IntVar(&b.rounds, "rounds", 30, "how often each command is run")
	flag.StringVar(&b.only, "only", "", "run only this scenario")
	inside := flag.Bool("inside", false, "do not enter the embedded host: this process is in it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.main(ctx, *inside); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) main(ctx context.Context, inside bool) (err error) {
	if b.bin = os.Getenv("CLEAT_BIN"); b.bin == "" {
		return errors.New("CLEAT_BIN is not set: use 'make bench'")
	}
	if b.root == "" {
		if b.root, err = os.MkdirTemp("/var/tmp", "cleat-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(b.root)) }()
	}
	if _, statErr := os.Stat("/run/systemd/system"); statErr != nil && !inside {
		return b.reenter(ctx)
	}
	return b.run(ctx)
}

// reenter runs this program again inside an embedded host of its own.
func (b *bench) reenter(ctx context.Context) (err error) {
	if err := b.cleat(ctx, "host", "start", "--private-network"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.cleat(context.WithoutCancel(ctx), "host", "stop")) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"host", "shell", self, "-inside", "-root", b.root}, os.Args[1:]...)
	return b.cleat(ctx, args...)
}

// cleat runs a cleat command whose output belongs to the report.
func (b *bench) cleat(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "cleat"), append([]string{"--root", b.root}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cleat %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (b *bench) run(ctx context.Context) error {
	defer b.cleanUp(context.WithoutCancel(ctx))
	if err := b.prepare(ctx); err != nil {
		return err
	}
	scenarios := []struct {
		name string
		run  func(context.Context) ([]result, error)
	}{
		{"run", b.commands("run")},
		{"run-d", b.commands("run-d")},
		{"exec", b.commands("exec")},
		{"ps", b.ps},
		{"api", b.api},
		{"logs", b.logs},
		{"pull", b.pull},
		{"build", b.builds},
		{"bridge", b.bridge},
		{"parallel", b.parallel},
		{"ports", b.ports},
		{"throughput", b.throughput},
		{"memory", b.memory},
		{"compose", b.compose},
		{"boot", b.boot},
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "what\tengine\tmedian\tp5\tp95\tn\tx cleat\t")
	for _, s := range scenarios {
		if b.only != "" && b.only != s.name {
			continue
		}
		results, err := s.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, r := range results {
			r.print(out, results[slices.IndexFunc(results, func(base result) bool { return base.what == r.what })])
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// result is what one engine needed for one thing.
type result struct {
	what, engine string
	values       []float64
	unit         string // "ms", or "kB"
}

func (r result) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(r.values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func (r result) print(out *tabwriter.Writer, base result) {
	if len(r.values) == 0 {
		return
	}
	median := r.quantile(0.5)
	fmt.Fprintf(out, "%s\t%s\t%.1f %s\t%.1f\t%.1f\t%d\t%.1f\t\n", r.what, r.engine,
		median, r.unit, r.quantile(0.05), r.quantile(0.95), len(r.values), median/base.quantile(0.5))
}

// timed runs a command and returns how long it took, in milliseconds.
func timed(ctx context.Context, argv []string) (float64, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, stderr.String())
	}
	return float64(took.Microseconds()) / 1000, nil
}

// interleave runs the command of every peer in turn, rounds times, so that
// whatever else the machine does hits all of them alike. Every other round goes the
// other way round: for some milliseconds a start makes the next one cheaper for the
// kernel, whosever it is. The first round warms up and does not count.
func interleave(ctx context.Context, what string, rounds int, all []peer, argv func(peer) []string) ([]result, error) {
	var results []result
	var peers []peer
	for _, p := range all {
		if argv(p) != nil {
			peers = append(peers, p)
			results = append(results, result{what: what, engine: p.name, unit: "ms"})
		}
	}
	for round := range rounds + 1 {
		for i := range peers {
			if round%2 == 1 {
				i = len(peers) - 1 - i
			}
			ms, err := timed(ctx, argv(peers[i]))
			if err != nil {
				return nil, err
			}
			if round > 0 {
				results[i].values = append(results[i].values, ms)
			}
		}
	}
	return results, nil
}
