// Package packaging tests the packages that packaging/build makes. They are
// named by CLEAT_PACKAGES and the programs by CLEAT_BIN; "make packages" sets
// both.
package packaging

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func TestVersion(t *testing.T) {
	for _, tt := range []struct{ describe, deb, arch string }{
		{"v1.2.0", "1.2.0", "1.2.0"},
		{"v1.2.0-dirty", "1.2.0+dirty", "1.2.0+dirty"},
		{"v1.2.0-3-gabcdef0", "1.2.0+3.gabcdef0", "1.2.0+3.gabcdef0"},
		{"v1.2.0-rc1", "1.2.0~rc1", "1.2.0rc1"},
		{"v1.2.0-rc1-5-gabcdef0-dirty", "1.2.0~rc1+5.gabcdef0+dirty", "1.2.0rc1+5.gabcdef0+dirty"},
	} {
		for format, want := range map[string]string{"deb": tt.deb, "rpm": tt.deb, "archlinux": tt.arch} {
			if got := strings.TrimSpace(output(t, "./version", format, tt.describe)); got != want {
				t.Errorf("version %s %s = %s, want %s", format, tt.describe, got, want)
			}
		}
	}
	if out, err := exec.Command("./version", "deb", "nonsense").CombinedOutput(); err == nil {
		t.Errorf("version of nonsense: %s, want an error", out)
	}
}

// A release has to sort after its candidates and before what follows it.
func TestVersionsSort(t *testing.T) {
	order := []string{"v1.2.0-rc1", "v1.2.0-rc1-5-gabcdef0", "v1.2.0", "v1.2.0-3-gabcdef0", "v1.2.1-rc1", "v1.2.1"}
	for i := range order[1:] {
		older, newer := output(t, "./version", "deb", order[i]), output(t, "./version", "deb", order[i+1])
		output(t, "dpkg", "--compare-versions", strings.TrimSpace(older), "lt", strings.TrimSpace(newer))
	}
}

// debs are the files of the Debian packages, by package and by path.
func debs(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, name := range []string{"cleat", "cleat-docker"} {
		data := output(t, "dpkg-deb", "--fsys-tarfile", built(t, name+"_*.deb"))
		all[name] = files(t, strings.NewReader(data))
	}
	return all
}

// built returns the one package that fits the pattern.
func built(t *testing.T, pattern string) string {
	t.Helper()
	dir := os.Getenv("CLEAT_PACKAGES")
	if dir == "" {
		t.Skip("no packages: use 'make packages'")
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages %s: found %v (%v), want one", pattern, found, err)
	}
	return found[0]
}

// files returns what a tar archive has besides directories: the content of files
// and the targets of links.
func files(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Join("/", h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			all[name] = string(data)
		case tar.TypeSymlink:
			all[name] = "-> " + h.Linkname
		}
		if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s: mode %o of %d:%d, want one that root alone can write", name, h.Mode, h.Uid, h.Gid)
		}
	}
}

// commands returns the words after "cleat" of each command, as its completion
// lists them: the same words that a shell offers.
func commands(t *testing.T) (all []string) {
	t.Helper()
	bin := filepath.Join(os.Getenv("CLEAT_BIN"), "cleat")
	state := t.TempDir()
	var visit func(words []string)
	visit = func(words []string) {
		all = append(all, strings.Join(words, " "))
		out := output(t, bin, append(append([]string{"--root", state, "__completeNoDesc"}, words...), "")...)
		for line := range strings.Lines(out) {
			sub := strings.TrimSpace(line)
			if sub == "" || sub == "help" || strings.HasPrefix(sub, ":") || len(words) > 0 && !isObject(words) {
				continue
			}
			visit(append(slices.Clone(words), sub))
		}
	}
	visit(nil)
	return all
}

// isObject reports whether subcommands follow the words: the other commands
// complete containers, images and the like.
func isObject(words []string) bool {
	bin := filepath.Join(os.Getenv("CLEAT_BIN"), "cleat")
	help, err := exec.Command(bin, append(words, "--help")...).Output()
	return err == nil && bytes.Contains(help, []byte(" COMMAND --help'"))
}

