package image

import (
	"fmt"

	"github.com/cleat-project/cleat/spec"
)

// classed is an error whose text is a whole message in Docker's words, so that
// the text of the class that it wraps would only repeat it.
type classed struct {
	msg   string
	class error
}

func (e *classed) Error() string { return e.msg }
func (e *classed) Unwrap() error { return e.class }

func classify(class error, format string, args ...any) error {
	return &classed{fmt.Sprintf(format, args...), class}
}

func noSuchImage(name string) error {
	return classify(spec.ErrNotFound, "no such image: %s", clip(name))
}
