package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The image that is pulled: layers of many small files, compressible by half,
// as distributions' are.
const (
	pullLayers = 4
	pullFiles  = 6000 // a layer
	pullBytes  = 28 << 10
)

// pull measures getting an image of several hundred megabytes from the
// distribution's registry on the loopback interface.
func (b *bench) pull(ctx context.Context) ([]result, error) {
	address, stop, err := startRegistry(ctx, filepath.Join(b.root, "bench-registry"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "pull is left out:", err)
		return nil, nil
	}
	defer stop()
	ref := address + "/big:1"
	if err := pushBig(ctx, filepath.Join(b.root, "bench-layers"), ref); err != nil {
		return nil, err
	}
	var results []result
	for _, p := range b.peers {
		ids := p.argv("ids")
		if ids == nil {
			continue
		}
		program := ids[:len(ids)-3] // without "ps -aq --no-trunc"
		r := result{what: "pull, 4 layers", engine: p.name, unit: "ms"}
		for range 3 {
			ms, err := timed(ctx, append(append([]string{}, program...), "pull", "-q", ref))
			if err != nil {
				return nil, err
			}
			r.values = append(r.values, ms)
			if _, err := timed(ctx, append(append([]string{}, program...), "rmi", ref)); err != nil {
				return nil, err
			}
		}
		results = append(results, r)
	}
	return results, nil
}

// startRegistry runs Debian's docker-registry on a free loopback port.
func startRegistry(ctx context.Context, dir string) (address string, stop func(), err error) {
	if _, err := exec.LookPath("docker-registry"); err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = l.Addr().String()
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", dir, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + address + "/v2/")
		if err == nil {
			return address, stop, resp.Body.Close()
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, err
		}
	}
}

// pushBig makes the image and pushes it.
func pushBig(ctx context.Context, dir, ref string) error {
	img := empty.Image
	for i := range pullLayers {
		tree := filepath.Join(dir, fmt.Sprint(i))
		if err := randomTree(tree, i); err != nil {
			return err
		}
		tar := tree + ".tar"
		if out, err := exec.CommandContext(ctx, "tar", "-C", tree, "-cf", tar, ".").CombinedOutput(); err != nil {
			return fmt.Errorf("tar: %w: %s", err, out)
		}
		layer, err := tarball.LayerFromFile(tar)
		if err != nil {
			return err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return err
		}
	}
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(to, img, remote.WithContext(ctx))
}

// randomTree writes files of which about half can be compressed away.
func randomTree(dir string, seed int) error {
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	for i := range pullFiles {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i%100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		var text strings.Builder
		for text.Len() < pullBytes {
			fmt.Fprintf(&text, "%016x%016x a line of text that comes again\n", random.Uint64(), random.Uint64())
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d", i)), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