func TestManual(t *testing.T) {
	all := debs(t)["cleat"]
	cmds := commands(t)
	if len(cmds) < 50 || !slices.Contains(cmds, "container ls") || !slices.Contains(cmds, "run") {
		t.Fatalf("commands are %q", cmds)
	}
	for _, cmd := range cmds {
		page := strings.ReplaceAll(strings.TrimSpace("cleat "+cmd), " ", "-")
		text := unzip(t, all, fmt.Sprintf("/usr/share/man/man1/%s.1.gz", page))
		if !strings.Contains(text, ".SH SYNOPSIS\n\\fBcleat") {
			t.Errorf("man page %s has no synopsis", page)
		}
	}
	// A page that systemd's units or other pages refer to has to be there.
	for _, page := range []string{"man5/cleat.yaml.5", "man8/cleat-apid.8", "man8/cleat-build.8", "man8/cleat-healthd.8", "man8/cleat-init.8", "man8/cleat-netd.8", "man8/cleat-stdiod.8"} {
		if text := unzip(t, all, "/usr/share/man/"+page+".gz"); strings.Contains(text, "@") {
			t.Errorf("man page %s has a placeholder", page)
		}
	}
}

// Formatters warn about what they do not understand.
func TestManualFormats(t *testing.T) {
	dir := t.TempDir()
	for name, data := range debs(t)["cleat"] {
		if !strings.HasPrefix(name, "/usr/share/man/") {
			continue
		}
		page := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(page, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		output(t, "lexgrog", page)
	}
	pages, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("man", append([]string{"--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"}, pages...)...)
	cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANROFFSEQ=")
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	if err := cmd.Run(); err != nil || warnings.Len() > 0 {
		t.Errorf("man: %v\n%s", err, &warnings)
	}
}

func TestCompletions(t *testing.T) {
	all := debs(t)
	for pkg, name := range map[string]string{"cleat": "cleat", "cleat-docker": "docker"} {
		for path, want := range map[string]string{
			"/usr/share/bash-completion/completions/" + name:         "__start_" + name + " " + name,
			"/usr/share/zsh/vendor-completions/_" + name:             "#compdef " + name + "\n",
			"/usr/share/fish/vendor_completions.d/" + name + ".fish": "complete -c " + name,
		} {
			script, ok := all[pkg][path]
			if !ok || !strings.Contains(script, want) || !strings.Contains(script, "__complete") {
				t.Errorf("%s: not the completion of %s", path, name)
			}
		}
		cmd := exec.Command("bash", "-n")
		cmd.Stdin = strings.NewReader(all[pkg]["/usr/share/bash-completion/completions/"+name])
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("completion of %s for bash: %v\n%s", name, err, out)
		}
	}
}

