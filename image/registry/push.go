package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

const defaultUploads = 5

// maxMountScopes is from how many other repositories layers are mounted at most:
// each makes the token longer that is sent with every request.
const maxMountScopes = 8

// PushOptions say how to push.
type PushOptions struct {
	Progress image.Progress // may be nil
	Uploads  int            // at a time; 0 means 5
}

// Pushed is what Push has done.
type Pushed struct {
	Reference image.Reference
	Digest    image.Digest // of the manifest that the registry has now under the reference
	SizeBytes int64        // of that manifest
}

// Push uploads the image that store has under the name ref to the registry of
// that name. The registry gets the manifest byte for byte as it once came, so its
// digest stays the same; only layers without compression are compressed first,
// here and for good. Blobs that the repository has are not sent, those that
// another repository of the registry has are mounted from there.
//
// The error is an *Error, or wraps one of spec's classes.
func (c *Client) Push(ctx context.Context, store *image.Store, ref image.Reference, opt PushOptions) (_ Pushed, err error) {
	if ref.Digest() != "" {
		return Pushed{}, fmt.Errorf("push %s: an image is pushed by its tag, not by a digest: %w", ref.Familiar(), spec.ErrInvalid)
	}
	in, err := store.Begin(ctx)
	if err != nil {
		return Pushed{}, err
	}
	defer func() { err = errors.Join(err, in.Close(ctx)) }()
	p := &push{client: c, store: store, in: in, ref: ref, host: ref.Domain(), opt: opt}
	done, err := p.run(ctx)
	if err != nil {
		return Pushed{}, p.about(err)
	}
	return done, nil
}

// push is one Push at work.
type push struct {
	client  *Client
	store   *image.Store
	in      *image.Ingest
	ref     image.Reference
	host    string
	opt     PushOptions
	homes   map[image.Digest][]string // repositories from which a layer can be mounted
	session *session
}

func (p *push) run(ctx context.Context) (Pushed, error) {
	out, err := p.store.Outgoing(p.ref.String())
	if err != nil {
		return Pushed{}, err
	}
	for _, l := range out.Manifest.Layers {
		p.send(l, image.Preparing, 0)
	}
	if out, err = p.compressed(ctx, out); err != nil {
		return Pushed{}, err
	}
	if p.homes, err = p.store.Homes(p.host); err != nil {
		return Pushed{}, err
	}
	if err := p.ask(ctx, func() error { return p.open(ctx, out.Manifest.Layers) }); err != nil {
		return Pushed{}, err
	}
	if err := p.blobs(ctx, out.Manifest); err != nil {
		return Pushed{}, err
	}
	if err := p.ask(ctx, func() error { return p.session.putManifest(ctx, p.ref.Tag(), out) }); err != nil {
		return Pushed{}, err
	}
	err = p.store.NoteDigest(ctx, p.ref, out.Digest)
	return Pushed{p.ref, out.Digest, int64(len(out.Raw))}, err
}

// about names the image that an error is about, unless the error does it itself.
func (p *push) about(err error) error {
	if _, ok := err.(*Error); ok || errors.Is(err, spec.ErrNotFound) { //nolint:errorlint // one inside another error does not start the message
		return err
	}
	return fmt.Errorf("push %s: %w", p.ref.Familiar(), err)
}

// ask makes one request, again if the registry fails for the moment.
func (p *push) ask(ctx context.Context, fn func() error) error {
	return explainPush(p.client.retry(ctx, fn), p.ref, p.host)
}

// explainPush is explain where the word "pull" would be wrong.
func explainPush(err error, ref image.Reference, host string) error {
	answer, ok := errors.AsType[*transport.Error](err)
	if !ok || hasClass(err) {
		return explain(err, ref, host)
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &Error{fmt.Sprintf("push access denied for %s, repository does not exist or may require 'cleat login': %s", ref.FamiliarRepository(), reason(answer)), spec.ErrDenied, err}
	case http.StatusNotFound:
		return &Error{fmt.Sprintf("registry %s takes no push for %s: %s", host, ref.FamiliarRepository(), reason(answer)), spec.ErrNotFound, err}
	case http.StatusMethodNotAllowed:
		return &Error{fmt.Sprintf("registry %s is read-only: %s", host, reason(answer)), spec.ErrDenied, err}
	}
	return explain(err, ref, host)
}

// open logs in for the repository, and for reading from those to mount from.
func (p *push) open(ctx context.Context, layers []image.Descriptor) error {
	from := map[string]bool{}
	for _, l := range layers {
		if repository := p.home(l.Digest); repository != "" && len(from) < maxMountScopes {
			from[repository] = true
		}
	}
	s, err := p.client.openFor(ctx, p.host, p.ref.Path(), transport.PushScope, slices.Sorted(maps.Keys(from))...)
	p.session = s
	return err
}

// home returns a repository of the registry, other than the target, that has the
// blob, "" if none is known.
func (p *push) home(d image.Digest) string {
	for _, repository := range p.homes[d] {
		if repository != p.ref.Path() {
			return repository
		}
	}
	return ""
}

// blobs uploads layers and configuration, the largest first, as the time that the
// last one takes is what the user waits for.
func (p *push) blobs(ctx context.Context, m image.Manifest) error {
	all := append(slices.Clone(m.Layers), m.Config)
	slices.SortStableFunc(all, func(a, b image.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
	sent := map[image.Digest]bool{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(p.opt.Uploads, defaultUploads))
	for _, d := range all {
		if sent[d.Digest] {
			continue
		}
		sent[d.Digest] = true
		group.Go(func() error {
			if err := p.blob(ctx, d, d.Digest != m.Config.Digest); err != nil {
				return fmt.Errorf("upload %s: %w", d.Digest.Short(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// send reports a layer's progress.
func (p *push) send(d image.Descriptor, phase image.Phase, current int64) {
	p.opt.Progress.Send(image.Event{Layer: d.Digest, Phase: phase, Current: current, Total: d.Size})
}

// blob brings one blob into the repository. Only layers are worth telling of.
func (p *push) blob(ctx context.Context, d image.Descriptor, isLayer bool) error {
	report := func(phase image.Phase, current int64, from string) {
		if isLayer {
			p.opt.Progress.Send(image.Event{Layer: d.Digest, Phase: phase, Current: current, Total: d.Size, From: from})
		}
	}
	var has bool
	err := p.ask(ctx, func() (err error) {
		has, err = p.session.hasBlob(ctx, d)
		return err
	})
	if err != nil {
		return err
	}
	if has {
		report(image.AtTarget, d.Size, "")
		return nil
	}
	from := p.home(d.Digest)
	mounted := false
	err = p.ask(ctx, func() error {
		to, err := p.session.startUpload(ctx, d.Digest, from)
		if err != nil || to == nil {
			mounted = err == nil
			return err
		}
		from = "" // it did not work, and will not the next time
		return p.upload(ctx, to, d, func(n int64) { report(image.Pushing, n, "") })
	})
	if err != nil {
		return err
	}
	if mounted {
		report(image.Mounted, d.Size, from)
		return nil
	}
	report(image.Pushed, d.Size, "")
	return nil
}
