package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/signature"
	"github.com/cleat-project/cleat/spec"
)

const defaultDownloads = 6

// PullOptions say how to pull. Unpack has to be given.
type PullOptions struct {
	Unpack    image.Unpacker
	Progress  image.Progress // may be nil
	Platform  image.Platform // the zero Platform means linux on this machine's processor
	Downloads int            // at a time; 0 means 6

	Signed *signature.Demand // what signature the image has to have; nil demands none
}

// Pulled is what Pull has done.
type Pulled struct {
	Image    image.Image
	Digest   image.Digest // of what the registry has under the reference: an index or a manifest
	UpToDate bool         // the store had this image under this name already
}

// Pull gets the image that ref names from its registry, or a mirror of it, and
// unpacks it into store. Layers that the store has are not loaded again. If it
// fails or is killed, no image is listed that was not before; layers that were
// complete are found by the next Pull.
//
// The error is an *Error, an *image.Mismatch, or wraps one of spec's classes.
func (c *Client) Pull(ctx context.Context, store *image.Store, ref image.Reference, opt PullOptions) (_ Pulled, err error) {
	in, err := store.Begin(ctx)
	if err != nil {
		return Pulled{}, err
	}
	defer func() { err = errors.Join(err, in.Close(ctx)) }()
	p := &pull{
		client: c, store: store, in: in, ref: ref, opt: opt,
		hosts: c.hosts(ref.Domain()), sessions: map[string]*session{},
	}
	return p.run(ctx)
}

// pull is one Pull at work.
type pull struct {
	client *Client
	store  *image.Store
	in     *image.Ingest
	ref    image.Reference
	opt    PullOptions

	mu       sync.Mutex
	hosts    []string            // left to ask, the one that has sent the manifest first
	sessions map[string]*session // by host
}

func (p *pull) run(ctx context.Context) (Pulled, error) {
	top, err := p.findManifest(ctx)
	if err != nil {
		return Pulled{}, err
	}
	names := []image.Reference{p.ref.WithDigest(top.digest)}
	if p.ref.Digest() == "" {
		names = append(names, p.ref)
	}
	doc, m, err := p.choosePlatform(ctx, top)
	if err != nil {
		return Pulled{}, p.about(err)
	}
	if p.opt.Signed != nil {
		if err := p.demand(ctx, top.digest, doc.digest); err != nil {
			return Pulled{}, p.about(err)
		}
	}
	if old, err := p.store.Get(p.ref.String()); err == nil && old.ID == m.Config.Digest && old.ManifestDigest == doc.digest {
		if slices.Contains(old.RepoDigests, names[0]) {
			return Pulled{old, top.digest, true}, nil
		}
	}
	c, err := p.getConfig(ctx, m)
	if err != nil {
		return Pulled{}, p.about(err)
	}
	if err := p.layers(ctx, m.Layers, c.RootFS.DiffIDs); err != nil {
		return Pulled{}, p.about(err)
	}
	if _, err := p.in.PutBlob(doc.data); err != nil {
		return Pulled{}, p.about(err)
	}
	img, err := p.in.Commit(ctx, image.Addition{
		Manifest: image.Descriptor{MediaType: m.MediaType, Digest: doc.digest, Size: int64(len(doc.data))},
		Names:    names,
	})
	if err != nil {
		return Pulled{}, p.about(err)
	}
	return Pulled{Image: img, Digest: top.digest}, nil
}

// about names the image that an error is about, unless the error does it itself.
func (p *pull) about(err error) error {
	switch err.(type) { //nolint:errorlint // one inside another error does not start the message
	case *Error, *signature.Refusal:
		return err
	}
	return fmt.Errorf("pull %s: %w", p.ref.Familiar(), err)
}

// findManifest asks the mirrors and then the registry for the reference. Hosts
// that do not have it are not asked for its parts either.
func (p *pull) findManifest(ctx context.Context) (document, error) {
	identifier := p.ref.Tag()
	if d := p.ref.Digest(); d != "" {
		identifier = string(d)
	}
	for {
		var doc document
		err := p.ask(ctx, p.hosts[0], func(s *session) (err error) {
			doc, err = s.manifest(ctx, identifier)
			return err
		})
		if err == nil || len(p.hosts) == 1 || ctx.Err() != nil {
			return doc, err
		}
		p.hosts = p.hosts[1:]
	}
}

// fromAny asks one host after the other until fn has no error. If all fail, the
// error is that of the last one: the registry itself.
func (p *pull) fromAny(ctx context.Context, fn func(*session) error) (err error) {
	for _, host := range p.hosts {
		if err = p.ask(ctx, host, fn); err == nil || ctx.Err() != nil || isStorage(err) {
			return err
		}
	}
	return err
}

// ask makes one request of host, again if the host fails for the moment.
func (p *pull) ask(ctx context.Context, host string, fn func(*session) error) error {
	err := p.client.retry(ctx, func() error {
		s, err := p.session(ctx, host)
		if err != nil {
			return err
		}
		return fn(s)
	})
	return explain(err, p.ref, host)
}

