package file

import "runtime/debug"

// Object types.
const (
	typeUnused     = 0
	typeData       = 1
	typeEntry      = 3
	typeEntryArray = 6
)

// Offsets inside objects. Each begins with its type, flags and size.
const (
	objFlags      = 1
	objSize       = 8
	objHeaderSize = 16

	dataHash        = 16
	dataNextHash    = 24
	dataEntry       = 40
	dataEntryArray  = 48
	dataNEntries    = 56
	dataPayload     = 64
	dataPayloadComp = 72 // compact files have two further fields

	entrySeqnum    = 16
	entryRealtime  = 24
	entryMonotonic = 32
	entryBootID    = 40
	entryXorHash   = 56
	entryItems     = 64

	arrayNext  = 16
	arrayItems = 24

	hashBucketSize = 16 // head and tail offset of a chain
)

// Object flags: how a data object's payload is compressed.
const (
	objXZ   = 1 << 0
	objLZ4  = 1 << 1
	objZSTD = 1 << 2
)

// journalFile is an open journal file. Its methods believe nothing that is
// written in the file; those that touch it may raise the memory fault that
// catchFault catches.
type journalFile struct {
	path string
	m    *mapping
	header
	payloadAt uint64 // where the payload begins in a data object
	itemSize  uint64 // of one item of an entry
	refSize   uint64 // of one item of an entry array

	damage  error // the first damage found, until it is reported
	damaged bool  // damage was found already
	unpack  unpacker
}

// openFile opens the journal file at path. The caller closes it.
func openFile(path string) (f *journalFile, err error) {
	m, err := openMapping(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = m.Close()
		}
	}()
	f = &journalFile{path: path, m: m}
	if err := f.loadHeader(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *journalFile) loadHeader() (err error) {
	defer catchFault(f.path, debug.SetPanicOnFault(true), &err)
	f.header, err = parseHeader(f.path, f.m.bytes)
	if err != nil {
		return err
	}
	f.payloadAt, f.itemSize, f.refSize = dataPayload, 16, 8
	if f.compact() {
		f.payloadAt, f.itemSize, f.refSize = dataPayloadComp, 4, 4
	}
	return nil
}

// close releases the file.
func (f *journalFile) close() error {
	f.unpack.close()
	return f.m.Close()
}

// online says that journald has the file open for writing, so that its end may
// be half-written.
func (f *journalFile) online() bool { return f.m.bytes[hdrState] == stateOnline }

// archived says that journald has rotated the file away and will not write to it
// again.
func (f *journalFile) archived() bool { return f.m.bytes[hdrState] == stateArchived }

// note remembers err, to be reported, if it is the first of this file.
func (f *journalFile) note(err error) {
	if !f.damaged {
		f.damaged, f.damage = true, err
	}
}

// takeDamage returns the damage that has not been reported yet, or nil.
func (f *journalFile) takeDamage() error {
	err := f.damage
	f.damage = nil
	return err
}

func (f *journalFile) bad(off uint64, what string) error {
	return &DamageError{Path: f.path, Offset: off, What: what}
}

// object checks that an object of type typ and at least minSize bytes lies at
// off, and returns its bytes.
func (f *journalFile) object(off uint64, typ byte, minSize uint64) ([]byte, error) {
	b := f.m.bytes
	n := uint64(len(b))
	if off&7 != 0 || off < f.header.size {
		return nil, f.bad(off, "no object can be here")
	}
	if n < minSize || off > n-minSize {
		return f.objectBeyond(off, typ, minSize)
	}
	if b[off] != typ {
		return nil, f.bad(off, "object of the wrong type")
	}
	size := le64(b, off+objSize)
	if size < minSize {
		return nil, f.bad(off, "object is too small")
	}
	if size > n-off {
		return f.objectBeyond(off, typ, minSize)
	}
	return b[off : off+size : off+size], nil
}

// objectBeyond is object for one that reaches beyond the mapping: the file may
// have grown since.
func (f *journalFile) objectBeyond(off uint64, typ byte, minSize uint64) ([]byte, error) {
	before := len(f.m.bytes)
	if err := f.m.grow(); err != nil {
		return nil, err
	}
	if len(f.m.bytes) == before {
		return nil, f.bad(off, "object reaches beyond the end of the file")
	}
	return f.object(off, typ, minSize)
}

// data returns the data object at off.
func (f *journalFile) data(off uint64) ([]byte, error) {
	return f.object(off, typeData, f.payloadAt)
}

// entry returns the entry object at off.
func (f *journalFile) entry(off uint64) ([]byte, error) {
	return f.object(off, typeEntry, entryItems)
}

// item is the offset of the data object at position i, in bytes, of an entry.
func (f *journalFile) item(entry []byte, i uint64) uint64 {
	if f.itemSize == 4 {
		return le32(entry, i)
	}
	return le64(entry, i)
}

// itemsEnd is the position after the last whole item of an entry.
func (f *journalFile) itemsEnd(entry []byte) uint64 {
	n := uint64(len(entry)) - entryItems
	return entryItems + n - n%f.itemSize
}

// payload returns "FIELD=value" of the data object at off, unpacked. It is valid
// until the next call.
func (f *journalFile) payload(off uint64) ([]byte, error) {
	d, err := f.data(off)
	if err != nil {
		return nil, err
	}
	raw := d[f.payloadAt:]
	flags := d[objFlags] & (objXZ | objLZ4 | objZSTD)
	if flags == 0 {
		return raw, nil
	}
	out, err := f.unpack.unpack(flags, raw)
	if err != nil {
		return nil, f.bad(off, "cannot unpack: "+err.Error())
	}
	return out, nil
}

// findData returns the offset of the data object that holds payload, 0 if none
// does.
func (f *journalFile) findData(payload []byte) (uint64, error) {
	hash := f.hashData(payload)
	bucket := f.dataHashOffset + hash%f.dataHashCount*hashBucketSize
	for off := le64(f.m.bytes, bucket); off != 0; {
		d, err := f.data(off)
		if err != nil {
			return 0, err
		}
		next := le64(d, dataNextHash)
		if le64(d, dataHash) == hash {
			p, err := f.payload(off)
			if err != nil {
				return 0, err
			}
			if string(p) == string(payload) {
				return off, nil
			}
		}
		if next != 0 && next <= off { // objects are appended: a chain only goes up
			return 0, f.bad(off, "loop in a hash chain")
		}
		off = next
	}
	return 0, nil
}
