package tests

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

const hostSecret = "the host's secret"

// hostFiles makes files that no container and no copy may read or change, and
// fails the test at its end if one has.
func hostFiles(t *testing.T) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-canary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"shadow", "f"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(hostSecret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func() string {
		out, err := exec.Command("stat", "-c", "%n %i %f %u %g %s %h %Y %Z", dir, dir+"/shadow", dir+"/f").CombinedOutput()
		names, _ := os.ReadDir(dir)
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		return fmt.Sprintf("%s%v\n%d names\n%d mounts in %s", out, err, len(names), strings.Count(string(mounts), dir), dir)
	}
	before := look()
	t.Cleanup(func() {
		if after := look(); after != before {
			t.Errorf("the host's files changed from\n%s\nto\n%s", before, after)
		}
	})
	return dir
}

// tempDir is a directory below /var/tmp for one test.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cleat-copy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// exchange swaps two names of a directory that containers have mounted, again
// and again, until the test ends.
func exchange(t *testing.T, dir, a, b string) {
	t.Helper()
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, a), unix.AT_FDCWD, filepath.Join(dir, b), unix.RENAME_EXCHANGE)
				runtime.Gosched()
			}
		}
	})
	t.Cleanup(func() { close(done); wait.Wait() })
}

// leaks fails the test if a copy has what only the host has.
func leaks(t *testing.T, what string, text ...string) {
	t.Helper()
	for _, s := range text {
		if strings.Contains(s, hostSecret) {
			t.Fatalf("%s has the host's file", what)
		}
	}
}

// TestCVE_2018_15664 has a container swap a directory for a link to a directory
// of the host while files are copied both ways, running and stopped. Swapped is
// from outside, in a directory that is mounted: that is quicker than any shell.
func TestCVE_2018_15664(t *testing.T) {
	s, canary, shared := shared(), hostFiles(t), tempDir(t)
	must(t, os.Mkdir(filepath.Join(shared, "d"), 0o755))
	must(t, os.WriteFile(filepath.Join(shared, "d/f"), []byte("mine"), 0o644))
	must(t, os.Symlink(canary, filepath.Join(shared, "l")))
	source := filepath.Join(tempDir(t), "f")
	must(t, os.WriteFile(source, []byte("copied"), 0o644))
	name := "cve-2018-15664"
	s.run(t, name, "-v", shared+":/mnt", "busybox", "sleep", "1000")
	exchange(t, shared, "d", "l")
	in, out := 0, 0
	round := func() {
		for _, path := range []string{"/mnt/d/f", "/mnt/d", "/mnt/d/", "/mnt"} {
			r := s.try("cp", name+":"+path, "-")
			leaks(t, "the copy of "+path, r.out)
			if r.code == 0 {
				out++
			}
			plain(t, r.stderr)
			to := filepath.Join(tempDir(t), "copy")
			if s.try("cp", "-L", name+":"+path, to).code == 0 {
				out++
				text, _ := exec.Command("find", to, "-type", "f", "-exec", "cat", "{}", ";").Output() // a link may be copied as one
				leaks(t, "the copy of "+path, string(text))
			}
		}
		for _, path := range []string{"/mnt/d/f", "/mnt/d/", "/mnt/d/new"} {
			r := s.try("cp", source, name+":"+path)
			plain(t, r.stderr)
			if r.code == 0 {
				in++
			}
		}
	}
	for range 8 {
		round()
	}
	s.must(t, "stop", "-t", "0", name)
	for range 8 {
		round()
	}
	t.Logf("%d copies out and %d in went through", out, in)
	if in == 0 || out == 0 {
		t.Error("nothing was ever copied: this proves nothing")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCVE_2026_42306 has the mount point of a volume swapped for a link to the
// host while the files of a container that does not run are looked at, for which
// the volume is mounted.
func TestCVE_2026_42306(t *testing.T) {
	s, canary, shared := shared(), hostFiles(t), tempDir(t)
	must(t, os.Mkdir(filepath.Join(shared, "d"), 0o755))
	must(t, os.Symlink(canary, filepath.Join(shared, "l")))
	name, volume := "cve-2026-42306", "cve-2026-42306-vol"
	source := filepath.Join(tempDir(t), "f")
	must(t, os.WriteFile(source, []byte("copied"), 0o644))
	s.must(t, "create", "--network", "none", "--name", name, "-v", shared+":/mnt", "-v", volume+":/mnt/d", "busybox", "true")
	t.Cleanup(func() { s.try("rm", "-f", name); s.try("volume", "rm", volume) })
	before := mountinfo(t)
	exchange(t, shared, "d", "l")
	for range 20 {
		for _, r := range []result{
			s.try("cp", name+":/mnt/d/f", "-"), s.try("cp", name+":/mnt", "-"), s.try("cp", source, name+":/mnt/d/new"),
		} {
			leaks(t, "a copy", r.out)
			plain(t, r.stderr)
		}
		if after := mountinfo(t); after != before {
			t.Fatalf("the host's mounts changed from\n%s\nto\n%s", before, after)
		}
	}
}

// mountinfo returns the mounts of the embedded host and of the machine.
func mountinfo(t *testing.T) string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var mine []string
	for line := range strings.Lines(string(own) + shared().must(t, "host", "shell", "cat", "/proc/1/mountinfo")) {
		if strings.Contains(line, "cleat-canary-") || strings.Contains(line, "cleat-copy-") || strings.Contains(line, env.root) {
			mine = append(mine, line)
		}
	}
	return strings.Join(mine, "")
}

// image imports a root file system as an image that is removed with the test.
func (s site) image(t *testing.T, name string, files map[string]string, args ...string) {
	t.Helper()
	var b bytes.Buffer
	must(t, writeBusybox(&b))
	dir := tempDir(t)
	unpack := exec.Command("tar", "-xC", dir)
	unpack.Stdin = &b
	must(t, unpack.Run())
	for path, content := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		_ = os.Remove(filepath.Join(dir, path)) // a hard link to busybox
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o755))
	}
	archive, err := exec.Command("tar", "-cC", dir, ".").Output()
	must(t, err)
	cmd := s.cmd(append(append([]string{"import"}, args...), "-", name)...)
	cmd.Stdin = bytes.NewReader(archive)
	if r := finish(cmd); r.code != 0 {
		t.Fatalf("import: %v", r)
	}
	t.Cleanup(func() { s.try("rmi", "-f", name) })
}

