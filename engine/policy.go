package engine

import (
	"fmt"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/signature"
	"github.com/cleat-project/cleat/internal/config"
	"github.com/cleat-project/cleat/spec"
)

// trust returns the signature that the policy demands of the image ref, nil if
// none. If the policy rejects it, the error wraps spec.ErrDenied.
func trust(p config.Policy, ref image.Reference) (*signature.Demand, error) {
	rule := p.For(ref.Repository())
	where := "the default of " + p.Path
	if rule.Images != "" {
		where = fmt.Sprintf("the rule for %s in %s", rule.Images, p.Path)
	}
	switch rule.Action {
	case config.Accept:
		return nil, nil //nolint:nilnil // nil says that nothing is demanded
	case config.Reject:
		return nil, fmt.Errorf("image %s is refused: %s rejects it: %w", ref.Familiar(), where, spec.ErrDenied)
	case config.Verify:
	}
	demand := &signature.Demand{Where: where}
	for _, path := range rule.SignedBy {
		key, err := signature.LoadKey(path)
		if err != nil {
			return nil, fmt.Errorf("image %s is refused: %s: %w", ref.Familiar(), where, err)
		}
		demand.Keys = append(demand.Keys, key)
	}
	return demand, nil
}

// admit returns an error unless the policy lets a container be made of img,
// which is in the store and was asked for by name. An id stands for the names of
// the image: one of them has to be admitted. Signatures were kept by the pull.
func (e *Engine) admit(name string, img Image) error {
	p, err := config.LoadPolicy(e.config.Policy)
	if err != nil {
		return err
	}
	if p.Default == config.Accept && len(p.Rules) == 0 {
		return nil
	}
	names := namesToAdmit(name, img)
	if len(names) == 0 {
		if p.Default == config.Accept {
			return nil
		}
		return fmt.Errorf("image %s is refused: it has no name, and the default of %s rejects it: %w", img.ID.Short(), p.Path, spec.ErrDenied)
	}
	for _, ref := range names {
		if err = e.admitAs(p, ref, img); err == nil {
			return nil
		}
	}
	return err
}

// namesToAdmit returns the name that the user gave, or all of the image if that
// was an id.
func namesToAdmit(name string, img Image) []image.Reference {
	ref, err := image.ParseReference(name)
	if err == nil {
		for _, have := range img.References {
			if have == ref {
				return []image.Reference{ref}
			}
		}
		if ref.Digest() != "" {
			return []image.Reference{ref}
		}
	}
	return append(append([]image.Reference{}, img.References...), img.RepoDigests...)
}

// admitAs checks an image under one of its names.
func (e *Engine) admitAs(p config.Policy, ref image.Reference, img Image) error {
	demand, err := trust(p, ref)
	if err != nil || demand == nil {
		return err
	}
	digests := []image.Digest{img.ManifestDigest}
	if out, err := e.images.Outgoing(ref.String()); err == nil && out.ID == img.ID { // names may differ in their manifests
		digests = []image.Digest{out.Digest}
	}
	for _, d := range img.RepoDigests {
		if d.Repository() == ref.Repository() && d.Digest() != digests[0] {
			digests = append(digests, d.Digest())
		}
	}
	var refusal error
	for _, d := range digests {
		list, err := e.signatures(d)
		if err != nil {
			return err
		}
		err = demand.Check(ref, d, list)
		if err == nil {
			return nil
		}
		if refusal == nil || len(list) > 0 {
			refusal = err
		}
	}
	return fmt.Errorf("%w; 'cleat pull %s' fetches what its registry has", refusal, ref.Familiar())
}

// signatures returns what the store has kept for a manifest.
func (e *Engine) signatures(d image.Digest) ([]signature.Signature, error) {
	data, err := e.images.Signatures(d)
	if err != nil || data == nil {
		return nil, err
	}
	return signature.Decode(data)
}
