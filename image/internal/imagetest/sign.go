package imagetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/signature"
)

// Signer signs as cosign does, with a key of its own.
type Signer struct {
	Path string // of the public key
	key  *ecdsa.PrivateKey
}

// NewSigner makes a key pair.
func NewSigner(tb testing.TB) Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	check(tb, err)
	path := filepath.Join(tb.TempDir(), "key.pub")
	check(tb, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	return Signer{path, key}
}

// Payload returns the document that cosign signs for an image.
func Payload(tb testing.TB, reference string, d image.Digest) []byte {
	tb.Helper()
	return JSON(tb, map[string]any{"critical": map[string]any{
		"identity": map[string]string{"docker-reference": reference},
		"image":    map[string]string{"docker-manifest-digest": string(d)},
		"type":     "cosign container image signature",
	}, "optional": nil})
}

// Sign signs a payload.
func (s Signer) Sign(tb testing.TB, payload []byte) signature.Signature {
	tb.Helper()
	sum := sha256.Sum256(payload)
	value, err := ecdsa.SignASN1(rand.Reader, s.key, sum[:])
	check(tb, err)
	return signature.Signature{Payload: payload, Value: base64.StdEncoding.EncodeToString(value)}
}

// Demand wants a signature of s.
func (s Signer) Demand(tb testing.TB) *signature.Demand {
	tb.Helper()
	key, err := signature.LoadKey(s.Path)
	check(tb, err)
	return &signature.Demand{Keys: []signature.Key{key}, Where: "the test"}
}

// SignatureManifest returns the manifest under which a registry has signatures,
// and its configuration. The payloads are its other blobs.
func SignatureManifest(tb testing.TB, list ...signature.Signature) (manifest, config []byte) {
	tb.Helper()
	config = []byte("{}")
	layers := []image.Descriptor{}
	for _, s := range list {
		layers = append(layers, image.Descriptor{
			MediaType: signature.MediaType, Digest: image.DigestOf(s.Payload), Size: int64(len(s.Payload)),
			Annotations: map[string]string{signature.Annotation: s.Value},
		})
	}
	return JSON(tb, map[string]any{
		"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest, "layers": layers,
		"config": image.Descriptor{MediaType: image.MediaTypeOCIConfig, Digest: image.DigestOf(config), Size: int64(len(config))},
	}), config
}
