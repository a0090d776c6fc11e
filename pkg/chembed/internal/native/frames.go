package native

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/go-faster/city"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Method is the compression of a frame, as on the wire.
type Method byte

// The methods that clients use; ClickHouse knows no other on its wire.
const (
	MethodNone Method = 0x02
	MethodLZ4  Method = 0x82
	MethodZSTD Method = 0x90
)

const (
	frameChecksum = 16
	frameHeader   = 1 + 4 + 4 // method, compressed size with this header, raw size
	// maxFrame bounds what a client can make us hold at once. Clients send 1 MiB
	// frames (the C++ one) up to a block's size (ch-go, which itself stops at 128 MiB).
	maxFrame = 128 << 20
	// outFrame is how much goes into one frame of ours.
	outFrame = 1 << 20
)

// FrameReader reads compressed frames. It is a Source.
type FrameReader struct {
	r    *bufio.Reader
	raw  []byte
	data []byte
	last int // length of the frame given out
	zstd *zstd.Decoder
}

// NewFrameReader reads frames from r.
func NewFrameReader(r *bufio.Reader) *FrameReader { return &FrameReader{r: r} }

// Next reads one frame, checks its checksum and decompresses it.
func (f *FrameReader) Next() ([]byte, error) {
	b, err := f.next()
	f.last = len(b)
	return b, err
}

func (f *FrameReader) next() ([]byte, error) {
	var head [frameChecksum + frameHeader]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, err
	}
	packed := binary.LittleEndian.Uint32(head[frameChecksum+1:])
	size := binary.LittleEndian.Uint32(head[frameChecksum+5:])
	if packed < frameHeader || packed > maxFrame || size == 0 || size > maxFrame {
		return nil, malformed("compressed frame of %d bytes for %d", packed, size)
	}
	body := int(packed) - frameHeader
	// LZ4 expands at most 255 times: refuse a bomb before making room for it.
	method := Method(head[frameChecksum])
	if method == MethodLZ4 && uint64(size) > 255*uint64(body)+64 {
		return nil, malformed("LZ4 frame of %d bytes for %d", packed, size)
	}
	// Room is made as data arrives, not as it is promised.
	f.raw = append(f.raw[:0], head[frameChecksum:]...)
	for left := body; left > 0; {
		k := min(left, outFrame)
		at := len(f.raw)
		f.raw = slices.Grow(f.raw, k)[:at+k]
		if _, err := io.ReadFull(f.r, f.raw[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		left -= k
	}
	sum := city.CH128(f.raw)
	if sum.Low != binary.LittleEndian.Uint64(head[0:]) || sum.High != binary.LittleEndian.Uint64(head[8:]) {
		return nil, malformed("checksum of a compressed frame does not match")
	}
	switch method {
	case MethodNone:
		if body != int(size) {
			return nil, malformed("frame of %d bytes holds %d", size, body)
		}
		return f.raw[frameHeader:], nil
	case MethodLZ4:
		f.data = grow(f.data, int(size))
		n, err := lz4.UncompressBlock(f.raw[frameHeader:], f.data)
		if err != nil || n != int(size) {
			return nil, malformed("LZ4 frame does not decompress to its %d bytes", size)
		}
		return f.data, nil
	case MethodZSTD:
		if f.zstd == nil {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecodeAllCapLimit(true))
			if err != nil {
				return nil, fmt.Errorf("start zstd: %w", err)
			}
			f.zstd = d
		}
		// Not a byte more than was told: little of it can expand to anything.
		f.data = grow(f.data, int(size))
		out, err := f.zstd.DecodeAll(f.raw[frameHeader:], f.data[:0:size])
		if err != nil || len(out) != int(size) {
			return nil, malformed("ZSTD frame does not decompress to its %d bytes", size)
		}
		f.data = out
		return out, nil
	}
	return nil, malformed("compression method 0x%02x", byte(method))
}

// Done checks that the block ended where its last frame did.
func (f *FrameReader) Done(used int) error {
	if used != f.last {
		return malformed("%d bytes behind the end of a block", f.last-used)
	}
	return nil
}

