package signature_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/image/internal/imagetest"
	"github.com/cleat-project/cleat/image/signature"
	"github.com/cleat-project/cleat/spec"
)

func TestCheck(t *testing.T) {
	signer, stranger := imagetest.NewSigner(t), imagetest.NewSigner(t)
	const repository = "reg.io/team/app"
	digest, other := image.DigestOf([]byte("manifest")), image.DigestOf([]byte("another"))
	sign := func(name string, d image.Digest) signature.Signature {
		return signer.Sign(t, imagetest.Payload(t, name, d))
	}
	good := sign(repository, digest)
	tampered := good
	tampered.Payload = []byte(strings.Replace(string(good.Payload), string(digest), string(other), 1))
	spaced := good
	spaced.Payload = append([]byte(" "), good.Payload...)
	bent := good
	bent.Value = good.Value[:10] + "A" + good.Value[11:]
	if bent.Value == good.Value {
		bent.Value = good.Value[:10] + "B" + good.Value[11:]
	}
	type list = []signature.Signature
	tests := map[string]struct {
		ref  string
		list list
		says string // "" means that it is accepted
	}{
		"good":                               {repository + ":v1", list{good}, ""},
		"good, by digest":                    {repository + "@" + string(digest), list{good}, ""},
		"good after bad ones":                {repository + ":v1", list{tampered, stranger.Sign(t, good.Payload), sign(repository, other), good}, ""},
		"docker.io by its old name":          {"nginx", list{sign("index.docker.io/library/nginx", digest)}, ""},
		"for this tag":                       {repository + ":v1", list{sign(repository+":v1", digest)}, ""},
		"none":                               {repository + ":v1", nil, "no signature of " + string(digest) + " is there"},
		"payload changed after signing":      {repository + ":v1", list{tampered}, "not by " + signer.Path},
		"a blank before the payload":         {repository + ":v1", list{spaced}, "not by " + signer.Path},
		"signature changed":                  {repository + ":v1", list{bent}, "not by " + signer.Path},
		"signature is no base64":             {repository + ":v1", list{{Payload: good.Payload, Value: "%%"}}, "not by " + signer.Path},
		"empty":                              {repository + ":v1", list{{}}, "not by " + signer.Path},
		"another key":                        {repository + ":v1", list{stranger.Sign(t, good.Payload)}, "not by " + signer.Path},
		"for another digest":                 {repository + ":v1", list{sign(repository, other)}, "is for the digest " + string(other)},
		"for another repository":             {repository + ":v1", list{sign("reg.io/team/other", digest)}, `is for the repository "reg.io/team/other"`},
		"for another registry":               {repository + ":v1", list{sign("evil.io/team/app", digest)}, `is for the repository "evil.io/team/app"`},
		"for another tag":                    {repository + ":v1", list{sign(repository+":v2", digest)}, `is for the tag "v2"`},
		"for no repository":                  {repository + ":v1", list{sign("", digest)}, `is for the repository ""`},
		"digest in upper case":               {repository + ":v1", list{sign(repository, image.Digest(strings.ToUpper(string(digest))))}, "is for the digest"},
		"signed, but something else":         {repository + ":v1", list{signer.Sign(t, []byte(`{"critical":{"type":"x"}}`))}, `is of a "x"`},
		"signed, but no JSON":                {repository + ":v1", list{signer.Sign(t, []byte("hello"))}, "no JSON document"},
		"message has no control characters":  {repository + ":v1", list{sign("a\x1b[2Jb", digest)}, `repository "a [2Jb"`},
		"several reasons, each of them once": {repository + ":v1", list{tampered, bent, sign(repository, other)}, "; its signature is for the digest"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := signer.Demand(t).Check(imagetest.Ref(t, tt.ref), digest, tt.list)
			if tt.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, spec.ErrDenied) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "the test demands") {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
	two := signature.Demand{Keys: append(stranger.Demand(t).Keys, signer.Demand(t).Keys...)}
	if err := two.Check(imagetest.Ref(t, repository), digest, list{good}); err != nil {
		t.Errorf("one of two keys: %v", err)
	}
	if err := (signature.Demand{}).Check(imagetest.Ref(t, repository), digest, list{good}); err == nil {
		t.Error("no key has signed, and it is accepted")
	}
	data, err := signature.Encode(list{good})
	if err != nil {
		t.Fatal(err)
	}
	back, err := signature.Decode(data)
	if err != nil || signer.Demand(t).Check(imagetest.Ref(t, repository), digest, back) != nil {
		t.Errorf("kept and read again: %v, %v", back, err)
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	pkix := func(public any) []byte {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(imagetest.NewSigner(t).Path)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	tests := map[string]struct {
		data []byte
		says string
	}{
		"empty":         {nil, "not in PEM form"},
		"private key":   {block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x")), "holds a ENCRYPTED SIGSTORE PRIVATE KEY"},
		"other curve":   {block("PUBLIC KEY", pkix(&p384.PublicKey)), "not of ECDSA P-256"},
		"other kind":    {block("PUBLIC KEY", pkix(ed)), "not of ECDSA P-256"},
		"damaged":       {block("PUBLIC KEY", []byte("x")), "asn1"},
		"several in it": {append(good, good...), "more than one key"},
	}
	for name, tt := range tests {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := signature.LoadKey(path); !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
	if _, err := signature.LoadKey("/nonexist"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// FuzzCheck checks that nothing is accepted that the key has not signed.
func FuzzCheck(f *testing.F) {
	signer := imagetest.NewSigner(f)
	digest := image.DigestOf([]byte("manifest"))
	good := signer.Sign(f, imagetest.Payload(f, "reg.io/app", digest))
	f.Add(good.Payload, good.Value)
	f.Add([]byte(`{"critical":null}`), good.Value)
	demand := signer.Demand(f)
	ref := imagetest.Ref(f, "reg.io/app")
	f.Fuzz(func(t *testing.T, payload []byte, value string) {
		if demand.Check(ref, digest, []signature.Signature{{Payload: payload, Value: value}}) == nil && string(payload) != string(good.Payload) {
			t.Fatalf("accepted %q", payload)
		}
	})
}
