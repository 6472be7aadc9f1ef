package file_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/file"
)

// readLogs collects lines, with their messages copied, and fails on an error.
func readLogs(t testing.TB, r *file.Reader, q journal.LogQuery) []journal.LogLine {
	t.Helper()
	q.ContainerID, q.Unit = testID, testUnit
	var all []journal.LogLine
	for l, err := range r.Logs(t.Context(), q) {
		if err != nil {
			t.Fatalf("Logs: %v", err)
		}
		l.Message = append([]byte{}, l.Message...)
		all = append(all, l)
	}
	return all
}

func texts(lines []journal.LogLine) []string {
	var out []string
	for _, l := range lines {
		out = append(out, string(l.Message))
	}
	return out
}

// with replaces or adds a field.
func (r record) with(name, value string) record {
	for i := range r {
		if r[i].name == name {
			r[i].value = value
			return r
		}
	}
	return append(r, kv{name, value})
}

func TestLogsDecodesLines(t *testing.T) {
	t.Parallel()
	at := func(us int) time.Time { return time.UnixMicro(int64(testTime + us)).UTC() }
	long := strings.Repeat("long ", 4000)
	path := filepath.Join(t.TempDir(), "x.journal")
	writeJournal(t, path, formats()["compact, keyed, zstd"],
		line(0, testID, testUnit, "out"),
		line(1, testID, testUnit, "err").with("PRIORITY", "3"),
		line(2, testID, testUnit, "stamped", kv{"SYSLOG_TIMESTAMP", "2023-11-14T22:13:20.001234567Z"}),
		line(3, testID, testUnit, "bad stamp", kv{"SYSLOG_TIMESTAMP", "yesterday"}),
		line(4, testID, testUnit, long, kv{"CONTAINER_PARTIAL_MESSAGE", "true"}, kv{"CONTAINER_PARTIAL_ID", "7"},
			kv{"CONTAINER_PARTIAL_ORDINAL", "1"}, kv{"CONTAINER_PARTIAL_LAST", "false"}),
		line(5, testID, testUnit, "its end", kv{"CONTAINER_PARTIAL_ID", "7"}, kv{"CONTAINER_PARTIAL_LAST", "true"}),
		line(6, testID, testUnit, ""),
		line(7, testID, testUnit, "\x00\xff\n"),
		line(8, testID, testUnit, "labelled", kv{"ZONE", "b=c"}, kv{"ENV", "prod"}, kv{"OBJECT_PID", "1"}),
		line(9, testID, journal.BrokerUnit, "after death", kv{"OBJECT_SYSTEMD_UNIT", testUnit}, kv{"ENV", "prod"}),
	)
	want := []journal.LogLine{
		{Time: at(0), Message: []byte("out")},
		{Time: at(1000), Message: []byte("err"), Stderr: true},
		{Time: at(1234).Add(567), Message: []byte("stamped")},
		{Time: at(3000), Message: []byte("bad stamp")},
		{Time: at(4000), Message: []byte(long), Partial: true},
		{Time: at(5000), Message: []byte("its end")},
		{Time: at(6000), Message: []byte("")},
		{Time: at(7000), Message: []byte("\x00\xff\n")},
		{Time: at(8000), Message: []byte("labelled")},
		{Time: at(9000), Message: []byte("after death")},
	}
	r := open(t, path)
	if diff := cmp.Diff(want, readLogs(t, r, journal.LogQuery{Tail: -1})); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	for i := range want {
		want[i].Attrs = []journal.Attr{}
	}
	want[8].Attrs = []journal.Attr{{Name: "ENV", Value: "prod"}, {Name: "ZONE", Value: "b=c"}}
	want[9].Attrs = []journal.Attr{{Name: "ENV", Value: "prod"}}
	if diff := cmp.Diff(want, readLogs(t, r, journal.LogQuery{Tail: -1, Details: true})); diff != "" {
		t.Errorf("lines with details (-want +got):\n%s", diff)
	}
}

func TestLogsBelievesOnlyTrustedUnits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.journal")
	noUnit := line(2, testID, "", "no unit")
	var untrusted record
	for _, f := range noUnit {
		if f.name != "_SYSTEMD_UNIT" {
			untrusted = append(untrusted, f)
		}
	}
	writeJournal(t, path, format{},
		line(0, testID, testUnit, "true"),
		line(1, testID, "user@1000.service", "forged"),
		untrusted,
		line(3, testID, "session-1.scope", "forged", kv{"OBJECT_SYSTEMD_UNIT", testUnit}, kv{"SYSTEMD_UNIT", testUnit}),
		line(4, testID, "cleat-db.service", "of another container"),
		line(5, testID, journal.BrokerUnit, "from the broker"),
		line(6, otherID, testUnit, "of an earlier container of that name"),
	)
	got := texts(readLogs(t, open(t, path), journal.LogQuery{Tail: -1}))
	if diff := cmp.Diff([]string{"true", "from the broker"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestLogsRange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// Lines 0 to 99 at 1 ms each, taken in by journald 3 ms later, in two files.
	var files [2][]record
	for i := range 100 {
		stamp := time.UnixMicro(int64(testTime + i*1000 - 3000)).UTC().Format(time.RFC3339Nano)
		files[i/50] = append(files[i/50], line(i, testID, testUnit, fmt.Sprint(i), kv{"SYSLOG_TIMESTAMP", stamp}),
			line(i, otherID, "cleat-db.service", "other"))
	}
	writeJournal(t, filepath.Join(dir, "a.journal"), formats()["compact, keyed, zstd"], files[0]...)
	writeJournal(t, filepath.Join(dir, "b.journal"), formats()["regular, unkeyed"], files[1]...)
	at := func(i int) time.Time { return time.UnixMicro(int64(testTime + i*1000 - 3000)) }
	tests := map[string]struct {
		q        journal.LogQuery
		from, to int // the first line and the one after the last
	}{
		"all":                          {journal.LogQuery{Tail: -1}, 0, 100},
		"none":                         {journal.LogQuery{Tail: 0}, 0, 0},
		"newest, over files":           {journal.LogQuery{Tail: 60}, 40, 100},
		"tail of more than there is":   {journal.LogQuery{Tail: 500}, 0, 100},
		"since is inclusive":           {journal.LogQuery{Tail: -1, Since: at(30)}, 30, 100},
		"since is exact to the ns":     {journal.LogQuery{Tail: -1, Since: at(30).Add(1)}, 31, 100},
		"until is inclusive":           {journal.LogQuery{Tail: -1, Until: at(70)}, 0, 71},
		"between":                      {journal.LogQuery{Tail: -1, Since: at(20), Until: at(70)}, 20, 71},
		"tail ends at until":           {journal.LogQuery{Tail: 3, Until: at(70)}, 68, 71},
		"tail does not pass since":     {journal.LogQuery{Tail: 50, Since: at(60), Until: at(70)}, 60, 71},
		"nothing between":              {journal.LogQuery{Tail: -1, Since: at(200)}, 0, 0},
		"follow ends if until is past": {journal.LogQuery{Tail: 2, Until: at(70), Follow: true}, 69, 71},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for i := tt.from; i < tt.to; i++ {
				want = append(want, fmt.Sprint(i))
			}
			if diff := cmp.Diff(want, texts(readLogs(t, open(t, dir), tt.q))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}
