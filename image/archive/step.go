package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/internal/iox"
)

// AddLayer stages the layer that r yields as an uncompressed tar, as a blob and
// unpacked. It returns the zero Descriptor for a tar without entries.
func AddLayer(ctx context.Context, in *image.Ingest, r io.Reader, unpack image.Unpacker) (blob image.Descriptor, diffID image.Digest, err error) {
	stream := iox.WithContext(ctx, r)
	defer func() { _ = stream.Close() }() // never fails
	tar := bufio.NewReaderSize(stream, 128<<10)
	if empty, err := isEmpty(tar); err != nil || empty {
		return image.Descriptor{}, "", err
	}
	return addBlob(ctx, in, tar, "", unpack)
}

// AddImage commits the image that has the given configuration and layers, which
// are in the store or staged. It is listed under refs.
func AddImage(ctx context.Context, in *image.Ingest, config image.ConfigFile, layers []image.Descriptor, refs []image.Reference) (image.Image, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return image.Image{}, fmt.Errorf("encode image configuration: %w", err)
	}
	return addNamed(ctx, in, data, layers, refs)
}