func TestContent(t *testing.T) {
	all := debs(t)["cleat"]
	programs, err := os.ReadDir(os.Getenv("CLEAT_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		path := "/usr/libexec/cleat/" + p.Name()
		if p.Name() == "cleat" {
			path = "/usr/bin/cleat"
		}
		if p.Name() != "bench" && !strings.HasPrefix(all[path], "\x7fELF") {
			t.Errorf("%s is not a program", path)
		}
	}
	for path, data := range all {
		if strings.HasPrefix(path, "/usr/lib/systemd/") && regexp.MustCompile("@[A-Z]+@").MatchString(data) {
			t.Errorf("%s has a placeholder:\n%s", path, data)
		}
	}
	for path, want := range map[string]string{
		"/etc/apparmor.d/cleat-default":                  "profile cleat-default",
		"/etc/cleat/cleat.yaml":                          "default_network",
		"/usr/lib/systemd/system/cleat-stdiod.socket":    "/run/cleat/stdiod.sock",
		"/usr/lib/systemd/system/cleat-healthd.socket":   "/run/cleat/healthd.sock",
		"/usr/lib/systemd/system/cleat-healthd.service":  "/usr/libexec/cleat/cleat-healthd -root /var/lib/cleat -runroot /run/cleat",
		"/usr/lib/systemd/system/cleat-netd.socket":      "/run/cleat/netd.sock",
		"/usr/lib/systemd/system/cleat-netd.service":     "/usr/libexec/cleat/cleat-netd -root /var/lib/cleat -runroot /run/cleat",
		"/usr/lib/systemd/system/cleat.socket":           "/run/cleat/cleat.sock",
		"/usr/lib/systemd/system/cleat-apid.service":     "/usr/libexec/cleat/cleat-apid -root /var/lib/cleat -runroot /run/cleat",
		"/usr/lib/systemd/system/cleat-stdiod.service":   "/usr/libexec/cleat/cleat-stdiod",
		"/usr/lib/systemd/system/cleat.slice":            "[Unit]",
		"/usr/lib/systemd/system-preset/90-cleat.preset": "enable cleat-stdiod.socket",
		"/usr/lib/sysusers.d/cleat.conf":                 "g cleat",
		"/usr/lib/tmpfiles.d/cleat.conf":                 "/run/cleat",
		"/usr/share/doc/cleat/copyright":                 "Apache-2.0",

		"/usr/lib/systemd/system-generators/cleat-generator": "-> ../../../bin/cleat",
		"/usr/share/doc/cleat/README.Debian":                 "ALL VOLUMES",
	} {
		if !strings.Contains(all[path], want) {
			t.Errorf("%s does not have %q", path, want)
		}
	}
	conffiles := output(t, "dpkg-deb", "--ctrl-tarfile", built(t, "cleat_*.deb"))
	want := "/etc/apparmor.d/cleat-default\n/etc/cleat/cleat.yaml\n/etc/needrestart/conf.d/cleat.conf\n"
	if diff := cmp.Diff(want, files(t, strings.NewReader(conffiles))["/conffiles"]); diff != "" {
		t.Errorf("conffiles (-want +got):\n%s", diff)
	}
}

func TestDocker(t *testing.T) {
	all := debs(t)["cleat-docker"]
	if got := all["/usr/bin/docker"]; got != "-> cleat" {
		t.Errorf("/usr/bin/docker is %.20q, want a link to cleat", got)
	}
	if got := all["/usr/lib/tmpfiles.d/cleat-docker.conf"]; !strings.Contains(got, "\nL /run/docker.sock - - - - /run/cleat/cleat.sock\n") {
		t.Errorf("the socket's place: %q", got)
	}
	control := files(t, strings.NewReader(output(t, "dpkg-deb", "--ctrl-tarfile", built(t, "cleat-docker_*.deb"))))
	for _, conflict := range []string{"docker.io", "docker-ce", "podman-docker"} {
		if !regexp.MustCompile("(?m)^Conflicts: .*\\b" + regexp.QuoteMeta(conflict) + "\\b").MatchString(control["/control"]) {
			t.Errorf("no conflict with %s in\n%s", conflict, control["/control"])
		}
	}
	testDockerSocket(t, all["/usr/lib/tmpfiles.d/cleat-docker.conf"], control["/postrm"])
}

// testDockerSocket makes the place of Docker's socket, and takes it away, below a root
// that has none, and one that has Docker's.
func testDockerSocket(t *testing.T, conf, postrm string) {
	t.Helper()
	for _, theirs := range []bool{false, true} {
		root := t.TempDir()
		socket := filepath.Join(root, "run/docker.sock")
		for path, text := range map[string]string{"usr/lib/tmpfiles.d/cleat-docker.conf": conf, "postrm": postrm, "run/x": ""} {
			if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if theirs {
			if err := os.WriteFile(socket, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		output(t, "systemd-tmpfiles", "--root="+root, "--create", "cleat-docker.conf")
		if link, _ := os.Readlink(socket); (link == "/run/cleat/cleat.sock") == theirs {
			t.Errorf("socket of Docker's there: %v: ours leads to %q", theirs, link)
		}
		output(t, "env", "DPKG_ROOT="+root, "sh", filepath.Join(root, "postrm"), "remove")
		if _, err := os.Lstat(socket); (err == nil) != theirs {
			t.Errorf("socket of Docker's there: %v: after the removal %v", theirs, err)
		}
	}
}

// The packages of other distributions have the same files, in other places only
// for zsh and licences.
func TestFormatsAgree(t *testing.T) {
	want := elsewhere(debs(t)["cleat"])

	rpm := map[string]string{}
	for path := range strings.Lines(output(t, "rpm", "-qlp", built(t, "cleat-[0-9]*.rpm"))) {
		rpm[strings.TrimSpace(path)] = ""
	}
	if diff := cmp.Diff(want, elsewhere(rpm)); diff != "" {
		t.Errorf("rpm (-deb +rpm):\n%s", diff)
	}

	f, err := os.Open(built(t, "cleat-[0-9]*.pkg.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if diff := cmp.Diff(want, elsewhere(files(t, z))); diff != "" {
		t.Errorf("Arch (-deb +Arch):\n%s", diff)
	}
}

// elsewhere returns the paths that all formats share, sorted.
func elsewhere(all map[string]string) (paths []string) {
	own := []string{"/usr/share/licenses/", "/usr/share/doc/", "/usr/share/lintian/"}
	for path := range all {
		debian := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
		if slices.ContainsFunc(own, debian) || strings.HasPrefix(path, "/.") {
			continue
		}
		paths = append(paths, strings.Replace(path, "/zsh/vendor-completions/", "/zsh/site-functions/", 1))
	}
	slices.Sort(paths)
	return paths
}

func unzip(t *testing.T, all map[string]string, path string) string {
	t.Helper()
	data, ok := all[path]
	if !ok {
		t.Errorf("%s is missing", path)
		return ""
	}
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(text)
}

// output runs a command that has to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}
