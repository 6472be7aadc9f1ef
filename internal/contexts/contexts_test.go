package contexts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestStore(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "sub", "contexts.json")}
	ctx := t.Context()
	check := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("error is %v, want %v", err, want)
		}
	}
	if list, current, err := s.List(); err != nil || current != Default || len(list) != 1 {
		t.Errorf("a user without contexts has %v, %s, %v", list, current, err)
	}
	check(s.Create(ctx, Context{Name: "b", Host: "ssh://h"}), nil)
	check(s.Create(ctx, Context{Name: "a", Host: "ssh://u@h:22", Description: "x"}), nil)
	check(s.Create(ctx, Context{Name: "a", Host: "ssh://h"}), spec.ErrExists)
	check(s.Create(ctx, Context{Name: "c", Host: "tcp://h"}), spec.ErrUnsupport)
	for _, name := range []string{"", "default", "-a", "a b", "../a", "ä"} {
		check(s.Create(ctx, Context{Name: name, Host: "ssh://h"}), spec.ErrInvalid)
	}
	check(s.Use(ctx, "nope"), spec.ErrNotFound)
	check(s.Use(ctx, "b"), nil)
	check(s.Update(ctx, "b", func(c *Context) { c.Description = "y" }), nil)
	check(s.Update(ctx, "b", func(c *Context) { c.Host = "bad" }), spec.ErrInvalid)
	check(s.Update(ctx, "default", func(*Context) {}), spec.ErrInvalid)
	list, current, err := s.List()
	want := []Context{{Default, "This machine", ""}, {"a", "x", "ssh://u@h:22"}, {"b", "y", "ssh://h"}}
	if diff := cmp.Diff(want, list); err != nil || diff != "" || current != "b" {
		t.Errorf("%s, %v (-want +got):\n%s", current, err, diff)
	}
	check(s.Remove(ctx, "default", true), spec.ErrInvalid)
	check(s.Remove(ctx, "nope", true), spec.ErrNotFound)
	check(s.Remove(ctx, "b", false), spec.ErrConflict)
	check(s.Remove(ctx, "b", true), nil)
	if _, current, _ := s.List(); current != Default {
		t.Errorf("current is %s after its removal", current)
	}
	if fi, err := os.Stat(s.Path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := os.WriteFile(s.Path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("a"); err == nil || !strings.Contains(err.Error(), "read contexts") {
		t.Errorf("a broken file: %v", err)
	}
	check(Store{}.Use(ctx, "a"), spec.ErrUnavail)
}

// Changes at the same time are all made.
func TestStoreByMany(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "contexts.json")}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if err := s.Create(t.Context(), Context{Name: "c" + string(rune('a'+i)), Host: "ssh://h"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if list, _, err := s.List(); err != nil || len(list) != 21 {
		t.Errorf("%d contexts, %v", len(list), err)
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]Host{
		"":                   {},
		"ssh://h":            {Name: "h"},
		"ssh://u@h:2222/":    {Name: "h", User: "u", Port: "2222"},
		"ssh://[::1]:22":     {Name: "::1", Port: "22"},
		"ssh://[::1]":        {Name: "::1"},
		"unix:///run/x.sock": {Socket: "/run/x.sock"},
	} {
		got, err := ParseHost(in)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", in, err, diff)
		}
		if again := got.String(); again != strings.TrimSuffix(in, "/") {
			t.Errorf("%q is written %q", in, again)
		}
	}
	for in, want := range map[string]string{
		"h": "form ssh://", "ssh://": "form ssh://", "ssh://-oProxyCommand=x": "form ssh://", "ssh://-x@h": "form ssh://", "ssh://h/path": "form ssh://", "ssh://h?x": "form ssh://",
		"ssh://u:secret@h": "a password", "ssh://h:0": "form ssh://", "ssh://h:99999": "form ssh://", "ssh://h:x": "form ssh://", "unix://x": "form ssh://",
		"tcp://h:2376": "ssh alone", "fd://": "form ssh://", "ssh://a%20b": "form ssh://", "ssh://%0a": "form ssh://",
	} {
		if h, err := ParseHost(in); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %+v, %v", in, h, err)
		}
	}
}

func TestSSH(t *testing.T) {
	h := Host{Name: "h", User: "u", Port: "22"}
	for want, got := range map[string][]string{
		"ssh -o ConnectTimeout=30 -l u -p 22 -t -- h x":    h.SSH("x", true, true),
		"ssh -o ConnectTimeout=30 -l u -p 22 -T -- h x":    h.SSH("x", false, true),
		"ssh -o ConnectTimeout=30 -l u -p 22 -n -T -- h x": h.SSH("x", false, false),
		"ssh -o ConnectTimeout=30 -t -- h x":               Host{Name: "h"}.SSH("x", true, false),
	} {
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, word := range []string{"", "plain", "a b", "it's", `$(x) "y" \ * ?`, "-x", "line\nline", "~", "a=b", "{a,b}", "#", "!x", "''"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q arrives as %q, %v", word, out, err)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"ssh://u@h:22", "unix:///x", "ssh://[::1]", "ssh://%2d@h", "ssh://::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			return
		}
		if args := h.SSH("x", false, false); h.Remote() && (strings.HasPrefix(h.Name, "-") || args[len(args)-2] != h.Name || args[len(args)-3] != "--") {
			t.Errorf("%q becomes %q", s, args)
		}
		if again, err := ParseHost(h.String()); err != nil || again != h {
			t.Errorf("%q: %+v is written %q, which is %+v, %v", s, h, h.String(), again, err)
		}
	})
}
