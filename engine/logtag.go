package engine

import (
	"cmp"
	"strings"
	"text/template"

	"github.com/cleat-project/cleat/spec"
)

// tagData is what the template of --log-opt tag= can name, in Docker's words.
type tagData struct {
	ID, FullID, Name                string
	ImageName, ImageID, ImageFullID string
	DaemonName                      string
}

// expandTag returns the tag of a container's log that the template text gives.
func expandTag(text string, c spec.Container) (string, error) {
	t, err := template.New("tag").Parse(text)
	if err != nil {
		return "", invalid("log tag %q: %v", text, err)
	}
	image := strings.TrimPrefix(c.Image.ID, "sha256:")
	var tag strings.Builder
	err = t.Execute(&tag, tagData{
		ID: spec.ShortID(c.ID), FullID: c.ID, Name: c.Name,
		ImageName: c.Image.Reference, ImageID: spec.ShortID(image), ImageFullID: image, DaemonName: "cleat",
	})
	if err != nil {
		return "", invalid("log tag %q: %v", text, err)
	}
	return tag.String(), nil
}

// setTag settles the tag of c's log: the one asked for, else the
// configuration's. The default, the short id, needs no template.
func (e *Engine) setTag(c *spec.Container, asked string) (err error) {
	text := cmp.Or(asked, e.config.Log.Tag)
	if text == "{{.ID}}" {
		return nil
	}
	c.Log.Tag, err = expandTag(text, *c)
	return err
}