// Close releases the decoder.
func (f *FrameReader) Close() {
	if f.zstd != nil {
		f.zstd.Close()
		f.zstd = nil
	}
	f.raw, f.data = nil, nil
}

// Shrink gives back memory that an unusually large frame took.
func (f *FrameReader) Shrink() {
	const keep = 4 << 20
	if cap(f.raw) > keep {
		f.raw = nil
	}
	if cap(f.data) > keep {
		f.data = nil
	}
}

// grow returns b with length n and unspecified content.
func grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n)
}

// FrameWriter compresses what is written into frames. Flush ends the last one.
type FrameWriter struct {
	w      io.Writer
	method Method
	buf    []byte
	out    []byte
	lz4    lz4.Compressor
	zstd   *zstd.Encoder
}

// NewFrameWriter writes frames of method to w.
func NewFrameWriter(w io.Writer, method Method) *FrameWriter {
	return &FrameWriter{w: w, method: method}
}

// SetMethod chooses the method of the frames from here on.
func (f *FrameWriter) SetMethod(m Method) { f.method = m }

// Write takes p in, compressing whenever a frame is full.
func (f *FrameWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if len(f.buf) == 0 && len(p) >= outFrame {
			if err := f.frame(p[:outFrame]); err != nil {
				return 0, err
			}
			p = p[outFrame:]
			continue
		}
		n := min(len(p), outFrame-len(f.buf))
		f.buf = append(f.buf, p[:n]...)
		p = p[n:]
		if len(f.buf) == outFrame {
			if err := f.Flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// Flush writes out what is held.
func (f *FrameWriter) Flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	err := f.frame(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *FrameWriter) frame(p []byte) error {
	const head = frameChecksum + frameHeader
	method := f.method
	var n int
	switch method {
	case MethodLZ4:
		f.out = grow(f.out, head+lz4.CompressBlockBound(len(p)))
		var err error
		if n, err = f.lz4.CompressBlock(p, f.out[head:]); err != nil {
			return fmt.Errorf("compress a frame: %w", err)
		}
	case MethodZSTD:
		if f.zstd == nil {
			e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
				zstd.WithLowerEncoderMem(true))
			if err != nil {
				return fmt.Errorf("start zstd: %w", err)
			}
			f.zstd = e
		}
		f.out = f.zstd.EncodeAll(p, grow(f.out, head))
		n = len(f.out) - head
	}
	if method == MethodNone || n == 0 {
		method = MethodNone
		f.out = append(grow(f.out, head), p...)
		n = len(p)
	}
	out := f.out[:head+n]
	out[frameChecksum] = byte(method)
	binary.LittleEndian.PutUint32(out[frameChecksum+1:], uint32(n+frameHeader))
	binary.LittleEndian.PutUint32(out[frameChecksum+5:], uint32(len(p)))
	sum := city.CH128(out[frameChecksum:])
	binary.LittleEndian.PutUint64(out, sum.Low)
	binary.LittleEndian.PutUint64(out[8:], sum.High)
	_, err := f.w.Write(out)
	return err
}

// Close releases the encoder and the buffers.
func (f *FrameWriter) Close() {
	if f.zstd != nil {
		_ = f.zstd.Close()
		f.zstd = nil
	}
	f.buf, f.out = nil, nil
}

// PlainReader is the Source of an uncompressed stream: what the reader holds.
type PlainReader struct {
	r    *bufio.Reader
	last int
}

// NewPlainReader takes blocks straight from r.
func NewPlainReader(r *bufio.Reader) *PlainReader { return &PlainReader{r: r} }

// Next gives what is buffered, reading if nothing is.
func (p *PlainReader) Next() ([]byte, error) {
	if _, err := p.r.Discard(p.last); err != nil {
		return nil, err
	}
	p.last = 0
	if _, err := p.r.Peek(1); err != nil {
		return nil, err
	}
	b, err := p.r.Peek(p.r.Buffered())
	p.last = len(b)
	return b, err
}

// Done leaves what the block did not use in the reader.
func (p *PlainReader) Done(used int) error {
	_, err := p.r.Discard(used)
	p.last = 0
	return err
}
