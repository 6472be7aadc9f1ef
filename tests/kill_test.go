package tests

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// victim is a command that is killed at a random moment, again and again.
type victim struct {
	name string
	args []string                                    // with {n} for a name of this turn's
	pre  []string                                    // a command that prepares the turn
	in   func() io.Reader                            // standard input
	told func(s site, n, out string) (broken string) // checks that what it printed is true; "" if it is
}

// idLine is a line that tells of a new container.
var idLine = regexp.MustCompile(`(?m)^[0-9a-f]{64}$`)

func runs(s site, _, out string) string {
	id := idLine.FindString(out)
	if id == "" {
		return ""
	}
	if r := s.try("inspect", "-f", "{{.State.Status}}", id); r.out != "running" {
		return fmt.Sprintf("container %s was reported as running: %v", id, r)
	}
	return ""
}

func exists(s site, _, out string) string {
	id := idLine.FindString(out)
	if id == "" {
		return ""
	}
	if r := s.try("inspect", "-f", "{{.State.Status}}", id); r.out != "created" {
		return fmt.Sprintf("container %s was reported as created: %v", id, r)
	}
	return ""
}

func exited(s site, n, out string) string {
	if strings.TrimSpace(out) != n {
		return ""
	}
	if r := s.try("inspect", "-f", "{{.State.Status}}", n); r.out != "exited" {
		return fmt.Sprintf("container %s was reported as stopped: %v", n, r)
	}
	return ""
}

func gone(s site, n, out string) string {
	if strings.TrimSpace(out) != n {
		return ""
	}
	if r := s.try("inspect", n); r.code == 0 {
		return fmt.Sprintf("container %s was reported as removed: %v", n, r)
	}
	return ""
}

// imageThere checks that an image whose id or name was printed can be run.
func imageThere(s site, n, out string) string {
	if !strings.HasSuffix(out, "\n") { // not told to the end
		return ""
	}
	if r := s.try("run", "--rm", "--network", "none", n, "true"); r.code != 0 {
		return fmt.Sprintf("image %s was reported as there: %v", n, r)
	}
	return ""
}

// imageGone checks that an image that was removed is not listed any more.
func imageGone(s site, name, out string) string {
	if !strings.Contains(out, "Deleted: ") {
		return ""
	}
	if r := s.try("image", "inspect", name); r.code == 0 {
		return fmt.Sprintf("image %s was reported as deleted: %v", name, r)
	}
	return ""
}

func volumeThere(s site, n, out string) string {
	if strings.TrimSpace(out) != n {
		return ""
	}
	if r := s.try("run", "--rm", "--network", "none", "-v", n+":/v", "busybox", "touch", "/v/f"); r.code != 0 {
		return fmt.Sprintf("volume %s was reported as there: %v", n, r)
	}
	return ""
}

