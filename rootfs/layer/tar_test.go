package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleat-project/cleat/internal/testenv"
	"github.com/cleat-project/cleat/rootfs/internal/treetest"
	"github.com/cleat-project/cleat/rootfs/layer"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// gnuTar runs tar(1), which every Debian system has.
func gnuTar(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "tar", args...).CombinedOutput(); err != nil {
		t.Fatalf("tar %q: %v\n%s", args, err, out)
	}
}

// sample is a tar of files of many sizes in many directories, like an image.
func sample(t testing.TB, files int) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	at := func(e entry) entry {
		return with(e, func(h *tar.Header) {
			h.Format, h.ModTime = tar.FormatPAX, time.Unix(1_600_000_000+rnd.Int64N(1e8), rnd.Int64N(1e9))
		})
	}
	data := strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 50_000)
	entries := make([]entry, 0, files)
	for i := 0; len(entries) < files; i++ {
		d := fmt.Sprintf("usr/lib%d/package-%d", i%7, i)
		entries = append(entries, at(owner(dir(d, 0o755), i%3, i%5)))
		for j := range 10 {
			size := rnd.IntN(8 << 10)
			if rnd.IntN(100) == 0 {
				size = rnd.IntN(len(data))
			}
			f := at(owner(file(fmt.Sprintf("%s/file-%d.so", d, j), data[:size]), i%3, i%5))
			entries = append(entries, f)
		}
		entries = append(entries, at(symlink(d+"/link", "file-0.so")), hardlink(d+"/hard", d+"/file-1.so"))
	}
	return pack(t, entries[:files])
}

func TestApplyMakesWhatTarMakes(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	in := sample(t, 500)
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, in, 0o600); err != nil {
		t.Fatal(err)
	}
	want, got := t.TempDir(), t.TempDir()
	gnuTar(t, "-xpf", path, "-C", want, "--same-owner", "--delay-directory-restore")
	if _, err := layer.Apply(t.Context(), bytes.NewReader(in), got, layer.Options{}); err != nil {
		t.Fatal(err)
	}
	timed := func(dir string) []string {
		list := treetest.List(t, dir, treetest.Options{Times: true})
		var known []string
		for _, line := range list { // parents that are not in the tar have the time of unpacking
			if strings.Contains(line, "package-") {
				known = append(known, line)
			}
		}
		return known
	}
	if diff := cmp.Diff(timed(want), timed(got)); diff != "" {
		t.Errorf("unlike tar -x (-tar +Apply):\n%s", diff)
	}
}

// Every format in which GNU tar writes sparse files is read, and the holes stay
// holes.
func TestApplySparse(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	src := t.TempDir()
	f, err := os.OpenFile(filepath.Join(src, "sparse"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // closed below as well
	for i := range int64(30) {       // more pieces than one header holds
		if _, err := f.WriteAt([]byte("data"), i<<20+4096*(i%3)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(64<<20 + 5); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, format := range map[string][]string{
		"old GNU": {"--format=gnu"},
		"PAX 0.0": {"--format=posix", "--sparse-version=0.0"},
		"PAX 0.1": {"--format=posix", "--sparse-version=0.1"},
		"PAX 1.0": {"--format=posix", "--sparse-version=1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			path, to := filepath.Join(t.TempDir(), "tar"), t.TempDir()
			gnuTar(t, append(format, "-cSf", path, "-C", src, "sparse")...)
			in, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := layer.Apply(t.Context(), bytes.NewReader(in), to, layer.Options{}); err != nil {
				t.Fatal(err)
			}
			want := treetest.List(t, src, treetest.Options{})[1:]
			if diff := cmp.Diff(want, treetest.List(t, to, treetest.Options{})[1:]); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(to, "sparse"), &st); err != nil {
				t.Fatal(err)
			}
			if st.Blocks*512 > 1<<20 {
				t.Errorf("%d bytes on disk for 30 blocks of data", st.Blocks*512)
			}
		})
	}
}

// BenchmarkApply unpacks 10,000 entries; "tar" is tar(1) on the same file. What
// was unpacked stays to the end: ext4 makes files slowly for seconds after
// others were removed, as it passes over their inodes.
func BenchmarkApply(b *testing.B) {
	testenv.NeedRoot(b)
	const files = 10_000
	base := b.TempDir()
	path := filepath.Join(base, "layer.tar")
	in := sample(b, files)
	if err := os.WriteFile(path, in, 0o600); err != nil {
		b.Fatal(err)
	}
	size := int64(len(in))
	run := func(name string, unpack func(b *testing.B, to string)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				to, err := os.MkdirTemp(base, "")
				if err != nil {
					b.Fatal(err)
				}
				unpack(b, to)
			}
			b.ReportMetric(files*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
	run("cleat", func(b *testing.B, to string) {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := layer.Apply(b.Context(), f, to, layer.Options{}); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	})
	run("tar", func(b *testing.B, to string) { gnuTar(b, "-xpf", path, "-C", to) })
}
