// Package handover hands the sockets at which a container asks for names to the
// DNS server of all containers (package serve, program cleat-netd), which outlives
// the start helper. It links little, because the start helper runs it.
//
// # Protocol
//
// The socket is of type SOCK_SEQPACKET and serves root alone. A request is a
// version byte, a verb byte and a container's id; that of VerbRegister comes with
// two descriptors, UDP first. The answer is made of messages that begin with a
// type byte: see the Frame constants.
package handover

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cleat-project/cleat/internal/seqpacket"
	"github.com/cleat-project/cleat/spec"
)

// Version is the first byte of every request.
const Version = 1

// The second byte of a request says what is wanted.
const (
	VerbRegister byte = 'R' // take these sockets
	VerbForget   byte = 'F' // close the sockets of this container
	VerbList     byte = 'L' // which containers have sockets; without an id
)

// The first byte of a message of an answer is its type.
const (
	FrameOK    byte = 'K' // done; the last message
	FrameError byte = 'X' // a text that says what is wrong; the last message
	FrameItem  byte = 'I' // the id of a container
)

// RequestBytes is the length of the longest request.
const RequestBytes = 2 + idDigits

// idDigits is the length of a container's id.
const idDigits = 64

// Register has the server at socket answer on the sockets of a container, which
// stay the caller's, to be closed. When it returns nil they are in systemd's
// keeping and outlive the server. Those of an earlier run are closed.
//
// The sockets keep the network namespace and all that is plugged into it alive:
// whoever ends the run calls Forget before he gives its addresses away.
func Register(ctx context.Context, socket, containerID string, s Sockets) error {
	if err := call(ctx, socket, VerbRegister, containerID, nil, s.UDP, s.TCP); err != nil {
		return fmt.Errorf("register name lookups of container %s: %w", spec.ShortID(containerID), err)
	}
	return nil
}

// Forget has the server close the sockets of a container. That it has none is no
// error.
func Forget(ctx context.Context, socket, containerID string) error {
	if err := call(ctx, socket, VerbForget, containerID, nil); err != nil {
		return fmt.Errorf("end name lookups of container %s: %w", spec.ShortID(containerID), err)
	}
	return nil
}

// List returns the ids of the containers that the server answers, in no order.
// An answer of any length also shows that it works.
func List(ctx context.Context, socket string) ([]string, error) {
	found := map[string]bool{}
	if err := call(ctx, socket, VerbList, "", func(id string) { found[id] = true }); err != nil {
		return nil, fmt.Errorf("list name lookups: %w", err)
	}
	ids := make([]string, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	return ids, nil
}

func call(ctx context.Context, socket string, verb byte, id string, item func(string), fds ...int) error {
	msg := append([]byte{Version, verb}, id...)
	return seqpacket.Call(ctx, socket, msg, func(answer []byte) (bool, error) {
		text := string(answer[1:])
		switch {
		case answer[0] == FrameOK:
			return true, nil
		case answer[0] == FrameError:
			return true, errors.New(text)
		case answer[0] == FrameItem && item != nil:
			item(text)
			return false, nil
		}
		return true, fmt.Errorf("answer of type %q: %w", answer[0], spec.ErrInvalid)
	}, fds...)
}

// ParseRequest takes a request apart and looks it over.
func ParseRequest(msg []byte) (verb byte, containerID string, err error) {
	if len(msg) < 2 {
		return 0, "", fmt.Errorf("request of %d bytes: %w", len(msg), spec.ErrInvalid)
	}
	if msg[0] != Version {
		return 0, "", fmt.Errorf("request of version %d, this cleat-netd speaks %d: %w", msg[0], Version, spec.ErrUnsupport)
	}
	verb, containerID = msg[1], string(msg[2:])
	want := idDigits
	switch verb {
	case VerbRegister, VerbForget:
	case VerbList:
		want = 0
	default:
		return 0, "", fmt.Errorf("request %q: %w", verb, spec.ErrUnsupport)
	}
	if len(containerID) != want || strings.Trim(containerID, "0123456789abcdef") != "" {
		return 0, "", fmt.Errorf("container id %q: %w", containerID, spec.ErrInvalid)
	}
	return verb, containerID, nil
}
