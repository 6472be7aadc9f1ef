package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/internal/config"
)

func TestParsePolicy(t *testing.T) {
	got, err := config.ParsePolicy([]byte(`
default: reject
rules:
  - images: reg.io
    signed_by: [a.pub, /keys/b.pub]
  - images: docker.io/library/nginx
    action: accept
`), "/etc/x")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Policy{Default: config.Reject, Rules: []config.PolicyRule{
		{Images: "reg.io", Action: config.Verify, SignedBy: []string{"/etc/x/a.pub", "/keys/b.pub"}},
		{Images: "docker.io/library/nginx", Action: config.Accept},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p, err := config.ParsePolicy(nil, "/"); err != nil || p.Default != config.Accept || len(p.Rules) > 0 {
		t.Errorf("empty: %+v, %v", p, err)
	}
}

func TestPolicyFor(t *testing.T) {
	p, err := config.ParsePolicy([]byte(`
rules:
  - {images: "reg.io:5000/team/*", action: reject}
  - {images: "reg.io:5000", signed_by: [all.pub]}
  - {images: "reg.io:5000/team/app", signed_by: [app.pub]}
  - {images: "reg.io:5000/team/deep/*", action: accept}
  - {images: "docker.io/*", action: reject}
`), "/")
	if err != nil {
		t.Fatal(err)
	}
	for repository, pattern := range map[string]string{
		"reg.io:5000/x":               "reg.io:5000",
		"reg.io:5000/team":            "reg.io:5000",
		"reg.io:5000/teams/app":       "reg.io:5000",
		"reg.io:5000/team/app":        "reg.io:5000/team/app",
		"reg.io:5000/team/app2":       "reg.io:5000/team/*",
		"reg.io:5000/team/app/x":      "reg.io:5000/team/*",
		"reg.io:5000/team/deep/x/y":   "reg.io:5000/team/deep/*",
		"reg.io/x":                    "",
		"evil-reg.io:5000/x":          "",
		"reg.io:5000.evil/x":          "",
		"docker.io/library/nginx":     "docker.io/*",
		"quay.io/docker.io/something": "",
	} {
		if got := p.For(repository); got.Images != pattern || pattern == "" && got.Action != config.Accept {
			t.Errorf("%s: %+v, want %q", repository, got, pattern)
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	tests := map[string]struct{ in, says string }{
		"unknown key with its line":    {"default: accept\nrule: []\n", "line 2: unknown key \"rule\""},
		"unknown key in a rule":        {"rules:\n  - images: a.io\n    action: accept\n    signedby: [x]\n", "line 4: unknown key \"signedby\""},
		"key given twice":              {"default: accept\ndefault: reject\n", "already"},
		"unknown default":              {"default: verify\n", `default is "verify"`},
		"second document":              {"default: reject\n---\ndefault: accept\n", "more than one YAML document"},
		"rule without images":          {"rules:\n  - action: accept\n", "line 2: images: is missing"},
		"rule that says nothing":       {"rules:\n\n  - images: a.io\n", "line 3: rule for a.io says nothing"},
		"unknown action":               {"rules:\n  - {images: a.io, action: allow}\n", `line 2: rule for a.io: action is "allow"`},
		"action and keys":              {"rules:\n  - {images: a.io, action: accept, signed_by: [k]}\n", "want one of them"},
		"verify without keys":          {"rules:\n  - {images: a.io, action: verify}\n", "names no keys"},
		"empty key":                    {"rules:\n  - {images: a.io, signed_by: ['']}\n", "is empty"},
		"two rules for the same":       {"rules:\n  - {images: a.io, action: reject}\n  - {images: a.io, action: accept}\n", "line 3: there are two rules for a.io"},
		"no registry":                  {"rules:\n  - {images: nginx, action: reject}\n", "does not begin with a registry"},
		"short name of Docker Hub":     {"rules:\n  - {images: docker.io/nginx, action: reject}\n", "docker.io/library/nginx"},
		"old name of Docker Hub":       {"rules:\n  - {images: index.docker.io, action: reject}\n", "is called docker.io"},
		"tag":                          {"rules:\n  - {images: 'a.io/b:1', action: reject}\n", "without tag"},
		"star within":                  {"rules:\n  - {images: 'a.io/*/b', action: reject}\n", "neither a repository"},
		"star at the end of a name":    {"rules:\n  - {images: 'a.io/team*', action: reject}\n", "whole names"},
		"upper case":                   {"rules:\n  - {images: a.io/Team, action: reject}\n", "lower case"},
		"slash at the end":             {"rules:\n  - {images: a.io/team/, action: reject}\n", "neither a repository"},
		"scheme":                       {"rules:\n  - {images: 'https://a.io', action: reject}\n", "port"},
		"rules are not a list":         {"rules: {images: a.io}\n", "line 1: a list of keys has no place here"},
		"keys are not a list of paths": {"rules:\n  - {images: a.io, signed_by: {a: b}}\n", "line 2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if p, err := config.ParsePolicy([]byte(tt.in), "/"); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%+v, %v, want %q", p, err, tt.says)
			}
		})
	}
}

func TestLoadPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := config.LoadPolicy(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a policy that was asked for is missing: %v", err)
	}
	if err := os.WriteFile(path, []byte("rules:\n  - {images: a.io, signed_by: [k.pub]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := config.LoadPolicy(path)
	if err != nil || p.Path != path || p.Rules[0].SignedBy[0] != filepath.Join(filepath.Dir(path), "k.pub") {
		t.Errorf("%+v, %v", p, err)
	}
	if err := os.WriteFile(path, []byte("rulez: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadPolicy(path); err == nil || !strings.Contains(err.Error(), path+": line 1: unknown key") || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("bad policy: %v", err)
	}
}

// FuzzParsePolicy checks that what is accepted is decidable.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("default: reject\nrules: [{images: a.io/b/*, signed_by: [k]}]\n"), "a.io/b/c")
	f.Add([]byte("rules: [{images: localhost, action: reject}, {images: 'localhost:5000/x', action: accept}]\n"), "localhost/x")
	f.Fuzz(func(t *testing.T, data []byte, repository string) {
		p, err := config.ParsePolicy(data, "/")
		if err != nil {
			return
		}
		switch r := p.For(repository); {
		case r.Action == config.Verify && len(r.SignedBy) == 0, r.Action != config.Accept && r.Action != config.Reject && r.Action != config.Verify:
			t.Fatalf("rule %+v", r)
		}
	})
}
