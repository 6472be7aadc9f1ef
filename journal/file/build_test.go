package file

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// builder writes a small journal file, so that tests and fuzzing can start from
// one of a few hundred bytes: journald's hash tables alone take megabytes.
type builder struct {
	header
	b       []byte
	payload uint64
	data    map[string]uint64   // data objects
	lists   map[uint64][]uint64 // entries of each data object; 0 is all
	order   []uint64            // keys of lists, in order
	seqnum  uint64
}

func newBuilder(flags uint32) *builder {
	u := &builder{data: map[string]uint64{}, lists: map[uint64][]uint64{}, payload: dataPayload}
	u.flags = flags
	if u.compact() {
		u.payload = dataPayloadComp
	}
	u.b = make([]byte, 272)
	copy(u.b, signature)
	binary.LittleEndian.PutUint32(u.b[hdrIncompatible:], flags)
	for i := range u.fileID {
		u.fileID[i] = byte(i + 1)
	}
	copy(u.b[hdrFileID:], u.fileID[:])
	copy(u.b[hdrSeqnumID:], u.fileID[:])
	u.put(hdrHeaderSize, 272)
	u.dataHashCount = 7
	u.dataHashOffset = u.object(4, 7*hashBucketSize) + objHeaderSize
	u.put(hdrDataHashOffset, u.dataHashOffset)
	u.put(hdrDataHashBytes, 7*hashBucketSize)
	fields := u.object(5, 3*hashBucketSize) + objHeaderSize
	u.put(120, fields)
	u.put(128, 3*hashBucketSize)
	return u
}

func (u *builder) put(off, v uint64) { binary.LittleEndian.PutUint64(u.b[off:], v) }

// object appends an object with size bytes after its header.
func (u *builder) object(typ byte, size int) uint64 {
	for len(u.b)%8 != 0 {
		u.b = append(u.b, 0)
	}
	off := uint64(len(u.b))
	u.b = append(u.b, make([]byte, objHeaderSize+size)...)
	u.b[off] = typ
	u.put(off+objSize, uint64(objHeaderSize+size))
	u.put(136, off) // tail object
	u.put(144, le64(u.b, 144)+1)
	return off
}

// field returns the data object of "NAME=value".
func (u *builder) field(p string) uint64 {
	if off := u.data[p]; off != 0 {
		return off
	}
	off := u.object(typeData, int(u.payload)-objHeaderSize+len(p))
	copy(u.b[off+u.payload:], p)
	hash := u.hashData([]byte(p))
	u.put(off+dataHash, hash)
	bucket := u.dataHashOffset + hash%u.dataHashCount*hashBucketSize
	if tail := le64(u.b, bucket+8); tail != 0 {
		u.put(tail+dataNextHash, off)
	} else {
		u.put(bucket, off)
	}
	u.put(bucket+8, off)
	u.data[p] = off
	u.put(208, le64(u.b, 208)+1)
	return off
}

// entry appends an entry of the given fields at the time realtime, in µs.
func (u *builder) entry(realtime uint64, fields ...string) uint64 {
	var items []uint64
	for _, p := range fields {
		items = append(items, u.field(p))
	}
	slices.Sort(items)
	size := uint64(16)
	if u.compact() {
		size = 4
	}
	off := u.object(typeEntry, entryItems-objHeaderSize+len(items)*int(size))
	u.seqnum++
	u.put(off+entrySeqnum, u.seqnum)
	u.put(off+entryRealtime, realtime)
	u.put(off+entryMonotonic, realtime)
	u.b[off+entryBootID] = 1
	for i, it := range items {
		at := off + entryItems + uint64(i)*size
		if u.compact() {
			binary.LittleEndian.PutUint32(u.b[at:], uint32(it))
			continue
		}
		u.put(at, it)
		u.put(at+8, le64(u.b, it+dataHash))
	}
	for _, key := range append([]uint64{0}, items...) {
		if _, ok := u.lists[key]; !ok {
			u.order = append(u.order, key)
		}
		u.lists[key] = append(u.lists[key], off)
	}
	return off
}

// bytes writes the lists of entries, in arrays of 2, 4, 8… items, and returns the
// file.
func (u *builder) bytes() []byte {
	for _, key := range u.order {
		list := u.lists[key]
		link := uint64(hdrEntryArrayStart)
		if key != 0 {
			u.put(key+dataNEntries, uint64(len(list)))
			u.put(key+dataEntry, list[0])
			list, link = list[1:], key+dataEntryArray
		}
		for n := 2; len(list) > 0; n *= 2 {
			link = u.array(link, n, list[:min(n, len(list))])
			list = list[min(n, len(list)):]
		}
	}
	all := u.lists[0]
	u.put(hdrNEntries, uint64(len(all)))
	u.put(160, u.seqnum) // tail
	u.put(168, 1)        // head
	if len(all) > 0 {
		u.put(184, le64(u.b, all[0]+entryRealtime))
		u.put(192, le64(u.b, all[len(all)-1]+entryRealtime))
		u.put(200, le64(u.b, all[len(all)-1]+entryMonotonic))
	}
	u.put(96, uint64(len(u.b))-272) // arena
	u.b[hdrState] = stateArchived
	return u.b
}

// array appends an array of room for n items, points link at it, and returns
// where its own link is.
func (u *builder) array(link uint64, n int, items []uint64) uint64 {
	size := 8
	if u.compact() {
		size = 4
	}
	off := u.object(typeEntryArray, arrayItems-objHeaderSize+n*size)
	for i, it := range items {
		if u.compact() {
			binary.LittleEndian.PutUint32(u.b[off+arrayItems+uint64(i)*4:], uint32(it))
			continue
		}
		u.put(off+arrayItems+uint64(i)*8, it)
	}
	u.put(link, off)
	u.put(232, le64(u.b, 232)+1)
	return off + arrayNext
}

// builtID is the container whose lines buildJournal makes.
var builtID = strings.Repeat("c0", 32)

const (
	builtUnit = "cleat-web.service"
	builtTime = 1_700_000_000_000_000
)

// buildJournal makes a journal of n lines of one container.
func buildJournal(flags uint32, n int) []byte {
	u := newBuilder(flags)
	for i := range n {
		u.entry(uint64(builtTime+i*1000), "PRIORITY=6", "CONTAINER_ID_FULL="+builtID, "_SYSTEMD_UNIT="+builtUnit,
			"SYSLOG_TIMESTAMP=2023-11-14T22:13:20.123Z", fmt.Sprintf("MESSAGE=line %d", i))
	}
	return u.bytes()
}

// allFlags are the formats of builder.
var allFlags = map[string]uint32{
	"regular unkeyed": 0,
	"regular keyed":   flagKeyedHash,
	"compact keyed":   flagCompact | flagKeyedHash | flagZSTD,
}
