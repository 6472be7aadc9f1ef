package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

type field struct{ name, value string }

// parse reads an entry in journald's native protocol.
func parse(b []byte) (fields []field, err error) {
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte{'\n'})
		if !ok {
			return nil, errors.New("no end of line")
		}
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			fields, b = append(fields, field{string(name), string(value)}), rest
			continue
		}
		if len(rest) < 8 || uint64(len(rest)-8) <= binary.LittleEndian.Uint64(rest) {
			return nil, fmt.Errorf("field %q is cut short", line)
		}
		n := binary.LittleEndian.Uint64(rest)
		fields, b = append(fields, field{string(line), string(rest[8 : 8+n])}), rest[8+n+1:]
	}
	return fields, nil
}

func each(fields []field) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, f := range fields {
			if !yield(f.name, []byte(f.value)) {
				return
			}
		}
	}
}

var died = Event{
	Type: Container, Action: "die", Object: "0123456789abcdef", Attributes: map[string]string{"name": "web", "image": "nginx", "exitCode": "137"},
	Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Root: "/var/lib/cleat", Unit: "cleat-web.service",
}

func TestEntry(t *testing.T) {
	t.Parallel()
	entry, err := Encode(died)
	if err != nil {
		t.Fatal(err)
	}
	want := `MESSAGE=container web: die (exitCode=137)
PRIORITY=6
SYSLOG_IDENTIFIER=cleat
MESSAGE_ID=` + ID(Container) + `
CLEAT_EVENT=container
CLEAT_ACTION=die
CLEAT_OBJECT=0123456789abcdef
CLEAT_ATTRIBUTES={"exitCode":"137","image":"nginx","name":"web"}
CLEAT_ROOT=/var/lib/cleat
SYSLOG_TIMESTAMP=2026-01-02T03:04:05.000000006Z
OBJECT_SYSTEMD_UNIT=cleat-web.service
`
	if diff := cmp.Diff(want, string(entry)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	fields, err := parse(entry)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(each(fields))
	if diff := cmp.Diff(died, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestEveryTypeHasItsOwnID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, kind := range Types() {
		id := ID(kind)
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Errorf("%s has id %q", kind, id)
		}
		seen[id] = true
	}
	if _, err := Encode(Event{Type: "moon"}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestDecodeRefusesOtherEntries(t *testing.T) {
	t.Parallel()
	entry, err := Encode(died)
	if err != nil {
		t.Fatal(err)
	}
	good, err := parse(entry)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) []field {
		out := append([]field(nil), good...)
		for i := range out {
			if out[i].name == name {
				out[i].value = value
				return out
			}
		}
		return append(out, field{name, value})
	}
	for what, fields := range map[string][]field{
		"output of a container whose labels look like an event": with("CONTAINER_ID_FULL", "01"),
		"an id of another type":                                 with(FieldMessageID, ID(Image)),
		"an unknown type":                                       with(fieldType, "moon"),
		"no action":                                             with(fieldAction, ""),
		"no object":                                             with(fieldObject, ""),
		"attributes that are a list":                            with(fieldAttributes, "[]"),
		"a time that is none":                                   with(fieldTime, "yesterday"),
		"nothing":                                               nil,
	} {
		if e, err := Decode(each(fields)); !errors.Is(err, spec.ErrInvalid) {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("die", "id", "name", "web", int64(1), "cleat-web.service")
	f.Add("exec_create: sh -c 'a\nMESSAGE_ID=x'", "a\nb", "k\n", "v\x00", int64(-1), "u\n")
	f.Fuzz(func(t *testing.T, action, object, key, value string, nanos int64, unit string) {
		e := Event{Type: Volume, Action: action, Object: object, Attributes: map[string]string{key: value}, Time: time.Unix(0, nanos).UTC(), Unit: unit}
		entry, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		fields, err := parse(entry)
		if err != nil {
			t.Fatalf("%q: %v", entry, err)
		}
		got, err := Decode(each(fields))
		if action == "" || object == "" {
			if err == nil {
				t.Errorf("accepted %q", entry)
			}
			return
		}
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			got.Attributes = e.Attributes // JSON has no other bytes
		}
		if diff := cmp.Diff(e, got); diff != "" || err != nil {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzDecode(f *testing.F) {
	entry, _ := Encode(died)
	f.Add(entry)
	f.Add([]byte("CLEAT_ATTRIBUTES={\"a\":1}\n"))
	f.Fuzz(func(t *testing.T, entry []byte) {
		fields, err := parse(entry)
		if err != nil {
			return
		}
		e, err := Decode(each(fields))
		if err != nil {
			return
		}
		if again, err := Encode(e); err != nil || len(again) == 0 {
			t.Errorf("%+v cannot be written again: %v", e, err)
		}
	})
}

func listen(t testing.TB) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, path
}

func TestSend(t *testing.T) {
	t.Parallel()
	conn, path := listen(t)
	long := died
	long.Attributes = map[string]string{"name": "web", "label": strings.Repeat("x", 1<<20)} // more than a socket takes by default
	for _, e := range []Event{died, long} {
		sent := make(chan error, 1)
		go func() { sent <- SendTo(path, e) }()
		buf := make([]byte, 4<<20)
		n, err := conn.Read(buf)
		if err := errors.Join(err, <-sent); err != nil {
			t.Fatal(err)
		}
		want, _ := Encode(e)
		if !bytes.Equal(buf[:n], want) {
			t.Errorf("%d bytes came, want %d", n, len(want))
		}
	}
	if err := SendTo(path+"-missing", died); err == nil {
		t.Error("no error without a journald")
	}
}

func BenchmarkSend(b *testing.B) {
	conn, path := listen(b)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		if err := SendTo(path, died); err != nil {
			b.Fatal(err)
		}
	}
}
