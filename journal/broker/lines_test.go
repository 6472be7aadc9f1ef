package broker

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

func TestNextPiece(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("a", maxLine)
	for name, tt := range map[string]struct {
		data string
		sent uint64
		eof  bool
		want piece
		ok   bool
	}{
		"a line":                        {"one\ntwo", 0, false, piece{[]byte("one"), 4, 0, true}, true},
		"an empty line":                 {"\n", 0, false, piece{[]byte{}, 1, 0, true}, true},
		"the beginning of a line waits": {"one", 0, false, piece{}, false},
		"the end needs no newline":      {"one", 0, true, piece{[]byte("one"), 3, 0, true}, true},
		"nothing at the end":            {"", 1, true, piece{}, false},
		"the longest line":              {full + "\n", 0, false, piece{[]byte(full), maxLine + 1, 0, true}, true},
		"the longest line, undecided":   {full, 0, false, piece{}, false},
		"too long":                      {full + "b", 0, false, piece{[]byte(full), maxLine, 1, false}, true},
		"a middle part":                 {full + "b", 3, false, piece{[]byte(full), maxLine, 4, false}, true},
		"the last part":                 {"b\n", 4, false, piece{[]byte("b"), 2, 5, true}, true},
		"the last part at the end":      {"b", 4, true, piece{[]byte("b"), 1, 5, true}, true},
	} {
		got, ok := nextPiece([]byte(tt.data), tt.sent, tt.eof)
		if ok != tt.ok || !cmp.Equal(tt.want, got, cmp.AllowUnexported(piece{})) {
			t.Errorf("%s: got %v, %s", name, ok, cmp.Diff(tt.want, got, cmp.AllowUnexported(piece{})))
		}
	}
}

func TestFieldsAreChecked(t *testing.T) {
	t.Parallel()
	for _, f := range []string{
		"", "=x", "NAME", "lower=x", "_PID=1", "1A=x", "A B=x", "A\nPRIORITY=0", "MESSAGE=x", "PRIORITY=0",
		"OBJECT_SYSTEMD_UNIT=ssh.service", strings.Repeat("A", 65) + "=x",
	} {
		if _, err := constantFields("u", "6", []string{f}); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%q: %v, want invalid", f, err)
		}
	}
}

// FuzzPieces: entries decode to what they were made of, and together they are
// the input, however it was cut.
func FuzzPieces(f *testing.F) {
	f.Add([]byte("a\nb\x00=\n\nc"), uint16(3), "v\nw")
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine), uint16(5000), "")
	f.Fuzz(func(t *testing.T, input []byte, cut uint16, value string) {
		constant, err := constantFields("u.service", "6", []string{"NAME=" + value})
		if err != nil {
			t.Fatal(err)
		}
		var datagram, pending []byte
		var texts []string
		var part uint64
		for rest := input; ; {
			n := min(len(rest), int(cut)+100)
			pending, rest = append(pending, rest[:n]...), rest[n:]
			for {
				p, ok := nextPiece(pending, part, len(rest) == 0)
				if !ok {
					break
				}
				texts = append(texts, string(pending[:p.size]))
				if len(datagram) > 0 {
					datagram = append(datagram, '\n') // the separator of entries
				}
				datagram = appendEntry(datagram, p, constant, nil, "id")
				pending, part = pending[p.size:], p.partsSent()
			}
			if len(rest) == 0 {
				break
			}
		}
		if got := strings.Join(texts, ""); got != string(input) || len(pending) > 0 {
			t.Fatalf("pieces are %q, input %q", got, input)
		}
		entries, err := decodeDatagram(datagram, nil)
		if err != nil || len(entries) != len(texts) {
			t.Fatalf("%d entries, %v, want %d", len(entries), err, len(texts))
		}
		for i, e := range entries {
			if e.fields["MESSAGE"] != strings.TrimSuffix(texts[i], "\n") || e.fields["NAME"] != value {
				t.Fatalf("entry %d is %q, want %q", i, e.fields, texts[i])
			}
		}
	})
}
