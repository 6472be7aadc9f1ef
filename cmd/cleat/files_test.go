package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// drawer is an engine with the files of one container.
type drawer struct {
	backend
	calls []string
	fail  error
}

func (d *drawer) call(format string, args ...any) error {
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
	return d.fail
}

func flagsOf(opt engine.CopyOptions) string {
	return fmt.Sprintf("archive=%v follow=%v", opt.Archive, opt.FollowLink)
}

func (d *drawer) CopyIn(_ context.Context, source, ref, target string, opt engine.CopyOptions) (engine.Copied, error) {
	opt.Progress(1000)
	return engine.Copied{Bytes: 2048, Target: "/real"}, d.call("in %s %s %s %s", source, ref, target, flagsOf(opt))
}

func (d *drawer) CopyOut(_ context.Context, ref, source, target string, opt engine.CopyOptions) (engine.Copied, error) {
	return engine.Copied{Bytes: 1_500_000, Target: "/real"}, d.call("out %s %s %s %s", ref, source, target, flagsOf(opt))
}

func (d *drawer) CopyFrom(_ context.Context, ref, name string, opt engine.CopyFromOptions) (io.ReadCloser, engine.PathStat, error) {
	return io.NopCloser(strings.NewReader("a tar archive")), engine.PathStat{}, d.call("from %s %s follow=%v", ref, name, opt.FollowLink)
}

func (d *drawer) CopyTo(_ context.Context, ref, name string, r io.Reader, opt engine.CopyToOptions) error {
	text, err := io.ReadAll(r)
	return errors.Join(err, d.call("to %s %s user=%v kind=%v: %s", ref, name, opt.AsUser, opt.KeepKind, text))
}

func (d *drawer) Changes(_ context.Context, ref string) ([]engine.Change, error) {
	return []engine.Change{{Path: "/a", Kind: 1}, {Path: "/b", Kind: 0}, {Path: "/c d", Kind: 2}}, d.call("diff %s", ref)
}

func (d *drawer) Export(_ context.Context, ref string, w io.Writer) error {
	_, err := io.WriteString(w, "a tar archive")
	return errors.Join(err, d.call("export %s", ref))
}

func (d *drawer) Commit(_ context.Context, ref string, opt engine.CommitOptions) (engine.Image, error) {
	return engine.Image{ID: "sha256:1234"}, d.call("commit %s %q %q %q %q nopause=%v", ref, opt.Reference, opt.Author, opt.Message, opt.Changes, opt.NoPause)
}

func TestFileVerbs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		call string
		out  string
		err  string
	}{
		"into a container":                     {[]string{"cp", "f", "web:/d"}, "in /here/f web /d archive=false follow=false", "", ""},
		"the end of a path says what is meant": {[]string{"cp", "./f/.", "web:d/"}, "in /here/./f/. web d/ archive=false follow=false", "", ""},
		"an absolute source with a colon":      {[]string{"cp", "/a:b", "web:/d"}, "in /a:b web /d archive=false follow=false", "", ""},
		"a source with a dot and a colon":      {[]string{"cp", "./a:b", "web:/d"}, "in /here/./a:b web /d archive=false follow=false", "", ""},
		"a colon in the container's path":      {[]string{"cp", "f", "web:/a:b"}, "in /here/f web /a:b archive=false follow=false", "", ""},
		"out of a container":                   {[]string{"container", "cp", "web:/d/f", "."}, "out web /d/f /here/. archive=false follow=false", "", ""},
		"the engine judges a path":             {[]string{"cp", "web:", "/x"}, "out web  /x archive=false follow=false", "", ""},
		"flags":                                {[]string{"cp", "-aL", "web:f", "/x"}, "out web f /x archive=true follow=true", "", ""},
		"what was copied in":                   {[]string{"cp", "--quiet=false", "f", "web:/d"}, "in /here/f web /d archive=false follow=false", "", "Successfully copied 2.05kB to web:/real\n"},
		"what was copied out":                  {[]string{"cp", "--quiet=false", "web:/d", "x"}, "out web /d /here/x archive=false follow=false", "", "Successfully copied 1.5MB to /real\n"},
		"to stdout":                            {[]string{"cp", "-L", "web:/d", "-"}, "from web /d follow=true", "a tar archive", ""},
		"from stdin":                           {[]string{"cp", "-", "web:/d"}, "to web /d user=false kind=true: input", "", ""},
		"from stdin as the user":               {[]string{"cp", "-a", "-", "web:/d"}, "to web /d user=true kind=true: input", "", ""},
		"diff":                                 {[]string{"diff", "web"}, "diff web", "A /a\nC /b\nD /c d\n", ""},
		"export":                               {[]string{"container", "export", "web"}, "export web", "a tar archive", ""},
		"commit":                               {[]string{"commit", "web"}, `commit web "" "" "" [] nopause=false`, "sha256:1234\n", ""},
		"commit with all": {
			[]string{"container", "commit", "-a", "me", "-m", "msg", "-c", "CMD x", "--change=ENV a=b,c", "-p=false", "web", "n:t"},
			`commit web "n:t" "me" "msg" ["CMD x" "ENV a=b,c"] nopause=true`, "sha256:1234\n", "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &drawer{}
			want(t, tryWith(t, d, "input", tt.args...), outcome{Out: tt.out, Err: tt.err})
			if diff := cmp.Diff([]string{tt.call}, d.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			d = &drawer{fail: classError{"no such container: web", spec.ErrNotFound}}
			if got := tryWith(t, d, "", tt.args...); got.Code != 1 || got.Err != "cleat: no such container: web\n" {
				t.Errorf("a failure: %+v", got)
			}
		})
	}
}

