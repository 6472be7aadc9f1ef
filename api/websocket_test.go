package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clientFrame is a frame as a client sends it.
func clientFrame(head byte, data string) []byte {
	frame := []byte{head}
	switch n := len(data); {
	case n <= 125:
		frame = append(frame, 0x80|byte(n))
	case n <= 0xffff:
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	frame = append(frame, mask[:]...)
	for i := range len(data) {
		frame = append(frame, data[i]^mask[i&3])
	}
	return frame
}

// recorded is a connection that has something to read, and keeps what is written.
type recorded struct {
	net.Conn
	out bytes.Buffer
}

func (r *recorded) Write(p []byte) (int, error) { return r.out.Write(p) }

func TestWebsocketReads(t *testing.T) {
	long, longer := strings.Repeat("x", 300), strings.Repeat("y", 70000)
	join := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	tests := map[string]struct {
		in   []byte
		want string
		sent string
		err  error
	}{
		"nothing":               {in: nil},
		"text":                  {in: clientFrame(0x81, "hello"), want: "hello"},
		"binary":                {in: clientFrame(0x82, "\x00\xff"), want: "\x00\xff"},
		"fragments":             {in: join(clientFrame(0x01, "one "), clientFrame(0x00, "two "), clientFrame(0x80, "three")), want: "one two three"},
		"sizes":                 {in: join(clientFrame(0x82, ""), clientFrame(0x82, long), clientFrame(0x82, longer)), want: long + longer},
		"a ping in between":     {in: join(clientFrame(0x01, "a"), clientFrame(0x89, "hi"), clientFrame(0x80, "b")), want: "ab", sent: "\x8a\x02hi"},
		"a pong is for nobody":  {in: join(clientFrame(0x8a, ""), clientFrame(0x82, "x")), want: "x"},
		"goodbye":               {in: join(clientFrame(0x82, "x"), clientFrame(0x88, "\x03\xe8bye"), clientFrame(0x82, "late")), want: "x", sent: "\x88\x02\x03\xe8"},
		"goodbye without words": {in: clientFrame(0x88, ""), sent: "\x88\x00"},
		"cut off":               {in: clientFrame(0x82, "hello")[:8], want: "he", err: io.ErrUnexpectedEOF},
		"cut off in its head":   {in: clientFrame(0x82, long)[:3], err: io.ErrUnexpectedEOF},
		"not masked":            {in: []byte{0x82, 1, 'x'}, sent: "\x88\x02\x03\xea", err: errWebsocket},
		"an extension":          {in: clientFrame(0xc2, "x"), sent: "\x88\x02\x03\xea", err: errWebsocket},
		"unknown":               {in: clientFrame(0x83, "x"), sent: "\x88\x02\x03\xea", err: errWebsocket},
		"a ping in parts":       {in: clientFrame(0x09, "x"), sent: "\x88\x02\x03\xea", err: errWebsocket},
		"a ping that is long":   {in: clientFrame(0x89, long), sent: "\x88\x02\x03\xea", err: errWebsocket},
		"longer than can be":    {in: []byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, sent: "\x88\x02\x03\xea", err: errWebsocket},
	}
	for name, tt := range tests {
		under := &recorded{}
		ws := &websocket{Conn: under, in: bytes.NewReader(tt.in), out: opBinary}
		got, err := io.ReadAll(ws)
		if string(got) != tt.want || !errors.Is(err, tt.err) || under.out.String() != tt.sent {
			t.Errorf("%s: %.50q, %v, sent %q", name, got, err, under.out.String())
		}
	}
}

func TestWebsocketWrites(t *testing.T) {
	for size, head := range map[int]string{0: "\x82\x00", 125: "\x82\x7d", 126: "\x82\x7e\x00\x7e", 0xffff: "\x82\x7e\xff\xff", 0x10000: "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"} {
		under := &recorded{}
		ws := &websocket{Conn: under, out: opBinary}
		data := strings.Repeat("x", size)
		if n, err := io.WriteString(ws, data); n != size || err != nil || under.out.String() != head+data {
			t.Errorf("%d bytes: %d, %v, %.20q", size, n, err, under.out.String())
		}
		_ = ws.goodbye(nil)
		if _, err := io.WriteString(ws, "x"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after the goodbye: %v", err)
		}
	}
}

func TestWebsocketHandshake(t *testing.T) {
	good := map[string]string{"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	tcp, unix := net.Addr(&net.TCPAddr{}), net.Addr(&net.UnixAddr{})
	tests := map[string]struct {
		change map[string]string
		local  net.Addr
		code   int
	}{
		"as it should be":           {},
		"no upgrade":                {change: map[string]string{"Upgrade": ""}, code: 400},
		"another upgrade":           {change: map[string]string{"Upgrade": "tcp"}, code: 400},
		"no connection":             {change: map[string]string{"Connection": "close"}, code: 400},
		"an old version":            {change: map[string]string{"Sec-WebSocket-Version": "8"}, code: 426},
		"no key":                    {change: map[string]string{"Sec-WebSocket-Key": ""}, code: 400},
		"a short key":               {change: map[string]string{"Sec-WebSocket-Key": "eA=="}, code: 400},
		"not a key":                 {change: map[string]string{"Sec-WebSocket-Key": "\x00"}, code: 400},
		"a program":                 {local: tcp},
		"a page of this server":     {change: map[string]string{"Origin": "https://Example.com"}, local: tcp},
		"a page of somebody else":   {change: map[string]string{"Origin": "https://evil.example"}, local: tcp, code: 403},
		"a page of no origin":       {change: map[string]string{"Origin": "null"}, local: tcp, code: 403},
		"what no browser can reach": {change: map[string]string{"Origin": "http://localhost"}, local: unix},
	}
	for name, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for k, v := range good {
			r.Header.Set(k, v)
		}
		for k, v := range tt.change {
			r.Header.Set(k, v)
		}
		if tt.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tt.local))
		}
		accept, err := websocketAccept(httptest.NewRecorder(), &request{Request: r})
		code := 0
		if err != nil {
			code = status(err)
		}
		if code != tt.code || err == nil && accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("%s: %q, %v, want %d", name, accept, err, tt.code)
		}
	}
}

// However a client cuts its frames, what it says arrives, and nothing else.
func FuzzWebsocket(f *testing.F) {
	f.Add(clientFrame(0x82, "hello"))
	f.Add(append(clientFrame(0x01, "a"), clientFrame(0x89, "ping")...))
	f.Add(clientFrame(0x88, "\x03\xe8"))
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(r io.Reader) (string, string) {
			under := &recorded{}
			got, err := io.ReadAll(&websocket{Conn: under, in: r, out: opBinary})
			if err == nil {
				err = io.EOF
			}
			return string(got) + "|" + err.Error(), under.out.String()
		}
		whole, sent := read(bytes.NewReader(in))
		parts, sentAgain := read(bufio.NewReaderSize(oneByOne{bytes.NewReader(in)}, 16))
		if diff := cmp.Diff(whole, parts); diff != "" || sent != sentAgain {
			t.Errorf("read at once and byte by byte: %s", diff)
		}
		if len(whole) > len(in)+100 || len(sent) > len(in)+10 {
			t.Errorf("%d bytes became %d, and %d were sent", len(in), len(whole), len(sent))
		}
	})
}

// oneByOne returns one byte at a time.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }
