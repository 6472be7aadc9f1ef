package buildflags_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cleat-project/cleat/internal/buildflags"
)

func TestArgsRoundTrip(t *testing.T) {
	given := []string{"-t", "a:1", "--tag=b,c", "--build-arg", "X=a b", "--no-cache", "-f", "-", "--force-rm=true", "--rm", "--label", "k=v,w"}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	first := buildflags.Define(fs)
	if err := fs.Parse(given); err != nil {
		t.Fatal(err)
	}
	again := pflag.NewFlagSet("", pflag.ContinueOnError)
	second := buildflags.Define(again)
	if err := again.Parse(buildflags.Args(fs)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	if want := []string{"a:1", "b,c"}; !cmp.Equal(want, second.Tags) {
		t.Errorf("tags %q", second.Tags)
	}
}

func TestRefusedByName(t *testing.T) {
	for _, arg := range []string{"--cgroup-parent=x", "--squash", "--rm=false", "--provenance=true"} {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		buildflags.Define(fs)
		name, _, _ := strings.Cut(arg, "=")
		if err := fs.Parse([]string{arg}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
