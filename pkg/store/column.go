package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// A col is one column of a block in the making.
type col interface {
	// name and typ are the column's in the table; typ as the server spells it.
	name() string
	typ() string
	rows() int
	// rowBytes is what a row costs at least, varBytes what the rows so far cost beyond it; both approximate.
	rowBytes() int
	varBytes() int
	// fill moves the column's values into dst, an empty column of this type.
	fill(dst column.Interface, via *native) error
	// binary appends the value of row i in ClickHouse's RowBinary format.
	binary(dst []byte, i int) []byte
	reset()
}

// spec names a column.
type spec struct{ colName, colType string }

func (s spec) name() string { return s.colName }
func (s spec) typ() string  { return s.colType }

// native feeds bytes in ClickHouse's native format to the Decode method of a clickhouse-go column. That is one copy for a
// column of fixed width, where Append would convert value by value (a Decimal through big.Int, a DateTime64 through time.Time).
type native struct {
	src    source
	reader *chproto.Reader
	buf    []byte // scratch
}

func newNative() *native {
	n := &native{}
	n.reader = chproto.NewReader(&n.src)
	return n
}

// source is a reader over a byte slice, like bytes.Reader, but it keeps no position across slices.
type source struct{ b []byte }

func (s *source) Read(p []byte) (int, error) {
	n := copy(p, s.b)
	s.b = s.b[n:]
	if n == 0 && len(p) > 0 {
		return 0, fmt.Errorf("read column: bytes are missing")
	}
	return n, nil
}

// decode makes dst decode rows from b. All of b must be used, or the next column would begin with its rest.
func (n *native) decode(dst column.Interface, b []byte, rows int) error {
	n.src.b = b
	if err := dst.Decode(n.reader, rows); err != nil {
		return fmt.Errorf("fill column %s: %w", dst.Name(), err)
	}
	return nil
}

// fixed is a column of a type of fixed width.
type fixed struct {
	spec
	width int
	buf   []byte
}

func newFixed(name, typ string, width int) fixed {
	return fixed{spec: spec{name, typ}, width: width}
}

func (c *fixed) rows() int     { return len(c.buf) / c.width }
func (c *fixed) rowBytes() int { return c.width }
func (c *fixed) varBytes() int { return 0 }
func (c *fixed) reset()        { c.buf = c.buf[:0] }

func (c *fixed) fill(dst column.Interface, via *native) error {
	return via.decode(dst, c.buf, c.rows())
}

func (c *fixed) u8(v uint8)   { c.buf = append(c.buf, v) }
func (c *fixed) u32(v uint32) { c.buf = binary.LittleEndian.AppendUint32(c.buf, v) }
func (c *fixed) u64(v uint64) { c.buf = binary.LittleEndian.AppendUint64(c.buf, v) }
func (c *fixed) i64(v int64)  { c.buf = binary.LittleEndian.AppendUint64(c.buf, uint64(v)) }

func (c *fixed) bool(v bool) {
	var b uint8
	if v {
		b = 1
	}
	c.buf = append(c.buf, b)
}

// wide appends d to a column of wideType.
func (c *fixed) wide(d market.Decimal) {
	hi, lo := scaleWide(d)
	c.buf = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(c.buf, lo), hi)
}

func newPrice(name string) fixed { return newFixed(name, priceType, 8) }
func newWide(name string) fixed  { return newFixed(name, wideType, 16) }

// nullable is a Nullable column of eight bytes.
type nullable struct {
	spec
	nulls, buf []byte
}

func newNullable(name, inner string) nullable {
	return nullable{spec: spec{name, "Nullable(" + inner + ")"}}
}

func (c *nullable) rows() int     { return len(c.nulls) }
func (c *nullable) rowBytes() int { return 9 }
func (c *nullable) varBytes() int { return 0 }
func (c *nullable) reset()        { c.nulls, c.buf = c.nulls[:0], c.buf[:0] }

func (c *nullable) fill(dst column.Interface, via *native) error {
	via.buf = append(append(via.buf[:0], c.nulls...), c.buf...)
	return via.decode(dst, via.buf, c.rows())
}

