package archive

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/compress"
)

// layerTypes are the compressions that layers in registries may have.
var layerTypes = map[compress.Format]string{
	compress.None: image.MediaTypeOCILayer,
	compress.Gzip: image.MediaTypeOCILayerGzip,
	compress.Zstd: image.MediaTypeOCILayerZstd,
}

// addBlob stages r as a blob and, unless the store has it, unpacked. It returns
// the blob and the diff id, which is checked unless want is empty. What has a
// compression that no media type stands for is stored uncompressed.
func addBlob(ctx context.Context, in *image.Ingest, r io.Reader, want image.Digest, unpack image.Unpacker) (d image.Descriptor, diffID image.Digest, err error) {
	blob, err := in.CreateBlob()
	if err != nil {
		return d, "", err
	}
	defer blob.Close()
	raw := bufio.NewReaderSize(r, 128<<10)
	head, err := raw.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return d, "", err
	}
	format := compress.Detect(head)
	var source io.Reader = raw
	if layerTypes[format] != "" {
		source = io.TeeReader(raw, blob)
	}
	content, _, err := compress.NewReader(source)
	if err != nil {
		return d, "", err
	}
	defer func() { _ = content.Close() }()
	tar := io.Reader(content)
	if layerTypes[format] == "" {
		tar, format = io.TeeReader(content, blob), compress.None
	}
	if want != "" && in.HasLayer(want) {
		diffID, err = want, image.VerifyTar(tar, want)
	} else {
		diffID, err = in.AddLayer(ctx, want, tar, unpack)
	}
	if err != nil {
		return d, "", err
	}
	if _, err := io.Copy(io.Discard, source); err != nil { // what follows the compressed stream
		return d, "", err
	}
	d = image.Descriptor{MediaType: layerTypes[format], Digest: blob.Digest(), Size: blob.Size()}
	return d, diffID, blob.Stage(d.Digest, d.Size)
}
