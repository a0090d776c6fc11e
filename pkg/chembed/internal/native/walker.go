// Package native speaks ClickHouse's native wire format: its packets, its
// compressed frames and its column blocks.
//
// Blocks are never decoded. A Walker follows a block's structure only to find
// where its columns end, and hands the bytes on as they are.
package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrMalformed marks input that is not what the protocol allows.
var ErrMalformed = errors.New("malformed native data")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Source yields a block's bytes piece by piece.
type Source interface {
	// Next returns the following bytes, at least one, valid until the call after.
	Next() ([]byte, error)
	// Done says how many bytes of the last piece belonged to the block.
	Done(used int) error
}

const (
	maxColumns   = 10_000
	maxNameLen   = 1 << 16
	maxTypeLen   = 1 << 20
	maxRows      = 1 << 40
	maxTypeCache = 256
)

// Options say how a block is dressed on each side. Revision 0, what the engine
// speaks, has neither block info nor flags.
type Options struct {
	InInfo, InFlags   bool // input has block info, a serialization flag a column
	OutInfo, OutFlags bool // output shall have them
	OutEmpty          bool // pass on a block without rows as well
	Describe          bool // keep the columns' names and types in Block.Names and Block.Types
}

// Block is what a walked block was.
type Block struct {
	Columns int
	Rows    uint64

	Names, Types []string // with Options.Describe
}

// Walker passes blocks from a source to a sink. It keeps its type cache between
// blocks; it is not for concurrent use.
type Walker struct {
	src  Source
	sink func([]byte) error

	buf       []byte
	pos, mark int  // read up to pos; handed on up to mark
	quiet     bool // what is read is not handed on: it is replaced, or dropped

	scratch [binary.MaxVarintLen64]byte
	depth   int // of Dynamic within Dynamic
	name    []byte
	types   map[string]*colType
}

// blockInfoOut is the info of an ordinary block: no overflow rows, bucket -1.
var blockInfoOut = []byte{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0}

// Walk passes one block from src to sink. The bytes given to sink are valid
// during the call only; an error of the sink ends the walk.
func (w *Walker) Walk(src Source, sink func([]byte) error, o Options) (Block, error) {
	w.src, w.sink = src, sink
	w.buf, w.pos, w.mark, w.quiet = nil, 0, 0, true
	b, err := w.block(o)
	if err != nil {
		return b, err
	}
	if err := w.flush(); err != nil {
		return b, err
	}
	return b, src.Done(w.pos)
}

func (w *Walker) block(o Options) (Block, error) {
	if o.InInfo {
		if err := w.blockInfo(); err != nil {
			return Block{}, err
		}
	}
	columns, err := w.uvarint()
	if err != nil {
		return Block{}, err
	}
	rows, err := w.uvarint()
	if err != nil {
		return Block{}, err
	}
	if columns > maxColumns {
		return Block{}, malformed("block of %d columns", columns)
	}
	if rows > maxRows || columns == 0 && rows > 0 {
		return Block{}, malformed("block of %d columns and %d rows", columns, rows)
	}
	b := Block{Columns: int(columns), Rows: rows}
	w.mark = w.pos
	w.quiet = rows == 0 && !o.OutEmpty
	if !w.quiet {
		if o.OutInfo {
			if err := w.sink(blockInfoOut); err != nil {
				return b, err
			}
		}
		n := binary.PutUvarint(w.scratch[:], columns)
		if err := w.sink(w.scratch[:n]); err != nil {
			return b, err
		}
		n = binary.PutUvarint(w.scratch[:], rows)
		if err := w.sink(w.scratch[:n]); err != nil {
			return b, err
		}
	}
	for range columns {
		if err := w.column(rows, o, &b); err != nil {
			return b, err
		}
	}
	return b, w.flush()
}

// blockInfo passes the tagged fields before a block.
func (w *Walker) blockInfo() error {
	for {
		field, err := w.uvarint()
		if err != nil {
			return err
		}
		switch field {
		case 0:
			return nil
		case 1:
			err = w.skip(1)
		case 2:
			err = w.skip(4)
		default:
			return malformed("block info field %d", field)
		}
		if err != nil {
			return err
		}
	}
}

var noFlag = []byte{0}

func (w *Walker) column(rows uint64, o Options, b *Block) error {
	if err := w.text(maxNameLen, "column name"); err != nil {
		return err
	}
	if o.Describe {
		b.Names = append(b.Names, string(w.name))
	}
	typ, err := w.typeOf()
	if err != nil {
		return err
	}
	if o.Describe {
		b.Types = append(b.Types, string(w.name))
	}
	if o.InFlags {
		if err := w.flush(); err != nil {
			return err
		}
		flag, err := w.byte()
		if err != nil {
			return err
		}
		if flag != 0 {
			return fmt.Errorf("column in a custom serialization: %w", ErrUnsupported)
		}
		w.mark = w.pos
	}
	if o.OutFlags {
		if err := w.flush(); err != nil {
			return err
		}
		if !w.quiet {
			if err := w.sink(noFlag); err != nil {
				return err
			}
		}
	}
	if rows == 0 {
		return nil
	}
	typ, err = w.prefix(typ)
	if err != nil {
		return err
	}
	return w.data(typ, rows)
}

// text reads a string of up to limit bytes into w.name.
func (w *Walker) text(limit uint64, what string) error {
	n, err := w.uvarint()
	if err != nil {
		return err
	}
	if n > limit {
		return malformed("%s of %d bytes", what, n)
	}
	w.name = w.name[:0]
	for n > 0 {
		if w.pos == len(w.buf) {
			if err := w.fill(); err != nil {
				return err
			}
		}
		k := min(n, uint64(len(w.buf)-w.pos))
		w.name = append(w.name, w.buf[w.pos:w.pos+int(k)]...)
		w.pos += int(k)
		n -= k
	}
	return nil
}

