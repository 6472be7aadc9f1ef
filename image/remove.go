package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// RemoveOptions say how to remove an image. The zero value refuses what is in
// use, or has several names, as Docker does.
type RemoveOptions struct {
	Force bool // also if it has several names or a stopped container uses it
}

// Removed is one line of what Remove has done: either a name that was taken away
// or an image or layer that was deleted. The JSON form is Docker's.
type Removed struct {
	Untagged string `json:",omitempty"` // familiar name
	Deleted  string `json:",omitempty"` // image id, or chain id of a layer
}

// String returns the line as `docker rmi` prints it.
func (r Removed) String() string {
	if r.Untagged != "" {
		return "Untagged: " + r.Untagged
	}
	return "Deleted: " + r.Deleted
}

// Remove takes the given name away from its image and deletes the image if that
// was its last one. Given an id, it deletes the image with all names, unless
// these belong to several repositories. The rules are those of `docker rmi`;
// what they forbid is an error that wraps spec.ErrConflict.
//
// Layers that a container still stands on stay until it is gone and something
// else is removed. Layers that are in work elsewhere are deleted by whoever ends last.
func (s *Store) Remove(ctx context.Context, name string, opt RemoveOptions) ([]Removed, error) {
	var done []Removed
	err := s.update(ctx, func(entries []entry) ([]entry, error) {
		r := &removal{store: s, name: name, force: opt.Force, entries: entries}
		err := r.run(ctx)
		done = r.done
		return r.entries, err
	})
	if err != nil {
		return nil, err
	}
	if err := s.collectOrDefer(ctx); err != nil {
		return done, fmt.Errorf("image is removed, delete its files: %w", err)
	}
	return done, nil
}

// removal is one Remove at work on the entries of the index.
type removal struct {
	store   *Store
	name    string
	force   bool
	entries []entry
	id      Digest
	done    []Removed
	known   map[Digest][]Digest // chains by id, if several images are removed
}

func (r *removal) run(ctx context.Context) error {
	x, err := r.store.readIndex()
	if err != nil {
		return err
	}
	if r.id, err = x.resolve(r.name); err != nil {
		return err
	}
	users, err := r.users(ctx)
	if err != nil {
		return err
	}
	ref, byName := r.given(x)
	if byName {
		return r.runByName(ref, users)
	}
	if r.manyRepositories() && !r.force {
		return r.conflict("must be forced", "image is referenced in multiple repositories")
	}
	if err := r.check(users); err != nil {
		return err
	}
	r.delete()
	return nil
}

