package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cleat-project/cleat/internal/fsx"
)

// Quadlets is the directory below a root whose files an embedded host turns into
// units. Those of the machine are left to the machine's own systemd.
const Quadlets = "quadlets"

// writeGenerator lets the host's systemd turn files that describe containers into
// units, where the program for that is at hand.
func writeGenerator(p bootPlan) error {
	program := filepath.Join(p.Libexec, "cleat")
	if !fsx.Exists(program) {
		program = "/usr/bin/cleat"
	}
	if !fsx.Exists(program) {
		return nil
	}
	words := []string{program, "--root", p.Root, "--runroot", p.RunRoot, "quadlet", "generate", "--directory", filepath.Join(p.Root, Quadlets)}
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	text := "#!/bin/sh\nexec " + strings.Join(words, " ") + ` "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(generators, "cleat-generator"), []byte(text), 0o755); err != nil {
		return fmt.Errorf("write the host's generator: %w", err)
	}
	return nil
}