// TestCVE_2026_41567 sends compressed archives into a container whose image has
// decompressors that tell when they are run.
func TestCVE_2026_41567(t *testing.T) {
	s, told := shared(), filepath.Join(tempDir(t), "told")
	script := "#!/bin/sh\necho run >>/told\necho run >>" + told + "\n"
	files := map[string]string{}
	for _, dir := range []string{"bin", "usr/bin", "usr/local/bin", "sbin"} {
		for _, program := range []string{"xz", "unxz", "unpigz", "pigz", "gzip", "gunzip", "zstd", "unzstd", "bzip2", "bunzip2", "tar"} {
			files[dir+"/"+program] = script
		}
	}
	name := "cve-2026-41567"
	s.image(t, name, files)
	s.run(t, name, name, "sleep", "1000")
	for _, running := range []bool{true, false} {
		if !running {
			s.must(t, "stop", "-t", "0", name)
		}
		for format, archive := range compressed(t) {
			cmd := s.cmd("cp", "-", name+":/tmp")
			cmd.Stdin = bytes.NewReader(archive)
			if r := finish(cmd); r.code != 0 {
				t.Errorf("%s: %v", format, r)
			}
			if r := s.try("cp", name+":/tmp/"+format, "-"); r.code != 0 || !strings.Contains(r.out, "content") {
				t.Errorf("%s was not unpacked: %v", format, r)
			}
		}
		if r := s.try("cp", name+":/told", "-"); r.code == 0 {
			t.Errorf("a program of the container was run: %s", r.out)
		}
	}
	if _, err := os.Stat(told); err == nil {
		t.Error("a program of the container was run on the host")
	}
}

