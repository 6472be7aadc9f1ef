package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// maxField is the largest field that is unpacked, in bytes. Container lines have
// at most some 16 KiB; the bound keeps a damaged file from taking all memory.
const maxField = 64 << 20

// keepField is the size up to which an unpacker keeps its buffer for reuse.
const keepField = 1 << 20

var errTooLarge = fmt.Errorf("field is larger than %d bytes", maxField)

// unpacker decompresses payloads. The zero value is ready to use.
type unpacker struct {
	buf  []byte // of the last result
	zstd *zstd.Decoder
}

// close releases the decoder.
func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// unpack decompresses src as the object flags say. The result is valid until
// the next call.
func (u *unpacker) unpack(flags byte, src []byte) ([]byte, error) {
	if cap(u.buf) > keepField {
		u.buf = nil
	}
	var err error
	switch flags {
	case objZSTD:
		err = u.unpackZSTD(src)
	case objLZ4:
		err = u.unpackLZ4(src)
	case objXZ:
		err = u.unpackXZ(src)
	default:
		err = errors.New("more than one compression")
	}
	return u.buf, err
}

func (u *unpacker) unpackZSTD(src []byte) (err error) {
	if u.zstd == nil {
		u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxField), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
	}
	u.buf, err = u.zstd.DecodeAll(src, u.buf[:0])
	return err
}

// unpackLZ4 decodes a raw LZ4 block after its unpacked size in 64 bits.
func (u *unpacker) unpackLZ4(src []byte) error {
	if len(src) < 8 {
		return io.ErrUnexpectedEOF
	}
	size := binary.LittleEndian.Uint64(src)
	src = src[8:]
	if size == 0 { // lz4 panics
		return io.ErrUnexpectedEOF
	}
	// A byte of LZ4 makes at most 255: do not allocate more for a few.
	if size > maxField || size > 255*uint64(len(src)) {
		return errTooLarge
	}
	u.buf = grown(u.buf, int(size))
	n, err := lz4.UncompressBlock(src, u.buf)
	if err != nil {
		return err
	}
	if n != int(size) {
		return fmt.Errorf("unpacked %d of %d bytes", n, size)
	}
	return nil
}

// unpackXZ decodes an xz stream of one block without a checksum. Its few header
// bytes are read here, because xz.Reader allocates whatever dictionary they ask
// for.
func (u *unpacker) unpackXZ(src []byte) error {
	dictCap, body, err := parseXZ(src)
	if err != nil {
		return err
	}
	r, err := lzma.Reader2Config{DictCap: dictCap}.NewReader2(bytes.NewReader(body))
	if err != nil {
		return err
	}
	out := bytes.NewBuffer(u.buf[:0])
	n, err := out.ReadFrom(io.LimitReader(r, maxField+1))
	u.buf = out.Bytes()
	if err != nil {
		return err
	}
	if n > maxField {
		return errTooLarge
	}
	return nil
}

// parseXZ returns the dictionary size and the LZMA2 chunks of an xz stream; see
// "The .xz File Format", sections 2.1.1 and 3.1.
func parseXZ(src []byte) (dictCap int, body []byte, err error) {
	const streamHeader = 12
	bad := errors.New("unknown form of xz stream")
	if len(src) < streamHeader+2 || string(src[:6]) != "\xfd7zXZ\x00" {
		return 0, nil, bad
	}
	size := (int(src[streamHeader]) + 1) * 4
	if src[streamHeader] == 0 || len(src) < streamHeader+size {
		return 0, nil, bad
	}
	h, body := src[streamHeader+1:streamHeader+size], src[streamHeader+size:]
	flags := h[0]
	h = h[1:]
	if flags&0x3f != 0 { // more than one filter, or reserved bits
		return 0, nil, bad
	}
	for _, present := range []byte{0x40, 0x80} { // packed and unpacked size
		if flags&present == 0 {
			continue
		}
		_, n := binary.Uvarint(h)
		if n <= 0 {
			return 0, nil, bad
		}
		h = h[n:]
	}
	if len(h) < 3 || h[0] != 0x21 || h[1] != 1 { // the LZMA2 filter, one byte of properties
		return 0, nil, bad
	}
	n, err := lzma.DecodeDictCap(h[2])
	if err != nil {
		return 0, nil, err
	}
	if n > maxField {
		return 0, nil, errTooLarge
	}
	return int(max(n, lzma.MinDictCap)), body, nil
}

// grown returns a buffer of n bytes, b's own if it is large enough.
func grown(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n)
}
