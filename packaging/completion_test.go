package packaging

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each shell loads its completion as it is packaged, and completes a word with it.
func TestCompletionsComplete(t *testing.T) {
	all := debs(t)["cleat"]
	for shell, tt := range map[string]struct {
		file, as string   // in the package, and what it is called for the shell
		argv     []string // run where the file is
		want     string
	}{
		"bash": {
			"/usr/share/bash-completion/completions/cleat", "cleat.bash",
			[]string{"bash", "--norc", "-c", `
				. /usr/share/bash-completion/bash_completion
				. ./cleat.bash
				COMP_LINE="cleat volume insp" COMP_POINT=17 COMP_WORDS=(cleat volume insp) COMP_CWORD=2
				compopt() { :; } # which works only while somebody types
				__start_cleat cleat insp volume
				echo "<${COMPREPLY[*]}>"`}, "<inspect>",
		},
		"zsh": { // at a terminal, because its completion has no other way in
			"/usr/share/zsh/vendor-completions/_cleat", "_cleat",
			[]string{"zsh", "-f", "-c", `
				zmodload zsh/zpty
				zpty shell zsh -f -i
				zpty -w shell "fpath=($PWD \$fpath); autoload -Uz compinit; compinit -u -D; print load''ed"
				zpty -r shell out '*loaded*'
				zpty -n -w shell $'cleat volume insp\t'
				zpty -r shell out '*inspect*'
				print -r -- "$out"`}, "inspect",
		},
		"fish": {
			"/usr/share/fish/vendor_completions.d/cleat.fish", "cleat.fish",
			[]string{"fish", "--no-config", "-c", `source cleat.fish; complete -C "cleat volume insp"`}, "inspect\t",
		},
	} {
		t.Run(shell, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, tt.as), []byte(all[tt.file]), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, tt.argv[0], tt.argv[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "HOME="+dir, "TERM=dumb", "PATH="+os.Getenv("CLEAT_BIN")+":"+os.Getenv("PATH"))
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%s prints %q (%v), want %q", shell, out, err, tt.want)
			}
		})
	}
}
