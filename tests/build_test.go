package tests

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var updateBuilds = flag.Bool("update-builds", false, "rewrite what the builds of testdata/build are expected to make")

// buildCase is a directory to build, from testdata/build.
type buildCase struct {
	name, dir string
	archive   *txtar.Archive
	flags     []string
	noDocker  bool
	want      string
}

// buildCases unpacks the corpus.
func buildCases(t *testing.T) []buildCase {
	t.Helper()
	names, err := filepath.Glob("testdata/build/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no builds: %v", err)
	}
	var all []buildCase
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c := buildCase{name: strings.TrimSuffix(filepath.Base(name), ".txtar"), dir: tempDir(t), archive: a}
		for _, f := range a.Files {
			switch f.Name {
			case "flags":
				c.flags = strings.Fields(strings.ReplaceAll(string(f.Data), "src=", "src="+c.dir+"/"))
			case "nodocker":
				c.noDocker = true
			case "want":
				c.want = string(f.Data)
			default:
				writeBuildFile(t, filepath.Join(c.dir, f.Name), f.Data)
			}
		}
		all = append(all, c)
	}
	return all
}

func writeBuildFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// configFormat is what two builders must agree on of an image's configuration.
const configFormat = `env {{json .Config.Env}}
cmd {{json .Config.Cmd}} {{json .Config.Entrypoint}}
user {{json .Config.User}} dir {{json .Config.WorkingDir}} author {{json .Author}}
labels {{json .Config.Labels}}
ports {{json .Config.ExposedPorts}} volumes {{json .Config.Volumes}}
onbuild {{json .Config.OnBuild}}`

// listTar describes the files of a root file system, all but those of the base
// image and those that a start makes.
func listTar(r io.Reader) (string, error) {
	var lines []string
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(lines)
			return strings.Join(lines, "\n") + "\n", nil
		}
		if err != nil {
			return "", err
		}
		name := "/" + strings.Trim(strings.TrimPrefix(hdr.Name, "./"), "/")
		top, _, _ := strings.Cut(name[1:], "/")
		if slices.Contains([]string{"", ".", "bin", "dev", "proc", "sys", "etc", "tmp", "home", "root", ".dockerenv"}, top) {
			continue
		}
		line := fmt.Sprintf("%s %c %04o %d:%d", name, hdr.Typeflag, hdr.Mode&0o7777, hdr.Uid, hdr.Gid)
		switch hdr.Typeflag {
		case tar.TypeSymlink:
			line = fmt.Sprintf("%s -> %s", name, hdr.Linkname)
		case tar.TypeReg:
			data, err := io.ReadAll(io.LimitReader(tr, 200))
			if err != nil {
				return "", err
			}
			line += fmt.Sprintf(" %q", data)
		}
		lines = append(lines, line)
	}
}

// imageFacts returns what an image is, by commands of either tool.
func imageFacts(t *testing.T, tool func(args ...string) *exec.Cmd, image string) string {
	t.Helper()
	config := finish(tool("image", "inspect", "-f", configFormat, image))
	id := finish(tool("create", "--network", "none", image, "true"))
	if config.code != 0 || id.code != 0 {
		t.Fatalf("%v, %v", config, id)
	}
	defer func() { finish(tool("rm", "-v", id.out)) }()
	cmd := tool("export", id.out)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := listTar(out)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	// As with BuildKit, an image always says what its working directory is.
	return strings.Replace(config.out, ` dir ""`, ` dir "/"`, 1) + "\n" + list
}

// TestBuilds builds the corpus and compares trees and configurations with what is
// written there, then builds it again, which has to run nothing.
func TestBuilds(t *testing.T) {
	s := shared()
	for _, c := range buildCases(t) {
		t.Run(c.name, func(t *testing.T) {
			tag := "corpus-" + c.name
			args := slices.Concat([]string{"build", "--network", "none", "--progress", "plain", "-t", tag}, c.flags, []string{c.dir})
			r := s.try(args...)
			if r.code != 0 {
				t.Fatal(r.stderr)
			}
			t.Cleanup(func() { s.try("rmi", tag) })
			got := imageFacts(t, s.cmd, tag)
			if *updateBuilds {
				c.update(t, got)
			} else if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			id := s.must(t, "images", "-q", "--no-trunc", tag)
			again := s.try(args...)
			if again.code != 0 || strings.Contains(again.stderr, "] RUN") && !strings.Contains(again.stderr, "CACHED") {
				t.Errorf("again: %v", again)
			}
			if now := s.must(t, "images", "-q", "--no-trunc", tag); now != id {
				t.Errorf("a build that changes nothing makes %s of %s", now, id)
			}
		})
	}
	s.clean(t)
}

func (c buildCase) update(t *testing.T, got string) {
	t.Helper()
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == "want" })
	c.archive.Files = append(c.archive.Files, txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile("testdata/build/"+c.name+".txtar", txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestBuildsLikeDocker builds what the classic builder can build with both.
func TestBuildsLikeDocker(t *testing.T) {
	docker, s := startDocker(t), shared()
	for _, c := range buildCases(t) {
		if c.noDocker {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			tag := "likedocker-" + c.name
			cmd := docker(slices.Concat([]string{"build", "--network", "none", "-t", tag}, c.flags, []string{c.dir})...)
			cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
			if r := finish(cmd); r.code != 0 {
				t.Fatalf("docker build: %v", r)
			}
			s.must(t, slices.Concat([]string{"build", "-q", "--network", "none", "-t", tag}, c.flags, []string{c.dir})...)
			t.Cleanup(func() { s.try("rmi", tag) })
			if diff := cmp.Diff(imageFacts(t, docker, tag), imageFacts(t, s.cmd, tag)); diff != "" {
				t.Errorf("(-docker +cleat):\n%s", diff)
			}
		})
	}
}
