// Package signature checks cosign's signatures of images with public keys: a
// signature over a small JSON document, the payload, that names a repository and
// the digest of a manifest. See
// https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md.
package signature

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

// The forms of signatures in registries.
const (
	MediaType  = "application/vnd.dev.cosign.simplesigning.v1+json" // of a payload
	Annotation = "dev.cosignproject.cosign/signature"               // of a payload's descriptor: the signature in base64

	payloadType = "cosign container image signature"
)

// MaxPayloadBytes and MaxSignatures bound what is read of one image.
const (
	MaxPayloadBytes = 64 << 10
	MaxSignatures   = 64
)

// Key is a public key whose owner may sign images.
type Key struct {
	Path   string // of its file, for messages
	public *ecdsa.PublicKey
}

// LoadKey reads a PEM file with an ECDSA P-256 public key, as "cosign
// generate-key-pair" writes it. The error wraps spec.ErrInvalid.
func LoadKey(path string) (Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("read public key: %w", err)
	}
	public, err := parseKey(data)
	if err != nil {
		return Key{}, fmt.Errorf("public key %s: %w: %w", path, err, spec.ErrInvalid)
	}
	return Key{path, public}, nil
}

func parseKey(data []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("is not in PEM form")
	}
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("holds a %s, want a PUBLIC KEY", clip(block.Type))
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("holds more than one key: want a file for each")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("is not of ECDSA P-256, which cosign makes")
	}
	return public, nil
}

// Signature is one signature with what was signed.
type Signature struct {
	Payload []byte `json:"payload"`
	Value   string `json:"signature"` // ASN.1 in base64
}

// Encode returns signatures in the form in which a store keeps them.
func Encode(list []Signature) ([]byte, error) { return json.Marshal(list) }

// Decode is the opposite of Encode.
func Decode(data []byte) ([]Signature, error) {
	var list []Signature
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("decode stored signatures: %w", err)
	}
	return list, nil
}

// payload is the document that is signed.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
}

// Demand is what a policy wants of an image.
type Demand struct {
	Keys  []Key  // one of them has to have signed
	Where string // where that is demanded, for messages
}

// Refusal says why an image does not meet a demand. It wraps spec.ErrDenied.
type Refusal struct {
	Image string // name of the image
	Where string // what demands a signature
	Why   string
}

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("image %s is refused: %s; %s demands a signature", r.Image, r.Why, r.Where)
}

// Unwrap makes errors.Is(err, spec.ErrDenied) true.
func (r *Refusal) Unwrap() error { return spec.ErrDenied }

// Check returns nil if one of the signatures is by one of the keys and says that
// digest is the manifest of the image ref, whose own digest does not count. A
// payload that names a tag is for this tag alone. The error is a *Refusal.
func (d Demand) Check(ref image.Reference, digest image.Digest, list []Signature) error {
	refusal := &Refusal{Image: ref.Familiar(), Where: d.Where}
	if len(list) == 0 {
		refusal.Why = "no signature of " + string(digest) + " is there"
		return refusal
	}
	var reasons []string
	for _, s := range list {
		why := d.judge(ref, digest, s)
		if why == "" {
			return nil
		}
		if !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	refusal.Why = strings.Join(reasons[:min(len(reasons), 3)], "; ")
	return refusal
}

// judge returns why s does not do, "" if it does. What the payload says is only
// looked at if it was signed with a key.
func (d Demand) judge(ref image.Reference, digest image.Digest, s Signature) string {
	if !slices.ContainsFunc(d.Keys, func(k Key) bool { return k.signed(s) }) {
		return "its signature is not by " + d.keyNames()
	}
	var p payload
	if err := json.Unmarshal(s.Payload, &p); err != nil {
		return "its signature is of something that is no JSON document"
	}
	if p.Critical.Type != payloadType {
		return fmt.Sprintf("its signature is of a %q, not of an image", clip(p.Critical.Type))
	}
	if p.Critical.Image.Digest != string(digest) {
		return fmt.Sprintf("its signature is for the digest %s, not for %s", clip(p.Critical.Image.Digest), digest)
	}
	return judgeName(ref, p.Critical.Identity.Reference)
}

func judgeName(ref image.Reference, signed string) string {
	name, err := image.ParseReference(signed)
	if err != nil || name.Repository() != ref.Repository() {
		return fmt.Sprintf("its signature is for the repository %q", clip(signed))
	}
	hasTag := !image.IsRepository(signed) && name.Tag() != ""
	if hasTag && ref.Tag() != "" && name.Tag() != ref.Tag() {
		return fmt.Sprintf("its signature is for the tag %q", name.Tag())
	}
	return ""
}

func (k Key) signed(s Signature) bool {
	value, err := base64.StdEncoding.DecodeString(s.Value)
	if err != nil || k.public == nil {
		return false
	}
	sum := sha256.Sum256(s.Payload)
	return ecdsa.VerifyASN1(k.public, sum[:], value)
}

func (d Demand) keyNames() string {
	paths := make([]string, 0, len(d.Keys))
	for _, k := range d.Keys {
		paths = append(paths, k.Path)
	}
	return strings.Join(paths, " or ")
}

// clip makes outside input fit for a message.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}
