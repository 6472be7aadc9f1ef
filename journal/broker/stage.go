package broker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cleat-project/cleat/spec"
)

// A stage is the memory file through which one stream's output passes on its
// way to the journal. It lies in systemd's descriptor store and so outlives the
// broker, which may be killed between any two instructions without one line
// being lost or sent twice. Two properties of the kernel carry this:
//
//   - splice(2) from the container's pipe into the file takes bytes out of the
//     pipe, puts them into the file and moves the file's offset in one system
//     call, which a signal cannot tear apart. The offset belongs to the open file
//     in the store. So what has been read is exactly what lies before the offset.
//   - sendmmsg(2) writes the length it has sent into the message header it was
//     given. That header lies in the file too. So whether the datagram under way
//     at the moment of death was taken can be read there.
//
// The first page holds the words below, each 8 bytes in native order, then comes
// the registration as JSON, then the data.
const (
	wordMagic      = iota * 8
	wordMeta             // length of the registration in bytes
	wordData             // offset of the data
	wordEnd              // offset of the end of the data
	wordSource           // identity of the pipe or terminal: see sourceID
	wordFrame            // type of the stream: stdio.FrameStdout or FrameStderr
	wordSent             // offset up to which the journal has taken the data
	wordFlight           // offset that wordSent will have once the datagram is taken; 0: none under way
	wordPart             // number of parts that have been sent of the current line
	wordFlightPart       // what wordPart will be then
	wordMoved            // while data is moved to the front: its length plus one
	wordEnded            // 1 when the stream has ended and everything was sent
	wordPID              // start time of the payload: see startTime
	wordStdinUser        // 1 once a client was attached whose end is the end of stdin
	wordClients          // number of attached clients
	wordSerial           // grows with every registration
	offHeader      = 256 // a mmsghdr
	offPartID      = 384 // partIDBytes bytes, the same for all parts of a line
	metaOffset     = 4096
)

const (
	stageMagic  = 0x31_73_74_61_65_6c_63 // "cleats1"
	partIDBytes = 32
	pageBytes   = 4096

	// dataBytes is the size of the data part. The output of a flood goes round
	// in it; it takes up memory only while it is used.
	dataBytes = 256 << 10
	// idleBytes is how much of the data part stays in memory between bursts.
	idleBytes = 8 << 10
	// fillBytes is the room wanted before reading: a pipe's usual capacity.
	fillBytes = 64 << 10
	// notTaken is in the length of a message header that was not sent. The
	// length of a datagram that only carries a descriptor is 0.
	notTaken = ^uint32(0)
)

// msghdr and mmsghdr are the kernel's structures of these names. Their pointers
// are kept as numbers: the memory is not Go's, and what an earlier process left
// there points nowhere.
type msghdr struct {
	name       uintptr
	namelen    uint32
	iov        uintptr
	iovlen     uintptr
	control    uintptr
	controllen uintptr
	flags      int32
}

type mmsghdr struct {
	msghdr
	taken uint32 // bytes sent, or notTaken
}

type stage struct {
	fd  int
	mem []byte       // the whole file, shared
	pos atomic.Int64 // the file's offset: end of what has been read
}

// newStage makes a stage for a stream of the given type.
func newStage(meta []byte, frame byte, source uint64) (_ *stage, err error) {
	fd, err := unix.MemfdCreate("cleat-stdio", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make stage: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			err = fmt.Errorf("make stage: %w", err)
		}
	}()
	data := (metaOffset + len(meta) + pageBytes - 1) / pageBytes * pageBytes
	if err := unix.Ftruncate(fd, int64(data+dataBytes)); err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(fd, 0, data+dataBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	s := &stage{fd: fd, mem: mem}
	copy(mem[metaOffset:], meta)
	for w, v := range map[int]uint64{
		wordMeta: uint64(len(meta)), wordData: uint64(data), wordEnd: uint64(data + dataBytes), wordSent: uint64(data),
		wordSource: source, wordFrame: uint64(frame), wordMagic: stageMagic,
	} {
		s.set(w, v)
	}
	return s, s.seek(uint64(data))
}

// openStage maps a stage that an earlier broker left in the store, and settles
// what that one was about to do. It takes over fd unless it fails.
func openStage(fd int) (*stage, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 || st.Size <= metaOffset || st.Size > 2*dataBytes+8<<20 {
		return nil, fmt.Errorf("open stage of %d bytes: not one of cleat's: %w", st.Size, spec.ErrInvalid)
	}
	mem, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map stage: %w", err)
	}
	s := &stage{fd: fd, mem: mem}
	if err = s.settle(); err != nil {
		return nil, errors.Join(fmt.Errorf("open stage: %w", err), unix.Munmap(mem))
	}
	return s, nil
}

func (s *stage) word(w int) *uint64       { return (*uint64)(unsafe.Pointer(&s.mem[w])) }
func (s *stage) get(w int) uint64         { return atomic.LoadUint64(s.word(w)) }
func (s *stage) set(w int, v uint64)      { atomic.StoreUint64(s.word(w), v) }
func (s *stage) header() *mmsghdr         { return (*mmsghdr)(unsafe.Pointer(&s.mem[offHeader])) }
func (s *stage) meta() []byte             { return s.mem[metaOffset : metaOffset+s.get(wordMeta)] }
func (s *stage) partID() string           { return hex.EncodeToString(s.mem[offPartID : offPartID+partIDBytes]) }
func (s *stage) pending() []byte          { return s.mem[s.get(wordSent):s.pos.Load()] }
func (s *stage) pendingBytes() int        { return max(0, int(s.pos.Load())-int(s.get(wordSent))) }
func (s *stage) bytes(from, n int) []byte { return s.mem[from : from+n] }

