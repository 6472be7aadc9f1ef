package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/signature"
	"github.com/cleat-project/cleat/spec"
)

// maxReferrers is how many documents that refer to an image are looked at.
const maxReferrers = 16

// referrerTypes are the artifact types under which cosign attaches signatures.
var referrerTypes = map[string]bool{
	"application/vnd.dev.cosign.artifact.sig.v1+json": true,
	signature.MediaType: true,
}

// demand wants a signature of the image: of what the registry has under the
// reference, or of the manifest that was chosen from that. These digests are the
// ones that everything else is checked against, so a tag that moves meanwhile
// changes nothing. The signatures are kept for whoever asks again offline.
func (p *pull) demand(ctx context.Context, digests ...image.Digest) error {
	var refusal error
	for i, d := range digests {
		if i > 0 && d == digests[0] {
			continue
		}
		err := p.demandOne(ctx, d)
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[*signature.Refusal](err); !ok {
			return err
		}
		if refusal == nil {
			refusal = err
		}
	}
	return refusal
}

func (p *pull) demandOne(ctx context.Context, d image.Digest) error {
	var all []signature.Signature
	for _, find := range []func(*session, context.Context, image.Digest) ([]signature.Signature, error){(*session).taggedSignatures, (*session).referringSignatures} {
		for _, host := range p.hosts { // a mirror may not have them, or not the newest
			var list []signature.Signature
			err := p.ask(ctx, host, func(s *session) (err error) {
				list, err = find(s, ctx, d)
				return err
			})
			if errors.Is(err, spec.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("get signatures: %w", err)
			}
			if p.opt.Signed.Check(p.ref, d, list) == nil {
				data, err := signature.Encode(list)
				if err != nil {
					return err
				}
				return p.in.KeepSignatures(d, data)
			}
			all = append(all, list...)
		}
	}
	return p.opt.Signed.Check(p.ref, d, all)
}

// taggedSignatures returns the signatures of d that lie under cosign's tag.
func (s *session) taggedSignatures(ctx context.Context, d image.Digest) ([]signature.Signature, error) {
	doc, err := s.manifest(ctx, "sha256-"+d.Hex()+".sig")
	if err != nil {
		return nil, err
	}
	return s.signaturesIn(ctx, doc)
}

// referringSignatures returns the signatures that refer to d, see the OCI
// distribution specification, "Listing Referrers".
func (s *session) referringSignatures(ctx context.Context, d image.Digest) ([]signature.Signature, error) {
	resp, err := s.get(ctx, "/referrers/"+string(d), http.Header{"Accept": {image.MediaTypeOCIIndex}}, http.StatusOK)
	if answer, ok := errors.AsType[*transport.Error](err); ok && answer.StatusCode/100 == 4 {
		return nil, nil // most registries do not have that list yet, and say so in many ways
	}
	if err != nil {
		return nil, err
	}
	defer drain(resp.Body)
	data, err := readLimited(resp.Body, image.MaxManifestBytes, "list of referrers")
	if err != nil {
		return nil, err
	}
	var index struct{ Manifests []image.Descriptor }
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("decode list of referrers: %w: %w", err, spec.ErrInvalid)
	}
	var all []signature.Signature
	asked := 0
	for _, m := range index.Manifests {
		if !referrerTypes[m.ArtifactType] || m.Digest == "" {
			continue
		}
		if asked++; asked > maxReferrers {
			break
		}
		doc, err := s.manifest(ctx, string(m.Digest))
		if err != nil {
			return nil, err
		}
		list, err := s.signaturesIn(ctx, doc)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// signaturesIn fetches the payloads that a manifest of signatures lists.
func (s *session) signaturesIn(ctx context.Context, doc document) ([]signature.Signature, error) {
	var m struct{ Layers []image.Descriptor }
	if err := json.Unmarshal(doc.data, &m); err != nil {
		return nil, fmt.Errorf("decode manifest of signatures: %w: %w", err, spec.ErrInvalid)
	}
	var list []signature.Signature
	for _, l := range m.Layers {
		value := l.Annotations[signature.Annotation]
		if l.MediaType != signature.MediaType || value == "" || l.Digest == "" || len(list) >= signature.MaxSignatures {
			continue
		}
		data, err := s.document(ctx, l, signature.MaxPayloadBytes, "payload of a signature")
		if err != nil {
			return nil, err
		}
		list = append(list, signature.Signature{Payload: data, Value: value})
	}
	return list, nil
}
