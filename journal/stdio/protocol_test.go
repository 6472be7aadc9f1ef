package stdio

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

func TestErrorsKeepTheirClass(t *testing.T) {
	t.Parallel()
	for _, c := range classes {
		err := decodeError(EncodeError(fmt.Errorf("do it: %w", c.err))[1:])
		if !errors.Is(err, c.err) || err.Error() != "do it: "+c.err.Error() {
			t.Errorf("%v became %v", c.err, err)
		}
	}
	if err := decodeError(EncodeError(io.EOF)[1:]); err.Error() != "EOF" || errors.Unwrap(err) != nil {
		t.Errorf("an error without class became %v", err)
	}
}

func TestRequestsTravel(t *testing.T) {
	t.Parallel()
	want := Registration{ID: "1", Name: "web", Unit: "u.service", PID: 7, Log: true, Fields: []string{"A=b\nc"}, StdinOnce: true}
	msg, err := EncodeRequest(VerbRegister, want)
	if err != nil {
		t.Fatal(err)
	}
	verb, obj, err := DecodeRequest(msg)
	var got Registration
	if err := errors.Join(err, json.Unmarshal(obj, &got)); err != nil || verb != VerbRegister {
		t.Fatalf("verb %q, %v", verb, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	msg[0]++
	if _, _, err := DecodeRequest(msg); !errors.Is(err, spec.ErrUnsupport) {
		t.Errorf("another version: %v", err)
	}
	if _, err := EncodeRequest(VerbRegister, Registration{Name: strings.Repeat("x", MaxRequest)}); !errors.Is(err, spec.ErrInvalid) {
		t.Errorf("a request that is too long: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := List(t.Context(), socket); !errors.Is(err, unix.ENOENT) {
		t.Errorf("list: %v", err)
	}
	if _, err := Attach(t.Context(), socket, AttachRequest{}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("attach: %v", err)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte("\x01R{}"))
	f.Add([]byte("\x02"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		verb, obj, err := DecodeRequest(msg)
		if err == nil && string(msg) != string([]byte{Version, verb})+string(obj) {
			t.Errorf("%q is %q and %q", msg, verb, obj)
		}
	})
}

// FuzzFrame: whatever the broker sends, a session neither panics nor takes
// foreign bytes for output.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("1data"))
	f.Add([]byte("S{\"Stdin\":true}"))
	f.Add(EncodeError(spec.ErrConflict))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) == 0 {
			return // Conn.Recv reports it as the end
		}
		s := &Session{start: make(chan struct{})}
		frame, skip, err := s.frame(msg, nil)
		isData := msg[0] == FrameStdout || msg[0] == FrameStderr
		if isData != (!skip && err == nil && frame.Type != FrameStarted) {
			t.Errorf("%q: %v, %v, %v", msg, frame, skip, err)
		}
		if isData && string(frame.Data) != string(msg[1:]) {
			t.Errorf("%q became %q", msg, frame.Data)
		}
	})
}
