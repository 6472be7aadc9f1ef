package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDigestNote(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	d := newDigests(nil)
	want := map[string]fileDigest{"/a": {1, 2, 3, 4, sum}, "/with \"quotes\"\nand lines \xff": {Ino: 1<<64 - 1, Ctime: 1<<64 - 1, Dev: 7, Size: 1 << 62, Sum: sum}}
	d.known["/a"] = fileDigest{9, 9, 9, 9, sum}
	for name, is := range want {
		d.used[name] = is
	}
	if _, ok := d.note(); ok {
		t.Error("a note without news")
	}
	d.fresh = true
	note, ok := d.note()
	if !ok {
		t.Fatal("no note")
	}
	if diff := cmp.Diff(want, newDigests(note).known); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What was cut off, or is of another version, is not known.
	for _, broken := range [][]byte{note[:len(note)-1], []byte(`{"/a":{"Ino":1}}`), []byte("1 2 3 4 short \"/a\"\n"), []byte("x 2 3 4 " + sum + " \"/a\"\n"), []byte("1 2 3 4 " + sum + " /a\n"), {0xff, '\n'}} {
		if known := newDigests(broken).known; len(known) > 1 {
			t.Errorf("%q: %v", broken, known)
		}
	}
}
