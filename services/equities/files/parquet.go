package files

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetColumn is a leaf of the schema.
type parquetColumn struct {
	name string
	text func(parquet.Value) string
}

// readParquet reads the leaves of a flat schema; a list is joined by commas. The library panics on some damaged files: that is an error here.
func readParquet(f *os.File, s sink) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parquet: the file is damaged: %v", p)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	var columns []parquetColumn
	var names []string
	for _, path := range file.Schema().Columns() {
		leaf, ok := file.Schema().Lookup(path...)
		if !ok {
			return fmt.Errorf("parquet: column %s is not in the schema", strings.Join(path, "."))
		}
		c := parquetColumn{column(path[0]), valueText(leaf.Node.Type())}
		columns = append(columns, c)
		names = append(names, c.name)
	}
	if err := s.header(names); err != nil {
		return err
	}
	n := 0
	for _, group := range file.RowGroups() {
		if err := readGroup(group, columns, s, &n); err != nil {
			return err
		}
	}
	return nil
}

func readGroup(group parquet.RowGroup, columns []parquetColumn, s sink, n *int) error {
	rows := group.Rows()
	defer func() { _ = rows.Close() }()
	buf := make([]parquet.Row, 256)
	for {
		got, err := rows.ReadRows(buf)
		for _, r := range buf[:got] {
			*n++
			x := row{line: *n, cells: make(map[string]string, len(columns))}
			for _, v := range r {
				if v.IsNull() || v.Column() < 0 || v.Column() >= len(columns) {
					continue
				}
				c := columns[v.Column()]
				text := c.text(v)
				if old, more := x.cells[c.name]; more {
					text = old + "," + text
				}
				x.cells[c.name] = text
			}
			x.raw = fmt.Append(nil, x.cells)
			if err := s.row(x); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
	}
}

// valueText writes a column's values as the text that a CSV of it would have: numbers exactly, a float as the shortest text that reads back as
// it, times as Unix nanoseconds, dates as such.
func valueText(t parquet.Type) func(parquet.Value) string {
	plain := plainText(t)
	logical := t.LogicalType()
	if logical == nil {
		return plain
	}
	switch l := logical.Value.(type) {
	case *format.TimestampType:
		unit := time.Nanosecond
		if l.Unit.Value != nil {
			unit = l.Unit.Value.Duration()
		}
		return func(v parquet.Value) string {
			at := v.Int64() * int64(unit)
			if l.IsAdjustedToUTC {
				return strconv.FormatInt(at, 10)
			}
			return time.Unix(0, at).UTC().Format(localTime) // a wall clock
		}
	case *format.DateType:
		return func(v parquet.Value) string {
			return time.Unix(int64(v.Int32())*86400, 0).UTC().Format(time.DateOnly)
		}
	case *format.DecimalType:
		return func(v parquet.Value) string { return decimalText(v, int(l.Scale)) }
	}
	return plain
}

func plainText(t parquet.Type) func(parquet.Value) string {
	switch t.Kind() {
	case parquet.Float:
		return func(v parquet.Value) string { return strconv.FormatFloat(float64(v.Float()), 'f', -1, 32) }
	case parquet.Double:
		return func(v parquet.Value) string { return strconv.FormatFloat(v.Double(), 'f', -1, 64) }
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return func(v parquet.Value) string { return string(v.ByteArray()) }
	}
	return func(v parquet.Value) string { return v.String() }
}

// decimalText of an unscaled value: an integer, or big-endian two's complement bytes.
func decimalText(v parquet.Value, scale int) string {
	n := new(big.Int)
	switch v.Kind() {
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default:
		b := v.ByteArray()
		n.SetBytes(b)
		if len(b) > 0 && b[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
	}
	return n.String() + "e-" + strconv.Itoa(scale)
}
