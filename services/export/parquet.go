package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/hashpivot/hashpivot/pkg/store"
)

// rowGroup bounds what the writer holds: pages stay in memory until their group is written.
const rowGroup = 1 << 19

// parquetWriter writes the blocks of an answer as a Parquet file.
type parquetWriter struct {
	w       *parquet.GenericWriter[any] // fed by columns, so the type of a row does not matter
	roots   []*parquetNode
	columns []*parquet.ColumnWriter
	rows    int64
	inGroup int64
}

// parquetNode is a column, or a part of one, with the leaves in which Parquet stores it.
type parquetNode struct {
	col      *store.Column
	children []*parquetNode
	leaf     int // of a leaf: its place in the schema
	def      int // of a leaf: its definition level when it is there
	value    func(b []byte) parquet.Value
	values   []parquet.Value
	scratch  []byte // of fixed-length values: the block's, because a Value keeps its bytes where they are
}

// orderedGroup keeps the columns in the query's order; a parquet.Group sorts them.
type orderedGroup struct {
	parquet.Group
	names []string
}

func (g orderedGroup) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int { return slices.Index(g.names, a.Name()) - slices.Index(g.names, b.Name()) })
	return fields
}

func newParquetWriter(out io.Writer, version string, columns []*store.Column) (*parquetWriter, error) {
	p := &parquetWriter{}
	g := orderedGroup{Group: parquet.Group{}}
	for _, c := range columns {
		if _, twice := g.Group[c.Name]; twice {
			return nil, fmt.Errorf("two columns are called %s; name one of them otherwise in the query", c.Name)
		}
		node, n, err := parquetColumn(c)
		if err != nil {
			return nil, err
		}
		g.Group[c.Name] = node
		g.names = append(g.names, c.Name)
		p.roots = append(p.roots, n)
	}
	leaf := 0
	for _, n := range p.roots {
		n.place(&leaf, 0)
	}
	p.w = parquet.NewGenericWriter[any](out, parquet.NewSchema("hashpivot", g), parquet.Compression(&parquet.Zstd), parquet.CreatedBy("hashpivot", version, "parquet-go"),
		parquet.DictionaryMaxBytes(1<<20))
	p.columns = p.w.ColumnWriters()
	if len(p.columns) != leaf {
		return nil, fmt.Errorf("make Parquet schema: %d leaves, not %d", len(p.columns), leaf)
	}
	return p, nil
}

