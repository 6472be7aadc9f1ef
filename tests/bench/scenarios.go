package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const benchImage = "cleat-bench-busybox"

// prepare finds the peers and gives each the image.
func (b *bench) prepare(ctx context.Context) error {
	tree, err := busyboxTree(b.root, b.peerProgram())
	if err != nil {
		return err
	}
	cleat := []string{filepath.Join(b.bin, "cleat"), "--root", b.root}
	candidates := []peer{
		{"cleat", dockerLike(cleat...)},
		{"systemd-run", systemdRun},
		{"docker", dockerLike("docker")},
		{"podman", dockerLike(podman()...)},
	}
	for _, p := range candidates {
		err := ready(ctx, p, tree)
		if err != nil && p.name == "cleat" {
			return err
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", p.name, err)
			continue
		}
		b.peers = append(b.peers, p)
	}
	return nil
}

// podman returns its command line: $BENCH_PODMAN, for example "podman --runtime
// runc" where its default runtime does not work.
func podman() []string {
	if words := strings.Fields(os.Getenv("BENCH_PODMAN")); len(words) > 0 {
		return words
	}
	return []string{"podman"}
}

// ready gives an engine the image and one running container.
func ready(ctx context.Context, p peer, tree string) error {
	if load := p.argv("import"); load != nil {
		if err := importTree(ctx, load, tree); err != nil {
			return err
		}
	}
	if argv := p.argv("background"); argv != nil {
		if _, err := timed(ctx, argv); err != nil {
			return err
		}
	}
	return nil
}

// busyboxTree makes a root file system of the distribution's static busybox and the
// program tests/peer.
func busyboxTree(dir, peer string) (string, error) {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", fmt.Errorf("%w (install busybox-static)", err)
	}
	bin := filepath.Join(dir, "bench-tree", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"sh", "true", "sleep", "seq", "cat"} {
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			return "", err
		}
	}
	data, err := os.ReadFile(peer)
	if err != nil {
		return "", err
	}
	tree := filepath.Dir(bin)
	return tree, os.WriteFile(filepath.Join(tree, "peer"), data, 0o755)
}

func importTree(ctx context.Context, load []string, tree string) error {
	script := fmt.Sprintf("tar -C %s -c . | %s", tree, strings.Join(load, " "))
	out, err := exec.CommandContext(ctx, "sh", "-c", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(load, " "), err, out)
	}
	return nil
}

var serial atomic.Int64

// dockerLike is an engine with Docker's command line.
func dockerLike(program ...string) func(string) []string {
	with := func(args ...string) []string { return append(append([]string{}, program...), args...) }
	return func(scenario string) []string {
		switch scenario {
		case "import":
			return with("import", "-", benchImage)
		case "run":
			return with("run", "--rm", "--network", "none", benchImage, "true")
		case "run-d":
			return with("run", "-d", "--network", "none", "--name", fmt.Sprintf("bench-%d", serial.Add(1)), benchImage, "sleep", "3600")
		case "background":
			return with("run", "-d", "--network", "none", "--name", "bench-background", benchImage, "sleep", "3600")
		case "boot":
			return with("run", "-d", "--restart=always", "--stop-signal", "KILL")
		case "exec":
			return with("exec", "bench-background", "true")
		case "run-bridge":
			return with("run", "--rm", benchImage, "true")
		case "run-d-bridge":
			return with("run", "-d", benchImage, "sleep", "3600")
		case "run-port":
			return with("run", "--rm", "-p", "30000:80", benchImage, "true")
		case "run-d-500":
			return with("run", "-d", "--name", "bench-500", "-p", "0.0.0.0:20000-20499:1-500", benchImage, "sleep", "3600")
		case "run-bridge-peer":
			return with("run", "--rm", benchImage, "/peer")
		case "run-d-peer":
			return with("run", "-d", "--name", "bench-peer", "-p", "7100:80", benchImage, "/peer", "serve", "tcp::80")
		case "ps":
			return with("ps", "-a")
		case "create":
			return with("create", "--network", "none", benchImage, "true")
		case "ids":
			return with("ps", "-aq", "--no-trunc")
		case "flood":
			return with("run", "-d", "--network", "none", "--name", "bench-flood", benchImage, "seq", "1000000")
		case "wait":
			return with("wait", "bench-flood")
		case "logs":
			return with("logs", "bench-flood")
		case "build", "build changed":
			return buildArgv(scenario, program)
		case "rm":
			return with("rm", "-f", "-v")
		}
		return nil
	}
}