func (c *nullable) set(v uint64) {
	c.nulls, c.buf = append(c.nulls, 0), binary.LittleEndian.AppendUint64(c.buf, v)
}

func (c *nullable) null() {
	c.nulls, c.buf = append(c.nulls, 1), binary.LittleEndian.AppendUint64(c.buf, 0)
}

// float appends v, NaN as NULL.
func (c *nullable) float(v float64) {
	if math.IsNaN(v) {
		c.null()
		return
	}
	c.set(math.Float64bits(v))
}

// time appends t, the zero time as NULL. t must be within the range that check.time allows.
func (c *nullable) time(t time.Time) {
	if t.IsZero() {
		c.null()
		return
	}
	c.set(uint64(t.UnixNano()))
}

// text is a String column.
type text struct {
	spec
	values []string
	bytes  int
}

func newText(name string) text { return text{spec: spec{name, "String"}} }

func (c *text) rows() int     { return len(c.values) }
func (c *text) rowBytes() int { return 16 }
func (c *text) varBytes() int { return c.bytes }

func (c *text) reset() {
	clear(c.values) // lets go of the events' memory
	c.values, c.bytes = c.values[:0], 0
}

func (c *text) add(s string) {
	c.values = append(c.values, s)
	c.bytes += len(s)
}

func (c *text) fill(dst column.Interface, _ *native) error {
	if _, err := dst.Append(c.values); err != nil {
		return fmt.Errorf("fill column %s: %w", dst.Name(), err)
	}
	return nil
}

// dict is a LowCardinality(String) column: a dictionary in order of first appearance, and a key for each row.
type dict struct {
	spec
	keys    []uint32
	words   []string
	index   map[string]uint32
	last    string // the value before, which is most often the next as well
	lastKey uint32
	one     [256]uint32 // keys of the words of one byte (venues' codes), 0: not seen
	bytes   int
}

func newDict(name string) dict {
	d := dict{spec: spec{name, "LowCardinality(String)"}, index: map[string]uint32{}}
	d.words = append(d.words, "") // the server's default value is key 0
	return d
}

func (c *dict) rows() int     { return len(c.keys) }
func (c *dict) rowBytes() int { return 4 }
func (c *dict) varBytes() int { return c.bytes }

// maxWarmWords bounds the dictionary whose map is kept for the next batch.
const maxWarmWords = 1 << 12

func (c *dict) reset() {
	if len(c.words) > maxWarmWords {
		c.index = map[string]uint32{}
	} else {
		clear(c.index)
	}
	clear(c.words)
	c.keys, c.words = c.keys[:0], c.words[:1]
	c.last, c.lastKey, c.one, c.bytes = "", 0, [256]uint32{}, 0
}

func (c *dict) add(s string) {
	if s == c.last {
		c.keys = append(c.keys, c.lastKey)
		return
	}
	k := c.key(s)
	c.keys = append(c.keys, k)
	c.last, c.lastKey = s, k
}

func (c *dict) key(s string) uint32 {
	switch len(s) {
	case 0:
		return 0
	case 1:
		if k := c.one[s[0]]; k != 0 {
			return k
		}
		k := c.word(s)
		c.one[s[0]] = k
		return k
	}
	k, ok := c.index[s]
	if !ok {
		k = c.word(s)
		c.index[s] = k
	}
	return k
}

func (c *dict) word(s string) uint32 {
	c.words = append(c.words, s)
	c.bytes += len(s) + 48
	return uint32(len(c.words) - 1)
}

func (c *dict) fill(dst column.Interface, via *native) error {
	via.buf = c.encode(via.buf[:0])
	return via.decode(dst, via.buf, c.rows())
}

