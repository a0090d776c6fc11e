package native

import (
	"encoding/binary"
	"errors"
	"io"
)

// fill hands on what was read and gets more.
func (w *Walker) fill() error {
	if err := w.flush(); err != nil {
		return err
	}
	buf, err := w.src.Next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	w.buf, w.pos, w.mark = buf, 0, 0
	return nil
}

func (w *Walker) flush() error {
	if w.mark == w.pos {
		return nil
	}
	b := w.buf[w.mark:w.pos]
	w.mark = w.pos
	if w.quiet {
		return nil
	}
	return w.sink(b)
}

func (w *Walker) skip(n uint64) error {
	for {
		if have := uint64(len(w.buf) - w.pos); n <= have {
			w.pos += int(n)
			return nil
		} else {
			n -= have
		}
		w.pos = len(w.buf)
		if err := w.fill(); err != nil {
			return err
		}
	}
}

func (w *Walker) byte() (byte, error) {
	if w.pos == len(w.buf) {
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	b := w.buf[w.pos]
	w.pos++
	return b, nil
}

func (w *Walker) uint64() (uint64, error) {
	if len(w.buf)-w.pos >= 8 {
		v := binary.LittleEndian.Uint64(w.buf[w.pos:])
		w.pos += 8
		return v, nil
	}
	var v uint64
	for i := range 8 {
		b, err := w.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b) << (8 * i)
	}
	return v, nil
}

func (w *Walker) uvarint() (uint64, error) {
	var v uint64
	for i := range binary.MaxVarintLen64 {
		b, err := w.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, malformed("number longer than %d bytes", binary.MaxVarintLen64)
}