// newPartID names the parts of the line that is about to be cut.
func (s *stage) newPartID() { _, _ = rand.Read(s.mem[offPartID : offPartID+partIDBytes]) } // never fails: crypto/rand

// settle checks the words and brings the stage into the state in which its
// writer would have left it.
func (s *stage) settle() error {
	size, data, end := uint64(len(s.mem)), s.get(wordData), s.get(wordEnd)
	if s.get(wordMagic) != stageMagic {
		return fmt.Errorf("magic number %#x: %w", s.get(wordMagic), spec.ErrUnsupport)
	}
	if end > size || data > end || data < metaOffset || s.get(wordMeta) > data-metaOffset {
		return fmt.Errorf("layout %d, %d, %d: %w", s.get(wordMeta), data, end, spec.ErrInvalid)
	}
	off, err := unix.Seek(s.fd, 0, unix.SEEK_CUR)
	if err != nil {
		return fmt.Errorf("read offset: %w", err)
	}
	s.pos.Store(off)
	if moved := s.get(wordMoved); moved != 0 {
		if moved-1 > end-data {
			return fmt.Errorf("move of %d bytes: %w", moved, spec.ErrInvalid)
		}
		return s.finishMove(moved - 1)
	}
	if s.get(wordFlight) != 0 && s.header().taken != notTaken {
		s.commit()
	}
	s.set(wordFlight, 0)
	if sent := s.get(wordSent); sent > uint64(off) || sent < data {
		// Killed between the two steps of rewind.
		s.set(wordSent, data)
	}
	if off < int64(s.get(wordSent)) || off > int64(end) {
		return fmt.Errorf("offset %d of %d: %w", off, end, spec.ErrInvalid)
	}
	return nil
}

// seek moves the file's offset.
func (s *stage) seek(off uint64) error {
	if _, err := unix.Seek(s.fd, int64(off), unix.SEEK_SET); err != nil {
		return fmt.Errorf("move offset: %w", err)
	}
	s.pos.Store(int64(off))
	return nil
}

// fill takes what is in the pipe src into the stage, as far as it fits. It does
// not wait: the error is EAGAIN when src is empty, and n is 0 at its end.
func (s *stage) fill(src int) (n int, err error) {
	room := int(s.get(wordEnd)) - int(s.pos.Load())
	got, err := unix.Splice(src, nil, s.fd, nil, room, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return 0, err
	}
	s.pos.Add(got)
	return int(got), nil
}

// makeRoom sees to it that fill can take a pipe's content. What is pending is at
// most the beginning of a line.
func (s *stage) makeRoom() error {
	sent, pos, end := s.get(wordSent), uint64(s.pos.Load()), s.get(wordEnd)
	if end-pos >= fillBytes {
		return nil
	}
	if sent == pos {
		return s.rewind()
	}
	data := s.get(wordData)
	if pos-sent > sent-data {
		return fmt.Errorf("make room in stage: %d bytes are pending: %w", pos-sent, spec.ErrInvalid)
	}
	copy(s.mem[data:], s.mem[sent:pos])
	s.set(wordMoved, pos-sent+1)
	return s.finishMove(pos - sent)
}

// finishMove makes the n bytes at the front of the data the pending ones.
func (s *stage) finishMove(n uint64) error {
	if err := s.seek(s.get(wordData) + n); err != nil {
		return err
	}
	s.set(wordSent, s.get(wordData))
	s.set(wordFlight, 0)
	s.set(wordMoved, 0)
	return nil
}

// rewind starts again at the front when nothing is pending. If the broker is
// killed between the steps, wordSent lies after the offset, which settle mends.
func (s *stage) rewind() error {
	if err := s.seek(s.get(wordData)); err != nil {
		return err
	}
	s.set(wordSent, s.get(wordData))
	return nil
}

// trim gives the memory of a past burst back when nothing is pending.
func (s *stage) trim() error {
	sent, pos, data := s.get(wordSent), uint64(s.pos.Load()), s.get(wordData)
	if sent != pos || pos-data <= idleBytes {
		return nil
	}
	if err := s.rewind(); err != nil {
		return err
	}
	from := data + idleBytes
	err := unix.Fallocate(s.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(from), int64(s.get(wordEnd)-from))
	if err != nil {
		return fmt.Errorf("trim stage: %w", err)
	}
	return nil
}

// prepare notes that a datagram is about to be sent that will take n bytes of
// the pending data and leave part parts of a line sent.
func (s *stage) prepare(n int, part uint64) {
	s.header().taken = notTaken
	s.set(wordFlightPart, part)
	s.set(wordFlight, s.get(wordSent)+uint64(n))
}

// commit notes that the prepared datagram was taken. A crash between its steps
// does no harm: settle runs it again.
func (s *stage) commit() {
	s.set(wordSent, s.get(wordFlight))
	s.set(wordPart, s.get(wordFlightPart))
	s.set(wordFlight, 0)
}

// discard drops what is pending, for a container without a log.
func (s *stage) discard() { s.set(wordSent, uint64(s.pos.Load())) }

func (s *stage) close() error {
	return errors.Join(unix.Munmap(s.mem), unix.Close(s.fd))
}
