package chembed_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// Every type that market data uses comes back as it went in, by rows and by
// columns, in every compression.
func TestRoundTripOfTypes(t *testing.T) {
	srv, db := shared(t)
	ctx := context.Background()
	table := `(
		id UInt64, event_time DateTime64(9, 'UTC'), day Date, d32 Date32, sec DateTime('UTC'),
		symbol LowCardinality(String), venue LowCardinality(Nullable(String)), text String, fixed FixedString(4),
		price Decimal(18, 8), wide Decimal(38, 18), huge Decimal(76, 20), small Decimal(9, 2),
		bid Nullable(Decimal(18, 8)), conditions Array(String), codes Array(LowCardinality(String)), deep Array(Array(Nullable(Int32))),
		side Enum8('buy' = 1, 'sell' = 2), kind Enum16('a' = 1, 'b' = 1000), ref UUID,
		u8 UInt8, u16 UInt16, u32 UInt32, i8 Int8, i16 Int16, i32 Int32, i64 Int64,
		f32 Float32, f64 Float64, ok Bool, props Map(String, String), counts Map(LowCardinality(String), UInt64),
		pair Tuple(px Decimal(18, 8), sz UInt32), n Nested(a UInt8, b String), ip IPv4, ip6 IPv6
	) ENGINE = MergeTree ORDER BY id`
	at := time.Date(2026, 8, 21, 13, 30, 0, 123456789, time.UTC)
	text := "it's\x00\xff\n\t\\ über"
	bid := decimal.RequireFromString("12.34000001")
	three := int32(3)
	row := func(i int) []any {
		r := []any{
			uint64(i), at.Add(time.Duration(i)), time.Date(2026, 8, 21, 0, 0, 0, 0, time.UTC), time.Date(1931, 1, 2, 0, 0, 0, 0, time.UTC), at.Truncate(time.Second),
			fmt.Sprintf("SYM%d", i%300), (*string)(nil), text, "abcd",
			decimal.RequireFromString("0.29000001"), decimal.RequireFromString("-12345678901234567890.123456789012345678"),
			decimal.RequireFromString("98765432109876543210987654321.00000000000000000001"), decimal.RequireFromString("-1234567.89"),
			&bid, []string{"@", "", "T"}, []string{"x", "y", "x"}, [][]*int32{{&three, nil}, {}, {&three}},
			"sell", "b", uuid.MustParse("61f0c404-5cb3-11e7-907b-a6006ad3dba0"),
			uint8(255), uint16(65535), uint32(math.MaxUint32), int8(-128), int16(-32768), int32(math.MinInt32), int64(math.MinInt64),
			float32(1.5), math.Inf(-1), i%2 == 0, map[string]string{"k": "v", "": ""}, map[string]uint64{"a": 1},
			map[string]any{"px": decimal.RequireFromString("1.00000001"), "sz": uint32(7)},
			[]uint8{1, 2}, []string{"p", "q"}, "192.168.0.1", "2001:db8::1",
		}
		if i%3 == 0 {
			v := "XNAS"
			r[6] = &v
			r[13] = (*decimal.Decimal)(nil)
			r[14] = []string{}
			r[15] = []string{}
			r[16] = [][]*int32{}
			r[30] = map[string]string{}
		}
		return r
	}
	const rows = 600
	for name, method := range map[string]clickhouse.CompressionMethod{
		"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD,
	} {
		t.Run(name, func(t *testing.T) {
			conn := open(t, srv, in(db), func(o *clickhouse.Options) {
				o.Compression = &clickhouse.Compression{Method: method}
				o.MaxCompressionBuffer = 64 << 10 // many frames a block
			})
			mustExec(t, conn, "CREATE TABLE "+name+" "+table)
			b, err := conn.PrepareBatch(ctx, "INSERT INTO "+name)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				if err := b.Append(row(i)...); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Send(); err != nil {
				t.Fatal(err)
			}
			res, err := conn.Query(ctx, "SELECT * FROM "+name+" ORDER BY id")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Close()
			n := 0
			for ; res.Next(); n++ {
				want := row(n)
				var dest []any
				for _, ct := range res.ColumnTypes() {
					dest = append(dest, reflect.New(ct.ScanType()).Interface())
				}
				if err := res.Scan(dest...); err != nil {
					t.Fatal(err)
				}
				for i, name := range res.Columns() {
					got := fmt.Sprint(indirect(reflect.ValueOf(dest[i]).Elem().Interface()))
					if want := fmt.Sprint(indirect(want[i])); got != want {
						t.Fatalf("row %d, %s: got %s, want %s", n, name, got, want)
					}
				}
			}
			if err := res.Err(); err != nil {
				t.Fatal(err)
			}
			if n != rows {
				t.Fatalf("%d rows came back of %d", n, rows)
			}
		})
	}
}

