package file_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/journal/file"
)

// A container, its unit and a boot, as the tests write them.
const (
	testID   = "4f1d2c3b4a5968778695a4b3c2d1e0f04f1d2c3b4a5968778695a4b3c2d1e0f0"
	otherID  = "00000c3b4a5968778695a4b3c2d1e0f04f1d2c3b4a5968778695a4b3c2d1e0f0"
	testUnit = "cleat-web.service"
	testBoot = "6d0be1a1c1f04a6b8f1f6ab7b4f3c001"
	testTime = 1_700_000_000_000_000 // µs since 1970, of entry 0
)

// kv is one field of an entry.
type kv struct{ name, value string }

// record is an entry as the export format has it.
type record []kv

func (r record) get(name string) string {
	for _, f := range r {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// line makes the entry of output line number i of a container, as the broker and
// journald would write it.
func line(i int, id, unit, msg string, extra ...kv) record {
	rt := testTime + i*1000
	r := record{
		{"__REALTIME_TIMESTAMP", strconv.Itoa(rt)},
		{"__MONOTONIC_TIMESTAMP", strconv.Itoa(5_000_000 + i*1000)},
		{"_BOOT_ID", testBoot},
		{"PRIORITY", "6"},
		{"CONTAINER_ID", id[:12]},
		{"CONTAINER_ID_FULL", id},
		{"CONTAINER_NAME", "web"},
		{"CONTAINER_TAG", id[:12]},
		{"IMAGE_NAME", "nginx"},
		{"SYSLOG_IDENTIFIER", id[:12]},
		{"_TRANSPORT", "journal"},
		{"_MACHINE_ID", "3d1219c7c4c5404aaa1f6d2a48adfda4"},
		{"_HOSTNAME", "host"},
		{"_PID", "4242"},
		{"_UID", "0"},
		{"_GID", "0"},
		{"_COMM", "nginx"},
		{"_EXE", "/usr/sbin/nginx"},
		{"_CMDLINE", "nginx: master process nginx -g daemon off;"},
		{"_CAP_EFFECTIVE", "a80425fb"},
		{"_SYSTEMD_CGROUP", "/cleat.slice/" + unit},
		{"_SYSTEMD_UNIT", unit},
		{"_SYSTEMD_SLICE", "cleat.slice"},
		{"_SYSTEMD_INVOCATION_ID", "0123456789abcdef0123456789abcdef"},
		{"_SOURCE_REALTIME_TIMESTAMP", strconv.Itoa(rt - 90)},
		{"MESSAGE", msg},
	}
	return append(r, extra...)
}

// writeExport writes r in the journal's export format.
func writeExport(w io.Writer, r record) {
	for _, f := range r {
		if !strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' || c == 0xfffd }) {
			_, _ = fmt.Fprintf(w, "%s=%s\n", f.name, f.value)
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\n", f.name)
		_ = binary.Write(w, binary.LittleEndian, uint64(len(f.value)))
		_, _ = fmt.Fprintf(w, "%s\n", f.value)
	}
	_, _ = fmt.Fprintln(w)
}

// parseExport reads what journalctl -o export prints.
func parseExport(t testing.TB, b []byte) []record {
	t.Helper()
	var all []record
	var cur record
	for len(b) > 0 {
		l, rest, _ := bytes.Cut(b, []byte{'\n'})
		b = rest
		name, value, ok := bytes.Cut(l, []byte{'='})
		switch {
		case len(l) == 0:
			all, cur = append(all, withSeqnum(t, cur)), nil
			continue
		case !ok:
			n := binary.LittleEndian.Uint64(b)
			value, b = b[8:8+n], b[8+n+1:]
		}
		cur = append(cur, kv{string(name), string(value)})
	}
	if cur != nil {
		all = append(all, withSeqnum(t, cur))
	}
	return all
}

// withSeqnum adds the fields that journalctl shows from systemd 254 on and that
// older ones have in the cursor only.
func withSeqnum(t testing.TB, r record) record {
	t.Helper()
	if r.get("__SEQNUM") != "" {
		return r
	}
	var id string
	var n uint64
	if _, err := fmt.Sscanf(r.get("__CURSOR"), "s=%32s;i=%x;", &id, &n); err != nil {
		t.Fatalf("cursor %q: %v", r.get("__CURSOR"), err)
	}
	return append(r, kv{"__SEQNUM", strconv.FormatUint(n, 10)}, kv{"__SEQNUM_ID", id})
}

// systemd returns the command line of a program of systemd: the installed one, or
// that of the Debian whose packages lie unpacked in $CLEAT_TEST_SYSTEMD, to test
// with another version.
func systemd(t testing.TB, name, pkg string) []string {
	t.Helper()
	root := os.Getenv("CLEAT_TEST_SYSTEMD")
	for _, dir := range []string{"/usr/lib/systemd", "/lib/systemd", "/usr/bin"} {
		p := filepath.Join(root, dir, name)
		if _, err := os.Stat(p); err != nil {
			continue
		}
		if root == "" {
			return []string{p}
		}
		libs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
		ld, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu/ld-linux-*"))
		if len(libs) != 1 || len(ld) != 1 {
			t.Fatalf("no C library in %s", root)
		}
		return []string{ld[0], "--library-path", libs[0] + ":" + libs[0] + "/systemd", p}
	}
	t.Fatalf("%s is missing: install the package %s", name, pkg)
	return nil
}

// format is how systemd-journal-remote is asked to write one kind of file.
type format struct {
	env      []string
	compress bool
}

// formats are those that systemd writes. 252 does not know the last variable and
// always writes zstd; see TestReadOldCompressions.
func formats() map[string]format {
	return map[string]format{
		"compact, keyed, zstd": {[]string{"SYSTEMD_JOURNAL_COMPACT=1", "SYSTEMD_JOURNAL_KEYED_HASH=1"}, true},
		"regular, keyed, zstd": {[]string{"SYSTEMD_JOURNAL_COMPACT=0", "SYSTEMD_JOURNAL_KEYED_HASH=1"}, true},
		"compact, keyed, xz":   {[]string{"SYSTEMD_JOURNAL_COMPACT=1", "SYSTEMD_JOURNAL_COMPRESS=XZ"}, true},
		"regular, keyed, lz4":  {[]string{"SYSTEMD_JOURNAL_COMPACT=0", "SYSTEMD_JOURNAL_COMPRESS=LZ4"}, true},
		"compact, unkeyed":     {[]string{"SYSTEMD_JOURNAL_COMPACT=1", "SYSTEMD_JOURNAL_KEYED_HASH=0"}, false},
		"regular, unkeyed":     {[]string{"SYSTEMD_JOURNAL_COMPACT=0", "SYSTEMD_JOURNAL_KEYED_HASH=0"}, false},
	}
}

// writer is a running systemd-journal-remote that appends to a file.
type writer struct {
	cmd    *exec.Cmd
	in     *bufio.Writer
	pipe   io.Closer
	stderr bytes.Buffer
}

// newWriter starts writing a journal file in the given format. The test calls
// finish.
func newWriter(t testing.TB, path string, f format) *writer {
	t.Helper()
	w := &writer{}
	argv := append(systemd(t, "systemd-journal-remote", "systemd-journal-remote"),
		"--output="+path, fmt.Sprintf("--compress=%v", f.compress), "--split-mode=none", "-")
	w.cmd = exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	w.cmd.Env = append(os.Environ(), f.env...)
	w.cmd.Stderr = &w.stderr
	in, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.pipe, w.in = in, bufio.NewWriterSize(in, 64<<10)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

// write appends entries; they reach the file at once.
func (w *writer) write(t testing.TB, entries ...record) {
	t.Helper()
	for _, e := range entries {
		writeExport(w.in, e)
	}
	if err := w.in.Flush(); err != nil {
		t.Fatalf("write to systemd-journal-remote: %v\n%s", err, w.stderr.String())
	}
}

// finish ends the program and with it the file.
func (w *writer) finish(t testing.TB) {
	t.Helper()
	if err := errors.Join(w.pipe.Close(), w.cmd.Wait()); err != nil {
		t.Fatalf("systemd-journal-remote: %v\n%s", err, w.stderr.String())
	}
}

// writeJournal makes a journal file of entries.
func writeJournal(t testing.TB, path string, f format, entries ...record) {
	t.Helper()
	w := newWriter(t, path, f)
	w.write(t, entries...)
	w.finish(t)
}

// journalctl runs journalctl and returns its output.
func journalctl(t testing.TB, args ...string) []byte {
	t.Helper()
	argv := append(systemd(t, "journalctl", "systemd"), args...)
	argv = append(argv, "--no-pager", "--quiet")
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && stderr.Len() > 0 {
		t.Fatalf("journalctl %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// open opens a Reader of path.
func open(t testing.TB, paths ...string) *file.Reader {
	t.Helper()
	r, err := file.Open(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// toRecord makes of an entry what journalctl -o export shows of it.
func toRecord(t testing.TB, e *file.Entry) record {
	t.Helper()
	r := record{
		{"__CURSOR", e.Cursor()},
		{"__SEQNUM", strconv.FormatUint(e.Seqnum(), 10)},
		{"__SEQNUM_ID", e.SeqnumID().String()},
		{"__REALTIME_TIMESTAMP", strconv.FormatInt(e.Realtime().UnixMicro(), 10)},
		{"__MONOTONIC_TIMESTAMP", strconv.FormatInt(e.Monotonic().Microseconds(), 10)},
		{"_BOOT_ID", e.BootID().String()},
	}
	for name, value := range e.Fields() {
		if name != "_BOOT_ID" {
			r = append(r, kv{name, string(value)})
		}
	}
	if err := e.Err(); err != nil {
		t.Errorf("entry %s: %v", e.Cursor(), err)
	}
	return r
}

// readAll collects what q yields and fails on an error.
func readAll(t testing.TB, r *file.Reader, q journal.Query) []record {
	t.Helper()
	var all []record
	for e, err := range r.Read(t.Context(), q) {
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		all = append(all, toRecord(t, e))
	}
	return all
}

// sorted sorts the fields of each entry: journalctl 257 shows them in another
// order than the file has them.
func sorted(all []record) []record {
	for _, r := range all {
		slices.SortStableFunc(r, func(a, b kv) int { return strings.Compare(a.name+"="+a.value, b.name+"="+b.value) })
	}
	return all
}

// messages are the MESSAGE fields of entries.
func messages(all []record) []string {
	var out []string
	for _, r := range all {
		out = append(out, r.get("MESSAGE"))
	}
	return out
}