// systemdRun starts a program without any container, as the floor below which
// nothing that runs under systemd can get.
func systemdRun(scenario string) []string {
	switch scenario {
	case "run":
		return []string{"systemd-run", "--wait", "--quiet", "--collect", "--property=Type=exec", "/bin/busybox", "true"}
	case "run-d":
		return []string{"systemd-run", "--quiet", "--collect", "--property=Type=exec", fmt.Sprintf("--unit=bench-%d", serial.Add(1)), "/bin/busybox", "sleep", "5"}
	}
	return nil
}

func (b *bench) commands(scenario string) func(context.Context) ([]result, error) {
	return func(ctx context.Context) ([]result, error) {
		return interleave(ctx, scenario, b.rounds, b.peers, func(p peer) []string { return p.argv(scenario) })
	}
}

// ps measures listing with 1, 100 and 1000 containers; those that are added are
// created and not started.
func (b *bench) ps(ctx context.Context) ([]result, error) {
	var all []result
	for _, n := range []int{1, 100, 1000} {
		for _, p := range b.peers {
			if argv := p.argv("ids"); argv == nil || n > 100 && p.name != "cleat" {
				continue // a thousand take the others minutes
			}
			if err := fill(ctx, p, n); err != nil {
				return nil, err
			}
		}
		results, err := interleave(ctx, fmt.Sprintf("ps, %d containers", n), b.rounds, b.peers, func(p peer) []string {
			if n > 100 && p.name != "cleat" {
				return nil
			}
			return p.argv("ps")
		})
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

// fill brings the number of containers to n.
func fill(ctx context.Context, p peer, n int) error {
	argv := p.argv("ids")
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if err != nil {
		return err
	}
	ids := strings.Fields(string(out))
	if len(ids) > n {
		remove := append(p.argv("rm"), ids[n:]...)
		_, err := timed(ctx, remove)
		return err
	}
	for range n - len(ids) {
		if _, err := timed(ctx, p.argv("create")); err != nil {
			return err
		}
	}
	return nil
}

// logs measures reading a million short lines.
func (b *bench) logs(ctx context.Context) ([]result, error) {
	for _, p := range b.peers {
		if p.argv("flood") == nil {
			continue
		}
		start := time.Now()
		for _, step := range []string{"flood", "wait"} {
			if _, err := timed(ctx, p.argv(step)); err != nil {
				return nil, err
			}
		}
		fmt.Printf("%s took a million lines in at %.0f lines a second\n", p.name, 1e6/time.Since(start).Seconds())
	}
	return interleave(ctx, "logs, 1,000,000 lines", 3, b.peers, func(p peer) []string { return p.argv("logs") })
}

// memory measures what a running container costs beside its payload.
func (b *bench) memory(ctx context.Context) ([]result, error) {
	const n = 50
	before, err := resident(ctx)
	if err != nil {
		return nil, err
	}
	for range n {
		if _, err := timed(ctx, b.peers[0].argv("run-d")); err != nil {
			return nil, err
		}
	}
	after, err := resident(ctx)
	if err != nil {
		return nil, err
	}
	return []result{{what: "memory a container", engine: "cleat", unit: "kB", values: []float64{(after - before) / n}}}, nil
}

// resident returns the private memory, in kB, of PID 1 and of all processes of
// cleat: whatever is not a payload.
func resident(ctx context.Context) (float64, error) {
	out, err := exec.CommandContext(ctx, "ps", "-e", "-o", "pid=,comm=").Output()
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "1" && !strings.HasPrefix(fields[1], "cleat") && !strings.HasPrefix(fields[1], "systemd-journal") {
			continue
		}
		kb, err := private(fields[0])
		if err != nil {
			continue // ended meanwhile
		}
		sum += kb
	}
	return sum, nil
}

// private sums the private pages of a process, see proc_pid_smaps(5).
func private(pid string) (float64, error) {
	data, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(line, ":"); strings.HasPrefix(name, "Private_") {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				return 0, err
			}
			sum += kb
		}
	}
	return sum, nil
}

// cleanUp removes what was made, as far as it can.
func (b *bench) cleanUp(ctx context.Context) {
	for _, p := range b.peers {
		if p.argv("ids") == nil {
			continue
		}
		script := strings.Join(p.argv("rm"), " ") + " $(" + strings.Join(p.argv("ids"), " ") + ") >/dev/null 2>&1"
		_ = exec.CommandContext(ctx, "sh", "-c", script).Run()
	}
}