// Versions of the self-describing types' structure.
const (
	dynamicV1   = 1
	dynamicV2   = 2
	dynamicFlat = 3

	jsonV1     = 0
	jsonString = 1
	jsonV2     = 2
	jsonFlat   = 3
)

// maxDynamic bounds the types of a Dynamic and the paths of a JSON.
const maxDynamic = 10_000

// data passes rows values of type t.
func (w *Walker) data(t *colType, rows uint64) error {
	if rows == 0 {
		return nil
	}
	if rows > maxRows {
		return malformed("column of %d values", rows)
	}
	switch t.shape {
	case shapeFixed:
		return w.skip(rows * t.width)
	case shapeString:
		return w.strings(rows)
	case shapeNullable:
		if err := w.skip(rows); err != nil {
			return err
		}
		return w.data(t.elems[0], rows)
	case shapeArray:
		if err := w.skip((rows - 1) * 8); err != nil {
			return err
		}
		total, err := w.uint64()
		if err != nil {
			return err
		}
		return w.data(t.elems[0], total)
	case shapeTuple:
		for _, e := range t.elems {
			if err := w.data(e, rows); err != nil {
				return err
			}
		}
		return nil
	case shapeLowCardinality:
		return w.lowCardinality(t, rows)
	case shapeVariant:
		return w.variant(t, rows)
	case shapeFlatDynamic:
		return w.flatDynamic(t, rows)
	case shapeState:
		return w.states(t.parts, rows)
	}
	return fmt.Errorf("shape %d: %w", t.shape, ErrUnsupported)
}

// The flags of a low-cardinality column: the width of its indexes in the low
// byte, and whether its dictionary comes with it.
const (
	lcGlobalDictionary = 1 << 8
	lcAdditionalKeys   = 1 << 9
)

func (w *Walker) lowCardinality(t *colType, rows uint64) error {
	for rows > 0 {
		flags, err := w.uint64()
		if err != nil {
			return err
		}
		width := flags & 0xff
		if width > 3 {
			return malformed("low cardinality index type %d", width)
		}
		if flags&lcGlobalDictionary != 0 {
			return fmt.Errorf("low cardinality with a global dictionary: %w", ErrUnsupported)
		}
		if flags&lcAdditionalKeys != 0 {
			keys, err := w.uint64()
			if err != nil {
				return err
			}
			if err := w.data(t.elems[0], keys); err != nil {
				return err
			}
		}
		n, err := w.uint64()
		if err != nil {
			return err
		}
		if n == 0 || n > rows {
			return malformed("low cardinality with %d of %d indexes", n, rows)
		}
		if err := w.skip(n << width); err != nil {
			return err
		}
		rows -= n
	}
	return nil
}

// variant passes one discriminator a row and then each alternative's values.
func (w *Walker) variant(t *colType, rows uint64) error {
	var counts [256]uint64
	for left := rows; left > 0; {
		if w.pos == len(w.buf) {
			if err := w.fill(); err != nil {
				return err
			}
		}
		k := min(left, uint64(len(w.buf)-w.pos))
		for _, d := range w.buf[w.pos : w.pos+int(k)] {
			counts[d]++
		}
		w.pos += int(k)
		left -= k
	}
	for d, n := range counts {
		if n > 0 && d != 255 && d >= len(t.elems) {
			return malformed("variant discriminator %d of %d", d, len(t.elems))
		}
	}
	for i, e := range t.elems {
		if i >= 255 {
			break
		}
		if err := w.data(e, counts[i]); err != nil {
			return err
		}
	}
	return nil
}

// flatDynamic passes one index a row, as wide as the number of types asks for and that number itself for NULL, and then each type's values.
func (w *Walker) flatDynamic(t *colType, rows uint64) error {
	types := uint64(len(t.elems))
	width := 1
	if types > 0xff {
		width = 2
	}
	counts := make([]uint64, types+1)
	for range rows {
		var d uint64
		for i := range width {
			b, err := w.byte()
			if err != nil {
				return err
			}
			d |= uint64(b) << (8 * i)
		}
		if d > types {
			return malformed("dynamic with type %d of %d", d, types)
		}
		counts[d]++
	}
	for i, e := range t.elems {
		if err := w.data(e, counts[i]); err != nil {
			return err
		}
	}
	return nil
}

// strings passes rows length-prefixed strings: the hot loop of text columns.
func (w *Walker) strings(rows uint64) error {
	for rows > 0 {
		buf, pos := w.buf, w.pos
		for rows > 0 && pos < len(buf) {
			n := uint64(buf[pos])
			head := 1
			if n >= 0x80 {
				v, k := binary.Uvarint(buf[pos:])
				if k <= 0 {
					break // across the edge of the buffer, or overlong
				}
				n, head = v, k
			}
			if n > uint64(len(buf)-pos-head) {
				break
			}
			pos += head + int(n)
			rows--
		}
		w.pos = pos
		if rows == 0 {
			return nil
		}
		n, err := w.uvarint()
		if err != nil {
			return err
		}
		if err := w.skip(n); err != nil {
			return err
		}
		rows--
	}
	return nil
}

// Bytes is a Source of one piece, such as a block in the engine's memory.
type Bytes []byte

// Next returns the piece once.
func (b *Bytes) Next() ([]byte, error) {
	if len(*b) == 0 {
		return nil, io.EOF
	}
	out := *b
	*b = nil
	return out, nil
}

// Done is called at the block's end.
func (b *Bytes) Done(int) error { return nil }
