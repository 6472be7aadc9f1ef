package archive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/internal/iox"
)

// CommitOptions say what image to make of another one and a further layer.
// Unpack and Parent have to be given.
type CommitOptions struct {
	Unpack    image.Unpacker
	Parent    image.Image
	Config    image.Config    // of the new image
	Reference image.Reference // name of the image; the zero Reference leaves it without
	Author    string
	Message   string    // the image's comment
	CreatedBy string    // the command that made the layer, for the history
	Created   time.Time // zero means now
}

// emptyTar is a tar without entries: its end mark alone.
var emptyTar [1024]byte

// isEmpty reports whether r holds nothing but a tar without entries, and takes
// that out.
func isEmpty(r *bufio.Reader) (bool, error) {
	head, err := r.Peek(len(emptyTar) + 1)
	if !errors.Is(err, io.EOF) || !bytes.Equal(head, emptyTar[:]) {
		if errors.Is(err, io.EOF) {
			err = nil // a short tar is for the unpacker to judge
		}
		return false, err
	}
	_, err = r.Discard(len(head))
	return true, err
}

// Commit adds an image that stands on opt.Parent and has the layer that r yields
// as an uncompressed tar. A layer without entries is left out, as in Docker.
func Commit(ctx context.Context, store *image.Store, r io.Reader, opt CommitOptions) (_ image.Image, err error) {
	in, err := store.Begin(ctx)
	if err != nil {
		return image.Image{}, err
	}
	defer func() { err = errors.Join(err, in.Close(ctx)) }()
	parent, err := store.Manifest(opt.Parent) // held from now on
	if err != nil {
		return image.Image{}, err
	}
	layers, blobs := slices.Clone(opt.Parent.Layers), parent.OCI().Layers
	stream := iox.WithContext(ctx, r)
	defer func() { _ = stream.Close() }() // never fails
	tar := bufio.NewReaderSize(stream, 128<<10)
	empty, err := isEmpty(tar)
	if err == nil && !empty {
		var blob image.Descriptor
		var diffID image.Digest
		blob, diffID, err = addBlob(ctx, in, tar, "", opt.Unpack)
		layers, blobs = append(layers, diffID), append(blobs, blob)
	}
	if err != nil {
		return image.Image{}, err
	}
	if opt.Created.IsZero() {
		opt.Created = time.Now()
	}
	created := opt.Created.UTC()
	step := image.HistoryEntry{Created: created, CreatedBy: opt.CreatedBy, Author: opt.Author, Comment: opt.Message, EmptyLayer: empty}
	config, err := json.Marshal(image.ConfigFile{
		Created: created, Author: opt.Author, Comment: opt.Message, Platform: opt.Parent.Platform, Config: opt.Config,
		RootFS:  image.RootFS{Type: "layers", DiffIDs: layers},
		History: append(fullHistory(opt.Parent), step),
	})
	if err != nil {
		return image.Image{}, fmt.Errorf("encode image configuration: %w", err)
	}
	return add(ctx, in, config, blobs, opt.Reference)
}

// fullHistory returns the history of an image with a step for each of its layers,
// which one without history lacks: readers count the layers by it.
func fullHistory(img image.Image) []image.HistoryEntry {
	history := slices.Clone(img.History)
	missing := len(img.Layers)
	for _, h := range history {
		if !h.EmptyLayer {
			missing--
		}
	}
	for range max(missing, 0) {
		history = append(history, image.HistoryEntry{Created: img.Created})
	}
	return history
}
