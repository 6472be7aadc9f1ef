package file

import (
	"bytes"
	"fmt"
	"iter"
	"runtime/debug"
	"time"
)

// Entry is an entry of the journal. It, and whatever it returns, is valid until
// the next iteration only.
type Entry struct {
	src   *source
	buf   []byte // backs what Field and Fields return
	names map[string]string
	err   error
}

// Realtime is when journald took the entry in, by wall clock, to the µs.
func (e *Entry) Realtime() time.Time {
	return time.UnixMicro(int64(e.src.head.realtime))
}

// Monotonic is the time from the boot named by BootID to Realtime.
func (e *Entry) Monotonic() time.Duration {
	return time.Duration(e.src.head.monotonic) * time.Microsecond
}

// BootID identifies the boot in which the entry was taken in.
func (e *Entry) BootID() ID { return e.src.head.bootID }

// Seqnum numbers the entries of one journald, over all its files, from 1.
func (e *Entry) Seqnum() uint64 { return e.src.head.seqnum }

// SeqnumID identifies the sequence that Seqnum counts.
func (e *Entry) SeqnumID() ID { return e.src.head.seqnumID }

// Cursor is the entry's position in the form that journalctl --after-cursor
// takes.
func (e *Entry) Cursor() string {
	h := &e.src.head
	return fmt.Sprintf("s=%s;i=%x;b=%s;m=%x;t=%x;x=%x", h.seqnumID, h.seqnum, h.bootID, h.monotonic, h.realtime, h.xorHash)
}

// Err returns the first error that Field and Fields met in this entry: a field
// that cannot be read is left out.
func (e *Entry) Err() error { return e.err }

// Field returns the value of the first field called name, and whether there is
// one. The value is valid until the next call of Field or Fields.
func (e *Entry) Field(name string) ([]byte, bool) {
	for i := uint64(0); ; i++ {
		p, ok := e.payload(i)
		if !ok {
			return nil, false
		}
		if len(p) > len(name) && p[len(name)] == '=' && string(p[:len(name)]) == name {
			return p[len(name)+1:], true
		}
	}
}

// Fields yields name and value of every field, in the order in which they are
// stored. A name may come more than once. The value is valid until the next
// iteration.
func (e *Entry) Fields() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for i := uint64(0); ; i++ {
			p, ok := e.payload(i)
			if !ok {
				return
			}
			name, value, ok := bytes.Cut(p, []byte{'='})
			if ok && !yield(e.intern(name), value) {
				return
			}
		}
	}
}

// maxNames bounds the table of names, which a hostile sender can fill.
const maxNames = 4096

// intern returns b as a string without allocating for a name seen before.
func (e *Entry) intern(b []byte) string {
	if s, ok := e.names[string(b)]; ok {
		return s
	}
	if e.names == nil || len(e.names) >= maxNames {
		e.names = map[string]string{}
	}
	s := string(b)
	e.names[s] = s
	return s
}

// payload copies "FIELD=value" number i out of the file. A field that cannot be
// read is empty; false is the end.
func (e *Entry) payload(i uint64) (p []byte, ok bool) {
	p, ok, err := e.load(i)
	if err != nil {
		if e.err == nil {
			e.err = err
		}
		return nil, ok
	}
	return p, ok
}

func (e *Entry) load(i uint64) (p []byte, ok bool, err error) {
	f := e.src.f
	defer catchFault(f.path, debug.SetPanicOnFault(true), &err)
	obj, err := f.entry(e.src.head.off)
	if err != nil {
		return nil, false, err
	}
	pos := entryItems + i*f.itemSize
	if pos >= f.itemsEnd(obj) {
		return nil, false, nil
	}
	if p, err = f.payload(f.item(obj, pos)); err != nil {
		return nil, true, err
	}
	if cap(e.buf) > keepField {
		e.buf = nil
	}
	e.buf = append(e.buf[:0], p...)
	return e.buf, true, nil
}
