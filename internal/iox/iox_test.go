package iox_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cleat-project/cleat/internal/iox"
)

func TestWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text, err := io.ReadAll(iox.WithContext(t.Context(), strings.NewReader("all of it")))
		if string(text) != "all of it" || err != nil {
			t.Errorf("read %q, %v", text, err)
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		silent, writer := io.Pipe()
		defer writer.Close()
		r := iox.WithContext(ctx, silent)
		go cancel(enough)
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, enough) {
			t.Errorf("a reader that gives nothing: %v", err)
		}
		broken := errors.New("broken")
		if _, err := io.ReadAll(iox.WithContext(t.Context(), io.MultiReader(strings.NewReader("x"), failing{broken}))); !errors.Is(err, broken) {
			t.Errorf("a reader that fails: %v", err)
		}
		// Closing ends the goroutine, or synctest would complain.
		if err := iox.WithContext(t.Context(), strings.NewReader(strings.Repeat("x", 1<<20))).Close(); err != nil {
			t.Error(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
