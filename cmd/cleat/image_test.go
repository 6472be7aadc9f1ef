package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/engine"
	"github.com/cleat-project/cleat/spec"
)

// shelf is an engine with images.
type shelf struct {
	backend
	list  []engine.Image
	event []engine.PullEvent
	calls []string
	input string
	fail  error
}

func (s *shelf) call(words ...string) error {
	s.calls = append(s.calls, strings.Join(words, " "))
	return s.fail
}

func (s *shelf) Images(context.Context) ([]engine.Image, error) { return s.list, nil }

func (s *shelf) ImageUsage(context.Context) ([]engine.ImageUsage, error) {
	var all []engine.ImageUsage
	for i, img := range s.list {
		all = append(all, engine.ImageUsage{Image: img, ContentBytes: 1_000_000, Containers: 1 - i})
	}
	return all, nil
}

func (s *shelf) Image(_ context.Context, ref string) (engine.Image, error) {
	for _, img := range s.list {
		for _, r := range img.References {
			if r.Familiar() == familiar(ref) {
				return img, nil
			}
		}
	}
	return engine.Image{}, classError{"no such image: " + ref, spec.ErrNotFound}
}

func (s *shelf) Pull(_ context.Context, ref string, opt engine.PullOptions) (engine.Image, error) {
	for _, e := range s.event {
		opt.Progress(e)
	}
	return s.list[0], s.call("pull", ref, opt.Platform)
}

func (s *shelf) RemoteTags(_ context.Context, repository string) ([]engine.Reference, error) {
	return s.list[0].References, s.call("tags", repository)
}

func (s *shelf) Tag(_ context.Context, source, target string) error {
	return s.call("tag", source, target)
}

func (s *shelf) RemoveImage(_ context.Context, ref string, opt engine.RemoveImageOptions) ([]engine.RemovedImage, error) {
	if ref == "bad" {
		return nil, classError{"no such image: bad", spec.ErrNotFound}
	}
	return []engine.RemovedImage{{Untagged: ref + ":latest"}, {Deleted: "sha256:1"}}, s.call("rmi", ref, map[bool]string{true: "force"}[opt.Force])
}

func (s *shelf) Load(_ context.Context, r io.Reader, opt engine.LoadOptions) ([]engine.LoadedImage, error) {
	text, err := io.ReadAll(r)
	s.input = string(text)
	return []engine.LoadedImage{{Image: s.list[0], Names: s.list[0].References}, {Image: s.list[1]}}, errors.Join(err, s.call("load", opt.Platform))
}

func (s *shelf) Import(_ context.Context, r io.Reader, opt engine.ImportOptions) (engine.Image, error) {
	text, err := io.ReadAll(r)
	s.input = string(text)
	return s.list[0], errors.Join(err, s.call("import", opt.Reference, strings.Join(opt.Changes, ";"), opt.Message, opt.Platform))
}

func (s *shelf) Fetch(_ context.Context, address string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("from the net")), s.call("fetch", address)
}

func (s *shelf) NeedPlatform(_ context.Context, ref, platform string) error {
	if platform != "linux/amd64" {
		return classError{"image " + ref + " is for linux/amd64, not for " + platform, spec.ErrNotFound}
	}
	return nil
}

