package git

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestParse(t *testing.T) {
	tests := map[string]Source{
		"https://h/a.git":                                  {Remote: "https://h/a.git"},
		"https://h/a.git#main":                             {Remote: "https://h/a.git", Ref: "main"},
		"https://h/a.git#v1.2:sub/dir":                     {Remote: "https://h/a.git", Ref: "v1.2", Subdir: "sub/dir"},
		"https://h/a.git#:sub/./x//":                       {Remote: "https://h/a.git", Subdir: "sub/x"},
		"https://h/a.git#refs/pull/7/head":                 {Remote: "https://h/a.git", Ref: "refs/pull/7/head"},
		"git@h:o/a.git#feature/x:d":                        {Remote: "git@h:o/a.git", Ref: "feature/x", Subdir: "d"},
		"ssh://git@h:22/a.git":                             {Remote: "ssh://git@h:22/a.git"},
		"git://h/a":                                        {Remote: "git://h/a"},
		"github.com/o/a#main":                              {Remote: "https://github.com/o/a", Ref: "main"},
		"https://h/a.git?branch=b&subdir=s":                {Remote: "https://h/a.git", Ref: "refs/heads/b", Subdir: "s"},
		"https://h/a.git?tag=v1&checksum=0123456789abcdef": {Remote: "https://h/a.git", Ref: "refs/tags/v1", Commit: "0123456789abcdef"},
	}
	for in, want := range tests {
		got, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
}

// CVE-2019-13139 (options by way of the reference), CVE-2017-1000117 (by way of the
// host), CVE-2026-33748 (directories that lead out), and other protocols.
func TestCVE201913139RefusedSources(t *testing.T) {
	for _, in := range []string{
		"https://h/a.git#--upload-pack=touch /x", "https://h/a.git#-x", "git@h:a#--output=x", "https://h/a.git#a b", "https://h/a.git#a..b",
		"https://h/a.git#+a", "https://h/a.git#a:b/../../x", "https://h/a.git#$(x)", "https://h/a.git#`x`", "https://h/a.git#a@{1}", "https://h/a.git#a^{}",
		"https://h/a.git#:../..", "https://h/a.git#:a/../../b", "https://h/a.git#:.git", "https://h/a.git#:x/.GIT/hooks",
		"ssh://-oProxyCommand=x/a", "ssh://-oProxyCommand=x@h/a", "git@-oProxyCommand=x:a", "https://-x/a.git",
		"ext::sh -c touch% /x", "file:///etc", "ftp://h/a.git", "/etc", "a/b", "-x@h:a", "https:///a.git",
		"https://h/a.git?upload=x", "https://h/a.git?ref=a&ref=b", "https://h/a.git?ref=a#b", "https://h/a.git?checksum=zz", "https://h/a\n.git", "https://h/a.git#a\x00",
	} {
		if got, err := Parse(in); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	if _, err := Parse("https://u:hush@h/a.git#-x"); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a password in an error: %v", err)
	}
}

func TestIs(t *testing.T) {
	for in, want := range map[string][2]bool{ // of a context, of ADD
		"https://h/a.git": {true, true}, "https://h/a.git#x:y": {true, true}, "https://h/a.tar": {}, "git@h:a": {true, true}, "me@h:a/b": {true, true},
		"ssh://h/a": {true, true}, "git://h/a": {true, true}, "github.com/a/b": {true, false}, ".": {}, "a/b@c:d": {}, "a:b": {}, "ftp://h/a.git": {}, "@:": {},
	} {
		if got := [2]bool{Is(in), IsSource(in)}; got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}

func TestPickReference(t *testing.T) {
	a, b, c := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
	list := a + "\tHEAD\n" + a + "\trefs/heads/main\n" + b + "\trefs/heads/v1\n" + b + "\trefs/tags/v1\n" + c + "\trefs/tags/v1^{}\nnonsense\n"
	for ref, want := range map[string]string{"": a, "main": a, "v1": c, "refs/heads/v1": b, "heads/v1": b, "nope": "", "refs/tags/v1": c} {
		if got := (Source{Ref: ref}).pick(list); got != want {
			t.Errorf("%q: %s, want %s", ref, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://h/a.git#b:c", "git@h:a#b", "github.com/a/b", "https://h/a.git?ref=x", "ssh://u:p@h:1/x#:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		src, err := Parse(s)
		if err != nil {
			return
		}
		for _, word := range []string{src.Remote, src.Ref, src.Subdir} {
			if strings.ContainsAny(word, "\n\x00") {
				t.Errorf("%q: %+v", s, src)
			}
		}
		if strings.HasPrefix(src.Remote, "-") || strings.HasPrefix(src.Ref, "-") || strings.HasPrefix(src.Subdir, "/") || src.Subdir == ".." || strings.HasPrefix(src.Subdir, "../") {
			t.Errorf("%q: %+v", s, src)
		}
		if again, err := Parse(src.Remote); err != nil || again.Remote != src.Remote {
			t.Errorf("%q: remote %q is not one: %v", s, src.Remote, err)
		}
	})
}
