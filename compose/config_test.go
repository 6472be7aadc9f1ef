package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "compose.yaml")
	text := "services: {web: {image: 'x:${TAG:-1}', environment: {A: '${MUST:?say it}', B: '${ALT:+yes}', C: $PLAIN}}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Variables(t.Context(), LoadOptions{Files: []string{path}, Name: "x"})
	want := []Variable{{Name: "ALT", AlternateValue: "yes"}, {Name: "MUST", Required: true}, {Name: "PLAIN"}, {Name: "TAG", DefaultValue: "1"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestPin(t *testing.T) {
	p := load(t, "services: {web: {image: nginx, hostname: w}, fixed: {image: 'x@sha256:"+strings.Repeat("1", 64)+"'}}\n")
	digest := func(image string) (string, error) { return "sha256:of-" + image, nil }
	for alone, want := range map[bool]string{false: "hostname: w", true: "services:\n  fixed:\n"} {
		pinned, err := p.Pin(alone, digest)
		if err != nil {
			t.Fatal(err)
		}
		data, err := pinned.Config("yaml")
		text := string(data)
		if err != nil || !strings.Contains(text, "image: nginx@sha256:of-nginx\n") || !strings.Contains(text, "image: x@sha256:1111") || !strings.Contains(text, want) || alone && strings.Contains(text, "hostname") {
			t.Errorf("alone %t: %v\n%s", alone, err, text)
		}
	}
	if p.ImageOf("web") != "nginx" {
		t.Error("the project itself has changed")
	}
}