// session logs in to host once.
func (p *pull) session(ctx context.Context, host string) (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[host]; s != nil {
		return s, nil
	}
	s, err := p.client.open(ctx, host, p.ref.Path())
	if err != nil {
		return nil, err
	}
	p.sessions[host] = s
	return s, nil
}

// choosePlatform follows an index to the manifest of the wanted platform.
func (p *pull) choosePlatform(ctx context.Context, top document) (document, image.Manifest, error) {
	m, err := image.ParseManifest(top.data, top.mediaType)
	if err != nil || !m.IsIndex() {
		return top, m, err
	}
	want := p.opt.Platform.OrDefault()
	d, err := want.Choose(m.Manifests)
	if err != nil {
		return document{}, image.Manifest{}, err
	}
	var doc document
	err = p.fromAny(ctx, func(s *session) (err error) {
		doc, err = s.manifest(ctx, string(d.Digest))
		return err
	})
	if err != nil {
		return document{}, image.Manifest{}, err
	}
	if int64(len(doc.data)) != d.Size {
		return document{}, image.Manifest{}, &image.Mismatch{What: "manifest " + string(d.Digest), Want: fmt.Sprint(d.Size, " bytes"), Got: fmt.Sprint(len(doc.data), " bytes")}
	}
	if m, err = image.ParseManifest(doc.data, d.MediaType); err == nil && m.IsIndex() {
		err = fmt.Errorf("manifest %s: is an index inside an index: %w", d.Digest, spec.ErrUnsupport)
	}
	return doc, m, err
}

// getConfig fetches, checks and stages the configuration.
func (p *pull) getConfig(ctx context.Context, m image.Manifest) (image.ConfigFile, error) {
	var data []byte
	err := p.fromAny(ctx, func(s *session) (err error) {
		data, err = s.config(ctx, m.Config)
		return err
	})
	if err != nil {
		return image.ConfigFile{}, err
	}
	c, err := image.ParseConfig(data)
	if err != nil {
		return image.ConfigFile{}, err
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return image.ConfigFile{}, fmt.Errorf("manifest has %d layers but the image configuration %d: %w", len(m.Layers), len(c.RootFS.DiffIDs), spec.ErrInvalid)
	}
	if want := p.opt.Platform; want != (image.Platform{}) && !want.OrDefault().Fits(c.Platform) {
		return image.ConfigFile{}, fmt.Errorf("the image is for %s, not for %s: %w", c.Platform, want.OrDefault(), spec.ErrNotFound)
	}
	_, err = p.in.PutBlob(data)
	return c, err
}

// job is one layer to be had.
type job struct {
	blob   image.Descriptor
	diffID image.Digest
}

// layers gets all layers, the largest first, as the time that the last one takes
// is what the user waits for. Downloads are limited by the network's sake,
// unpacking by the processors.
func (p *pull) layers(ctx context.Context, blobs []image.Descriptor, diffIDs []image.Digest) error {
	var jobs []job
	for i, blob := range blobs {
		j := job{blob, diffIDs[i]}
		same := func(k job) bool { return k.blob.Digest == j.blob.Digest && k.diffID == j.diffID }
		if !slices.ContainsFunc(jobs, same) {
			jobs = append(jobs, j)
			p.send(blob, image.Waiting, 0)
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(b.blob.Size, a.blob.Size) })
	slots := slots{
		download: make(chan struct{}, cmp.Or(p.opt.Downloads, defaultDownloads)),
		unpack:   make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, j := range jobs {
		group.Go(func() error { return p.layer(ctx, j, slots) })
	}
	return group.Wait()
}

// slots bound what runs at a time. A layer takes its download slot first.
type slots struct{ download, unpack chan struct{} }

func take(ctx context.Context, slot chan struct{}) error {
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pull) send(blob image.Descriptor, phase image.Phase, current int64) {
	p.opt.Progress.Send(image.Event{Layer: blob.Digest, Phase: phase, Current: current, Total: blob.Size})
}

// layer makes sure that the store has one layer, both as a blob and unpacked.
func (p *pull) layer(ctx context.Context, j job, slots slots) error {
	lock, err := p.in.LockLayer(ctx, j.diffID)
	if err != nil {
		return err
	}
	defer lock.Release()
	hasBlob, hasLayer := p.in.HasBlob(j.blob.Digest, j.blob.Size), p.in.HasLayer(j.diffID)
	switch {
	case hasBlob && hasLayer:
		p.send(j.blob, image.Exists, j.blob.Size)
		return nil
	case hasBlob:
		err = p.unpackBlob(ctx, j, slots)
	default:
		err = p.download(ctx, j, slots, !hasLayer)
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", j.blob.Digest.Short(), err)
	}
	p.send(j.blob, image.Done, j.blob.Size)
	return nil
}
