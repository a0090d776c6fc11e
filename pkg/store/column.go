package store

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// A col is one column of a block in the making. It holds its values as ClickHouse's native format has them, so that an insert sends them from where
// they are, without a copy. It keeps nothing of the events that were added.
type col interface {
	// name and typ are the column's in the table; typ as the server spells it.
	name() string
	typ() string
	rows() int
	// size is about what the rows so far take, bytes.
	size() int
	// prefix appends what stands before the values in a block, pieces what the values are.
	prefix(b *chproto.Buffer)
	pieces(to [][]byte) [][]byte
	// binary appends the value of row i in ClickHouse's RowBinary format.
	binary(dst []byte, i int) []byte
	reset()
}

// spec names a column.
type spec struct{ colName, colType string }

func (s spec) name() string           { return s.colName }
func (s spec) typ() string            { return s.colType }
func (s spec) prefix(*chproto.Buffer) {}

// fixed is a column of a type of fixed width.
type fixed struct {
	spec
	width int
	buf   []byte
}

func newFixed(name, typ string, width int) fixed {
	return fixed{spec: spec{name, typ}, width: width}
}

func (c *fixed) rows() int                   { return len(c.buf) / c.width }
func (c *fixed) size() int                   { return len(c.buf) }
func (c *fixed) pieces(to [][]byte) [][]byte { return append(to, c.buf) }
func (c *fixed) reset()                      { c.buf = c.buf[:0] }

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

func (c *nullable) rows() int                   { return len(c.nulls) }
func (c *nullable) size() int                   { return len(c.nulls) + len(c.buf) }
func (c *nullable) pieces(to [][]byte) [][]byte { return append(to, c.nulls, c.buf) }
func (c *nullable) reset()                      { c.nulls, c.buf = c.nulls[:0], c.buf[:0] }

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
	buf []byte // length and bytes, each
	n   int
	// next is the row that binary reads next, and at where it lies.
	next, at int
}

func newText(name string) text { return text{spec: spec{name, "String"}} }

func (c *text) rows() int                   { return c.n }
func (c *text) size() int                   { return len(c.buf) }
func (c *text) pieces(to [][]byte) [][]byte { return append(to, c.buf) }
func (c *text) reset()                      { c.buf, c.n, c.next, c.at = c.buf[:0], 0, 0, 0 }

func (c *text) add(s string) {
	c.buf = append(binary.AppendUvarint(c.buf, uint64(len(s))), s...)
	c.n++
}

// dict is a LowCardinality(String) column: a dictionary in order of first appearance, and a key for each row.
type dict struct {
	spec
	keys    []byte // of width bytes each, which grows with the dictionary
	width   int
	words   []string
	head    []byte // the words in the native format
	index   map[string]uint32
	last    string // the value before, which is most often the next as well
	lastKey uint32
	one     [256]uint32 // keys of the words of one byte (venues' codes), 0: not seen
	scratch []byte
}

func newDict(name string) dict {
	d := dict{spec: spec{name, "LowCardinality(String)"}, width: 1, index: map[string]uint32{}}
	d.words, d.head = append(d.words, ""), append(d.head, 0) // the server's default value is key 0
	return d
}

func (c *dict) rows() int { return len(c.keys) / c.width }

// wordSize is about what a word takes beside its text, twice: in the list and in the map.
const wordSize = 64

func (c *dict) size() int { return len(c.keys) + 2*(len(c.head)-1) + wordSize*(len(c.words)-1) }

// maxWarmWords bounds the dictionary whose map is kept for the next batch.
const maxWarmWords = 1 << 12

func (c *dict) reset() {
	if len(c.words) > maxWarmWords {
		c.index, c.words, c.head = map[string]uint32{}, []string{""}, []byte{0}
	}
	clear(c.index)
	clear(c.words)
	c.keys, c.width, c.words, c.head = c.keys[:0], 1, c.words[:1], c.head[:1]
	c.last, c.lastKey, c.one = "", 0, [256]uint32{}
}

func (c *dict) add(s string) {
	if s != c.last {
		c.lastKey = c.key(s)
		c.last = c.words[c.lastKey]
	}
	c.repeat()
}

