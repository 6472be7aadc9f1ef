package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/engine"
)

// Whatever a .dockerignore has, it is read or refused, and hides names or does not;
// what it hides is not there for a step, however the step calls it.
func FuzzIgnore(f *testing.F) {
	for _, s := range []string{"*.txt\n!keep.txt", "**/x\n#c\n", "a/../b", "!\n", "[", "/a/\n\\", "**/**/**/**/a*b?c[d-e]", "\xef\xbb\xbfa", "../../x"} {
		f.Add(s, "a/x")
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text, name string) {
		if strings.ContainsRune(name, 0) || len(text) > 4096 || len(name) > 200 {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := engine.OpenBuildTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		patterns, found, err := readIgnore(tree, ".dockerignore")
		if err != nil {
			return
		}
		if !found {
			t.Fatal("the file was not found")
		}
		m, err := matcher(patterns)
		if err != nil {
			t.Fatalf("%q was read and is refused now: %v", text, err)
		}
		src := &files{tree: tree, ignore: m, what: "context"}
		clean, _ := cleanPattern(name, false)
		if clean != "/" && (!strings.HasPrefix(clean, "/") || strings.Contains(clean+"/", "/../")) {
			t.Fatalf("%q becomes %q", name, clean)
		}
		hidden, err := src.hidden(clean)
		if err != nil || !hidden {
			return
		}
		if real, _, err := src.follow(clean); err == nil {
			t.Errorf("%q is hidden by %q, and found at %q", clean, text, real)
		}
	})
}