// compressed returns an archive with a file named after each format.
func compressed(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for format, compressor := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	} {
		var b bytes.Buffer
		z, err := compressor(&b)
		must(t, err)
		w := tar.NewWriter(z)
		must(t, w.WriteHeader(&tar.Header{Name: format, Mode: 0o644, Size: 7}))
		_, err = w.Write([]byte("content"))
		must(t, err)
		must(t, w.Close())
		must(t, z.Close())
		all[format] = b.Bytes()
	}
	return all
}

// TestCVE_2019_14271 copies from and to a container with libraries that tell when
// they are loaded. The program that copies cannot load any: it has no dynamic
// linker and asks for no library, and looks users up in the container's files
// itself.
func TestCVE_2019_14271(t *testing.T) {
	f, err := elf.Open(filepath.Join(env.bin, "cleat"))
	must(t, err)
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("cleat loads %q, %v", libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("cleat has a dynamic linker")
		}
	}
	s, told, dir := shared(), filepath.Join(tempDir(t), "told"), tempDir(t)
	source := filepath.Join(dir, "evil.c")
	must(t, os.WriteFile(source, []byte(`#include <stdio.h>
__attribute__((constructor)) static void told(void) { FILE *f = fopen("`+told+`", "a"); if (f) { fputs("loaded\n", f); fclose(f); } }`), 0o644))
	library := filepath.Join(dir, "evil.so")
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	evil, err := os.ReadFile(library)
	must(t, err)
	files := map[string]string{"etc/nsswitch.conf": "passwd: files evil\ngroup: files evil\nhosts: files evil\n"}
	for _, lib := range []string{"lib", "lib64", "lib/x86_64-linux-gnu", "usr/lib", "usr/lib/x86_64-linux-gnu"} {
		for _, so := range []string{"libnss_files.so.2", "libnss_evil.so.2", "libc.so.6", "libpthread.so.0"} {
			files[lib+"/"+so] = string(evil)
		}
	}
	name := "cve-2019-14271"
	s.image(t, name, files)
	s.run(t, name, "-u", "user", name, "sleep", "1000")
	for range 2 { // running, then stopped
		if r := s.try("cp", "-a", source, name+":/tmp"); r.code != 0 {
			t.Errorf("copy in: %v", r)
		}
		if r := s.try("cp", name+":/etc", filepath.Join(tempDir(t), "etc")); r.code != 0 {
			t.Errorf("copy out: %v", r)
		}
		s.must(t, "stop", "-t", "0", name)
	}
	if _, err := os.Stat(told); err == nil {
		t.Error("a library of the container was loaded")
	}
}

// TestCVE_2019_10152 copies to and from links that lead to the host's files, as
// the container sees it: into itself.
func TestCVE_2019_10152(t *testing.T) {
	s, canary := shared(), hostFiles(t)
	name := "cve-2019-10152"
	s.run(t, name, "busybox", "sh", "-c", fmt.Sprintf(
		"ln -s %[1]s /out; ln -s %[1]s/shadow /shadow; ln -s ../../../..%[1]s /dots; ln -s /proc/1/root%[1]s /proc-link; ln -s /proc/self/cwd /cwd; sleep 1000", canary))
	until(t, "links", func() bool { return s.try("exec", name, "readlink", "/cwd").code == 0 })
	source := filepath.Join(tempDir(t), "f")
	must(t, os.WriteFile(source, []byte("copied"), 0o644))
	for range 2 { // running, then stopped
		for _, link := range []string{"/out", "/dots", "/proc-link", "/cwd"} {
			for _, end := range []string{"/f", "/shadow", "/new", "/", ""} {
				r := s.try("cp", source, name+":"+link+end)
				plain(t, r.stderr)
				r = s.try("cp", "-L", name+":"+link+end, "-")
				leaks(t, link+end, r.out)
			}
		}
		leaks(t, "/shadow", s.try("cp", "-L", name+":/shadow", "-").out)
		s.try("cp", source, name+":/shadow")
		s.must(t, "stop", "-t", "0", name)
	}
}