// repeat adds the value before.
func (c *dict) repeat() {
	switch c.width {
	case 1:
		c.keys = append(c.keys, byte(c.lastKey))
	case 2:
		c.keys = binary.LittleEndian.AppendUint16(c.keys, uint16(c.lastKey))
	default:
		c.keys = binary.LittleEndian.AppendUint32(c.keys, c.lastKey)
	}
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
		c.index[c.words[k]] = k
	}
	return k
}

func (c *dict) word(s string) uint32 {
	c.words = append(c.words, strings.Clone(s))
	c.head = append(binary.AppendUvarint(c.head, uint64(len(s))), s...)
	switch n := len(c.words); {
	case n > math.MaxUint16 && c.width == 2:
		c.widen(4)
	case n > math.MaxUint8 && c.width == 1:
		c.widen(2)
	}
	return uint32(len(c.words) - 1)
}

// widen makes the keys wider.
func (c *dict) widen(width int) {
	n := c.rows()
	wide := make([]byte, n*width, 2*n*width)
	for i := range n {
		if c.width == 1 {
			wide[i*width] = c.keys[i]
		} else {
			copy(wide[i*width:], c.keys[i*c.width:(i+1)*c.width])
		}
	}
	c.keys, c.width = wide, width
}

func (c *dict) prefix(b *chproto.Buffer) { b.PutInt64(1) } // the version of the dictionary's layout

// pieces are the type of the keys, the dictionary and the keys.
func (c *dict) pieces(to [][]byte) [][]byte {
	if len(c.keys) == 0 {
		return to
	}
	const additionalKeys, updateDictionary = 1 << 9, 1 << 10
	keyType := uint64(c.width / 2) // 0, 1, 2: one, two, four bytes
	b := binary.LittleEndian.AppendUint64(c.scratch[:0], additionalKeys|updateDictionary|keyType)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.words)))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.rows()))
	c.scratch = b
	return append(to, b[:16], c.head, b[16:], c.keys)
}

// codes are lists of short texts in a LowCardinality(String) column: each with a comma behind it, so that none and one that is empty differ, and %25 and %2C for a percent
// sign and a comma of its own. There are few different lists, and a key for each takes a third of what an array does.
type codes struct {
	dict
	joined []byte
}

func newCodes(name string) codes { return codes{dict: newDict(name)} }

func (c *codes) add(values []string) {
	b := c.joined[:0]
	for _, v := range values {
		for i := range len(v) {
			switch v[i] {
			case '%':
				b = append(b, "%25"...)
			case ',':
				b = append(b, "%2C"...)
			default:
				b = append(b, v[i])
			}
		}
		b = append(b, ',')
	}
	c.joined = b
	if string(b) == c.last {
		c.repeat()
		return
	}
	if k, ok := c.index[string(b)]; ok {
		c.lastKey, c.last = k, c.words[k]
		c.repeat()
		return
	}
	c.dict.add(string(b))
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

func (c *list) rows() int                   { return len(c.offsets) / 8 }
func (c *list) size() int                   { return len(c.offsets) + c.values.size() }
func (c *list) prefix(b *chproto.Buffer)    { c.values.prefix(b) }
func (c *list) pieces(to [][]byte) [][]byte { return c.values.pieces(append(to, c.offsets)) }

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

func (c *pairs) rows() int                { return len(c.offsets) / 8 }
func (c *pairs) size() int                { return len(c.offsets) + c.keys.size() + len(c.values) + 8*len(c.ends) }
func (c *pairs) prefix(b *chproto.Buffer) { c.keys.prefix(b) }
func (c *pairs) pieces(to [][]byte) [][]byte {
	return append(c.keys.pieces(append(to, c.offsets)), c.values)
}

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

// array is an Array column of a type of fixed width: values are appended to values, and end ends the row.
type array struct {
	spec
	offsets []byte
	values  fixed
}

func newArray(name, inner string, width int) array {
	return array{spec: spec{name, "Array(" + inner + ")"}, values: newFixed(name, inner, width)}
}

func (c *array) rows() int                   { return len(c.offsets) / 8 }
func (c *array) size() int                   { return len(c.offsets) + len(c.values.buf) }
func (c *array) pieces(to [][]byte) [][]byte { return append(to, c.offsets, c.values.buf) }

func (c *array) reset() {
	c.offsets = c.offsets[:0]
	c.values.reset()
}

func (c *array) end() {
	c.offsets = binary.LittleEndian.AppendUint64(c.offsets, uint64(c.values.rows()))
}
