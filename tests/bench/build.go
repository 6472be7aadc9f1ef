package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What is built: a small file of four instructions, one of many RUN that write files,
// and one that copies a context of many files.
const (
	buildRuns      = 10
	buildRunFiles  = 300
	buildContext   = 20_000
	buildPerFolder = 200
)

// builds measures building: with everything in the cache, with nothing, and with one
// file of a large context changed.
func (b *bench) builds(ctx context.Context) ([]result, error) {
	small, many, large := filepath.Join(b.root, "bench-small"), filepath.Join(b.root, "bench-many"), filepath.Join(b.root, "bench-large")
	if err := writeSmall(small); err != nil {
		return nil, err
	}
	if err := writeMany(many); err != nil {
		return nil, err
	}
	if err := writeLarge(large); err != nil {
		return nil, err
	}
	var all []result
	for _, c := range []struct {
		what   string
		rounds int
		argv   func(peer) []string
	}{
		{"build, cached", b.rounds, func(p peer) []string { return with(p.argv("build"), small) }},
		{"build, 4 instructions", max(b.rounds/3, 1), func(p peer) []string { return with(p.argv("build"), "--no-cache", small) }},
		{fmt.Sprintf("build, %d x RUN", buildRuns), max(b.rounds/10, 1), func(p peer) []string { return with(p.argv("build"), "--no-cache", many) }},
		{"build, 20,000 files", max(b.rounds/3, 1), func(p peer) []string { return with(p.argv("build"), large) }},
		{"build, 1 of 20,000 changed", max(b.rounds/3, 1), func(p peer) []string { return with(p.argv("build changed"), large) }},
	} {
		results, err := interleave(ctx, c.what, c.rounds, b.peers, c.argv)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

func with(argv []string, more ...string) []string {
	if argv == nil {
		return nil
	}
	return append(append([]string{}, argv...), more...)
}

// buildArgv is the command line of a build; that which changes the context first says
// so as the script that it is.
func buildArgv(scenario string, program []string) []string {
	build := append([]string{"env", "DOCKER_BUILDKIT=0"}, append(append([]string{}, program...), "build", "-q", "--network", "none")...)
	if scenario == "build" {
		return build
	}
	return append([]string{"sh", "-c", `for dir; do :; done; date +%N > "$dir/one"; exec "$@"`, "sh"}, build...)
}

func writeSmall(dir string) error {
	return writeFiles(dir, map[string]string{"Dockerfile": "FROM " + benchImage + "\nRUN echo a > /a\nCOPY data /data\nCMD [\"true\"]\n", "data": "data\n"})
}

func writeMany(dir string) error {
	var text strings.Builder
	fmt.Fprintf(&text, "FROM %s\n", benchImage)
	for i := range buildRuns {
		fmt.Fprintf(&text, "RUN for n in $(seq %d); do echo $n-%d > /$n; done\n", buildRunFiles, i)
	}
	return writeFiles(dir, map[string]string{"Dockerfile": text.String()})
}

func writeLarge(dir string) error {
	files := map[string]string{"Dockerfile": "FROM " + benchImage + "\nCOPY all /all\nCOPY one /one\n", "one": ""}
	for i := range buildContext {
		files[fmt.Sprintf("all/%d/%d", i/buildPerFolder, i)] = fmt.Sprintf("file %d\n", i)
	}
	return writeFiles(dir, files)
}

func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
