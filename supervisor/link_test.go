package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/cleat-project/cleat/spec"
)

// fakeBus answers like systemd, or a bus daemon, as far as these tests go.
type fakeBus struct {
	listener net.Listener
	greeting string                                    // answer to the authentication
	answer   func(method string) (*dbus.Message, bool) // false drops the connection

	mu      sync.Mutex
	methods []string
}

// newFakeBus serves on a socket of the test until its end.
func newFakeBus(t *testing.T, greeting string, answer func(string) (*dbus.Message, bool)) (*fakeBus, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBus{listener: l, greeting: greeting, answer: answer}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return b, path
}

func (b *fakeBus) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	in := bufio.NewReader(nc)
	for line := ""; !strings.HasPrefix(line, "BEGIN"); {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			return
		}
		if strings.Contains(line, "AUTH") {
			_, _ = io.WriteString(nc, b.greeting)
		}
	}
	for {
		call, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		method, _ := call.Headers[dbus.FieldMember].Value().(string)
		b.mu.Lock()
		b.methods = append(b.methods, method)
		b.mu.Unlock()
		reply, ok := b.answer(method)
		if !ok {
			return
		}
		if reply == nil {
			continue
		}
		reply.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(call.Serial())
		if len(reply.Body) > 0 {
			reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(reply.Body...))
		}
		var buf bytes.Buffer
		if err := reply.EncodeTo(&buf, binary.LittleEndian); err != nil {
			return
		}
		binary.LittleEndian.PutUint32(buf.Bytes()[8:], 1)
		_, _ = nc.Write(buf.Bytes())
	}
}

func (b *fakeBus) called() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.methods...)
}

func reply(body ...any) (*dbus.Message, bool) {
	return &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{}, Body: body}, true
}

const accepted = "OK 0123456789abcdef\r\n"