// TestKills kills commands with SIGKILL at random moments. Nothing that was
// reported as done is undone, and "system check --repair" mends everything else:
// after the rest was removed as a user would, the root directory is as before.
func TestKills(t *testing.T) {
	s := newSite(t)
	images := killImages(t)
	s.importImage(t, "busybox")
	before := s.tree(t)
	s.must(t, "run", "-d", "--network", "none", "--name", "written", "busybox", "sh", "-c", "dd if=/dev/urandom of=/f bs=1k count=64; sleep 10000") // what is committed

	detached := func(args ...string) []string {
		return append(append([]string{"run", "-d", "--network", "none", "--name", "{n}"}, args...), "busybox", "sleep", "1000")
	}
	from := func(data []byte) func() io.Reader { return func() io.Reader { return bytes.NewReader(data) } }
	victims := []victim{
		{name: "run -d", args: detached(), told: runs},
		{name: "run -d with a volume", args: detached("-v", "/data"), told: runs},
		{name: "run -d --rm", args: detached("--rm", "-v", "/data"), told: runs},
		{name: "run -d --restart=always", args: detached("--restart=always"), told: runs},
		{name: "run --rm", args: []string{"run", "--rm", "--network", "none", "-i", "busybox", "echo", "x"}},
		{name: "create", args: []string{"create", "--network", "none", "-v", "/data", "busybox"}, told: exists},
		{name: "rm -f", pre: detached("-v", "/data"), args: []string{"rm", "-f", "-v", "{n}"}, told: gone},
		{name: "rm -f of a service", pre: detached("--restart=always"), args: []string{"rm", "-f", "{n}"}, told: gone},
		{name: "stop", pre: detached(), args: []string{"stop", "{n}"}, told: exited},
		{name: "stop of a service", pre: detached("--restart=unless-stopped"), args: []string{"stop", "{n}"}, told: exited},
		{name: "rename", pre: detached(), args: []string{"rename", "{n}", "{n}new"}},
		{name: "rename of a service", pre: detached("--restart=always"), args: []string{"rename", "{n}", "{n}new"}},
		{name: "rename of what does not run", pre: []string{"create", "--network", "none", "--name", "{n}", "busybox"}, args: []string{"rename", "{n}", "{n}new"}},
		{name: "update", pre: detached(), args: []string{"update", "--restart", "always", "--pids-limit", "50", "{n}"}},
		{name: "update of a service", pre: detached("--restart=always"), args: []string{"update", "--restart", "no", "{n}"}},
		{name: "restart", pre: detached(), args: []string{"restart", "{n}"}},
		{name: "pull", args: []string{"pull", "-q", images.remote + "/app:{n}"}, told: func(s site, n, out string) string {
			return imageThere(s, images.remote+"/app:"+n, out)
		}},
		{name: "pull of an image that is there", pre: []string{"pull", "-q", images.remote + "/app:shared"}, args: []string{"pull", "-q", images.remote + "/app:shared"}},
		{name: "import", in: from(images.root), args: []string{"import", "-", "{n}"}, told: imageThere},
		{name: "load", in: from(images.archive), args: []string{"load", "-q"}, told: func(s site, _, out string) string {
			return imageThere(s, "loaded:v1", out)
		}},
		{name: "rmi", pre: []string{"tag", "busybox", "{n}"}, args: []string{"rmi", "{n}"}},
		{name: "rmi of the last name", pre: []string{"pull", "-q", images.remote + "/app:{n}"}, args: []string{"rmi", images.remote + "/app:{n}"}, told: func(s site, n, out string) string {
			return imageGone(s, images.remote+"/app:"+n, out)
		}},
		{name: "commit", args: []string{"commit", "-m", "{n}", "written", "{n}"}, told: imageThere},
		{name: "image prune", pre: []string{"commit", "-m", "{n}", "written"}, args: []string{"image", "prune", "-f"}},
		{name: "save", args: []string{"save", "busybox"}},
		{name: "volume create", args: []string{"volume", "create", "{n}"}, told: volumeThere},
		{name: "volume rm", pre: []string{"volume", "create", "{n}"}, args: []string{"volume", "rm", "{n}"}},
	}
	turns := 18
	if testing.Short() {
		turns = 5
	}
	images.publish(t, victims, turns)
	s.killAll(t, victims, turns)

	first := s.try("system", "check", "--repair")
	t.Logf("check --repair: %v", first)
	if first.code != 0 {
		t.Errorf("check --repair leaves something: %v", first)
	}
	s.clean(t)
	s.everyImageRuns(t)
	s.empty(t)
	s.try("system", "check", "--repair") // collects what the images left
	s.clean(t)
	if diff := minus(s.tree(t), before); len(diff) > 0 {
		t.Errorf("left in the root directory:\n  %s", strings.Join(diff, "\n  "))
	}
	if diff := minus(before, s.tree(t)); len(diff) > 0 {
		t.Errorf("lost from the root directory:\n  %s", strings.Join(diff, "\n  "))
	}
}

// killAll gives every victim its turns, two at a time.
func (s site) killAll(t *testing.T, victims []victim, turns int) {
	type turn struct {
		v    victim
		n    string
		part float64 // of the command's usual time, after which it is killed
	}
	random := rand.New(rand.NewPCG(7, 11))
	var all []turn
	for i, v := range victims {
		for k := range turns {
			all = append(all, turn{v, turnName(i, k), random.Float64() * 1.3})
		}
	}
	usual := map[string]time.Duration{}
	for i, v := range victims {
		usual[v.name] = s.duration(t, v, turnName(i, turns))
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	work := make(chan turn)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for w := range work {
				if broken := s.kill(w.v, w.n, time.Duration(w.part*float64(usual[w.v.name]))); broken != "" {
					t.Errorf("%s: %s", w.v.name, broken)
				}
			}
		})
	}
	for _, w := range all {
		work <- w
	}
	close(work)
	wg.Wait()
	t.Logf("%d commands were killed; undisturbed they take %v", len(all), usual)
}

func turnName(i, k int) string { return fmt.Sprintf("k%d-%d", i, k) }

func fill(args []string, n string) []string {
	filled := slices.Clone(args)
	for i := range filled {
		filled[i] = strings.ReplaceAll(filled[i], "{n}", n)
	}
	return filled
}

// duration runs a victim undisturbed.
func (s site) duration(t *testing.T, v victim, n string) time.Duration {
	t.Helper()
	if v.pre != nil {
		s.must(t, fill(v.pre, n)...)
	}
	cmd := s.cmd(fill(v.args, n)...)
	if v.in != nil {
		cmd.Stdin = v.in()
	}
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s, undisturbed: %v\n%s", v.name, err, out)
	}
	return time.Since(began)
}

// kill runs a victim, kills it after the time given, and returns what is not
// as the victim said.
func (s site) kill(v victim, n string, after time.Duration) string {
	if v.pre != nil {
		if r := s.try(fill(v.pre, n)...); r.code != 0 {
			return fmt.Sprintf("preparation of %s: %v", n, r)
		}
	}
	cmd := s.cmd(fill(v.args, n)...)
	if v.in != nil {
		cmd.Stdin = v.in()
	}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() >= 0 {
		return fmt.Sprintf("failed by itself: %v\n%s", err, stderr.Bytes())
	}
	if v.told == nil {
		return ""
	}
	return v.told(s, n, out.String())
}