// parquetColumn is Parquet's type of a column: exact, or an error that says what to convert.
func parquetColumn(c *store.Column) (parquet.Node, *parquetNode, error) {
	n := &parquetNode{col: c}
	switch c.Kind {
	case store.KindArray, store.KindMap, store.KindTuple:
		var nodes []parquet.Node
		g := orderedGroup{Group: parquet.Group{}}
		for i, child := range c.Children {
			node, cn, err := parquetColumn(child)
			if err != nil {
				return nil, nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
			name := child.Name
			if name == "" {
				name = strconv.Itoa(i + 1)
			}
			g.Group[name] = node
			g.names = append(g.names, name)
			nodes = append(nodes, node)
			n.children = append(n.children, cn)
		}
		switch c.Kind {
		case store.KindArray:
			return parquet.List(nodes[0]), n, nil
		case store.KindMap:
			return parquet.Map(nodes[0], nodes[1]), n, nil
		}
		return g, n, nil
	}
	node, err := n.scalar()
	if err != nil {
		return nil, nil, fmt.Errorf("column %s: %w", c.Name, err)
	}
	if c.LowCardinality || c.Kind == store.KindEnum {
		node = parquet.Encoded(node, &parquet.RLEDictionary)
	}
	if c.Nullable {
		node = parquet.Optional(node)
	}
	return node, n, nil
}

func (n *parquetNode) scalar() (parquet.Node, error) {
	c := n.col
	switch c.Kind {
	case store.KindBool:
		n.value = func(b []byte) parquet.Value { return parquet.BooleanValue(b[0] != 0) }
		return parquet.Leaf(parquet.BooleanType), nil
	case store.KindInt, store.KindUint:
		if c.Width > 8 {
			n.value = func(b []byte) parquet.Value {
				return parquet.ByteArrayValue([]byte(wide(b, c.Kind == store.KindInt).String()))
			}
			return parquet.String(), nil // Parquet has no integer of that width
		}
		if c.Width < 8 {
			n.value = func(b []byte) parquet.Value { return parquet.Int32Value(int32(signed(b, c.Kind))) }
		} else {
			n.value = func(b []byte) parquet.Value { return parquet.Int64Value(signed(b, c.Kind)) }
		}
		if c.Kind == store.KindInt {
			return delta(parquet.Int(c.Width * 8)), nil
		}
		return delta(parquet.Uint(c.Width * 8)), nil
	case store.KindFloat:
		if c.Width == 4 {
			n.value = func(b []byte) parquet.Value {
				return parquet.FloatValue(math.Float32frombits(binary.LittleEndian.Uint32(b)))
			}
			return parquet.Leaf(parquet.FloatType), nil
		}
		n.value = func(b []byte) parquet.Value {
			return parquet.DoubleValue(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
		return parquet.Leaf(parquet.DoubleType), nil
	case store.KindDecimal:
		switch c.Width {
		case 4:
			n.value = func(b []byte) parquet.Value { return parquet.Int32Value(int32(signed(b, c.Kind))) }
			return parquet.Decimal(c.Scale, c.Precision, parquet.Int32Type), nil
		case 8:
			n.value = func(b []byte) parquet.Value { return parquet.Int64Value(signed(b, c.Kind)) }
			return parquet.Decimal(c.Scale, c.Precision, parquet.Int64Type), nil
		}
		n.value = func(b []byte) parquet.Value { return parquet.FixedLenByteArrayValue(n.reversed(b)) }
		return parquet.Decimal(c.Scale, c.Precision, parquet.FixedLenByteArrayType(c.Width)), nil
	case store.KindDate:
		n.value = func(b []byte) parquet.Value {
			if c.Width == 2 {
				return parquet.Int32Value(int32(binary.LittleEndian.Uint16(b)))
			}
			return parquet.Int32Value(int32(binary.LittleEndian.Uint32(b)))
		}
		return parquet.Date(), nil
	case store.KindTime:
		return n.time()
	case store.KindEnum:
		names := map[int64]parquet.Value{}
		for k, name := range c.Names {
			names[k] = parquet.ByteArrayValue([]byte(name))
		}
		n.value = func(b []byte) parquet.Value { return names[signed(b, c.Kind)] }
		return parquet.String(), nil
	case store.KindUUID:
		n.value = func(b []byte) parquet.Value {
			at := len(n.scratch)
			n.reversed(b[:8])
			n.reversed(b[8:])
			return parquet.FixedLenByteArrayValue(n.scratch[at:])
		}
		return parquet.UUID(), nil
	case store.KindText:
		n.value = func(b []byte) parquet.Value { return parquet.ByteArrayValue(b) }
		return parquet.String(), nil
	}
	return nil, fmt.Errorf("values of type %s cannot be written to Parquet; convert them in the query", c.Type)
}

// time is a timestamp in UTC of the unit that holds every digit.
func (n *parquetNode) time() (parquet.Node, error) {
	unit, per := parquet.Nanosecond, 9-n.col.Scale
	switch {
	case n.col.Scale <= 3:
		unit, per = parquet.Millisecond, 3-n.col.Scale
	case n.col.Scale <= 6:
		unit, per = parquet.Microsecond, 6-n.col.Scale
	}
	factor := int64(math.Pow10(per))
	n.value = func(b []byte) parquet.Value {
		if len(b) == 4 {
			return parquet.Int64Value(int64(binary.LittleEndian.Uint32(b)) * factor)
		}
		return parquet.Int64Value(int64(binary.LittleEndian.Uint64(b)) * factor)
	}
	return delta(parquet.Timestamp(unit)), nil
}

// delta is right for what rises: times, places, ids. Every reader of Parquet's second encodings has it.
func delta(node parquet.Node) parquet.Node { return parquet.Encoded(node, &parquet.DeltaBinaryPacked) }

func signed(b []byte, k store.Kind) int64 {
	switch len(b) {
	case 1:
		if k == store.KindUint {
			return int64(b[0])
		}
		return int64(int8(b[0]))
	case 2:
		if k == store.KindUint {
			return int64(binary.LittleEndian.Uint16(b))
		}
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func wide(little []byte, isSigned bool) *big.Int {
	b := slices.Clone(little)
	slices.Reverse(b)
	v := new(big.Int).SetBytes(b)
	if isSigned && b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(b)*8)))
	}
	return v
}

// reversed keeps b, last byte first, until the block is written.
func (n *parquetNode) reversed(b []byte) []byte {
	at := len(n.scratch)
	n.scratch = append(n.scratch, b...)
	slices.Reverse(n.scratch[at:])
	return n.scratch[at:len(n.scratch):len(n.scratch)]
}

// place numbers the leaves in the schema's order and counts what lies above each.
func (n *parquetNode) place(leaf *int, def int) {
	switch n.col.Kind {
	case store.KindArray, store.KindMap:
		def++
	}
	for _, c := range n.children {
		c.place(leaf, def)
	}
	if n.children == nil {
		n.leaf, n.def = *leaf, def
		if n.col.Nullable {
			n.def++
		}
		*leaf++
	}
}

// write writes a block.
func (p *parquetWriter) write(rows int) error {
	for _, n := range p.roots {
		n.clear()
		if n.children == nil && !n.col.Nullable {
			for i := range rows {
				n.values = append(n.values, n.value(n.col.Bytes(i)).Level(0, 0, n.leaf))
			}
		} else {
			for i := range rows {
				n.emit(i, 0, 0, 0)
			}
		}
		if err := n.flush(p.columns); err != nil {
			return fmt.Errorf("write column %s: %w", n.col.Name, err)
		}
	}
	p.rows += int64(rows)
	if p.inGroup += int64(rows); p.inGroup >= rowGroup {
		p.inGroup = 0
		if err := p.w.Flush(); err != nil {
			return fmt.Errorf("write row group: %w", err)
		}
	}
	return nil
}

func (n *parquetNode) clear() {
	n.values, n.scratch = n.values[:0], n.scratch[:0]
	for _, c := range n.children {
		c.clear()
	}
}

// emit appends what row i of the node is: rep is the level at which it repeats, depth how many lists it lies in, def what is there of it.
func (n *parquetNode) emit(i, rep, depth, def int) {
	switch n.col.Kind {
	case store.KindArray, store.KindMap:
		from, to := n.col.Range(i)
		if from == to {
			n.absent(rep, def)
			return
		}
		for j := from; j < to; j++ {
			for _, c := range n.children {
				c.emit(j, rep, depth+1, def+1)
			}
			rep = depth + 1
		}
	case store.KindTuple:
		for _, c := range n.children {
			c.emit(i, rep, depth, def)
		}
	default:
		b := n.col.Bytes(i)
		if b == nil {
			n.values = append(n.values, parquet.NullValue().Level(rep, def, n.leaf))
			return
		}
		n.values = append(n.values, n.value(b).Level(rep, n.def, n.leaf))
	}
}

// absent is an empty list, in each leaf.
func (n *parquetNode) absent(rep, def int) {
	if n.children == nil {
		n.values = append(n.values, parquet.NullValue().Level(rep, def, n.leaf))
		return
	}
	for _, c := range n.children {
		c.absent(rep, def)
	}
}

func (n *parquetNode) flush(columns []*parquet.ColumnWriter) error {
	for _, c := range n.children {
		if err := c.flush(columns); err != nil {
			return err
		}
	}
	if n.children != nil {
		return nil
	}
	_, err := columns[n.leaf].WriteRowValues(n.values)
	return err
}

// close ends the file with what it says of itself.
func (p *parquetWriter) close(about map[string]string) error {
	for k, v := range about {
		p.w.SetKeyValueMetadata(k, v)
	}
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("end Parquet file: %w", err)
	}
	return nil
}
