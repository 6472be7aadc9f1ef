package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cleat-project/cleat/journal"
	"github.com/cleat-project/cleat/spec"
)

// maxLine is the length in bytes from which a line is logged in parts, as
// Docker does.
const maxLine = 16 << 10

// A piece is what becomes one journal entry: a line, or a part of a long one.
type piece struct {
	text []byte
	size int    // bytes of output it stands for, with the newline
	part uint64 // number of the part, from 1; 0 for a whole line
	last bool   // it is the last part
}

// nextPiece takes the first piece off data. Sent is the number of parts of the
// line that have been taken before. Ok is false if data holds only the beginning
// of a line and more may come.
func nextPiece(data []byte, sent uint64, eof bool) (p piece, ok bool) {
	i := bytes.IndexByte(data[:min(len(data), maxLine+1)], '\n')
	switch {
	case i >= 0:
		p = piece{text: data[:i], size: i + 1, last: true}
	case len(data) > maxLine:
		return piece{text: data[:maxLine], size: maxLine, part: sent + 1}, true
	case eof && len(data) > 0:
		p = piece{text: data, size: len(data), last: true}
	default:
		return piece{}, false
	}
	if sent > 0 {
		p.part = sent + 1
	}
	return p, true
}

// partsSent is the number of parts of the current line that are sent after p.
func (p piece) partsSent() uint64 {
	if p.last {
		return 0
	}
	return p.part
}

// ownFields are the fields that the broker writes itself.
var ownFields = [...]string{
	journal.FieldMessage, journal.FieldPriority, journal.FieldSyslogTimestamp, journal.FieldObjectSystemdUnit,
	journal.FieldPartialMessage, journal.FieldPartialID, journal.FieldPartialOrdinal, journal.FieldPartialLast,
}

// constantFields encodes the fields that are the same in every entry of a
// stream.
func constantFields(unit, priority string, fields []string) ([]byte, error) {
	b := appendField(nil, journal.FieldPriority, priority)
	if unit != "" {
		// journald finds the unit by the payload's pid when it handles an entry,
		// which may be after the payload's death. "journalctl -u" takes this field
		// from root as well.
		b = appendField(b, journal.FieldObjectSystemdUnit, unit)
	}
	for _, f := range fields {
		name, value, ok := strings.Cut(f, "=")
		if !ok || !validField(name) {
			return nil, fmt.Errorf("journal field %q: %w", f, spec.ErrInvalid)
		}
		b = appendField(b, name, value)
	}
	return b, nil
}

// validField follows systemd's journal_field_valid, for untrusted fields.
func validField(name string) bool {
	if name == "" || len(name) > 64 || name[0] == '_' || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for _, own := range ownFields {
		if name == own {
			return false
		}
	}
	return strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// appendField encodes a field as the journal's native protocol wants it: a value
// with a newline goes with its length in front. See
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if !strings.Contains(value, "\n") {
		b = append(b, '=')
	} else {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	}
	b = append(b, value...)
	return append(b, '\n')
}

// appendEntry encodes p. The text of a piece has no newline, so it needs no length
// whatever bytes it holds.
func appendEntry(b []byte, p piece, constant, stamp []byte, partID string) []byte {
	b = append(b, journal.FieldMessage...)
	b = append(b, '=')
	b = append(b, p.text...)
	b = append(b, '\n')
	b = append(b, constant...)
	b = append(b, stamp...)
	if p.part == 0 {
		return b
	}
	if !p.last {
		b = appendField(b, journal.FieldPartialMessage, "true")
	}
	b = appendField(b, journal.FieldPartialID, partID)
	b = appendField(b, journal.FieldPartialOrdinal, strconv.FormatUint(p.part, 10))
	return appendField(b, journal.FieldPartialLast, strconv.FormatBool(p.last))
}

// timestamp encodes the time at which output was read.
func timestamp(t time.Time) []byte {
	b := append([]byte(journal.FieldSyslogTimestamp), '=')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '\n')
}
