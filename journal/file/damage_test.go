package file

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/journal"
)

// logsOf reads the lines of the built container and the errors on the way.
func logsOf(t testing.TB, path string) (lines []string, errs []error) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for l, err := range r.Logs(t.Context(), journal.LogQuery{ContainerID: builtID, Unit: builtUnit, Tail: -1}) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lines = append(lines, string(l.Message))
	}
	return lines, errs
}

func writeTemp(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.journal")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantLines(n int, without ...int) []string {
	var out []string
	for i := range n {
		skip := false
		for _, w := range without {
			skip = skip || w == i
		}
		if !skip {
			out = append(out, fmt.Sprintf("line %d", i))
		}
	}
	return out
}

// The builder is only worth something if journalctl takes its files for real.
func TestBuiltJournalIsReal(t *testing.T) {
	t.Parallel()
	for name, flags := range allFlags {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeTemp(t, buildJournal(flags, 40))
			out, err := exec.CommandContext(t.Context(), "journalctl", "--file="+path, "-o", "cat", "CONTAINER_ID_FULL="+builtID).Output()
			if err != nil {
				t.Fatalf("journalctl: %v", err)
			}
			want := strings.Split(strings.TrimSpace(string(out)), "\n")
			got, errs := logsOf(t, path)
			if diff := cmp.Diff(want, got); diff != "" || len(got) != 40 || errs != nil {
				t.Errorf("%d lines, errors %v (-want +got):\n%s", len(got), errs, diff)
			}
		})
	}
}

func TestDamagedObjectIsSkipped(t *testing.T) {
	t.Parallel()
	for name, flags := range allFlags {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newBuilder(flags)
			var entries []uint64
			for i := range 20 {
				entries = append(entries, u.entry(uint64(builtTime+i), "CONTAINER_ID_FULL="+builtID,
					"_SYSTEMD_UNIT="+builtUnit, fmt.Sprintf("MESSAGE=line %d", i)))
			}
			b := u.bytes()
			b[u.data["MESSAGE=line 3"]] = 9                // no data object
			u.put(u.data["MESSAGE=line 5"]+objSize, 3)     // too small
			u.put(entries[7]+objSize, 1<<40)               // too large
			b[u.data["MESSAGE=line 9"]+objFlags] = objZSTD // not zstd
			got, errs := logsOf(t, writeTemp(t, b))
			if diff := cmp.Diff(wantLines(20, 3, 5, 7, 9), got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if len(errs) != 1 || !errors.Is(errs[0], ErrDamaged) {
				t.Errorf("errors %v, want one ErrDamaged for the file", errs)
			}
		})
	}
}

func TestBrokenChainsEnd(t *testing.T) {
	t.Parallel()
	idField := "CONTAINER_ID_FULL=" + builtID
	tests := map[string]struct {
		damage func(u *builder)
		lines  int // that can still be read
	}{
		"array chain loops": {func(u *builder) {
			first := le64(u.b, u.data[idField]+dataEntryArray)
			u.put(le64(u.b, first+arrayNext)+arrayNext, first)
		}, 7},
		"array chain leaves the file": {func(u *builder) {
			u.put(le64(u.b, u.data[idField]+dataEntryArray)+arrayNext, 1<<50)
		}, 3},
		"array chain ends early": {func(u *builder) {
			u.put(le64(u.b, u.data[idField]+dataEntryArray)+arrayNext, 0)
		}, 3},
		"count is far too high": {func(u *builder) {
			u.put(u.data[idField]+dataNEntries, 1<<60)
			u.put(u.data["_SYSTEMD_UNIT="+builtUnit]+dataNEntries, 1<<60)
		}, 40},
		"the same entry again and again": {func(u *builder) {
			a := le64(u.b, u.data[idField]+dataEntryArray)
			u.put(a+arrayItems+8, le64(u.b, a+arrayItems))
		}, 39},
		"hash chain loops": {func(u *builder) {
			for i := range u.dataHashCount {
				head := le64(u.b, u.dataHashOffset+i*hashBucketSize)
				u.put(head+dataNextHash, head)
				u.put(head+dataHash, 0)
			}
		}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newBuilder(0)
			for i := range 40 {
				u.entry(uint64(builtTime+i), idField, "_SYSTEMD_UNIT="+builtUnit, fmt.Sprintf("MESSAGE=line %d", i))
			}
			// More entries of the unit than of the container: the latter drives.
			u.entry(builtTime+41, "_SYSTEMD_UNIT="+builtUnit)
			u.bytes()
			tt.damage(u)
			got, errs := logsOf(t, writeTemp(t, u.b))
			if len(got) != tt.lines {
				t.Errorf("read %d lines, want %d", len(got), tt.lines)
			}
			if len(errs) != 1 || !errors.Is(errs[0], ErrDamaged) {
				t.Errorf("errors %v, want one ErrDamaged", errs)
			}
		})
	}
}

