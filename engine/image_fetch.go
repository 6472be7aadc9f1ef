package engine

import (
	"context"
	"io"
)

// Fetch opens what lies at an HTTP address, for Import. The caller closes it.
func (e *Engine) Fetch(ctx context.Context, address string) (io.ReadCloser, error) {
	return e.registry().Fetch(ctx, address)
}
