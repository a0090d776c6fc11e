package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go"
	chproto "github.com/ClickHouse/ch-go/proto"
)

// Kind is what the values of a column are.
type Kind int

// The kinds. Values of Text are strings, those of Array and Map have ranges of Children, those of Tuple one value in each of the Children; all others are Width
// bytes, little-endian.
const (
	KindBool Kind = iota + 1
	KindInt
	KindUint
	KindFloat
	KindDecimal // an integer of Scale decimals
	KindDate    // days since 1970: Width 2 unsigned, 4 signed
	KindTime    // ticks since 1970 of 10^-Scale seconds: Width 4 unsigned seconds, 8 signed
	KindEnum    // an integer, Names has its text
	KindUUID    // two halves of 8 bytes, each little-endian
	KindText
	KindArray
	KindMap
	KindTuple
)

// Column is a column of an answer, with the values of the block that is at hand. They are valid until the next block.
type Column struct {
	Name             string
	Type             string // as ClickHouse names it
	Kind             Kind
	Width            int
	Precision, Scale int
	Nullable         bool
	LowCardinality   bool
	Names            map[int64]string // of an Enum
	Children         []*Column        // of Array (one), Map (key, value), Tuple

	fixed []byte // rows * Width
	text  []byte
	ends  []int // of Text: where each value ends in text; of Array and Map: where each row's values end in the Children
	nulls []byte
	dict  *Column // of LowCardinality: its values
	keys  []byte
	key   int // width of a key
}

// Bytes returns the value of row i, nil for NULL: Width bytes, or a Text's.
func (c *Column) Bytes(i int) []byte {
	if c.dict != nil {
		k := int(littleUint(c.keys[i*c.key : (i+1)*c.key]))
		if c.Nullable && k == 0 {
			return nil
		}
		return c.dict.Bytes(k)
	}
	if c.nulls != nil && c.nulls[i] != 0 {
		return nil
	}
	if c.Kind == KindText {
		return c.text[c.start(i):c.ends[i]:c.ends[i]]
	}
	return c.fixed[i*c.Width : (i+1)*c.Width]
}

// Range returns which rows of the Children are row i's, of an Array or Map.
func (c *Column) Range(i int) (from, to int) { return c.start(i), c.ends[i] }

func (c *Column) start(i int) int {
	if i == 0 {
		return 0
	}
	return c.ends[i-1]
}

