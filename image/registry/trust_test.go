package registry_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/registry"
	"github.com/cleat-project/cleat/image/signature"
	"github.com/cleat-project/cleat/spec"
)

// attach pushes signatures of the manifest d as "cosign sign" does.
func attach(t *testing.T, base, repository string, d image.Digest, list ...signature.Signature) {
	t.Helper()
	manifest, config := imagetest.SignatureManifest(t, list...)
	pushBlob(t, base, repository, image.DigestOf(config), config)
	for _, s := range list {
		pushBlob(t, base, repository, image.DigestOf(s.Payload), s.Payload)
	}
	pushManifest(t, base, repository, "sha256-"+d.Hex()+".sig", image.MediaTypeOCIManifest, manifest)
}

func (t target) pullSigned(tb testing.TB, c *registry.Client, ref image.Reference, signer imagetest.Signer) (registry.Pulled, error) {
	tb.Helper()
	return c.Pull(tb.Context(), t.Store, ref, registry.PullOptions{Unpack: imagetest.Unpack, Signed: signer.Demand(tb)})
}

// kept says whether the store has kept signatures of d that meet the demand.
func (t target) kept(tb testing.TB, ref image.Reference, d image.Digest, signer imagetest.Signer) bool {
	tb.Helper()
	data, err := t.Signatures(d)
	if err != nil || data == nil {
		return false
	}
	list, err := signature.Decode(data)
	return err == nil && signer.Demand(tb).Check(ref, d, list) == nil
}

func TestPullVerifiesSignatures(t *testing.T) {
	signer, stranger := imagetest.NewSigner(t), imagetest.NewSigner(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	other := imagetest.New(t, nil, bigLayer(t, 1000, 2))
	sign := func(name string, d image.Digest) signature.Signature {
		return signer.Sign(t, imagetest.Payload(t, name, d))
	}
	tests := map[string]struct {
		sign func(repository string) []signature.Signature
		says string
	}{
		"signed": {func(r string) []signature.Signature { return []signature.Signature{sign(r, made.Digest())} }, ""},
		"several signatures": {func(r string) []signature.Signature {
			return []signature.Signature{stranger.Sign(t, imagetest.Payload(t, r, made.Digest())), sign(r, made.Digest())}
		}, ""},
		"no signature":          {nil, "no signature of " + string(made.Digest()) + " is there"},
		"no signature in there": {func(string) []signature.Signature { return []signature.Signature{} }, "no signature of"},
		"another key": {func(r string) []signature.Signature {
			return []signature.Signature{stranger.Sign(t, imagetest.Payload(t, r, made.Digest()))}
		}, "not by " + signer.Path},
		"payload tampered with": {func(r string) []signature.Signature {
			return []signature.Signature{{Payload: imagetest.Payload(t, r, made.Digest()), Value: sign(r, other.Digest()).Value}}
		}, "not by " + signer.Path},
		"digest of another image": {func(r string) []signature.Signature { return []signature.Signature{sign(r, other.Digest())} }, "is for the digest " + string(other.Digest())},
		"another repository":      {func(r string) []signature.Signature { return []signature.Signature{sign(r+"2", made.Digest())} }, "is for the repository"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			push(t, h.URL, "app", "v1", made)
			if tt.sign != nil {
				attach(t, h.URL, "app", made.Digest(), tt.sign(h.host()+"/app")...)
			}
			for _, ref := range []image.Reference{h.ref(t, "app:v1"), h.ref(t, "app@"+string(made.Digest()))} {
				s, c := newTarget(t), newClient(t, nil)
				got, err := s.pullSigned(t, c, ref, signer)
				if tt.says == "" {
					if err != nil || got.Digest != made.Digest() || !s.kept(t, ref, made.Digest(), signer) {
						t.Errorf("pulled %+v, %v", got, err)
					}
					s.checkWhole(t)
					continue
				}
				if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), tt.says) || strings.HasPrefix(err.Error(), "pull ") {
					t.Errorf("pull: %v, want %q", err, tt.says)
				}
				s.checkNothingVisible(t)
			}
		})
	}
}

