// Package iox has readers that the standard library lacks.
package iox

import (
	"context"
	"io"
)

// WithContext returns a reader of r whose Read ends when ctx does, also if r is a
// terminal or pipe that gives nothing. Then r goes on being read until it does.
// Whoever does not read to the end closes what is returned; r is left open.
func WithContext(ctx context.Context, r io.Reader) *io.PipeReader {
	pr, pw := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = pw.CloseWithError(context.Cause(ctx)) }) // never fails
	go func() {
		defer stop()
		// Neither side's own way of copying: it would not end with the pipe.
		_, err := io.CopyBuffer(struct{ io.Writer }{pw}, struct{ io.Reader }{r}, make([]byte, 128<<10))
		_ = pw.CloseWithError(err) // nil is the end of the stream
	}()
	return pr
}