// encode appends the column in the native format (without its state prefix, which is the block's business): the type of the keys,
// the dictionary, the keys.
func (c *dict) encode(b []byte) []byte {
	if len(c.keys) == 0 {
		return b
	}
	const additionalKeys, updateDictionary = 1 << 9, 1 << 10
	var keyType uint64
	switch n := len(c.words); {
	case n <= math.MaxUint8:
		keyType = 0
	case n <= math.MaxUint16:
		keyType = 1
	default:
		keyType = 2
	}
	b = binary.LittleEndian.AppendUint64(b, additionalKeys|updateDictionary|keyType)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.words)))
	for _, w := range c.words {
		b = binary.AppendUvarint(b, uint64(len(w)))
		b = append(b, w...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.keys)))
	switch keyType {
	case 0:
		for _, k := range c.keys {
			b = append(b, byte(k))
		}
	case 1:
		for _, k := range c.keys {
			b = binary.LittleEndian.AppendUint16(b, uint16(k))
		}
	default:
		for _, k := range c.keys {
			b = binary.LittleEndian.AppendUint32(b, k)
		}
	}
	return b
}

// list is an Array(LowCardinality(String)) column.
type list struct {
	spec
	offsets []byte
	values  dict
}

func newList(name string) list {
	return list{spec: spec{name, "Array(LowCardinality(String))"}, values: newDict(name)}
}

func (c *list) rows() int     { return len(c.offsets) / 8 }
func (c *list) rowBytes() int { return 8 }
func (c *list) varBytes() int { return 4*c.values.rows() + c.values.varBytes() }

func (c *list) reset() {
	c.offsets = c.offsets[:0]
	c.values.reset()
}

func (c *list) add(values []string) {
	for _, v := range values {
		c.values.add(v)
	}
	c.offsets = binary.LittleEndian.AppendUint64(c.offsets, uint64(c.values.rows()))
}

func (c *list) fill(dst column.Interface, via *native) error {
	via.buf = c.values.encode(append(via.buf[:0], c.offsets...))
	return via.decode(dst, via.buf, c.rows())
}

// pairs is a Map(LowCardinality(String), String) column.
type pairs struct {
	spec
	offsets []byte
	keys    dict
	values  []byte // varint length and bytes, each
	ends    []int  // where each row's values end
}

func newPairs(name string) pairs {
	return pairs{spec: spec{name, "Map(LowCardinality(String), String)"}, keys: newDict(name)}
}

func (c *pairs) rows() int     { return len(c.offsets) / 8 }
func (c *pairs) rowBytes() int { return 8 }
func (c *pairs) varBytes() int { return 4*c.keys.rows() + c.keys.varBytes() + len(c.values) }

func (c *pairs) reset() {
	c.offsets, c.values, c.ends = c.offsets[:0], c.values[:0], c.ends[:0]
	c.keys.reset()
}

// add appends the entries of m in the given order of its keys.
func (c *pairs) add(order []string, m map[string]string) {
	for _, k := range order {
		c.keys.add(k)
		c.values = binary.AppendUvarint(c.values, uint64(len(m[k])))
		c.values = append(c.values, m[k]...)
	}
	c.ends = append(c.ends, len(c.values))
	c.offsets = binary.LittleEndian.AppendUint64(c.offsets, uint64(c.keys.rows()))
}

func (c *pairs) fill(dst column.Interface, via *native) error {
	via.buf = append(c.keys.encode(append(via.buf[:0], c.offsets...)), c.values...)
	return via.decode(dst, via.buf, c.rows())
}

// array is an Array column of a type of fixed width: values are appended to values, and end ends the row.
type array struct {
	spec
	offsets []byte
	values  fixed
}

func newArray(name, inner string, width int) array {
	return array{spec: spec{name, "Array(" + inner + ")"}, values: newFixed(name, inner, width)}
}

func (c *array) rows() int     { return len(c.offsets) / 8 }
func (c *array) rowBytes() int { return 8 }
func (c *array) varBytes() int { return len(c.values.buf) }

func (c *array) reset() {
	c.offsets = c.offsets[:0]
	c.values.reset()
}

func (c *array) end() {
	c.offsets = binary.LittleEndian.AppendUint64(c.offsets, uint64(c.values.rows()))
}

func (c *array) fill(dst column.Interface, via *native) error {
	via.buf = append(append(via.buf[:0], c.offsets...), c.values.buf...)
	return via.decode(dst, via.buf, c.rows())
}
