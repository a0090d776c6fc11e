package native

import (
	"encoding/binary"
	"io"
	"net"
)

const (
	writeBuffer = 64 << 10
	// lendMin is from where on a piece is not copied: below it, copying is cheaper than one more entry for the kernel to look at.
	lendMin = 4 << 10
)

// Writer builds what goes to the other side, and hands it to the connection in as few calls as can be: what is small is gathered, what is large stays where it is.
// An error stays in it until Flush returns it.
type Writer struct {
	w      io.Writer
	vector bool // w takes several pieces in one call

	buf  []byte
	lent []lentPiece // in the order of their places

	pieces  net.Buffers
	scratch [binary.MaxVarintLen64]byte
	err     error
}

// lentPiece stands in front of byte at of the gathered ones.
type lentPiece struct {
	at int
	p  []byte
}

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer {
	_, vector := w.(*net.TCPConn)
	return &Writer{w: w, vector: vector, buf: make([]byte, 0, writeBuffer)}
}

// Write takes p in.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if len(w.buf)+len(p) > writeBuffer {
		if len(p) >= writeBuffer {
			w.lent = append(w.lent, lentPiece{len(w.buf), p})
			return len(p), w.Flush()
		}
		if err := w.Flush(); err != nil {
			return 0, err
		}
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// Lend takes p in without copying it: it must stay as it is until the next Flush.
func (w *Writer) Lend(p []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(p) >= lendMin && w.vector {
		w.lent = append(w.lent, lentPiece{len(w.buf), p})
		return nil
	}
	_, err := w.Write(p)
	return err
}

// Abandon lets go of everything that has not been flushed, and of everything to come: what was lent goes away, and half of a packet is of no use.
func (w *Writer) Abandon(err error) {
	clear(w.lent)
	w.buf, w.lent, w.err = w.buf[:0], w.lent[:0], err
}

// Flush hands everything to the connection.
func (w *Writer) Flush() error {
	defer func() { w.buf, w.lent = w.buf[:0], w.lent[:0] }()
	if w.err != nil || len(w.buf) == 0 && len(w.lent) == 0 {
		return w.err
	}
	if len(w.lent) == 0 {
		_, w.err = w.w.Write(w.buf)
		return w.err
	}
	pieces := w.pieces[:0]
	at := 0
	for _, l := range w.lent {
		if l.at > at {
			pieces = append(pieces, w.buf[at:l.at])
			at = l.at
		}
		pieces = append(pieces, l.p)
	}
	if at < len(w.buf) {
		pieces = append(pieces, w.buf[at:])
	}
	w.pieces = pieces
	out := pieces // WriteTo uses it up
	_, w.err = out.WriteTo(w.w)
	clear(pieces)
	clear(w.lent)
	return w.err
}

// Uvarint writes a number.
func (w *Writer) Uvarint(v uint64) {
	n := binary.PutUvarint(w.scratch[:], v)
	_, _ = w.Write(w.scratch[:n])
}

// Str writes a string.
func (w *Writer) Str(s string) {
	w.Uvarint(uint64(len(s)))
	_, _ = w.Write([]byte(s))
}

func (w *Writer) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	_, _ = w.Write([]byte{b})
}