// A tag that moves after signing leads to an image that is not signed; one that
// moves during the pull changes nothing: what is stored is what was verified.
func TestPullVerifiesWhatItStores(t *testing.T) {
	signer := imagetest.NewSigner(t)
	signed, evil := imagetest.New(t, nil, bigLayer(t, 1000, 1)), imagetest.New(t, nil, bigLayer(t, 1000, 2))
	h := newHub(t)
	push(t, h.URL, "app", "v1", signed)
	attach(t, h.URL, "app", signed.Digest(), signer.Sign(t, imagetest.Payload(t, h.host()+"/app", signed.Digest())))

	t.Run("moves during the pull", func(t *testing.T) {
		moved := false
		h.misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, ".sig") && !moved {
				moved = true
				push(t, h.URL, "app", "v1", evil)
			}
			return false
		})
		s := newTarget(t)
		got, err := s.pullSigned(t, newClient(t, nil), h.ref(t, "app:v1"), signer)
		if err != nil || !moved || got.Image.ID != signed.ID() || got.Image.ManifestDigest != signed.Digest() {
			t.Errorf("pulled %s, %v; tag moved: %v", got.Image.ID, err, moved)
		}
		s.checkWhole(t)
	})
	t.Run("moved before", func(t *testing.T) {
		s := newTarget(t)
		_, err := s.pullSigned(t, newClient(t, nil), h.ref(t, "app:v1"), signer)
		if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "no signature of "+string(evil.Digest())) {
			t.Errorf("pull: %v", err)
		}
		s.checkNothingVisible(t)
	})
	t.Run("the signature of another image is shown for it", func(t *testing.T) {
		attach(t, h.URL, "app", evil.Digest(), signer.Sign(t, imagetest.Payload(t, h.host()+"/app", signed.Digest())))
		s := newTarget(t)
		_, err := s.pullSigned(t, newClient(t, nil), h.ref(t, "app:v1"), signer)
		if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), "is for the digest "+string(signed.Digest())) {
			t.Errorf("pull: %v", err)
		}
		s.checkNothingVisible(t)
	})
}

// An image for several platforms is signed as a whole, or each part.
func TestPullVerifiesIndexes(t *testing.T) {
	signer := imagetest.NewSigner(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	platform := image.Platform{}.OrDefault()
	index := imagetest.JSON(t, image.Manifest{SchemaVersion: 2, MediaType: image.MediaTypeOCIIndex, Manifests: []image.Descriptor{
		{MediaType: image.MediaTypeOCIManifest, Digest: made.Digest(), Size: int64(len(made.Manifest)), Platform: &platform},
	}})
	for name, d := range map[string]image.Digest{"index": image.DigestOf(index), "manifest": made.Digest(), "neither": image.DigestOf(made.Config)} {
		h := newHub(t)
		push(t, h.URL, "app", "part", made)
		pushManifest(t, h.URL, "app", "v1", image.MediaTypeOCIIndex, index)
		attach(t, h.URL, "app", d, signer.Sign(t, imagetest.Payload(t, h.host()+"/app", d)))
		s := newTarget(t)
		got, err := s.pullSigned(t, newClient(t, nil), h.ref(t, "app:v1"), signer)
		if name == "neither" {
			if !errors.Is(err, spec.ErrDenied) {
				t.Errorf("pull: %v", err)
			}
			continue
		}
		if err != nil || got.Digest != image.DigestOf(index) || !s.kept(t, h.ref(t, "app:v1"), d, signer) {
			t.Fatalf("%s: pulled %+v, %v", name, got, err)
		}
		imagetest.New(t, nil, bigLayer(t, 1000, 2)).Add(t, s.Store, "other")
		if _, err := s.Remove(t.Context(), "other", image.RemoveOptions{}); err != nil || !s.kept(t, h.ref(t, "app:v1"), d, signer) {
			t.Errorf("%s: the signature went with another image, %v", name, err)
		}
		if _, err := s.Remove(t.Context(), h.ref(t, "app:v1").String(), image.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Join(s.root, "images/signatures")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", name, left, err)
		}
	}
}

// Signatures may also be documents that refer to the manifest.
func TestPullVerifiesReferrers(t *testing.T) {
	signer := imagetest.NewSigner(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	h := newHub(t)
	push(t, h.URL, "app", "v1", made)
	s1 := signer.Sign(t, imagetest.Payload(t, h.host()+"/app", made.Digest()))
	manifest, config := imagetest.SignatureManifest(t, s1)
	pushBlob(t, h.URL, "app", image.DigestOf(config), config)
	pushBlob(t, h.URL, "app", image.DigestOf(s1.Payload), s1.Payload)
	pushManifest(t, h.URL, "app", string(image.DigestOf(manifest)), image.MediaTypeOCIManifest, manifest)
	for artifact, accepted := range map[string]bool{"application/vnd.dev.cosign.artifact.sig.v1+json": true, "application/spdx+json": false} {
		h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/referrers/"+string(made.Digest())) {
				return false
			}
			_, _ = w.Write(imagetest.JSON(t, map[string]any{"schemaVersion": 2, "mediaType": image.MediaTypeOCIIndex, "manifests": []image.Descriptor{
				{MediaType: image.MediaTypeOCIManifest, Digest: image.DigestOf(manifest), Size: int64(len(manifest)), ArtifactType: artifact},
			}}))
			return true
		})
		if _, err := newTarget(t).pullSigned(t, newClient(t, nil), h.ref(t, "app:v1"), signer); (err == nil) != accepted {
			t.Errorf("%s: %v", artifact, err)
		}
	}
}

