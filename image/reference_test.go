package image_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/cleat-project/cleat/image"
	"github.com/cleat-project/cleat/spec"
)

var hex64 = strings.Repeat("0123456789abcdef", 4)

func TestParseReference(t *testing.T) {
	sum := "sha256:" + hex64
	tests := map[string]struct{ in, full, familiar string }{
		"one word is an official image":         {"nginx", "docker.io/library/nginx:latest", "nginx:latest"},
		"tag":                                   {"nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"},
		"two words are a user's image":          {"user/app", "docker.io/user/app:latest", "user/app:latest"},
		"dot makes a registry":                  {"ghcr.io/app", "ghcr.io/app:latest", "ghcr.io/app:latest"},
		"port makes a registry":                 {"reg:5000/app", "reg:5000/app:latest", "reg:5000/app:latest"},
		"port and tag":                          {"reg:5000/a/b:v1", "reg:5000/a/b:v1", "reg:5000/a/b:v1"},
		"localhost is a registry":               {"localhost/app", "localhost/app:latest", "localhost/app:latest"},
		"upper case makes a registry":           {"Reg/app", "Reg/app:latest", "Reg/app:latest"},
		"ipv6 registry":                         {"[::1]:5000/app:1", "[::1]:5000/app:1", "[::1]:5000/app:1"},
		"old name of the default registry":      {"index.docker.io/library/a", "docker.io/library/a:latest", "a:latest"},
		"library is left out":                   {"library/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
		"digest gets no tag":                    {"nginx@" + sum, "docker.io/library/nginx@" + sum, "nginx@" + sum},
		"tag and digest":                        {"nginx:1@" + sum, "docker.io/library/nginx:1@" + sum, "nginx:1@" + sum},
		"separators":                            {"a__b/c.d/e---f", "docker.io/a__b/c.d/e---f:latest", "a__b/c.d/e---f:latest"},
		"tag with capitals":                     {"a:V1_x-y.z", "docker.io/library/a:V1_x-y.z", "a:V1_x-y.z"},
		"what would read as a registry is long": {"docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"},
		"what would read as an id is long":      {"library/" + hex64, "docker.io/library/" + hex64 + ":latest", "docker.io/library/" + hex64 + ":latest"},
		"long repository name":                  {strings.Repeat("a/", 120) + "a", "docker.io/" + strings.Repeat("a/", 120) + "a:latest", strings.Repeat("a/", 120) + "a:latest"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ref, err := image.ParseReference(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if ref.String() != tt.full || ref.Familiar() != tt.familiar {
				t.Errorf("ParseReference(%q) = %s, familiar %s; want %s, %s", tt.in, ref, ref.Familiar(), tt.full, tt.familiar)
			}
		})
	}
}

// Digests are refused as in CVE-2024-3727: what is not exactly a SHA-256 could
// become a path.
func TestParseReferenceRefuses(t *testing.T) {
	tests := map[string]struct{ in, says string }{
		"empty":                    {"", "empty"},
		"upper-case repository":    {"Nginx", "must be lowercase"},
		"upper-case path":          {"reg.io/App", "must be lowercase"},
		"id":                       {hex64, "image id"},
		"empty tag":                {"nginx:", "tag is empty"},
		"tag starts with dash":     {"nginx:-x", "tag"},
		"tag with slash and colon": {"a:b:c", "repository name"},
		"long tag":                 {"a:" + strings.Repeat("x", 129), "longer"},
		"long name":                {strings.Repeat("a", 256), "longer"},
		"doubled slash":            {"a//b", "repository name"},
		"trailing slash":           {"a/", "repository name"},
		"leading slash":            {"/a", "repository name"},
		"dots":                     {"a..b", "repository name"},
		"dot dot":                  {"../a", "registry"},
		"three underscores":        {"a___b", "repository name"},
		"leading dash":             {"-a", "repository name"},
		"space":                    {"a b", "repository name"},
		"port is a word":           {"a:b/c", "port"},
		"port is too long":         {"a:123456/c", "port"},
		"registry with dash":       {"-a.io/b", "registry"},
		"scheme":                   {"https://a.io/b", "registry"},
		"newline":                  {"a\n", "repository name"},
		"short digest":             {"a@sha256:abc", "64"},
		"upper-case digest":        {"a@sha256:" + strings.ToUpper(hex64), "64"},
		"path as digest":           {"a@sha256:../../../../etc/passwd", "64"},
		"other algorithm":          {"a@sha512:" + hex64 + hex64, "sha256"},
		"two digests":              {"a@sha256:" + hex64 + "@sha256:" + hex64, "64"},
		"bracket":                  {"[::1/a", "registry"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := image.ParseReference(tt.in)
			if !errors.Is(err, spec.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("ParseReference(%q) = %v, want ErrInvalid about %q", tt.in, err, tt.says)
			}
		})
	}
}

// FuzzParseReference checks that every accepted reference survives being printed
// and read, and means the same to go-containerregistry.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:c", "localhost:5000/x@sha256:" + hex64, "docker.io/localhost/x", "[::1]:1/a", "A/b", "library/library", "index.docker.io/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := image.ParseReference(s)
		if err != nil {
			return
		}
		for _, form := range []string{ref.String(), ref.Familiar()} {
			if again, err := image.ParseReference(form); err != nil || again != ref {
				t.Fatalf("%q = %s, but its form %q = %s, %v", s, ref, form, again, err)
			}
		}
		if strings.ContainsAny(ref.String(), " \"\\\n\x00") || strings.Contains(ref.Path(), "..") {
			t.Fatalf("%q = %s", s, ref)
		}
		if ref.Tag() != "" && ref.Digest() != "" || ref.Domain() != "localhost" && !strings.ContainsAny(ref.Domain(), ".:") {
			return // go-containerregistry drops the tag; and takes X/y for docker.io/X/y
		}
		other, err := name.ParseReference(ref.String())
		if err != nil {
			if strings.HasPrefix(ref.Domain(), "[") {
				return // it takes no IPv6 address that net/url does not
			}
			t.Fatalf("%q: go-containerregistry: %v", s, err)
		}
		if want := ref.Tag() + string(ref.Digest()); other.Identifier() != want || other.Context().RepositoryStr() != ref.Path() {
			t.Fatalf("%q = %s, go-containerregistry says %s", s, ref, other.Name())
		}
	})
}
