package file

import (
	"bytes"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cleat-project/cleat/journal"
)

// class says what a field means for a log line.
type class uint64

const (
	classNone class = iota // nothing
	classMessage
	classTime
	classStderr
	classPartial
	classAttr
	classUnit // the sender's
)

// classCache remembers the classes of data objects: most fields of a container's
// entries are the same objects in each of them, so that their text need be
// looked at once only. It is direct-mapped; a slot holds an object's offset,
// whose low three bits are free, and its class in those.
type classCache [4096]uint64

func (c *classCache) slot(off uint64) *uint64 {
	return &c[off*0x9e3779b97f4a7c15>>52]
}

// lineDecoder makes a LogLine of an entry. It reuses its memory.
type lineDecoder struct {
	details bool
	senders map[string]bool // fields "_SYSTEMD_UNIT=…" that a line may have, if it has one
	line    journal.LogLine
	buf     []byte // backs line.Message

	hasMessage bool     // of this line, could be read
	forged     bool     // this line is from a unit that is not among the senders
	attrs      []uint64 // objects of the attributes of this line
	attrsWas   []uint64 // and those that line.Attrs was made of
	attrsOf    *source
}

// decode sets line from the entry at the head of src. Damage to a field other
// than the message is noted, and the line is read without it.
func (d *lineDecoder) decode(src *source) (err error) {
	f := src.f
	defer catchFault(f.path, debug.SetPanicOnFault(true), &err)
	e, err := f.entry(src.head.off)
	if err != nil {
		return err
	}
	d.line.Stderr, d.line.Partial = false, false
	d.line.Time = time.UnixMicro(int64(src.head.realtime))
	d.buf, d.attrs, d.hasMessage = d.buf[:0], d.attrs[:0], false
	d.forged = false
	end := f.itemsEnd(e)
	for i := uint64(entryItems); i < end; i += f.itemSize {
		if ierr := d.item(src, f.item(e, i)); ierr != nil {
			f.note(ierr)
			err = ierr
		}
	}
	if err != nil && !d.hasMessage {
		return err
	}
	d.line.Message = d.buf
	if d.details {
		d.decodeAttrs(src)
	}
	return nil
}

// item takes in one field of the entry.
func (d *lineDecoder) item(src *source, off uint64) error {
	c, p, err := src.classify(off)
	if err != nil {
		return err
	}
	switch c {
	case classMessage:
		if cap(d.buf) > keepField {
			d.buf = nil
		}
		d.buf = append(d.buf[:0], p[len(prefixMessage):]...)
		d.hasMessage = true
	case classTime:
		d.setTime(p)
	case classStderr:
		d.line.Stderr = true
	case classPartial:
		d.line.Partial = true
	case classAttr:
		d.attrs = append(d.attrs, off)
	case classUnit:
		d.forged = !d.senders[string(p)]
	case classNone:
	}
	return nil
}

// setTime parses a timestamp field. One that is none leaves journald's time.
func (d *lineDecoder) setTime(p []byte) {
	var t time.Time
	if t.UnmarshalText(p[len(prefixTime):]) == nil {
		d.line.Time = t
	}
}

// time is the time of the line at the head of src; journald's if the entry has
// no other or is damaged.
func (d *lineDecoder) time(src *source) time.Time {
	d.line.Time = time.UnixMicro(int64(src.head.realtime))
	e, err := src.f.entry(src.head.off)
	if err != nil {
		return d.line.Time
	}
	end := src.f.itemsEnd(e)
	for i := uint64(entryItems); i < end; i += src.f.itemSize {
		if c, p, err := src.classify(src.f.item(e, i)); err == nil && c == classTime {
			d.setTime(p)
		}
	}
	return d.line.Time
}

// classify returns the class of the data object at off and, for a message, a time or
// a unit, its payload.
func (s *source) classify(off uint64) (class, []byte, error) {
	if s.classes == nil {
		s.classes = new(classCache)
	}
	slot := s.classes.slot(off)
	if *slot&^7 == off && off != 0 {
		return class(*slot & 7), nil, nil
	}
	p, err := s.f.payload(off)
	if err != nil {
		return classNone, nil, err
	}
	c := classOf(p)
	if c != classMessage && c != classTime && c != classUnit { // those need the payload each time
		*slot = off | uint64(c)
	}
	return c, p, nil
}

const (
	prefixMessage = journal.FieldMessage + "="
	prefixTime    = journal.FieldSyslogTimestamp + "="
	prefixUnit    = journal.FieldSystemdUnit + "="
)

// classOf is the class of a field "NAME=value".
func classOf(p []byte) class {
	switch {
	case hasPrefix(p, prefixUnit):
		return classUnit
	case len(p) == 0 || p[0] == '_':
		return classNone
	case hasPrefix(p, prefixMessage):
		return classMessage
	case hasPrefix(p, prefixTime):
		return classTime
	case string(p) == journal.FieldPriority+"="+journal.PriorityStderr:
		return classStderr
	case string(p) == journal.FieldPartialMessage+"=true":
		return classPartial
	}
	name, _, _ := bytes.Cut(p, []byte{'='})
	if isStandard(string(name)) {
		return classNone
	}
	return classAttr
}

func hasPrefix(p []byte, prefix string) bool {
	return len(p) >= len(prefix) && string(p[:len(prefix)]) == prefix
}

// isStandard says that a field is none of those that --log-opt labels= or env=
// adds.
func isStandard(name string) bool {
	switch name {
	case journal.FieldMessage, journal.FieldMessageID, journal.FieldPriority,
		journal.FieldContainerID, journal.FieldContainerIDFull, journal.FieldContainerName,
		journal.FieldContainerTag, journal.FieldImageName,
		journal.FieldSyslogIdentifier, journal.FieldSyslogTimestamp,
		journal.FieldPartialMessage, journal.FieldPartialID, journal.FieldPartialOrdinal, journal.FieldPartialLast,
		journal.FieldContainerLogEpoch, journal.FieldContainerLogOrdinal,
		"SYSLOG_FACILITY", "SYSLOG_PID", "SYSLOG_RAW", "CODE_FILE", "CODE_LINE", "CODE_FUNC", "ERRNO":
		return true
	}
	return name == "" || name[0] == '_' || strings.HasPrefix(name, "OBJECT_")
}

// decodeAttrs sets line.Attrs from the objects in attrs, which are mostly those
// of the line before.
func (d *lineDecoder) decodeAttrs(src *source) {
	if d.attrsOf == src && slices.Equal(d.attrs, d.attrsWas) {
		return
	}
	attrs := make([]journal.Attr, 0, len(d.attrs)) // new: the consumer may hold the old one
	for _, off := range d.attrs {
		p, err := src.f.payload(off)
		if err != nil {
			src.f.note(err)
			continue
		}
		name, value, _ := bytes.Cut(p, []byte{'='})
		attrs = append(attrs, journal.Attr{Name: string(name), Value: string(value)})
	}
	slices.SortStableFunc(attrs, func(a, b journal.Attr) int { return strings.Compare(a.Name, b.Name) })
	d.line.Attrs = attrs
	d.attrsOf, d.attrsWas = src, append(d.attrsWas[:0], d.attrs...)
}
