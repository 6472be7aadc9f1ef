package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// composeServices is how many services the project has that is brought up.
const composeServices = 10

// compose measures how long a project takes to come up, and to be found up.
// Docker's is the docker-compose of the distribution.
func (b *bench) compose(ctx context.Context) ([]result, error) {
	file := filepath.Join(b.root, "bench-compose.yaml")
	var text strings.Builder
	text.WriteString("services:\n")
	for i := range composeServices {
		fmt.Fprintf(&text, "  s%d: {image: %s, command: [sleep, '3600'], stop_signal: SIGKILL}\n", i, benchImage)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return nil, err
	}
	commands := map[string][]string{"cleat": {filepath.Join(b.bin, "cleat"), "--root", b.root, "compose"}}
	if path, err := exec.LookPath("docker-compose"); err == nil {
		commands["docker"] = []string{path}
	}
	var first, again []result
	for _, p := range b.peers {
		command := commands[p.name]
		if command == nil {
			continue
		}
		command = append(command, "-p", "bench", "-f", file)
		one, two := result{what: "compose up, 10 services", engine: p.name, unit: "ms"}, result{what: "compose up again", engine: p.name, unit: "ms"}
		for range max(b.rounds/6, 1) {
			for _, r := range []*result{&one, &two} {
				ms, err := timed(ctx, with(command, "up", "-d"))
				if err != nil {
					return nil, err
				}
				r.values = append(r.values, ms)
			}
			if _, err := timed(ctx, with(command, "down", "-t", "0")); err != nil {
				return nil, err
			}
		}
		first, again = append(first, one), append(again, two)
	}
	return append(first, again...), nil
}
