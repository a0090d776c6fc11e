package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// SeqCount says what is stored of one message of a stream: Rows counts rows, Distinct the different indices among them. Rows above
// Distinct is a doubled row.
type SeqCount struct {
	Seq            uint64
	Rows, Distinct uint64
}

// Landed returns what is stored of the messages from to to, both inclusive, of a stream's life, ascending; a message without rows is absent.
func (s *Store) Landed(ctx context.Context, stream market.Stream, life time.Time, from, to uint64) ([]SeqCount, error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return nil, err
	}
	conn, err := s.upToDate(ctx, tables...)
	if err != nil {
		return nil, fmt.Errorf("count landed rows of %s from %d to %d: %w", stream, from, to, err)
	}
	where := fmt.Sprintf(" WHERE stream_seq BETWEEN %d AND %d", from, to) + since(life)
	sql := "SELECT stream_seq, count(), uniqExact(idx) FROM (" + union("stream_seq, idx", where, tables) + ") GROUP BY stream_seq ORDER BY stream_seq"
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("count landed rows of %s from %d to %d: %w", stream, from, to, err)
	}
	defer func() { _ = rows.Close() }()
	var out []SeqCount
	for rows.Next() {
		var c SeqCount
		if err := rows.Scan(&c.Seq, &c.Rows, &c.Distinct); err != nil {
			return nil, fmt.Errorf("read landed rows of %s: %w", stream, err)
		}
		out = append(out, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read landed rows of %s: %w", stream, err)
	}
	return out, nil
}

// Count is what is stored of a stream: Rows, and Distinct places (sequence and index) among them.
type Count struct{ Rows, Distinct uint64 }

// Counts returns what is stored of every stream. It reads two columns of every table.
func (s *Store) Counts(ctx context.Context) (map[market.Stream]Count, error) {
	out := make(map[market.Stream]Count, len(market.Streams()))
	for _, stream := range market.Streams() {
		tables, err := tablesOf(stream)
		if err != nil {
			return nil, err
		}
		// Exact, and in bounded memory however large the table: the grouping goes to disk when it grows.
		sql := "SELECT count(), sum(n) FROM (SELECT count() AS n FROM (" + union("stream_seq, idx", "", tables) +
			") GROUP BY stream_seq, idx) SETTINGS max_bytes_before_external_group_by = 268435456"
		var c Count
		if err := s.conn.QueryRow(ctx, sql).Scan(&c.Distinct, &c.Rows); err != nil {
			return nil, fmt.Errorf("count rows of %s: %w", stream, err)
		}
		out[stream] = c
	}
	return out, nil
}

// MaxSeq returns the greatest stream sequence that is stored of a stream, 0 if nothing is.
func (s *Store) MaxSeq(ctx context.Context, stream market.Stream) (uint64, error) {
	return maxSeq(ctx, s.conn, stream)
}

func maxSeq(ctx context.Context, conn driver.Conn, stream market.Stream) (uint64, error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return 0, err
	}
	var seq uint64
	sql := "SELECT max(seq) FROM (" + union("max(stream_seq) AS seq", "", tables) + ")"
	if err := conn.QueryRow(ctx, sql).Scan(&seq); err != nil {
		return 0, fmt.Errorf("read greatest sequence of %s: %w", stream, err)
	}
	return seq, nil
}

func tablesOf(stream market.Stream) ([]string, error) {
	tables := Tables(stream)
	if tables == nil {
		return nil, fmt.Errorf("find tables of stream %q: there is no such stream", stream)
	}
	return tables, nil
}

func union(columns, where string, tables []string) string {
	parts := make([]string, len(tables))
	for i, t := range tables {
		parts[i] = "SELECT " + columns + " FROM " + t + where
	}
	return strings.Join(parts, " UNION ALL ")
}

// Result is the answer to a query.
type Result struct {
	Columns []string
	Types   []string // as ClickHouse names them
	Rows    [][]any
}

// Query runs any statement, on the first replica that answers, which may lag (CatchUp), and returns its whole answer, at most Config.MaxResultRows rows. Values are Go's; a Decimal
// is a json.Number of its exact text, a NULL is nil.
func (s *Store) Query(ctx context.Context, sql string) (*Result, error) {
	var out Result
	err := s.QueryEach(ctx, sql,
		func(columns, types []string) error {
			out.Columns, out.Types = columns, types
			return nil
		},
		func(row []any) error {
			if len(out.Rows) == s.cfg.MaxResultRows {
				return fmt.Errorf("result has more than %d rows: add a LIMIT, or raise max_result_rows", s.cfg.MaxResultRows)
			}
			out.Rows = append(out.Rows, row)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// QueryEach runs any statement and hands its answer over row by row, in constant memory: head once (without columns if the statement
// has no result), then each for every row. An error of theirs ends the query and is returned.
func (s *Store) QueryEach(ctx context.Context, sql string, head func(columns, types []string) error, each func(row []any) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := s.conn.Query(ctx, sql)
	if err == io.EOF { //nolint:errorlint // this very value, unwrapped, is clickhouse-go's "ended without a result"; a lost connection is wrapped
		return head(nil, nil)
	}
	if err != nil {
		return fmt.Errorf("run query: %w", err)
	}
	done := false
	defer func() {
		if !done {
			cancel() // Close alone would read the rest of the answer
		}
		_ = rows.Close()
	}()
	cols := rows.ColumnTypes()
	types := make([]string, len(cols))
	dest := make([]any, len(cols))
	for i, c := range cols {
		types[i] = c.DatabaseTypeName()
		dest[i] = reflect.New(c.ScanType()).Interface()
	}
	if err := head(rows.Columns(), types); err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fmt.Errorf("read query result: %w", err)
		}
		row := make([]any, len(dest))
		for i, d := range dest {
			row[i] = plain(reflect.ValueOf(d).Elem())
		}
		if err := each(row); err != nil {
			return err
		}
	}
	done = true
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read query result: %w", err)
	}
	return nil
}

// plain returns the value behind pointers, nil for NULL, and numbers that Go has no type for as their exact text, within lists, maps and tuples too.
func plain(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case decimal.Decimal:
		return json.Number(x.String())
	case big.Int:
		return json.Number(x.String())
	case []decimal.Decimal:
		out := make([]json.Number, len(x))
		for i, d := range x {
			out[i] = json.Number(d.String())
		}
		return out
	}
	switch {
	case v.Kind() == reflect.Slice && !isPlain(v.Type().Elem()):
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case v.Kind() == reflect.Map && !isPlain(v.Type().Elem()):
		out := reflect.MakeMapWithSize(reflect.MapOf(v.Type().Key(), reflect.TypeFor[any]()), v.Len())
		for _, k := range v.MapKeys() {
			e := reflect.New(reflect.TypeFor[any]()).Elem()
			if x := plain(v.MapIndex(k)); x != nil {
				e.Set(reflect.ValueOf(x))
			}
			out.SetMapIndex(k, e)
		}
		return out.Interface()
	}
	return v.Interface()
}

// isPlain reports whether values of t are what plain would make of them.
func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface:
		return false
	case reflect.Slice, reflect.Map:
		return isPlain(t.Elem())
	}
	return t != reflect.TypeFor[decimal.Decimal]() && t != reflect.TypeFor[big.Int]()
}
