package file_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/file"
)

// cmpRecords compares entries, however their types are spelled.
func cmpRecords(want, got []record) string {
	if reflect.DeepEqual(want, got) { // cmp takes its time
		return ""
	}
	return cmp.Diff(want, got, cmp.AllowUnexported(kv{}))
}

// mixedEntries are entries of two containers and others, with short, long,
// compressible, binary, repeated and empty values.
func mixedEntries(n int) []record {
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []record
	for i := range n {
		msg := fmt.Sprintf("line %d", i)
		switch i % 11 {
		case 1:
			msg = strings.Repeat("compressible ", 100+i)
		case 3:
			b := make([]byte, 700+i)
			for k := range b {
				b[k] = byte(rnd.Uint32())
			}
			msg = string(b)
		case 5:
			msg = "the same each time"
		case 7:
			msg = "\x00binary\nwith a newline\xff"
		case 9:
			msg = ""
		}
		id, unit := testID, testUnit
		if i%3 == 2 {
			id, unit = otherID, "cleat-db.service"
		}
		e := line(i, id, unit, msg)
		if i%4 == 0 {
			e = append(e, kv{"REPEATED", "one"}, kv{"REPEATED", "two"})
		}
		all = append(all, e)
	}
	return all
}

func TestReadAgreesWithJournalctl(t *testing.T) {
	t.Parallel()
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "mixed.journal")
			writeJournal(t, path, f, mixedEntries(1500)...)
			r := open(t, path)
			compare(t, "all", []string{"--file=" + path}, r, journal.Query{Tail: -1})
			compare(t, "one container", []string{"--file=" + path, "CONTAINER_ID_FULL=" + testID}, r,
				journal.Query{Tail: -1, Matches: [][]journal.Match{{{Name: "CONTAINER_ID_FULL", Value: testID}}}})
			compare(t, "and of ors", []string{
				"--file=" + path, "CONTAINER_ID_FULL=" + testID, "CONTAINER_ID_FULL=" + otherID, "REPEATED=two", "MESSAGE=the same each time",
			}, r, journal.Query{Tail: -1, Matches: [][]journal.Match{
				{{Name: "CONTAINER_ID_FULL", Value: testID}, {Name: "CONTAINER_ID_FULL", Value: otherID}},
				{{Name: "REPEATED", Value: "two"}},
				{{Name: "MESSAGE", Value: "the same each time"}},
			}})
			compare(t, "match of a compressed field", []string{"--file=" + path, "MESSAGE=" + strings.Repeat("compressible ", 101)}, r,
				journal.Query{Tail: -1, Matches: [][]journal.Match{{{Name: "MESSAGE", Value: strings.Repeat("compressible ", 101)}}}})
			compare(t, "no such field", []string{"--file=" + path, "CONTAINER_ID_FULL=none"}, r,
				journal.Query{Tail: -1, Matches: [][]journal.Match{{{Name: "CONTAINER_ID_FULL", Value: "none"}}}})
			for _, n := range []int{0, 1, 2, 7, 1499, 1500, 9999} {
				compare(t, fmt.Sprintf("tail %d", n), []string{"--file=" + path, fmt.Sprintf("--lines=%d", n)}, r, journal.Query{Tail: n})
			}
			compare(t, "since and until", []string{"--file=" + path, "--since=@1700000000.5", "--until=@1700000001.2"}, r,
				journal.Query{Tail: -1, Since: time.UnixMicro(testTime + 500_000), Until: time.UnixMicro(testTime + 1_200_000)})
			// journalctl 252 shows nothing with both --until and --lines.
			q := journal.Query{Tail: -1, Until: time.UnixMicro(testTime + 1_200_000)}
			want := readAll(t, r, q)
			q.Tail = 5
			if diff := cmpRecords(want[len(want)-5:], readAll(t, r, q)); diff != "" {
				t.Errorf("tail before until (-want +got):\n%.2000s", diff)
			}
		})
	}
}

// compare reads q and compares it with what journalctl says.
func compare(t *testing.T, what string, args []string, r *file.Reader, q journal.Query) {
	t.Helper()
	want := sorted(parseExport(t, journalctl(t, append(args, "--output=export", "--all")...)))
	got := sorted(readAll(t, r, q))
	if diff := cmpRecords(want, got); diff != "" {
		t.Errorf("%s: %d entries, journalctl has %d (-want +got):\n%.2000s", what, len(got), len(want), diff)
	}
}

func TestReadMergesFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := mixedEntries(600)
	// Three writers, interleaved in time, and a copy of one of the files.
	parts := make([][]record, 3)
	for i, e := range all {
		k := (i / 5) % 3
		parts[k] = append(parts[k], e)
	}
	i := 0
	for _, f := range formats() {
		if i < len(parts) {
			writeJournal(t, filepath.Join(dir, fmt.Sprintf("user-%d.journal", i)), f, parts[i]...)
		}
		i++
	}
	copyFile(t, filepath.Join(dir, "user-1.journal"), filepath.Join(dir, "copy.journal~"))
	r := open(t, dir, filepath.Join(dir, "missing"))
	compare(t, "all", []string{"--directory=" + dir}, r, journal.Query{Tail: -1})
	compare(t, "tail", []string{"--directory=" + dir, "--lines=77"}, r, journal.Query{Tail: 77})
	got := messages(readAll(t, r, journal.Query{Tail: -1}))
	if diff := cmp.Diff(messages(all), got); diff != "" {
		t.Errorf("messages (-want +got):\n%.2000s", diff)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadEntryFields(t *testing.T) { // not parallel: it counts allocations
	path := filepath.Join(t.TempDir(), "one.journal")
	writeJournal(t, path, format{}, line(0, testID, testUnit, "hello", kv{"REPEATED", "a"}, kv{"REPEATED", "b"}))
	for e, err := range open(t, path).Read(t.Context(), journal.Query{Tail: -1}) {
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := e.Field("MESSAGE"); !ok || string(v) != "hello" {
			t.Errorf("Field(MESSAGE) = %q, %v", v, ok)
		}
		if v, ok := e.Field("MESS"); ok {
			t.Errorf("Field(MESS) = %q", v)
		}
		if e.Seqnum() != 1 || e.SeqnumID() == (file.ID{}) {
			t.Errorf("Seqnum %d of %s", e.Seqnum(), e.SeqnumID())
		}
		n := testing.AllocsPerRun(10, func() {
			for range e.Fields() {
			}
		})
		if n > 2 { // the iterator itself, not one a field
			t.Errorf("Fields allocates %v times", n)
		}
	}
}

func TestReadWithoutDirectory(t *testing.T) {
	t.Parallel()
	var errs []error
	for _, err := range open(t, filepath.Join(t.TempDir(), "none")).Read(t.Context(), journal.Query{Tail: -1}) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
		t.Errorf("errors %v, want one ErrNotExist", errs)
	}
}

func TestReadCanBeStoppedEarly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mixed.journal")
	writeJournal(t, path, format{}, mixedEntries(30)...)
	n := 0
	for range open(t, path).Read(t.Context(), journal.Query{Tail: -1}) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("read %d entries, want 3", n)
	}
}