// A mirror that has the image, but not or no longer the right signatures, is no
// reason to refuse it.
func TestPullAsksTheRegistryForSignatures(t *testing.T) {
	signer, stranger := imagetest.NewSigner(t), imagetest.NewSigner(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	origin, mirror := newHub(t), newHub(t)
	push(t, origin.URL, "app", "v1", made)
	push(t, mirror.URL, "app", "v1", made)
	payload := imagetest.Payload(t, origin.host()+"/app", made.Digest())
	attach(t, origin.URL, "app", made.Digest(), signer.Sign(t, payload))
	for _, old := range []bool{false, true} {
		if old {
			attach(t, mirror.URL, "app", made.Digest(), stranger.Sign(t, payload))
		}
		c := newClient(t, map[string]registry.Host{origin.host(): {Mirrors: []string{mirror.host()}}})
		if _, err := newTarget(t).pullSigned(t, c, origin.ref(t, "app:v1"), signer); err != nil {
			t.Errorf("mirror has a signature of another: %v; pull: %v", old, err)
		}
	}
}

// An image that came before a signature was demanded gets it by another pull.
func TestPullAgainGetsSignature(t *testing.T) {
	signer := imagetest.NewSigner(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	h := newHub(t)
	push(t, h.URL, "app", "v1", made)
	attach(t, h.URL, "app", made.Digest(), signer.Sign(t, imagetest.Payload(t, h.host()+"/app", made.Digest())))
	s, c := newTarget(t), newClient(t, nil)
	if _, err := s.pull(t.Context(), c, h.ref(t, "app:v1")); err != nil || s.kept(t, h.ref(t, "app:v1"), made.Digest(), signer) {
		t.Fatalf("pull: %v", err)
	}
	got, err := s.pullSigned(t, c, h.ref(t, "app:v1"), signer)
	if err != nil || !got.UpToDate || !s.kept(t, h.ref(t, "app:v1"), made.Digest(), signer) {
		t.Errorf("pulled %+v, %v", got, err)
	}
}

// The payload is taken as its digest says, and only if it is small.
func TestForgedSignatureBlobs(t *testing.T) {
	signer := imagetest.NewSigner(t)
	made := imagetest.New(t, nil, bigLayer(t, 1000, 1))
	h := newHub(t)
	push(t, h.URL, "app", "v1", made)
	s1 := signer.Sign(t, imagetest.Payload(t, h.host()+"/app", made.Digest()))
	attach(t, h.URL, "app", made.Digest(), s1)
	for name, data := range map[string][]byte{"another": []byte("another"), "huge": make([]byte, signature.MaxPayloadBytes+1)} {
		h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, image.DigestOf(s1.Payload).Hex()) {
				_, _ = w.Write(data)
				return true
			}
			return false
		})
		s := newTarget(t)
		if _, err := s.pullSigned(t, newClient(t, nil), h.ref(t, "app:v1"), signer); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		s.checkNothingVisible(t)
	}
}