// everyImageRuns checks that no broken image is listed.
func (s site) everyImageRuns(t *testing.T) {
	for id := range strings.Lines(s.must(t, "images", "-aq", "--no-trunc")) {
		id = strings.TrimSpace(id)
		if r := s.try("run", "--rm", "--network", "none", id, "true"); r.code != 0 {
			t.Errorf("listed image %s: %v", id, r)
		}
	}
}

// empty removes all containers, and all images but busybox.
func (s site) empty(t *testing.T) {
	t.Helper()
	for id := range strings.Lines(s.must(t, "ps", "-aq", "--no-trunc")) {
		s.must(t, "rm", "-f", "-v", strings.TrimSpace(id))
	}
	s.must(t, "volume", "prune", "-af")
	for name := range strings.Lines(s.must(t, "images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")) {
		ref, id, _ := strings.Cut(strings.TrimSpace(name), " ")
		switch {
		case ref == "busybox:latest":
		case strings.Contains(ref, "<none>"):
			s.must(t, "rmi", "-f", id)
		default:
			s.must(t, "rmi", ref)
		}
	}
}

// tree lists what lies below the root and the runtime directory, but for the
// host's own journal and state.
func (s site) tree(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.root, path)
		if err != nil {
			return err
		}
		if rel == "host" || rel == "volumes" && isEmpty(path) || strings.HasPrefix(rel, "layers/") && strings.Count(rel, "/") > 1 {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if layer, ok := strings.CutPrefix(rel, "images/locks/"); ok && exist(filepath.Join(s.root, "layers", layer)) {
			return nil // taken when the layer came a second time
		}
		all = append(all, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	running := s.must(t, "host", "shell", "find", "/run/cleat", "-mindepth", "2", "!", "-path", "*/exit/*", "!", "-path", "*/net/lock")
	mounts := s.must(t, "host", "shell", "sh", "-c", "cut -d' ' -f5 /proc/1/mountinfo")
	units := s.must(t, "host", "shell", "systemctl", "list-units", "--all", "--plain", "--no-legend", "cleat-*.service")
	for text, kind := range map[string]string{running: "", mounts: "mount ", units: "unit "} {
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 0 && f[0] != "cleat-stdiod.service" {
				all = append(all, kind+f[0])
			}
		}
	}
	slices.Sort(all)
	return all
}

// minus returns what is in a and not in b.
func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// importImage makes the image of busybox.
func (s site) importImage(t testing.TB, name string) {
	t.Helper()
	cmd := s.cmd("import", "-c", `CMD ["sh"]`, "-", name)
	var layer bytes.Buffer
	if err := writeBusybox(&layer); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = &layer
	if r := finish(cmd); r.code != 0 {
		t.Fatalf("import: %v", r)
	}
}

// killed are the images that killed commands work with.
type killed struct {
	remote        string // host:port of a registry
	root, archive []byte
}

func killImages(t *testing.T) killed {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	k := killed{remote: strings.TrimPrefix(server.URL, "http://")}
	var layer bytes.Buffer
	if err := writeBusybox(&layer); err != nil {
		t.Fatal(err)
	}
	k.root = layer.Bytes()
	ref, err := name.NewTag("loaded:v1")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(ref, k.image(t, "loaded"), &archive); err != nil {
		t.Fatal(err)
	}
	k.archive = archive.Bytes()
	return k
}

// image makes an image of busybox and layers of its own, all small.
func (k killed) image(t testing.TB, seed string) v1.Image {
	t.Helper()
	contents := [][]byte{k.root}
	for i := range 4 {
		contents = append(contents, filesTar(t, fmt.Sprintf("%s-%d", seed, i)))
	}
	img := empty.Image
	for _, c := range contents {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	img, err := mutate.Config(img, v1.Config{Cmd: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// publish puts into the registry what the victims pull.
func (k killed) publish(t *testing.T, victims []victim, turns int) {
	t.Helper()
	push := func(tag string, img v1.Image) {
		ref, err := name.ParseReference(k.remote + "/app:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
	}
	push("shared", k.image(t, "shared"))
	for i, v := range victims {
		if v.name != "pull" && v.name != "rmi of the last name" {
			continue
		}
		for n := range turns + 1 {
			push(turnName(i, n), k.image(t, fmt.Sprint(n)))
		}
	}
}

// filesTar is a tar of some files in a directory of their own.
func filesTar(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 40 {
		content := []byte(strings.Repeat(fmt.Sprintf("%s %d\n", dir, i), 200))
		h := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/%d", dir, i), Mode: 0o644, Size: int64(len(content))}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func exist(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// tarOf is a tar of one file.
func tarOf(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// isEmpty reports whether a directory has no entry.
func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}