func testConn(t *testing.T, private, bus string) (*Conn, error) {
	t.Helper()
	c, err := connect(t.Context(), &Conn{private: private, bus: bus, unitDir: t.TempDir()})
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

func TestNoSystemd(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	if _, err := testConn(t, nowhere, nowhere); !errors.Is(err, ErrNoSystemd) || !errors.Is(err, spec.ErrUnavail) {
		t.Errorf("connect: %v, want %v", err, ErrNoSystemd)
	}
}

func TestRejectedClientIsTold(t *testing.T) {
	t.Parallel()
	_, path := newFakeBus(t, "REJECTED EXTERNAL\r\n", func(string) (*dbus.Message, bool) { return reply() })
	c, err := testConn(t, path, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(t.Context()); !errors.Is(err, spec.ErrDenied) {
		t.Errorf("Reload: %v, want %v", err, spec.ErrDenied)
	}
}

func TestSystemBusIsTheFallback(t *testing.T) {
	t.Parallel()
	b, path := newFakeBus(t, accepted, func(string) (*dbus.Message, bool) { return reply() })
	c, err := testConn(t, filepath.Join(t.TempDir(), "nowhere"), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Hello", "AddMatch", "Subscribe", "Reload"}, b.called()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestLostConnectionComesBackWithoutRepeatingACall(t *testing.T) {
	t.Parallel()
	var answered atomic.Bool
	b, path := newFakeBus(t, accepted, func(string) (*dbus.Message, bool) {
		if !answered.Swap(true) {
			return nil, false
		}
		return reply(dbus.MakeVariant("257.1"))
	})
	c, err := testConn(t, path, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, spec.ErrUnavail) {
		t.Errorf("call that was under way: %v, want %v", err, spec.ErrUnavail)
	}
	if v, err := c.Version(t.Context()); v != 257 || err != nil {
		t.Errorf("next call: %d, %v", v, err)
	}
	if diff := cmp.Diff([]string{"Get", "Get"}, b.called()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestCancelledCallReturnsItsCause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("changed my mind")
	_, path := newFakeBus(t, accepted, func(string) (*dbus.Message, bool) {
		cancel(cause)
		return nil, true // never answers
	})
	c, err := testConn(t, path, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(ctx); !errors.Is(err, cause) {
		t.Errorf("Reload: %v, want %v", err, cause)
	}
}

func TestReplyOfAnotherShapeIsAnError(t *testing.T) {
	t.Parallel()
	_, path := newFakeBus(t, accepted, func(string) (*dbus.Message, bool) { return reply([]uint32{7}) })
	c, err := testConn(t, path, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Units(t.Context()); err == nil {
		t.Error("Units accepts numbers")
	}
	if _, err := c.Properties(t.Context(), "a.service"); err == nil {
		t.Error("Properties accepts numbers")
	}
	if err := c.Start(t.Context(), "a.service"); err == nil {
		t.Error("Start accepts numbers")
	}
}

func TestBusErrorsHaveTheirClass(t *testing.T) {
	t.Parallel()
	tests := map[string]error{
		"org.freedesktop.systemd1.UnitExists":                  spec.ErrExists,
		"org.freedesktop.systemd1.NoSuchUnit":                  spec.ErrNotFound,
		"org.freedesktop.systemd1.UnitMasked":                  spec.ErrConflict,
		"org.freedesktop.systemd1.TransactionIsDestructive":    spec.ErrConflict,
		"org.freedesktop.DBus.Error.InvalidArgs":               spec.ErrInvalid,
		"org.freedesktop.DBus.Error.PropertyReadOnly":          spec.ErrInvalid,
		"org.freedesktop.DBus.Error.AccessDenied":              spec.ErrDenied,
		"org.freedesktop.DBus.Error.NotSupported":              spec.ErrUnsupport,
		"org.freedesktop.systemd1.ShuttingDown":                spec.ErrUnavail,
		"org.freedesktop.DBus.Error.Failed.of.an.unknown.kind": nil,
	}
	for name, want := range tests {
		m := &dbus.Message{Type: dbus.TypeError, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldErrorName: dbus.MakeVariant(name)}, Body: []any{"Because."}}
		_, err := result(m)
		if got := errors.Unwrap(err); !errors.Is(got, want) {
			t.Errorf("%s is of class %v, want %v", name, got, want)
		}
		if err.Error() != "Because" {
			t.Errorf("%s reads %q", name, err)
		}
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	tests := map[string]int{
		"252": 252, "252.39-1~deb12u2": 252, "v257": 257, "258~rc1": 258, "257.9-1.fc42": 257,
		"": 0, "v": 0, "systemd 252": 0, "-1": 0, "0": 0, "99999999999999999999": 0,
	}
	for text, want := range tests {
		got, err := parseVersion(text)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("parseVersion(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"252.39-1~deb12u2", "v257", "", "258~rc1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parseVersion(text); (v > 0) == (err != nil) {
			t.Errorf("parseVersion(%q) = %d, %v", text, v, err)
		}
	})
}

func TestUnitPath(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"cleat-web.service": "cleat_2dweb_2eservice",
		"1web.socket":       "_31web_2esocket",
		"a_b@c:d.service":   "a_5fb_40c_3ad_2eservice",
		"":                  "_",
		"ü":                 "_c3_bc",
	}
	for name, want := range tests {
		if got := unitPath(name); string(got) != "/org/freedesktop/systemd1/unit/"+want || !got.IsValid() {
			t.Errorf("unitPath(%q) = %s, want %s", name, got, want)
		}
	}
}

func FuzzUnitPath(f *testing.F) {
	f.Add("cleat-web.service")
	f.Add("")
	f.Fuzz(func(t *testing.T, name string) {
		if got := unitPath(name); !got.IsValid() {
			t.Errorf("unitPath(%q) = %s is no object path", name, got)
		}
	})
}

// FuzzMerge feeds property values of any type to what reads them: systemd's
// answers must not bring a command down, whatever its version.
func FuzzMerge(f *testing.F) {
	f.Add("ActiveState", "active", uint64(1), []byte{1})
	f.Add("InvocationID", "", uint64(1)<<63, []byte(nil))
	f.Fuzz(func(_ *testing.T, name, text string, number uint64, data []byte) {
		var p UnitProperties
		for _, v := range []any{text, number, uint32(number), int32(number), data, number%2 == 0, []string{text}} {
			p.merge(map[string]dbus.Variant{name: dbus.MakeVariant(v)})
		}
	})
}
