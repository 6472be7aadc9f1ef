// Package cleat holds the tests of the whole tree's shape.
package cleat

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cleat-project/cleat/"

// allowed is the table of DESIGN: which room may import which. A room is the
// first element of a path; its own packages may import each other, everybody
// may import spec and internal/*. Commands are listed by their whole path.
var allowed = map[string][]string{
	"spec":              {},
	"state":             {},
	"journal":           {},
	"rootfs":            {},
	"image":             {},
	"sandbox":           {},
	"netd":              {},
	"unitgen":           {},
	"supervisor":        {"unitgen"},
	"packaging":         {},
	"host":              {"supervisor", "packaging"},
	"engine":            {"state", "journal", "rootfs", "image", "sandbox", "netd", "unitgen", "supervisor", "host", "packaging"},
	"build":             {"engine"},
	"cmd/cleat-build":   {"build", "engine"},
	"quadlet":           {},
	"cmd/cleat":         {"engine", "host", "journal/stdio", "image", "quadlet"},
	"cmd/cleat-init":    {"sandbox", "rootfs", "state", "journal/stdio", "journal/event", "health/enlist", "netd"},
	"cmd/cleat-stdiod":  {"journal"},
	"cmd/cleat-netd":    {"netd", "state", "supervisor"},
	"health":            {"state", "sandbox", "supervisor", "journal/event"},
	"cmd/cleat-healthd": {"health", "state"},
	"api":               {"engine", "journal/stdio"},
	"cmd/cleat-apid":    {"api", "engine"},
	"compose":           {"engine"},
	"cmd/cleat-compose": {"compose", "engine", "host"},
	"tests":             {},
	"examples":          {},
	"internal":          {},
}

// room returns the key of allowed for a package path within the module.
func room(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	if parts[0] == "cmd" && len(parts) > 1 {
		return "cmd/" + parts[1]
	}
	return parts[0]
}

// The files are parsed here rather than by "go list", because the test cache
// notices files that the test itself opens but not those that a child opens.
func eachFile(t *testing.T, mode parser.Mode, visit func(name, pkg string, f *ast.File)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
		if err == nil {
			visit(name, path.Dir(name), f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportDirection(t *testing.T) {
	eachFile(t, parser.ImportsOnly, func(name, pkg string, f *ast.File) {
		from := room(pkg)
		may, listed := allowed[from]
		if !listed {
			t.Errorf("%s: room %q is not in the import table", name, from)
		}
		for _, imp := range f.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			dep, ours := strings.CutPrefix(p, module)
			to := room(dep)
			if !ours || to == "spec" || to == "internal" || to == from || slices.Contains(may, to) || slices.Contains(may, dep) {
				continue
			}
			t.Errorf("%s imports %s: not allowed", name, dep)
		}
	})
}

func TestPackagesAreDescribed(t *testing.T) {
	described := map[string]bool{}
	eachFile(t, parser.PackageClauseOnly|parser.ParseComments, func(_, pkg string, f *ast.File) {
		described[pkg] = described[pkg] || f.Doc != nil
	})
	for pkg, ok := range described {
		if !ok {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}

// Functions may be long for a reason, but not by habit.
func TestFunctionsAreShort(t *testing.T) {
	const limit = 90
	eachFile(t, parser.SkipObjectResolution, func(name, _ string, f *ast.File) {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if n := strings.Count(bodyText(t, name, fn), "\n"); n > limit {
				t.Errorf("%s: %s has %d lines, more than %d", name, fn.Name.Name, n, limit)
			}
		}
	})
}

func bodyText(t *testing.T, name string, fn *ast.FuncDecl) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data[fn.Body.Pos()-1 : fn.Body.End()-1])
}
