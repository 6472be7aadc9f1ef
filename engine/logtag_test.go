package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/spec"
)

func TestExpandTag(t *testing.T) {
	id, image := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	c := spec.Container{ID: id, Name: "web", Image: spec.Image{Reference: "nginx:1", ID: "sha256:" + image}}
	tests := map[string]struct {
		text, want string
		err        error
	}{
		"plain":    {"app", "app", nil},
		"names":    {"{{.Name}}/{{.ImageName}}/{{.DaemonName}}", "web/nginx:1/cleat", nil},
		"ids":      {"{{.ID}} {{.FullID}} {{.ImageID}} {{.ImageFullID}}", id[:12] + " " + id + " " + image[:12] + " " + image, nil},
		"unknown":  {"{{.Nope}}", "", spec.ErrInvalid},
		"unclosed": {"{{.Name", "", spec.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := expandTag(tt.text, c)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("expandTag(%q) = %q, %v; want %q, %v", tt.text, got, err, tt.want, tt.err)
			}
		})
	}
}