func TestFileVerbsRefuse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"no source":          {[]string{"cp", "", "web:/"}, "cleat: source can not be empty\n"},
		"no destination":     {[]string{"cp", "web:/", ""}, "cleat: destination can not be empty\n"},
		"two containers":     {[]string{"cp", "a:/x", "b:/y"}, "cleat: copying between containers is not supported\n"},
		"no container":       {[]string{"cp", "a", "b"}, "cleat: must specify at least one container source\n"},
		"a file with colons": {[]string{"cp", "/a:b", "./c:d"}, "cleat: must specify at least one container source\n"},
		"one argument":       {[]string{"cp", "a"}, "cleat: 'cleat cp' requires 2 arguments\n"},
		"diff of nothing":    {[]string{"diff"}, "cleat: 'cleat diff' requires 1 argument\n"},
		"export of two":      {[]string{"export", "a", "b"}, "cleat: 'cleat export' requires 1 argument\n"},
		"commit of three":    {[]string{"commit", "a", "b", "c"}, "cleat: 'cleat commit' requires at least 1 and at most 2 arguments\n"},
		"export to nowhere":  {[]string{"export", "-o", "/nowhere/f", "a"}, "cleat: invalid output path: directory \"/nowhere\" does not exist\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &drawer{}
			got := try(t, d, tt.args...)
			if got.Code != 1 || !strings.HasPrefix(got.Err, tt.want) || got.Out != "" || len(d.calls) > 0 {
				t.Errorf("%+v, calls %q, want %q", got, d.calls, tt.want)
			}
		})
	}
}

// A file that could not be written in full does not appear.
func TestExportToFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.tar")
	if got := try(t, &drawer{fail: errors.New("broken")}, "export", "-o", path, "web"); got.Code != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", path, err)
	}
	want(t, try(t, &drawer{}, "export", "--output", path, "web"), outcome{})
	if data, err := os.ReadFile(path); err != nil || string(data) != "a tar archive" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestCopyHelpIsDockers(t *testing.T) {
	t.Parallel()
	got := try(t, &drawer{}, "cp", "--help")
	const head = `Usage:  cleat cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-
	cleat cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH

Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.

Aliases:
  cleat container cp, cleat cp

Options:
  -a, --archive       Archive mode (copy all uid/gid information)
  -L, --follow-link   Always follow symbol link in SRC_PATH
  -q, --quiet         Suppress progress output during copy.`
	if got.Code != 0 || !strings.HasPrefix(got.Out, head) {
		t.Errorf("help:\n%s", got.Out)
	}
}
