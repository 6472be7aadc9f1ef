package engine

import (
	"context"
	"fmt"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// NeedPlatform returns an error unless the image that ref means is for the given
// platform. An image here is for one, so there is nothing else to choose.
func (e *Engine) NeedPlatform(_ context.Context, ref, platform string) error {
	want, err := image.ParsePlatform(platform)
	if err != nil {
		return err
	}
	img, err := e.images.Get(ref)
	if err != nil {
		return err
	}
	if !want.Fits(img.Platform) {
		return fmt.Errorf("image %s is for %s, not for %s: %w", ref, img.Platform, want, spec.ErrNotFound)
	}
	return nil
}
