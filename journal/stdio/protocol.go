package stdio

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Version is the first byte of every request.
const Version = 1

// The second byte of a request says what is wanted; a JSON object follows.
const (
	VerbRegister byte = 'R' // Registration, with the container's descriptors
	VerbAttach   byte = 'A' // AttachRequest
	VerbDrain    byte = 'D' // DrainRequest
	VerbResize   byte = 'W' // ResizeRequest
	VerbList     byte = 'L' // no object
)

// The first byte of every message after the request is its type.
const (
	FrameOK         byte = 'K' // from the broker: done, or attached; no payload
	FrameError      byte = 'X' // from the broker: a remoteError; the last message
	FrameItem       byte = 'I' // from the broker: one Status of a list
	FrameStarted    byte = 'S' // from the broker: a Started, with the input descriptor if asked for
	FrameStdout     byte = '1' // from the broker: bytes that the container wrote to stdout or its terminal
	FrameStderr     byte = '2' // from the broker: bytes that the container wrote to stderr
	FrameEnd        byte = 'Z' // from the broker: all output has been sent
	FrameCloseStdin byte = 'c' // to the broker: the client's input has ended
)

// Sizes of messages, in bytes. An output frame is at most MaxFrame bytes long
// and a request at most MaxRequest, headers included.
const (
	MaxFrame   = 64 << 10
	MaxRequest = 1 << 20
)

// DefaultPatience is how long a client that does not read may hold up a
// container, unless the client asks for something else.
const DefaultPatience = time.Minute

// Size is a terminal's size in characters. The zero value leaves it as it is.
type Size struct {
	Width, Height uint16
}

// Registration describes one run of a container to the broker.
type Registration struct {
	ID   string // of the container, 64 lower-case hex digits
	Name string // of the container, for messages
	Unit string // the systemd unit whose log the output is
	PID  int    // of the payload, as seen in the broker's PID namespace; 0 if unknown
	Log  bool   // whether the output goes to the journal

	// Fields are the constant journal fields of every line, each "NAME=value".
	// The broker itself adds MESSAGE, PRIORITY, SYSLOG_TIMESTAMP,
	// OBJECT_SYSTEMD_UNIT and those of partial lines; they are refused here.
	Fields []string `json:",omitempty"`

	// StdinOnce closes the container's stdin when the first client that
	// attached to it goes. It does nothing with a terminal.
	StdinOnce bool `json:",omitempty"`

	// TTY and Stdin say which descriptors follow; Register fills them in.
	TTY   bool `json:",omitempty"`
	Stdin bool `json:",omitempty"`
}

// AttachRequest says which container to attach to, and how.
type AttachRequest struct {
	ID string // of the container

	// Stdin asks for the container's input, Stdout and Stderr for its output.
	// A terminal's output is all stdout.
	Stdin, Stdout, Stderr bool

	// Size is the initial size of the terminal; zero leaves it as it is.
	Size Size

	// Patience is how long this client may hold up the container when it does
	// not read: once its buffer is full, the container waits for it as it waits
	// for a full pipe. When Patience has passed, the client is disconnected with
	// an error that matches spec.ErrConflict. Zero means DefaultPatience; a
	// negative value waits for ever, which fits the client that owns the
	// container (a foreground run).
	Patience time.Duration `json:",omitempty"`

	// Resume says that this client was attached to a broker that has gone: it
	// is not held until the container starts, but told FrameEnd if it has ended.
	Resume bool `json:",omitempty"`
}

// Started tells a client that the container it is attached to runs, or is about
// to.
type Started struct {
	TTY   bool // the container has a terminal
	Stdin bool // a descriptor for its input comes with the message
}

// DrainRequest asks for the end of a container's output.
type DrainRequest struct {
	ID    string
	Grace time.Duration // see Drain
}

// ResizeRequest sets the size of a container's terminal.
type ResizeRequest struct {
	ID   string
	Size Size
}

// Status is what the broker knows about one container, or about the clients
// that wait for one.
type Status struct {
	ID, Name, Unit string
	PID            int  // of the payload when it was registered; 0 if it waits for its start
	TTY            bool // it has a terminal
	Open           int  // output streams that have not ended
	Stdin          bool // its stdin is held open
	Clients        int  // attached, or waiting for its start
	PendingBytes   int  // read from the container, not yet taken by the journal
}

// remoteError carries an error over the socket. Class is one of the names in
// classes, so that errors.Is works on the far side.
type remoteError struct {
	Class   string
	Message string
}

var classes = [...]struct {
	name string
	err  error
}{
	{"not found", spec.ErrNotFound},
	{"exists", spec.ErrExists},
	{"invalid", spec.ErrInvalid},
	{"conflict", spec.ErrConflict},
	{"not supported", spec.ErrUnsupport},
	{"denied", spec.ErrDenied},
	{"unavailable", spec.ErrUnavail},
}

// EncodeRequest returns the message for verb with v, which may be nil, as its
// object.
func EncodeRequest(verb byte, v any) ([]byte, error) {
	msg := []byte{Version, verb}
	if v == nil {
		return msg, nil
	}
	obj, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(obj)+len(msg) > MaxRequest {
		return nil, fmt.Errorf("request of %d bytes: limit is %d: %w", len(obj), MaxRequest, spec.ErrInvalid)
	}
	return append(msg, obj...), nil
}

// DecodeRequest splits a request into its verb and its object, which is still
// JSON.
func DecodeRequest(msg []byte) (verb byte, obj []byte, err error) {
	if len(msg) < 2 {
		return 0, nil, fmt.Errorf("request of %d bytes: %w", len(msg), spec.ErrInvalid)
	}
	if msg[0] != Version {
		return 0, nil, fmt.Errorf("request of version %d: broker speaks %d: %w", msg[0], Version, spec.ErrUnsupport)
	}
	return msg[1], msg[2:], nil
}

// EncodeFrame returns the message of type t with v as its JSON payload.
func EncodeFrame(t byte, v any) ([]byte, error) {
	obj, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte{t}, obj...), nil
}

// EncodeError returns a FrameError for err. Of err's chain only its class and
// its text survive.
func EncodeError(err error) []byte {
	re := remoteError{Message: err.Error()}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			re.Class = c.name
			break
		}
	}
	msg, mErr := EncodeFrame(FrameError, re)
	if mErr != nil { // two strings always encode
		return []byte{FrameError}
	}
	return msg
}

// BrokerError is an error that the broker reported.
type BrokerError struct {
	Message string
	class   error
}

// Error returns the broker's text.
func (e *BrokerError) Error() string { return e.Message }

// Unwrap returns the class of the error, one of spec's sentinels, or nil.
func (e *BrokerError) Unwrap() error { return e.class }

// decodeError turns the payload of a FrameError into an error.
func decodeError(payload []byte) error {
	var re remoteError
	if err := json.Unmarshal(payload, &re); err != nil {
		return fmt.Errorf("decode error message: %w", err)
	}
	e := &BrokerError{Message: re.Message}
	for _, c := range classes {
		if c.name == re.Class {
			e.class = c.err
		}
	}
	return e
}