func littleUint(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// fullBlocks is the newest revision of the protocol in which a server sends columns whole, never sparse.
const fullBlocks = 54453

// QueryBlocks runs a query and hands its answer over block by block, in constant memory and without a value of Go's for each cell: head once, each for every
// block of so many rows. It uses a connection of its own. An error of theirs ends the query and is returned.
func (s *Store) QueryBlocks(ctx context.Context, sql string, head func([]*Column) error, each func(rows int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		return fmt.Errorf("connect to ClickHouse at %v: %w", s.cfg.Addr, err)
	}
	defer func() { _ = conn.Close() }()
	res := &blocks{}
	err = conn.Do(ctx, ch.Query{Body: sql, Result: res, OnResult: func(_ context.Context, b chproto.Block) error {
		if !res.told {
			res.told = true
			if err := head(res.columns); err != nil {
				return err
			}
		}
		if b.Rows == 0 {
			return nil
		}
		return each(b.Rows)
	}})
	if err != nil {
		return fmt.Errorf("run query: %w", err)
	}
	if !res.told {
		return head(res.columns)
	}
	return nil
}

// client is a connection of ch-go's with the socket below it, and which of the addresses it goes to.
type client struct {
	*ch.Client
	socket net.Conn
	at     int
}

// dial opens a connection to the first address that answers, beginning with the one that did last.
func (s *Store) dial(ctx context.Context) (*client, error) {
	opt := ch.Options{
		Database: s.cfg.Database, User: s.cfg.User, Password: s.cfg.Password.Reveal(), ClientName: "hashpivot",
		HandshakeTimeout: s.cfg.ReadTimeout, ReadTimeout: s.cfg.ReadTimeout, ProtocolVersion: fullBlocks, Compression: ch.CompressionDisabled,
	}
	switch s.cfg.Compression {
	case CompressionLZ4:
		opt.Compression = ch.CompressionLZ4
	case CompressionZSTD:
		opt.Compression = ch.CompressionZSTD
	}
	if s.cfg.MaxMemoryUsage > 0 {
		opt.Settings = append(opt.Settings, ch.SettingInt("max_memory_usage", int(min(s.cfg.MaxMemoryUsage, 1<<62))))
	}
	for k, v := range s.cfg.replicatedSettings() {
		opt.Settings = append(opt.Settings, ch.Setting{Key: k, Value: fmt.Sprint(v), Important: true})
	}
	var failed []error
	first := int(s.first.Load())
	for i := range s.cfg.Addr {
		at := (first + i) % len(s.cfg.Addr)
		c, err := s.connect(ctx, s.cfg.Addr[at], opt)
		if err == nil {
			c.at = at
			s.first.Store(uint32(at))
			return c, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// leave has the next connection go to another address than one whose replica could not do what another may.
func (s *Store) leave(at int, err error) {
	if IsReplication(err) {
		s.first.CompareAndSwap(uint32(at), uint32((at+1)%len(s.cfg.Addr)))
	}
}

func (s *Store) connect(ctx context.Context, addr string, opt ch.Options) (*client, error) {
	dial := func() (net.Conn, error) {
		return (&net.Dialer{Timeout: s.cfg.DialTimeout}).DialContext(ctx, "tcp", addr)
	}
	if s.cfg.TLS {
		dial = func() (net.Conn, error) { return s.cfg.secure().Dial(ctx, addr, s.cfg.DialTimeout) }
	}
	socket, err := dial()
	if err != nil {
		return nil, err
	}
	c, err := ch.Connect(ctx, socket, opt)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return &client{Client: c, socket: socket}, nil
}

// blocks decodes the blocks of an answer.
type blocks struct {
	columns []*Column
	told    bool
}

// DecodeResult reads a block.
func (d *blocks) DecodeResult(r *chproto.Reader, _ int, b chproto.Block) error {
	first := d.columns == nil
	for i := range b.Columns {
		name, err := r.Str()
		if err != nil {
			return fmt.Errorf("read name of column %d: %w", i, err)
		}
		typ, err := r.Str()
		if err != nil {
			return fmt.Errorf("read type of column %s: %w", name, err)
		}
		if first {
			c, err := newColumn(name, typ)
			if err != nil {
				return err
			}
			d.columns = append(d.columns, c)
		}
		if i >= len(d.columns) || d.columns[i].Name != name || d.columns[i].Type != typ {
			return fmt.Errorf("read block: column %d is %s %s, which the first block has not", i, name, typ)
		}
		if b.Rows == 0 {
			continue
		}
		if err := d.columns[i].prefix(r); err != nil {
			return fmt.Errorf("read column %s: %w", name, err)
		}
		if err := d.columns[i].decode(r, b.Rows); err != nil {
			return fmt.Errorf("read column %s: %w", name, err)
		}
	}
	return nil
}

// newColumn is told by the type's name what to read.
func newColumn(name, typ string) (*Column, error) {
	c := &Column{Name: name, Type: typ}
	base, args := TypeParts(typ)
	fixed := func(k Kind, width int) { c.Kind, c.Width = k, width }
	children := func(types ...string) error {
		for _, t := range types {
			field := ""
			if c.Kind == KindTuple {
				field, t = TypeField(t)
			}
			child, err := newColumn(field, t)
			if err != nil {
				return fmt.Errorf("%w of %s", err, name)
			}
			c.Children = append(c.Children, child)
		}
		return nil
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(args[i]) // the server's own
		return n
	}
	switch base {
	case "Bool":
		fixed(KindBool, 1)
	case "Int8", "Int16", "Int32", "Int64", "Int128", "Int256":
		bits, _ := strconv.Atoi(base[3:])
		fixed(KindInt, bits/8)
	case "UInt8", "UInt16", "UInt32", "UInt64", "UInt128", "UInt256":
		bits, _ := strconv.Atoi(base[4:])
		fixed(KindUint, bits/8)
	case "Float32":
		fixed(KindFloat, 4)
	case "Float64":
		fixed(KindFloat, 8)
	case "Decimal":
		c.Precision, c.Scale = number(0), number(1)
		switch {
		case c.Precision <= 9:
			fixed(KindDecimal, 4)
		case c.Precision <= 18:
			fixed(KindDecimal, 8)
		case c.Precision <= 38:
			fixed(KindDecimal, 16)
		default:
			fixed(KindDecimal, 32)
		}
	case "Date":
		fixed(KindDate, 2)
	case "Date32":
		fixed(KindDate, 4)
	case "DateTime":
		fixed(KindTime, 4)
	case "DateTime64":
		fixed(KindTime, 8)
		c.Scale = number(0)
	case "Enum8", "Enum16":
		bits, _ := strconv.Atoi(base[4:])
		fixed(KindEnum, bits/8)
		c.Names = map[int64]string{}
		for _, a := range args {
			at := strings.LastIndex(a, " = ")
			n, err := strconv.ParseInt(a[at+3:], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("column %s: read %s: %w", name, typ, err)
			}
			c.Names[n] = strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(strings.Trim(a[:at], "'"))
		}
	case "UUID":
		fixed(KindUUID, 16)
	case "String":
		c.Kind = KindText
	case "FixedString":
		c.Kind, c.Width = KindText, number(0)
	case "Nullable":
		inner, err := newColumn(name, args[0])
		if err != nil {
			return nil, err
		}
		inner.Type, inner.Nullable = typ, true
		return inner, nil
	case "LowCardinality":
		inner, nullable := strings.CutPrefix(args[0], "Nullable(")
		if nullable {
			inner = strings.TrimSuffix(inner, ")") // of a dictionary with NULL, value 0 is that
		}
		dict, err := newColumn(name, inner)
		if err != nil {
			return nil, err
		}
		*c = *dict
		c.Type, c.LowCardinality, c.dict, c.Nullable = typ, true, dict, nullable
	case "SimpleAggregateFunction":
		inner, err := newColumn(name, args[len(args)-1])
		if err != nil {
			return nil, err
		}
		inner.Type = typ
		return inner, nil
	case "Array":
		c.Kind = KindArray
		return c, children(args...)
	case "Map":
		c.Kind = KindMap
		return c, children(args...)
	case "Tuple":
		c.Kind = KindTuple
		return c, children(args...)
	default:
		return nil, fmt.Errorf("column %s: values of type %s are not read here; convert them in the query, with toString() for instance", name, typ)
	}
	return c, nil
}

// prefix reads what stands before a column's values in a block: the version of each dictionary's layout.
func (c *Column) prefix(r *chproto.Reader) error {
	if c.dict != nil {
		version, err := r.Int64()
		if err != nil {
			return err
		}
		if version != 1 {
			return fmt.Errorf("dictionary of version %d", version)
		}
	}
	for _, child := range c.Children {
		if err := child.prefix(r); err != nil {
			return err
		}
	}
	return nil
}

// decode reads the values of rows.
func (c *Column) decode(r *chproto.Reader, rows int) (err error) {
	switch {
	case c.dict != nil:
		return c.decodeDict(r, rows)
	case c.Kind == KindArray, c.Kind == KindMap:
		return c.decodeRanges(r, rows)
	case c.Kind == KindTuple:
		for _, child := range c.Children {
			if err := child.decode(r, rows); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Nullable {
		if c.nulls, err = readFull(r, c.nulls, rows); err != nil {
			return err
		}
	}
	if c.Kind != KindText {
		c.fixed, err = readFull(r, c.fixed, rows*c.Width)
		return err
	}
	c.text, c.ends = c.text[:0], c.ends[:0]
	if c.Width > 0 {
		if c.text, err = readFull(r, c.text, rows*c.Width); err != nil {
			return err
		}
		for i := range rows {
			c.ends = append(c.ends, (i+1)*c.Width)
		}
		return nil
	}
	for range rows {
		if c.text, err = r.StrAppend(c.text); err != nil {
			return err
		}
		c.ends = append(c.ends, len(c.text))
	}
	return nil
}

func (c *Column) decodeRanges(r *chproto.Reader, rows int) error {
	c.ends = c.ends[:0]
	for range rows {
		end, err := r.UInt64()
		if err != nil {
			return err
		}
		c.ends = append(c.ends, int(end))
	}
	values := 0
	if rows > 0 {
		values = c.ends[rows-1]
	}
	for _, child := range c.Children {
		if err := child.decode(r, values); err != nil {
			return err
		}
	}
	return nil
}

func (c *Column) decodeDict(r *chproto.Reader, rows int) error {
	if rows == 0 {
		return nil
	}
	meta, err := r.Int64()
	if err != nil {
		return err
	}
	const shared = 0x100 // a dictionary that blocks share, which the native protocol does not have
	if meta&0xff > 3 || meta&shared != 0 {
		return fmt.Errorf("dictionary of layout %x", meta)
	}
	c.key = 1 << (meta & 0xff)
	size, err := r.Int64()
	if err != nil {
		return err
	}
	if err := c.dict.decode(r, int(size)); err != nil {
		return err
	}
	n, err := r.Int64()
	if err != nil {
		return err
	}
	if n != int64(rows) {
		return fmt.Errorf("dictionary with %d keys for %d rows", n, rows)
	}
	c.keys, err = readFull(r, c.keys, rows*c.key)
	return err
}

func readFull(r *chproto.Reader, buf []byte, n int) ([]byte, error) {
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	return buf, r.ReadFull(buf)
}