// TestCVE_2021_41089 unpacks archives whose entries change the mode of what links
// lead to.
func TestCVE_2021_41089(t *testing.T) {
	s, canary := shared(), hostFiles(t)
	name := "cve-2021-41089"
	s.run(t, name, "busybox", "sleep", "1000")
	for range 2 { // running, then stopped
		for _, entries := range [][]tar.Header{
			{{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../../../../.." + canary + "/shadow"}, {Name: "h", Mode: 0o777}},
			{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: canary}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "l/shadow"}, {Name: "h", Mode: 0o777}},
			{{Name: "l2", Typeflag: tar.TypeSymlink, Linkname: canary + "/shadow"}, {Name: "h2", Typeflag: tar.TypeLink, Linkname: "l2"}, {Name: "h2", Mode: 0o777}},
			{{Name: "l3", Typeflag: tar.TypeSymlink, Linkname: canary}, {Name: "l3", Typeflag: tar.TypeDir, Mode: 0o777}, {Name: "l3/f", Mode: 0o777}},
		} {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range entries {
				must(t, w.WriteHeader(&h))
			}
			must(t, w.Close())
			cmd := s.cmd("cp", "-", name+":/tmp")
			cmd.Stdin = &b
			plain(t, finish(cmd).stderr)
		}
		s.must(t, "stop", "-t", "0", name)
	}
}

// A copy and a commit that are killed leave nothing: no mount, and nothing that
// keeps the container from going on.
func TestCopyKilled(t *testing.T) {
	s, name := shared(), "copy-killed"
	s.must(t, "create", "--network", "none", "--name", name, "-v", "/vol", "busybox", "sleep", "1000")
	t.Cleanup(func() { s.try("rm", "-f", "-v", name) })
	before := mountinfo(t)
	r, w := io.Pipe() // never ends
	cmd := s.cmd("cp", "-", name+":/vol")
	cmd.Stdin = r
	must(t, cmd.Start())
	go func() {
		tw := tar.NewWriter(w)
		_ = tw.WriteHeader(&tar.Header{Name: "half", Mode: 0o644, Size: 1 << 20})
		_, _ = tw.Write(make([]byte, 1<<19))
	}()
	until(t, "half of the file", func() bool {
		out, _ := exec.Command("sh", "-c", "find "+env.root+"/volumes -name half -size +100k").Output()
		return len(out) > 0
	})
	must(t, cmd.Process.Kill())
	_ = w.CloseWithError(io.EOF)
	_ = cmd.Wait()
	if after := mountinfo(t); after != before {
		t.Errorf("the host's mounts changed from\n%s\nto\n%s", before, after)
	}
	s.must(t, "start", name)
	s.must(t, "cp", name+":/etc/passwd", filepath.Join(tempDir(t), "passwd"))
	s.clean(t)
}

// Waiting for input that does not come ends with an interrupt, and gives the
// container back.
func TestCopyInterrupted(t *testing.T) {
	s, name := shared(), "copy-interrupted"
	s.must(t, "create", "--network", "none", "--name", name, "busybox", "sleep", "1000")
	t.Cleanup(func() { s.try("rm", "-f", name) })
	id := s.inspect(t, name, "{{.Id}}")
	for _, sent := range [][]byte{nil, pipedHeader(t)} {
		r, w, err := os.Pipe()
		must(t, err)
		cmd := s.cmd("cp", "-", name+":/tmp")
		cmd.Stdin = r
		must(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		_, err = w.Write(sent)
		must(t, err)
		until(t, "the copy has the container's lock", func() bool {
			return s.try("host", "shell", "sh", "-c", "grep -q \"FLOCK.*:$(stat -c %i /run/cleat/locks/"+id+") \" /proc/locks").code == 0
		})
		must(t, cmd.Process.Signal(os.Interrupt))
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
			if code := cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("exit code %d", code)
			}
		case <-time.After(20 * time.Second):
			t.Error("an interrupt does not end it")
		}
		must(t, errors.Join(r.Close(), w.Close()))
	}
	s.must(t, "start", name)
}

// pipedHeader is the beginning of an archive.
func pipedHeader(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "half", Mode: 0o644, Size: 1 << 20}))
	return b.Bytes()
}
