// Package event is the form in which lifecycle events lie in systemd's journal:
// that a container was started or has died, that an image was pulled. It writes
// them, with one datagram to journald and no daemon in between, and makes events
// of entries again. It links nothing but the standard library's core and
// golang.org/x/sys, because the start helper writes some on the hot path.
//
// An entry has these fields beside MESSAGE, PRIORITY and SYSLOG_IDENTIFIER:
//
//	MESSAGE_ID        one for each type of object, see ID
//	CLEAT_EVENT       the type, "container"
//	CLEAT_ACTION      what happened, "start"
//	CLEAT_OBJECT      to what: an id, or the name of a volume
//	CLEAT_ATTRIBUTES  more about it, a JSON object of strings
//	CLEAT_ROOT        the engine's root directory
//	SYSLOG_TIMESTAMP  when, with nanoseconds
//
// Entries about a container also have OBJECT_SYSTEMD_UNIT, so that "journalctl -u"
// shows them. They have none of the fields of a container's output: its log does
// not show them.
package event

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/spec"
)

// Type is the kind of object that an event is about.
type Type string

// The types of event.
const (
	Container Type = "container"
	Image     Type = "image"
	Volume    Type = "volume"
	Network   Type = "network"
	Builder   Type = "builder"
)

// Prune is the action of events about a type of object as a whole: those that
// nobody used were removed. They have no object.
const Prune = "prune"

// Types returns all types.
func Types() []Type { return []Type{Container, Image, Volume, Network, Builder} }

// ID returns the MESSAGE_ID of events of type t, "" if there is no such type.
func ID(t Type) string {
	switch t {
	case Container:
		return "12a78d9be01d4b54a336f12ab0d36a24"
	case Image:
		return "43f10c882d134e39b7fba96df2de6aff"
	case Volume:
		return "25816002b57449cf8ecf71f5f5c8c359"
	case Network:
		return "c506bace3d504ea0b93fe7118b62efd0"
	case Builder:
		return "5e0c1f6b9a0d4c0e8d5b7f2f6f0a3c91"
	}
	return ""
}

// Event is something that happened to an object.
type Event struct {
	Type       Type
	Action     string            // Docker's word: "start", "exec_create: ls -l"
	Object     string            // id of a container, image or network, name of a volume; "" of Prune alone
	Attributes map[string]string // for example "name" and "image"; nil for none
	Time       time.Time

	Root string // of the engine
	Unit string // of a container; "" if there is none
}

// The names of the fields.
const (
	FieldMessageID = "MESSAGE_ID"
	FieldRoot      = "CLEAT_ROOT"

	fieldType       = "CLEAT_EVENT"
	fieldAction     = "CLEAT_ACTION"
	fieldObject     = "CLEAT_OBJECT"
	fieldAttributes = "CLEAT_ATTRIBUTES"
	fieldTime       = "SYSLOG_TIMESTAMP"
	fieldOutput     = "CONTAINER_ID_FULL" // of container output, which is never an event
)

// Encode returns the entry of e in journald's native protocol.
func Encode(e Event) ([]byte, error) {
	id := ID(e.Type)
	if id == "" {
		return nil, fmt.Errorf("event type %q: %w", e.Type, spec.ErrInvalid)
	}
	attributes, err := json.Marshal(e.Attributes)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	b := make([]byte, 0, 512+2*len(attributes))
	for _, f := range [...][2]string{
		{"MESSAGE", message(e)}, {"PRIORITY", "6"}, {"SYSLOG_IDENTIFIER", "cleat"},
		{FieldMessageID, id}, {fieldType, string(e.Type)}, {fieldAction, e.Action}, {fieldObject, e.Object},
		{fieldAttributes, string(attributes)}, {FieldRoot, e.Root}, {fieldTime, e.Time.UTC().Format(time.RFC3339Nano)},
	} {
		b = appendField(b, f[0], f[1])
	}
	if e.Unit != "" {
		b = appendField(b, "OBJECT_SYSTEMD_UNIT", e.Unit)
	}
	return b, nil
}

// message is the entry as people read it: "container web: die (exitCode=1)".
func message(e Event) string {
	name := e.Attributes["name"]
	if name == "" {
		name = spec.ShortID(e.Object)
	}
	text := strings.TrimSpace(string(e.Type)+" "+name) + ": " + e.Action
	for _, key := range []string{"exitCode", "signal", "oldName", "reclaimed"} {
		if v, ok := e.Attributes[key]; ok {
			text += " (" + key + "=" + v + ")"
		}
	}
	return text
}

// appendField appends one field. A value of several lines goes with its length,
// see "Native Journal Protocol" in systemd's documentation.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if !strings.Contains(value, "\n") {
		b = append(b, '=')
	} else {
		n := uint64(len(value))
		b = append(b, '\n', byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32), byte(n>>40), byte(n>>48), byte(n>>56))
	}
	b = append(b, value...)
	return append(b, '\n')
}

// Decode makes an event of the fields of an entry. The error is spec.ErrInvalid
// for one that is none, or not in a form that Encode writes. Whether to believe
// the entry's sender is the caller's business. Decode keeps no value.
func Decode(fields iter.Seq2[string, []byte]) (Event, error) {
	var e Event
	var id, at string
	for name, value := range fields {
		switch name {
		case FieldMessageID:
			id = string(value)
		case fieldType:
			e.Type = Type(value)
		case fieldAction:
			e.Action = string(value)
		case fieldObject:
			e.Object = string(value)
		case FieldRoot:
			e.Root = string(value)
		case fieldTime:
			at = string(value)
		case "OBJECT_SYSTEMD_UNIT":
			e.Unit = string(value)
		case fieldAttributes:
			e.Attributes = nil
			if err := json.Unmarshal(value, &e.Attributes); err != nil {
				return Event{}, fmt.Errorf("decode event: attributes: %w: %w", err, spec.ErrInvalid)
			}
		case fieldOutput:
			return Event{}, fmt.Errorf("decode event: it is output of a container: %w", spec.ErrInvalid)
		}
	}
	if !slices.Contains(Types(), e.Type) || id != ID(e.Type) || e.Action == "" || (e.Object == "") != (e.Action == Prune) {
		return Event{}, fmt.Errorf("decode event: fields are missing: %w", spec.ErrInvalid)
	}
	if err := e.Time.UnmarshalText([]byte(at)); err != nil {
		return Event{}, fmt.Errorf("decode event: time: %w: %w", err, spec.ErrInvalid)
	}
	return e, nil
}
