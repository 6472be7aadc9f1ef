package image

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/cleat-project/cleat/spec"
)

const algorithm = "sha256:"

// Digest is the content address of a blob or layer: "sha256:" and 64 lower-case
// hex digits, nothing else, so that it is safe as a file name. Decoding one from
// JSON checks it. The empty Digest means "none".
type Digest string

// ParseDigest checks s and returns it as a Digest. The error wraps spec.ErrInvalid.
func ParseDigest(s string) (Digest, error) {
	digits, ok := strings.CutPrefix(s, algorithm)
	if !ok {
		return "", classify(spec.ErrInvalid, "invalid digest %q: want %s and 64 lower-case hex digits", clip(s), algorithm)
	}
	if len(digits) != 64 || !isHex(digits) {
		return "", classify(spec.ErrInvalid, "invalid digest %q: want 64 lower-case hex digits", clip(s))
	}
	return Digest(s), nil
}

// DigestOf returns the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return digestOfSum(sum[:])
}

func digestOfSum(sum []byte) Digest { return Digest(algorithm + hex.EncodeToString(sum)) }

// Hex returns the 64 digits of d without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), algorithm) }

// Short returns the first 12 digits of d, as Docker shows an image id.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// UnmarshalText implements encoding.TextUnmarshaler and refuses what ParseDigest refuses.
func (d *Digest) UnmarshalText(text []byte) error {
	v, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// clip shortens outside input for an error message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