// runByName takes the name ref away, and deletes the image if none is left.
func (r *removal) runByName(ref Reference, users []Use) error {
	if !r.force && !r.manyNames() && len(users) > 0 {
		return classify(spec.ErrConflict, "conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			r.name, short(users[0].Container), r.id.Short())
	}
	last := r.own()[0]
	r.untag(func(e entry) bool { return e.ref() == ref })
	sameRepository := func(e entry) bool { return e.ref().Repository() == ref.Repository() }
	if !slices.ContainsFunc(r.own(), func(e entry) bool { return sameRepository(e) && e.ref().Tag() != "" }) {
		r.untag(sameRepository) // digests without a tag beside them
	}
	if len(r.own()) > 0 {
		return nil
	}
	if len(users) > 0 && users[0].Running { // forced: the image stays, nameless
		r.entries = append(r.entries, last.named(Reference{}, time.Time{}))
		return nil
	}
	r.delete()
	return nil
}

// given returns the name that the user has given, if it is one and not an id.
func (r *removal) given(x index) (Reference, bool) {
	if _, isID := idPrefix(r.name); isID {
		return Reference{}, false
	}
	ref, err := ParseReference(r.name)
	if err != nil {
		return Reference{}, false
	}
	e, ok := x.byReference(ref)
	if !ok {
		return Reference{}, false
	}
	return e.ref(), !e.ref().IsZero()
}

// own returns the entries of the image that are left.
func (r *removal) own() []entry {
	var own []entry
	for _, e := range r.entries {
		if e.id() == r.id {
			own = append(own, e)
		}
	}
	return own
}

// manyNames reports whether the image keeps a name in another repository, or
// another tag, when one name is taken away: Docker's isSingleReference, negated.
func (r *removal) manyNames() bool {
	tags := 0
	for _, e := range r.own() {
		if e.ref().Tag() != "" {
			tags++
		}
	}
	return tags > 1 || r.manyRepositories()
}

func (r *removal) manyRepositories() bool {
	own := r.own()
	return slices.ContainsFunc(own, func(e entry) bool { return e.ref().Repository() != own[0].ref().Repository() })
}

// users returns the containers that use the image, running ones first.
func (r *removal) users(ctx context.Context) ([]Use, error) {
	if r.store.inUse == nil {
		return nil, nil
	}
	all, err := r.store.inUse(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers that use images: %w", err)
	}
	var users []Use
	for _, u := range all {
		switch {
		case u.Image == r.id && u.Running:
			users = slices.Insert(users, 0, u)
		case u.Image == r.id:
			users = append(users, u)
		}
	}
	return users, nil
}

// check refuses to delete an image that is in use.
func (r *removal) check(users []Use) error {
	if len(users) == 0 {
		return nil
	}
	u := users[0]
	if u.Running {
		return r.conflict("cannot be forced", "image is being used by running container "+short(u.Container))
	}
	if !r.force {
		return r.conflict("must be forced", "image is being used by stopped container "+short(u.Container))
	}
	return nil
}

func (r *removal) conflict(how, why string) error {
	return classify(spec.ErrConflict, "conflict: unable to delete %s (%s) - %s", r.id.Short(), how, why)
}

func short(id string) string { return id[:min(12, len(id))] }

// untag drops the image's names that match.
func (r *removal) untag(match func(entry) bool) {
	r.entries = slices.DeleteFunc(r.entries, func(e entry) bool {
		if e.id() != r.id || !match(e) {
			return false
		}
		if ref := e.ref(); !ref.IsZero() {
			r.done = append(r.done, Removed{Untagged: ref.Familiar()})
		}
		return true
	})
}

// delete drops the image from the list and notes which of its layers go with it.
func (r *removal) delete() {
	r.untag(func(entry) bool { return true })
	r.done = append(r.done, Removed{Deleted: string(r.id)})
	others := map[Digest]bool{}
	for _, e := range r.entries {
		for _, chain := range r.chains(e.id()) {
			others[chain] = true
		}
	}
	for _, chain := range slices.Backward(r.chains(r.id)) {
		if !others[chain] {
			r.done = append(r.done, Removed{Deleted: string(chain)})
		}
	}
}

// chains is Store.chains, which reads a file, once for each image.
func (r *removal) chains(id Digest) []Digest {
	if r.known == nil {
		return r.store.chains(id)
	}
	if _, ok := r.known[id]; !ok {
		r.known[id] = r.store.chains(id)
	}
	return r.known[id]
}

// chains returns the chain ids of an image, see the OCI image specification,
// config.md, "Layer ChainID". A damaged image, which can be removed, has none.
func (s *Store) chains(id Digest) []Digest {
	data, err := s.readBlob(id, MaxConfigBytes)
	if err != nil {
		return nil
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil
	}
	return ChainIDs(c.RootFS.DiffIDs)
}

// ChainIDs returns, for each layer, the digest that names it together with all
// layers below it.
func ChainIDs(diffIDs []Digest) []Digest {
	chain := make([]Digest, 0, len(diffIDs))
	for i, d := range diffIDs {
		if i > 0 {
			sum := sha256.Sum256([]byte(string(chain[i-1]) + " " + string(d)))
			d = digestOfSum(sum[:])
		}
		chain = append(chain, d)
	}
	return chain
}

// collectOrDefer deletes what nothing leads to, or notes that it is to be done.
func (s *Store) collectOrDefer(ctx context.Context) error {
	err := s.collect(ctx, false)
	if !errors.Is(err, errHeld) {
		return err
	}
	return s.deferCollect(ctx)
}
