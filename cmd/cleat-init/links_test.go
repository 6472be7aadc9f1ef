package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/testenv"
)

// allowedDeps are the packages outside the standard library that the hot path
// may link: each costs time in every start.
var allowedDeps = []string{
	"github.com/google/nftables", // and netlink: 0.1 ms together
	"github.com/google/nftables/alignedbuff",
	"github.com/google/nftables/binaryutil",
	"github.com/google/nftables/expr",
	"github.com/google/nftables/internal/parseexprfunc",
	"github.com/google/nftables/userdata",
	"github.com/google/nftables/xt",
	"github.com/mdlayher/netlink",
	"github.com/mdlayher/netlink/nlenc",
	"github.com/mdlayher/netlink/nltest",
	"github.com/mdlayher/socket",
	"github.com/opencontainers/runtime-spec/specs-go",
	"github.com/vishvananda/netlink",
	"github.com/vishvananda/netlink/nl",
	"github.com/vishvananda/netns",
	"golang.org/x/net/bpf",
	"golang.org/x/sync/errgroup",
	"golang.org/x/sys/unix",
}

// bannedStd are packages of the standard library that take long to start, or
// that have no business here.
var bannedStd = []string{
	"crypto/tls", "encoding/gob", "html/template", "log/slog", "math/big", "net/http", "os/exec", "os/user",
	"regexp", "testing", "text/template",
}

func TestLinks(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	var foreign []string
	for _, pkg := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(pkg, "/")
		switch {
		case slices.Contains(bannedStd, pkg):
			t.Errorf("links %s", pkg)
		case strings.HasPrefix(pkg, "github.com/cleat-project/cleat/"), !strings.Contains(first, "."):
		default:
			foreign = append(foreign, pkg)
		}
	}
	slices.Sort(foreign)
	if diff := cmp.Diff(allowedDeps, foreign); diff != "" {
		t.Errorf("linked packages (-allowed +linked):\n%s", diff)
	}
}

// Nothing of the project does work before main. What the standard library does
// is printed with -v.
func TestInitialization(t *testing.T) {
	testenv.NeedRoot(t) // for the built program
	if built.err != nil {
		t.Fatal(built.err)
	}
	cmd := exec.Command(built.init)
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run() // without arguments it fails
	total := 0.0
	for line := range strings.Lines(stderr.String()) {
		var pkg string
		var at, clock float64
		var size, allocs int
		if n, _ := fmt.Sscanf(line, "init %s @%f ms, %f ms clock, %d bytes, %d allocs", &pkg, &at, &clock, &size, &allocs); n != 5 {
			continue
		}
		total += clock
		if strings.HasPrefix(pkg, "github.com/cleat-project/cleat/") && allocs > 5 {
			t.Errorf("package does work before main: %s", line)
		}
	}
	if total == 0 {
		t.Fatalf("no trace: %s", stderr.String())
	}
	t.Logf("%.3f ms before main\n%s", total, stderr.String())
}
