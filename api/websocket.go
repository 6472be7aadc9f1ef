package api

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 has it, and nothing depends on its strength
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// The codes with which a websocket is closed, see section 7.4.
const (
	closeNormal   = 1000
	closeProtocol = 1002
)

// maxControl is how much a frame of control may carry, see section 5.5.
const maxControl = 125

// closeTime is how long saying goodbye may take.
const closeTime = 5 * time.Second

// errWebsocket says that a client does not keep to the protocol.
var errWebsocket = errors.New("not a websocket frame as RFC 6455 has it")

// upgradeWebsocket takes a connection over and makes a websocket of it, in whose
// frames the bytes of both directions are.
func upgradeWebsocket(w http.ResponseWriter, r *request) (*conn, error) {
	accept, err := websocketAccept(w, r)
	if err != nil {
		return nil, err
	}
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n"
	under, err := takeOver(w, head)
	if err != nil {
		return nil, err
	}
	ws := &websocket{Conn: under.Conn, in: under.in, out: opBinary}
	if r.version < 28 {
		ws.out = opText
	}
	return &conn{ws, bufio.NewReader(readOnly{ws})}, nil
}

// websocketAccept checks a request for an upgrade, and returns what proves that it
// was understood.
func websocketAccept(w http.ResponseWriter, r *request) (string, error) {
	refuse := func(what string) (string, error) {
		return "", httpError{http.StatusBadRequest, "bad websocket handshake: " + what}
	}
	key := r.Header.Get("Sec-WebSocket-Key")
	switch nonce, err := base64.StdEncoding.DecodeString(key); {
	case !hasToken(r.Header.Values("Upgrade"), "websocket") || !hasToken(r.Header.Values("Connection"), "upgrade"):
		return refuse("the heads Upgrade and Connection have to ask for a websocket")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return "", httpError{http.StatusUpgradeRequired, "bad websocket handshake: the version has to be 13"}
	case err != nil || len(nonce) != 16:
		return refuse("Sec-WebSocket-Key has to be 16 bytes in base64")
	case !sameOrigin(r):
		return "", httpError{http.StatusForbidden, "bad websocket handshake: the page of another origin cannot attach"}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// hasToken reports whether a list of words has one, in any case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for _, word := range strings.Split(v, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

// sameOrigin keeps pages of others from using the certificate of whoever looks at
// them. Only what comes over TCP can be a browser, and Docker lets all of them in.
func sameOrigin(r *request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if _, isTCP := local.(*net.TCPAddr); !isTCP || r.Header.Get("Origin") == "" {
		return true
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && strings.EqualFold(origin.Host, r.Host)
}

// websocket is the server's side of one. It implements net.Conn: Read returns what
// frames of data carry, Write makes a frame of its argument, Close says goodbye.
// Reading and writing are safe at the same time.
type websocket struct {
	net.Conn
	in  io.Reader
	out byte // opcode of what is written

	// Of the frame that is read.
	left uint64
	mask [4]byte
	at   int
	end  error // once there is nothing more

	mu     sync.Mutex // of writing
	closed bool
}

// readOnly keeps a bufio.Reader from a WriterTo of what it reads from.
type readOnly struct{ io.Reader }

// NetConn returns the connection under the websocket.
func (s *websocket) NetConn() net.Conn { return s.Conn }

// Read implements io.Reader. Its end is that of the client's stream.
func (s *websocket) Read(p []byte) (int, error) {
	for s.left == 0 && s.end == nil {
		if err := s.nextFrame(); err != nil {
			s.end = err
		}
	}
	if s.left == 0 {
		return 0, s.end
	}
	n, err := s.in.Read(p[:min(uint64(len(p)), s.left)])
	s.unmask(p[:n])
	s.left -= uint64(n)
	if err != nil {
		if s.left > 0 {
			err = unexpected(err)
		}
		s.end, s.left = err, 0
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

func (s *websocket) unmask(p []byte) {
	for i := range p {
		p[i] ^= s.mask[s.at&3]
		s.at++
	}
}

// nextFrame reads the head of a frame, and all of one that is for control.
func (s *websocket) nextFrame() error {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return err
	}
	op, final, length := head[0]&0xf, head[0]&0x80 != 0, uint64(head[1]&0x7f)
	if head[0]&0x70 != 0 || head[1]&0x80 == 0 { // extensions were not agreed on, and clients mask
		return s.protest()
	}
	switch op {
	case opClose, opPing, opPong:
		if !final || length > maxControl {
			return s.protest()
		}
	case opContinuation, opText, opBinary:
	default:
		return s.protest()
	}
	var long [8]byte
	switch length {
	case 126:
		if _, err := io.ReadFull(s.in, long[6:]); err != nil {
			return unexpected(err)
		}
		length = binary.BigEndian.Uint64(long[:])
	case 127:
		if _, err := io.ReadFull(s.in, long[:]); err != nil {
			return unexpected(err)
		}
		if length = binary.BigEndian.Uint64(long[:]); length>>63 != 0 {
			return s.protest()
		}
	}
	if _, err := io.ReadFull(s.in, s.mask[:]); err != nil {
		return unexpected(err)
	}
	s.at = 0
	if op == opClose || op == opPing || op == opPong {
		return s.control(op, int(length))
	}
	s.left = length
	return nil
}

// unexpected says that a frame has no end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// control reads and answers a frame of control.
func (s *websocket) control(op byte, length int) error {
	data := make([]byte, length)
	if _, err := io.ReadFull(s.in, data); err != nil {
		return unexpected(err)
	}
	s.unmask(data)
	switch op {
	case opPing:
		return s.send(opPong, data)
	case opClose:
		_ = s.goodbye(data[:min(2, len(data))]) // with the client's code; it does not wait for it
		return io.EOF
	}
	return nil
}

// protest ends a websocket whose client does not keep to the protocol.
func (s *websocket) protest() error {
	_ = s.goodbye(binary.BigEndian.AppendUint16(nil, closeProtocol)) // it may not listen
	return errWebsocket
}

// Write implements io.Writer.
func (s *websocket) Write(p []byte) (int, error) {
	if err := s.send(s.out, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (s *websocket) Close() error {
	_ = s.Conn.SetWriteDeadline(time.Now().Add(closeTime))         // for who does not read any more
	_ = s.goodbye(binary.BigEndian.AppendUint16(nil, closeNormal)) // the client may be gone
	return s.Conn.Close()
}

// goodbye sends the last frame, once.
func (s *websocket) goodbye(data []byte) error {
	err := s.send(opClose, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return err
}

// send writes one frame.
func (s *websocket) send(op byte, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("write to the websocket: %w", net.ErrClosed)
	}
	frame := []byte{0x80 | op}
	switch n := len(data); {
	case n <= 125:
		frame = append(frame, byte(n))
	case n <= 0xffff:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	_, err := s.Conn.Write(append(frame, data...))
	return err
}