func TestTruncatedFileEndsEarly(t *testing.T) {
	t.Parallel()
	whole := buildJournal(flagKeyedHash|flagCompact, 30)
	dir := t.TempDir()
	for n := 0; n < len(whole); n += 8 {
		path := filepath.Join(dir, "cut.journal")
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		lines, errs := logsOf(t, path)
		for _, err := range errs {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
		if len(lines) < 30 && len(errs) == 0 && n > 0 {
			t.Fatalf("cut to %d bytes: %d lines and no error", n, len(lines))
		}
	}
}

func TestRandomDamage(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	path := filepath.Join(t.TempDir(), "test.journal")
	for _, flags := range allFlags {
		whole := buildJournal(flags, 20)
		for range 500 {
			b := bytes.Clone(whole)
			for range 1 + rnd.IntN(8) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			readEverything(t, path)
		}
	}
}

// readEverything reads the file in every way and fails if it takes too many
// steps. That it returns at all is the test.
func readEverything(t testing.TB, path string) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	match := [][]journal.Match{{{Name: "PRIORITY", Value: "6"}, {Name: "MESSAGE", Value: "line 3"}}}
	for _, q := range []journal.Query{{Tail: -1}, {Tail: 3}, {Tail: -1, Matches: match}, {Tail: 2, Matches: match}} {
		fields := 0
		for e, err := range r.Read(t.Context(), q) {
			if err != nil {
				continue
			}
			_ = e.Cursor()
			for range e.Fields() {
				if fields++; fields%100 == 0 {
					break
				}
			}
			if fields > 10_000 {
				break
			}
		}
	}
	for _, tail := range []int{-1, 5} {
		n := 0
		q := journal.LogQuery{ContainerID: builtID, Unit: builtUnit, Tail: tail, Details: true}
		for range r.Logs(t.Context(), q) {
			if n++; n > 10_000 {
				break
			}
		}
	}
}

// Touching a mapped page beyond the end of a file raises SIGBUS, which must not
// end the program.
func TestTruncationWhileReading(t *testing.T) {
	t.Parallel()
	path := writeTemp(t, buildJournal(0, 2000))
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	n := 0
	for e, err := range r.Read(t.Context(), journal.Query{Tail: -1}) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if n++; n == 200 {
			if err := os.Truncate(path, 4096); err != nil {
				t.Fatal(err)
			}
			if _, ok := e.Field("MESSAGE"); ok || e.Err() == nil {
				t.Error("a field was read from beyond the end of the file")
			}
		}
	}
	if n >= 2000 || len(errs) != 1 || !errors.Is(errs[0], ErrDamaged) {
		t.Errorf("%d entries, errors %v; want fewer than 2000 and one ErrDamaged", n, errs)
	}
}

func TestUnknownFlagsAreRefused(t *testing.T) {
	t.Parallel()
	good := writeTemp(t, buildJournal(0, 3))
	b := buildJournal(0, 3)
	b[hdrIncompatible] = 0x80
	if err := os.WriteFile(filepath.Join(filepath.Dir(good), "new.journal"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	lines, errs := logsOf(t, filepath.Dir(good))
	if diff := cmp.Diff(wantLines(3), lines); diff != "" {
		t.Errorf("lines of the other file (-want +got):\n%s", diff)
	}
	if len(errs) != 1 || !errors.Is(errs[0], ErrUnsupported) || !strings.Contains(errs[0].Error(), "new.journal") {
		t.Errorf("errors %v, want one ErrUnsupported that names the file", errs)
	}
}

func FuzzOpen(f *testing.F) {
	for _, flags := range allFlags {
		f.Add(buildJournal(flags, 12))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			t.Skip("larger files find nothing new")
		}
		readEverything(t, writeTemp(t, b))
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(byte(objXZ), []byte("\xfd7zXZ\x00\x00\x00\xff\x12\xd9\x41\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x04hello\x00"))
	f.Add(byte(objLZ4), []byte("\x05\x00\x00\x00\x00\x00\x00\x00\x50hello"))
	f.Add(byte(objZSTD), []byte("\x28\xb5\x2f\xfd\x00\x58\x29\x00\x00hello"))
	f.Fuzz(func(t *testing.T, flag byte, b []byte) {
		var u unpacker
		defer u.close()
		if out, err := u.unpack(flag, b); err == nil && len(out) > maxField {
			t.Errorf("unpacked %d bytes", len(out))
		}
	})
}

// Vectors: the siphash reference code, and lookup3.c's driver5.
func TestHashes(t *testing.T) {
	t.Parallel()
	in := make([]byte, 15)
	for i := range in {
		in[i] = byte(i)
	}
	if got := siphash24(0x0706050403020100, 0x0f0e0d0c0b0a0908, in); got != 0xa129ca6149be45e5 {
		t.Errorf("siphash24 = %#x", got)
	}
	if got := jenkins64(nil); got != 0xdeadbeefdeadbeef {
		t.Errorf("jenkins64 of nothing = %#x", got)
	}
	if got := jenkins64([]byte("Four score and seven years ago")); got != 0x17770551ce7226e6 {
		t.Errorf("jenkins64 = %#x", got)
	}
}
