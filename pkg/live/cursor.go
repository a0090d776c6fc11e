package live

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Whole is the index of a cursor that stands for all events of its message.
const Whole = math.MaxUint32

// Cursor is a place in a stream; who holds it has everything up to and including it. The zero value is the beginning of no stream.
type Cursor struct {
	Stream market.Stream
	Seq    uint64
	Idx    uint32 // Whole: the whole message
}

// At is the cursor of an event.
func At(p market.Place) Cursor { return Cursor{p.Stream, p.Seq, p.Idx} }

// After reports whether c lies behind o in the same stream.
func (c Cursor) After(o Cursor) bool { return c.Seq > o.Seq || c.Seq == o.Seq && c.Idx > o.Idx }

// String is TRADES:18231:4, or TRADES:18231 for a whole message.
func (c Cursor) String() string { return string(c.Append(nil)) }

// Append appends String to b.
func (c Cursor) Append(b []byte) []byte {
	b = append(append(b, c.Stream...), ':')
	b = strconv.AppendUint(b, c.Seq, 10)
	if c.Idx != Whole {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(c.Idx), 10)
	}
	return b
}

// ParseCursor reads what String writes.
func ParseCursor(s string) (Cursor, error) {
	name, rest, ok := strings.Cut(s, ":")
	stream := market.Stream(name)
	if !ok || !slices.Contains(market.Streams(), stream) {
		return Cursor{}, fmt.Errorf("cursor %.64q does not begin with a stream, as TRADES:18231:4 does", s)
	}
	seq, idx, hasIdx := strings.Cut(rest, ":")
	c := Cursor{Stream: stream, Idx: Whole}
	var err error
	if c.Seq, err = number(seq, 64); err != nil {
		return Cursor{}, fmt.Errorf("cursor %.64q: the sequence is no number", s)
	}
	if hasIdx {
		i, err := number(idx, 32)
		if err != nil || i == Whole {
			return Cursor{}, fmt.Errorf("cursor %.64q: the index is no number of 32 bits", s)
		}
		c.Idx = uint32(i)
	}
	return c, nil
}

// number reads digits without sign or leading zeros, so that a cursor has one spelling.
func number(s string, bits int) (uint64, error) {
	if len(s) > 1 && s[0] == '0' || strings.ContainsAny(s, "+-_") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, bits)
}
