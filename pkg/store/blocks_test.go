package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// show is a value as text, so that a test can be read.
func show(c *store.Column, i int) string {
	switch c.Kind {
	case store.KindArray, store.KindMap:
		var out []string
		from, to := c.Range(i)
		for j := from; j < to; j++ {
			var parts []string
			for _, child := range c.Children {
				parts = append(parts, show(child, j))
			}
			out = append(out, strings.Join(parts, ":"))
		}
		return "[" + strings.Join(out, " ") + "]"
	case store.KindTuple:
		var out []string
		for _, child := range c.Children {
			out = append(out, child.Name+"="+show(child, i))
		}
		return "(" + strings.Join(out, " ") + ")"
	}
	b := c.Bytes(i)
	switch {
	case b == nil:
		return "NULL"
	case c.Kind == store.KindText:
		return fmt.Sprintf("%q", b)
	case c.Kind == store.KindEnum:
		return c.Names[int64(int8(b[0]))]
	}
	var full [8]byte
	copy(full[:], b)
	return fmt.Sprint(binary.LittleEndian.Uint64(full[:]))
}

func TestQueryBlocks(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	const odd = `SELECT
		toUInt64(number) AS n, toDecimal64(number, 8) / 2 AS price, if(number % 2 = 0, NULL, number) AS maybe, toString(number) AS text, toFixedString('ab', 2) AS two,
		toLowCardinality(toString(number % 3)) AS low, CAST(if(number % 2 = 0, NULL, 'x'), 'LowCardinality(Nullable(String))') AS lownull,
		CAST(if(number = 1, [], ['@', toString(number)]), 'Array(LowCardinality(String))') AS list, CAST(map('a', number), 'Map(LowCardinality(String), UInt64)') AS m,
		CAST((number, [NULL, 'z']), 'Tuple(first UInt8, second Array(Nullable(String)))') AS pair, CAST('b', 'Enum8(\'a,(\' = 1, \'b\' = 2)') AS e
		FROM numbers(100000)`
	var columns []*store.Column
	rows := 0
	err := st.QueryBlocks(ctx, odd, func(c []*store.Column) error { columns = c; return nil }, func(n int) error {
		for i := range n {
			k := rows + i
			maybe, lownull, list := fmt.Sprint(k), `"x"`, fmt.Sprintf(`["@" "%d"]`, k)
			if k%2 == 0 {
				maybe, lownull = "NULL", "NULL"
			}
			if k == 1 {
				list = "[]"
			}
			want := []string{
				fmt.Sprint(k), fmt.Sprint(k * 50_000_000), maybe, fmt.Sprintf("%q", fmt.Sprint(k)), `"ab"`, fmt.Sprintf(`"%d"`, k%3), lownull, list,
				fmt.Sprintf(`["a":%d]`, k), fmt.Sprintf(`(first=%d second=[NULL "z"])`, k%256), "b",
			}
			for j, c := range columns {
				if got := show(c, i); got != want[j] {
					return fmt.Errorf("row %d, %s: %s, want %s", k, c.Name, got, want[j])
				}
			}
		}
		rows += n
		return nil
	})
	if err != nil || rows != 100_000 {
		t.Errorf("%d rows, %v", rows, err)
	}

	// An answer without rows has its columns told; a statement of an error, an error of each and a type that is not read end it.
	told := 0
	err = st.QueryBlocks(ctx, "SELECT * FROM trades", func(c []*store.Column) error { told = len(c); return nil }, nil)
	if err != nil || told != len(store.Schema()["trades"]) {
		t.Errorf("an empty table: %d columns, %v", told, err)
	}
	intended := errors.New("intended")
	none := func([]*store.Column) error { return nil }
	f := func(sql, want string) {
		t.Helper()
		err := st.QueryBlocks(ctx, sql, none, func(int) error { return intended })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	f("SELECT number FROM system.numbers", "intended")
	f("SELECT throwIf(number = 70000, 'told by the server') FROM numbers(100000) WHERE number > 69999", "told by the server")
	f("SELECT toIPv4('127.0.0.1') AS ip", "column ip: values of type IPv4 are not read here")
}