func (s *shelf) History(context.Context, string) ([]engine.ImageLayer, error) {
	var a, b engine.ImageLayer
	a.CreatedBy, a.SizeBytes, a.Created, a.Comment = "COPY "+strings.Repeat("x", 60), 1_200_000, time.Now().Add(-time.Hour), "c"
	b.CreatedBy = "FROM\tscratch"
	return []engine.ImageLayer{a, b}, nil
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	ref := func(s string) engine.Reference {
		r, err := engine.ParseReference(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	digest := "sha256:" + strings.Repeat("d1", 32)
	a := engine.Image{
		ID: "sha256:aaaaaaaaaaaa0000000000000000000000000000000000000000000000000000", Created: time.Now().Add(-3 * 7 * 24 * time.Hour), SizeBytes: 187_400_000,
		References: []engine.Reference{ref("nginx"), ref("registry.lan:5000/web:1.2")}, RepoDigests: []engine.Reference{ref("nginx@" + digest)},
	}
	a.Config.Labels = map[string]string{"tier": "front"}
	b := engine.Image{ID: "sha256:bbbbbbbbbbbb0000000000000000000000000000000000000000000000000000", SizeBytes: 10}
	return &shelf{list: []engine.Image{a, b}}
}

func TestImages(t *testing.T) {
	t.Parallel()
	const nginx, web = "nginx:latest", "registry.lan:5000/web:1.2"
	want(t, try(t, newShelf(t), "images"), outcome{Out: "" +
		"REPOSITORY              TAG       IMAGE ID       CREATED       SIZE\n" +
		"nginx                   latest    aaaaaaaaaaaa   3 weeks ago   187MB\n" +
		"registry.lan:5000/web   1.2       aaaaaaaaaaaa   3 weeks ago   187MB\n" +
		"<none>                  <none>    bbbbbbbbbbbb   N/A           10B\n"})
	tests := map[string]string{
		"":                             nginx + " " + web + " <none>:<none>",
		"nginx":                        nginx,
		"nginx:1":                      "",
		"docker.io/library/nginx":      nginx,
		"-f reference=*:5000/web":      web,
		"-f reference=ng*:latest":      nginx,
		"-f dangling=true":             "<none>:<none>",
		"-f dangling=false nginx":      nginx,
		"-f label=tier=front":          nginx + " " + web,
		"-f label=tier -f label=other": "",
		"-f before=nginx":              "<none>:<none>",
		"-f since=nginx":               "",
		"-f before=nginx ng*":          "",
		"-f reference=ng* */web":       nginx + " " + web,
		"-f until=1h":                  nginx + " " + web + " <none>:<none>",
		"-f until=1000h":               "<none>:<none>",
	}
	for args, names := range tests {
		got := try(t, newShelf(t), append([]string{"image", "ls", "--format", "{{.Repository}}:{{.Tag}}"}, strings.Fields(args)...)...)
		if strings.Join(strings.Fields(got.Out), " ") != names || got.Code != 0 {
			t.Errorf("images %s: %+v, want %s", args, got, names)
		}
	}
	want(t, try(t, newShelf(t), "images", "-q"), outcome{Out: "aaaaaaaaaaaa\nbbbbbbbbbbbb\n"})
	want(t, try(t, newShelf(t), "images", "--digests", "--no-trunc", "--format", "table {{.ID}} {{.Digest}}", "nginx"), outcome{
		Out: "IMAGE ID DIGEST\nsha256:aaaaaaaaaaaa" + strings.Repeat("0", 52) + " sha256:" + strings.Repeat("d1", 32) + "\n",
	})
	for args, msg := range map[string]string{"dangling=maybe": "true or false", "size=3": "invalid filter 'size'", "x": "bad format of filter", "before=nosuch": "no such image", "until=then": "invalid filter 'until=then'"} {
		if got := try(t, newShelf(t), "images", "-f", args); got.Code == 0 || !strings.Contains(got.Err, msg) {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestImageTree(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.list[0].Platform.OS, s.list[0].Platform.Architecture = "linux", "amd64"
	s.list[1].Platform = s.list[0].Platform
	want(t, try(t, s, "images", "--tree"), outcome{Out: "" +
		"IMAGE                       ID             DISK USAGE   CONTENT SIZE   EXTRA\n" +
		"nginx:latest                                                           \n" +
		"registry.lan:5000/web:1.2   aaaaaaaaaaaa   188MB        1MB            U\n" +
		"└─ linux/amd64              aaaaaaaaaaaa   188MB        1MB            U\n" +
		"<untagged>                  bbbbbbbbbbbb   1MB          1MB            \n" +
		"└─ linux/amd64              bbbbbbbbbbbb   1MB          1MB            \n"})
	if got := try(t, s, "image", "ls", "--tree", "-f", "reference=web*/*", "nosuch"); got.Out != "IMAGE     ID        DISK USAGE   CONTENT SIZE   EXTRA\n" {
		t.Errorf("%+v", got)
	}
	for _, flag := range []string{"-q", "--no-trunc", "--digests", "--format=json"} {
		if got := try(t, bystander{}, "images", "--tree", flag); got.Code != 1 || !strings.Contains(got.Err, "--tree") {
			t.Errorf("%s: %+v", flag, got)
		}
	}
}

func TestPull(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	first := engine.PullEvent{Layer: s.list[0].ID}
	second := engine.PullEvent{Layer: s.list[1].ID}
	step := func(e engine.PullEvent, phases int) engine.PullEvent {
		for range phases {
			e.Phase++
		}
		return e
	}
	s.event = []engine.PullEvent{first, step(first, 1), step(second, 3), step(first, 2), step(first, 1), step(first, 2), step(first, 4)}
	digest := "sha256:" + strings.Repeat("d1", 32)
	want(t, try(t, s, "pull", "--platform", "linux/arm64", "nginx"), outcome{Out: `Using default tag: latest
latest: Pulling from library/nginx
aaaaaaaaaaaa: Pulling fs layer
bbbbbbbbbbbb: Already exists
aaaaaaaaaaaa: Pull complete
Digest: ` + digest + `
Status: Image is up to date for nginx:latest
docker.io/library/nginx:latest
`})
	if diff := cmp.Diff([]string{"pull nginx linux/arm64"}, s.calls); diff != "" {
		t.Error(diff)
	}
	got := try(t, newShelf(t), "pull", "nginx:2")
	if !strings.HasPrefix(got.Out, "2: Pulling from library/nginx\n") || !strings.Contains(got.Out, "Status: Downloaded newer image for nginx:2\n") {
		t.Errorf("%+v", got)
	}
	s = newShelf(t)
	want(t, try(t, s, "pull", "-a", "-q", "repo"), outcome{Out: "docker.io/library/nginx:latest\nregistry.lan:5000/web:1.2\n"})
	if diff := cmp.Diff([]string{"tags repo", "pull docker.io/library/nginx:latest ", "pull registry.lan:5000/web:1.2 "}, s.calls); diff != "" {
		t.Error(diff)
	}
	want(t, try(t, newShelf(t), "pull", "-q", "nginx"), outcome{Out: "docker.io/library/nginx:latest\n"})
	s = newShelf(t)
	s.fail = errors.New("registry docker.io cannot be reached")
	want(t, try(t, s, "pull", "-q", "nginx"), outcome{Err: "cleat: registry docker.io cannot be reached\n", Code: 1})
	if got := try(t, newShelf(t), "pull", "BAD"); got.Code != 1 || len(got.Err) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestProgressBar(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]layerProgress{
		"a: Waiting": {"a", phaseWaiting, 0, 100},
		"a: Downloading [=========================>                        ] 500kB/1MB": {"a", phaseDownloading, 500_000, 1_000_000},
		"a: Extracting  [==================================================] 1MB/1MB":   {"a", phaseExtracting, 1_000_000, 1_000_000},
		"a: Downloading": {"a", phaseDownloading, 5, 0},
	} {
		if got := l.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTagRmiHistory(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	want(t, try(t, s, "tag", "a", "b:1"), outcome{})
	want(t, try(t, s, "rmi", "-f", "a", "bad"), outcome{Out: "Untagged: a:latest\nDeleted: sha256:1\n", Err: "cleat: no such image: bad\n"})
	if diff := cmp.Diff([]string{"tag a b:1", "rmi a force"}, s.calls); diff != "" {
		t.Error(diff)
	}
	want(t, try(t, s, "history", "nginx"), outcome{Out: "" +
		"IMAGE          CREATED             CREATED BY                                      SIZE      COMMENT\n" +
		"aaaaaaaaaaaa   About an hour ago   COPY xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…   1.2MB     c\n" +
		"<missing>      N/A                 FROM scratch                                    0B        \n"})
	got := try(t, s, "history", "-H=false", "--no-trunc", "--format", "{{.ID}} {{.Size}}", "nginx")
	want(t, got, outcome{Out: string(s.list[0].ID) + " 1200000\n<missing> 0\n"})
	want(t, try(t, s, "history", "nope"), outcome{Err: "cleat: no such image: nope\n", Code: 1})
}

// An image is for one platform: asking for another is an error, and nothing is done.
func TestPlatform(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"history", "rmi", "image rm", "push", "image inspect"} {
		s := newShelf(t)
		got := try(t, s, append(strings.Fields(verb), "--platform", "linux/arm64", "nginx")...)
		if got.Code != 1 || !strings.Contains(got.Err, "is for linux/amd64, not for linux/arm64") || len(s.calls) > 0 {
			t.Errorf("%s: %+v, calls %q", verb, got, s.calls)
		}
	}
	s := newShelf(t)
	want(t, try(t, s, "rmi", "--platform", "linux/amd64", "a"), outcome{Out: "Untagged: a:latest\nDeleted: sha256:1\n"})
	if got := try(t, bystander{}, "push", "-a", "--platform", "linux/amd64", "a"); got.Code == 0 {
		t.Errorf("%+v", got)
	}
}

func TestLoadAndImport(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(path, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded := outcome{Out: "Loaded image: nginx:latest\nLoaded image: registry.lan:5000/web:1.2\nLoaded image ID: sha256:bbbbbbbbbbbb" + strings.Repeat("0", 52) + "\n"}
	imported := outcome{Out: "sha256:aaaaaaaaaaaa" + strings.Repeat("0", 52) + "\n"}
	tests := []struct {
		args  []string
		want  outcome
		input string
		call  string
	}{
		{[]string{"load"}, loaded, "from stdin", "load "},
		{[]string{"load", "-i", path, "--platform", "linux/arm64"}, loaded, "from a file", "load linux/arm64"},
		{[]string{"import", "-"}, imported, "from stdin", "import    "},
		{[]string{"import", "-c", "CMD a", "-c", "ENV b=1", "-m", "msg", path, "web:1"}, imported, "from a file", "import web:1 CMD a;ENV b=1 msg "},
	}
	for _, tt := range tests {
		s := newShelf(t)
		want(t, tryWith(t, s, "from stdin", tt.args...), tt.want)
		if s.input != tt.input || len(s.calls) != 1 || s.calls[0] != tt.call {
			t.Errorf("%v: input %q, calls %q", tt.args, s.input, s.calls)
		}
	}
	for _, args := range [][]string{{"load", "-i", "/nonexist"}, {"import", "/nonexist"}} {
		want(t, try(t, bystander{}, args...), outcome{Err: "cleat: open /nonexist: no such file or directory\n", Code: 1})
	}
	s := newShelf(t)
	want(t, try(t, s, "import", "https://x/y.tar", "web:1"), imported)
	if diff := cmp.Diff([]string{"fetch https://x/y.tar", "import web:1   "}, s.calls); diff != "" || s.input != "from the net" {
		t.Errorf("input %q, calls (-want +got):\n%s", s.input, diff)
	}
}
