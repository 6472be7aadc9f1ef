package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// Format is the form of an archive that Save writes.
type Format string

// The formats of archives. Both are OCI image layouts; Docker's has manifest.json
// beside it, which is what every Docker reads, and keeps the manifests as they
// came, so that they have the same digest after Load.
const (
	FormatDocker Format = "docker-archive"
	FormatOCI    Format = "oci-archive"
)

// SaveOptions say how to save images.
type SaveOptions struct {
	Format   Format         // "" means FormatDocker
	Platform image.Platform // that the images have to be for; the zero Platform takes any
}

// Save writes images to w as an uncompressed tar. A name is one as for Store.Get,
// or a repository without a tag, which means all tags in it. Images named by
// their tags keep these. The same images give the same archive.
// It returns the ids of the images.
func Save(ctx context.Context, store *image.Store, w io.Writer, names []string, opt SaveOptions) ([]image.Digest, error) {
	if opt.Format == "" {
		opt.Format = FormatDocker
	}
	if opt.Format != FormatDocker && opt.Format != FormatOCI {
		return nil, fmt.Errorf("archive format %q: want %s or %s: %w", clip(string(opt.Format)), FormatDocker, FormatOCI, spec.ErrInvalid)
	}
	hold, err := store.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer hold.Release()
	s := &saver{store: store, opt: opt, tar: tar.NewWriter(w), written: map[image.Digest]bool{}}
	for _, name := range names {
		if err := s.choose(name); err != nil {
			return nil, err
		}
	}
	if err := s.write(ctx); err != nil {
		return nil, fmt.Errorf("write archive: %w", err)
	}
	ids := make([]image.Digest, 0, len(s.images))
	for _, one := range s.images {
		ids = append(ids, one.ID)
	}
	return ids, nil
}

// saver is one Save at work.
type saver struct {
	store   *image.Store
	opt     SaveOptions
	images  []*savedOut
	tar     *tar.Writer
	written map[image.Digest]bool
}

// savedOut is an image with the names that it has in the archive.
type savedOut struct {
	image.Outgoing
	names []image.Reference
}

// choose adds what the user means by name.
func (s *saver) choose(name string) error {
	ref, err := image.ParseReference(name)
	if err == nil && image.IsRepository(name) {
		tags, err := s.store.Tags(ref)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if err := s.add(tag.String(), tag); err != nil {
				return err
			}
		}
		if len(tags) > 0 {
			return nil
		}
	}
	if err != nil || ref.Tag() == "" || ref.Digest() != "" {
		return s.add(name, image.Reference{})
	}
	err = s.add(ref.String(), ref)
	if errors.Is(err, spec.ErrNotFound) { // it may be an id
		return s.add(name, image.Reference{})
	}
	return err
}

func (s *saver) add(name string, as image.Reference) error {
	out, err := s.store.Outgoing(name)
	if err != nil {
		return err
	}
	if want := s.opt.Platform; want != (image.Platform{}) {
		img, err := s.store.Get(name)
		if err != nil {
			return err
		}
		if !want.OrDefault().Fits(img.Platform) {
			return fmt.Errorf("image %s is for %s, not for %s: %w", name, img.Platform, want.OrDefault(), spec.ErrNotFound)
		}
	}
	i := slices.IndexFunc(s.images, func(o *savedOut) bool { return o.Digest == out.Digest })
	if i < 0 {
		i = len(s.images)
		s.images = append(s.images, &savedOut{Outgoing: out})
	}
	if one := s.images[i]; !as.IsZero() && !slices.Contains(one.names, as) {
		one.names = append(one.names, as)
	}
	return nil
}

// write writes the lists first, so that a reader of a stream knows what comes.
func (s *saver) write(ctx context.Context) error {
	if err := s.document("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	if err := s.document("index.json", s.index()); err != nil {
		return err
	}
	if s.opt.Format == FormatDocker {
		if err := s.document("manifest.json", s.dockerList()); err != nil {
			return err
		}
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := s.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	for _, one := range s.images {
		blobs := append([]image.Descriptor{s.manifest(one), one.Manifest.Config}, one.Manifest.Layers...)
		for _, d := range blobs {
			if err := s.blob(ctx, d.Digest); err != nil {
				return err
			}
		}
	}
	return s.tar.Close()
}

// manifest returns the descriptor of the manifest that the archive has of an image.
func (s *saver) manifest(one *savedOut) image.Descriptor {
	if s.opt.Format == FormatOCI {
		return one.OCI
	}
	return image.Descriptor{MediaType: one.Manifest.MediaType, Digest: one.Digest, Size: int64(len(one.Raw)), Platform: one.OCI.Platform}
}

// index returns index.json: an entry for each name, one for an image without.
func (s *saver) index() image.Manifest {
	x := image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIIndex}
	for _, one := range s.images {
		d := s.manifest(one)
		if len(one.names) == 0 {
			x.Manifests = append(x.Manifests, d)
		}
		for _, ref := range one.names {
			d.Annotations = map[string]string{keyName: ref.String(), keyRef: ref.String()}
			x.Manifests = append(x.Manifests, d)
		}
	}
	return x
}

// dockerList returns manifest.json.
func (s *saver) dockerList() []savedImage {
	list := make([]savedImage, 0, len(s.images))
	for _, one := range s.images {
		saved := savedImage{Config: blobName(one.Manifest.Config.Digest), Layers: []string{}}
		for _, ref := range one.names {
			saved.RepoTags = append(saved.RepoTags, ref.Familiar())
		}
		for _, l := range one.Manifest.Layers {
			saved.Layers = append(saved.Layers, blobName(l.Digest))
		}
		list = append(list, saved)
	}
	return list
}

func (s *saver) document(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := s.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err = s.tar.Write(data)
	return err
}

// header starts a file. Its time is none, so that archives can be compared.
func (s *saver) header(name string, size int64) error {
	return s.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
}

// blob writes one blob, once, and compares it with its digest: a damaged one
// would only be noticed where the archive is loaded.
func (s *saver) blob(ctx context.Context, d image.Digest) error {
	if s.written[d] {
		return nil
	}
	s.written[d] = true
	f, err := os.Open(s.store.BlobPath(d))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := s.header(blobName(d), fi.Size()); err != nil {
		return err
	}
	r := io.TeeReader(&untilDone{ctx.Err, f}, s.tar)
	if err := image.VerifyBlob(r, d); err != nil {
		return fmt.Errorf("%w; remove the image and get it again", err)
	}
	return nil
}

// untilDone is a reader that fails once err returns an error.
type untilDone struct {
	err func() error
	r   io.Reader
}

// Read implements io.Reader.
func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