// indirect shows what pointers point at, in slices too, and times in UTC.
func indirect(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case *string:
		if v == nil {
			return "NULL"
		}
		return *v
	case *decimal.Decimal:
		if v == nil {
			return "NULL"
		}
		return v.String()
	case [][]*int32:
		var out [][]string
		for _, in := range v {
			var s []string
			for _, p := range in {
				if p == nil {
					s = append(s, "NULL")
				} else {
					s = append(s, fmt.Sprint(*p))
				}
			}
			out = append(out, s)
		}
		return out
	}
	return v
}

// Types that only appear in results pass through, and those that cannot be told
// apart end in an exception that leaves the connection usable.
func TestTypesInResults(t *testing.T) {
	conn := open(t, chembedtest.Shared(t), func(o *clickhouse.Options) { o.MaxOpenConns = 1 })
	ctx := context.Background()
	var got string
	f := func(sql, want string) {
		t.Helper()
		if err := conn.QueryRow(ctx, "SELECT toString("+sql+") FROM (SELECT "+sql+")").Scan(&got); err != nil {
			t.Errorf("%s: %v", sql, err)
		} else if got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
		rows, err := conn.Query(ctx, "SELECT "+sql+", 'after' AS z")
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			return
		}
		defer rows.Close()
		if !rows.Next() {
			t.Errorf("%s: no row: %v", sql, rows.Err())
		}
	}
	f("NULL::Nullable(UInt8) IS NULL", "1")
	f("[]::Array(Nothing)", "[]")
	f("toIntervalSecond(3)", "3")
	f("(1.5, 2.5)::Point", "(1.5,2.5)")
	f("[(1, 2), (3, 4)]::Ring", "[(1,2),(3,4)]")
	f("map('a', [1, 2])", "{'a':[1,2]}")
	f("toInt256(-1)", "-1")
	f("toLowCardinality(toDate('2026-01-02'))", "2026-01-02")
	f("1::Variant(UInt64, String)", "1")
	f("42::UInt64::Dynamic", "42")
	f("[1, 'x', NULL]::Array(Dynamic)", "[1,'x',NULL]")
	f(`'{"a":{"b":1},"c":"x","d":[1,2]}'::JSON`, `{"a":{"b":1},"c":"x","d":[1,2]}`)
	f(`'{"z":1,"c":["x"],"a":{"b":"2026-01-02"}}'::JSON(z UInt32)`, `{"a":{"b":"2026-01-02"},"c":["x"],"z":1}`)

	rows, err := conn.Query(ctx, "SELECT NULL AS n, 1::UInt8 AS one")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
	_ = rows.Close()

	wantCode(t, conn.Exec(ctx, "SELECT topKState(3)(1)"), 48)
	if err := conn.QueryRow(ctx, "SELECT 'still here'").Scan(&got); err != nil || got != "still here" {
		t.Errorf("after refused types: %q, %v", got, err)
	}
}

// A result without rows still says what its columns are.
func TestEmptyResultHasColumns(t *testing.T) {
	conn := open(t, chembedtest.Shared(t))
	rows, err := conn.Query(context.Background(), "SELECT number AS n, toString(number) AS s FROM numbers(0) -- none\n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if rows.Next() {
		t.Fatal("a row where there is none")
	}
	if got := fmt.Sprint(rows.Columns()); got != "[n s]" {
		t.Fatalf("columns %s", got)
	}
	if got := rows.ColumnTypes()[1].DatabaseTypeName(); got != "String" {
		t.Fatalf("type %s", got)
	}
}

// Parameters are bound by the engine, whatever they hold.
func TestServerSideParameters(t *testing.T) {
	conn := open(t, chembedtest.Shared(t))
	ctx := clickhouse.Context(context.Background(), clickhouse.WithParameters(clickhouse.Parameters{
		"n": "41", "s": "it's", "ids": "[1,2,3]", "t": "system.one",
	}))
	var n uint64
	var s string
	err := conn.QueryRow(ctx, "SELECT {n:UInt64} + 1, {s:String} FROM system.one WHERE has({ids:Array(UInt8)}, 2)").Scan(&n, &s)
	if err != nil || n != 42 || s != "it's" {
		t.Fatalf("%d, %q, %v", n, s, err)
	}
}
