package file

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// ID is a 128-bit id of systemd: of a boot, a machine, a sequence of entries.
type ID [16]byte

// String returns the id as 32 hexadecimal digits, as systemd prints it.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Offsets in the header of a file. All integers of the format are little-endian.
const (
	hdrIncompatible    = 12
	hdrState           = 16
	hdrFileID          = 24
	hdrSeqnumID        = 72
	hdrHeaderSize      = 88
	hdrDataHashOffset  = 104
	hdrDataHashBytes   = 112
	hdrNEntries        = 152
	hdrEntryArrayStart = 176
	hdrMinSize         = 208 // of the first version of the format
)

// signature begins every journal file.
const signature = "LPKSHHRH"

// Incompatible flags: a reader that does not know one cannot read the file.
const (
	flagXZ        = 1 << 0
	flagLZ4       = 1 << 1
	flagKeyedHash = 1 << 2
	flagZSTD      = 1 << 3
	flagCompact   = 1 << 4
	knownFlags    = flagXZ | flagLZ4 | flagKeyedHash | flagZSTD | flagCompact
)

// States in the header. A file that is neither of these is offline: complete, but
// journald may take it up again.
const (
	stateOnline   = 1
	stateArchived = 2
)

// header holds what never changes in the header of a file.
type header struct {
	flags    uint32
	fileID   ID
	seqnumID ID
	size     uint64 // of the header, in bytes

	dataHashOffset uint64 // of the table's first bucket
	dataHashCount  uint64 // buckets
}

func (h *header) keyed() bool   { return h.flags&flagKeyedHash != 0 }
func (h *header) compact() bool { return h.flags&flagCompact != 0 }

// parseHeader reads the header of a file from its bytes.
func parseHeader(path string, b []byte) (header, error) {
	var h header
	bad := func(what string) (header, error) {
		return header{}, &DamageError{Path: path, What: what}
	}
	if len(b) < hdrMinSize {
		if allZero(b) {
			return h, errNotReady
		}
		return bad("too short for a header")
	}
	if string(b[:8]) != signature {
		if allZero(b[:8]) {
			return h, errNotReady
		}
		return bad("no journal signature")
	}
	h.flags = binary.LittleEndian.Uint32(b[hdrIncompatible:])
	if h.flags&^uint32(knownFlags) != 0 {
		return h, fmt.Errorf("read journal %s: incompatible flags %#x: %w", path, h.flags, ErrUnsupported)
	}
	copy(h.fileID[:], b[hdrFileID:])
	copy(h.seqnumID[:], b[hdrSeqnumID:])
	h.size = le64(b, hdrHeaderSize)
	h.dataHashOffset = le64(b, hdrDataHashOffset)
	h.dataHashCount = le64(b, hdrDataHashBytes) / hashBucketSize
	if h.dataHashOffset == 0 || h.dataHashCount == 0 {
		return h, errNotReady
	}
	n := uint64(len(b))
	if h.size < hdrMinSize || h.size > n {
		return bad("impossible header size")
	}
	if h.dataHashOffset < h.size || h.dataHashOffset > n || h.dataHashCount > (n-h.dataHashOffset)/hashBucketSize {
		return bad("hash table outside the file")
	}
	return h, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// le64 is the integer at off, which the caller knows to be inside b.
func le64(b []byte, off uint64) uint64 { return binary.LittleEndian.Uint64(b[off : off+8]) }

// le32 is the 32-bit integer at off, which the caller knows to be inside b.
func le32(b []byte, off uint64) uint64 { return uint64(binary.LittleEndian.Uint32(b[off : off+4])) }
