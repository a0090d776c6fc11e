package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/zeebo/xxh3"
)

// A row's checksum is the 64-bit XXH3 of its values in RowBinary, column by column in the order of a Batch: the same from a decoded message as from the
// table. Sums of checksums wrap at 2^64, so that ranges can be added and taken from each other, and a row that is lost, doubled or altered changes
// the sum of its range.

// Checksums calls fn with the place and the checksum of every row in the batch, in the order of tables and partitions.
func (b *Batch) Checksums(fn func(table string, seq uint64, idx uint32, sum uint64)) {
	_ = b.each(func(blk block) error {
		i := 0
		blk.places(func(at Place) {
			b.row8 = b.row8[:0]
			for _, c := range blk.cols {
				b.row8 = c.binary(b.row8, i)
			}
			i++
			fn(blk.table, at.Seq, at.Idx, xxh3.Hash(b.row8))
		})
		return nil
	})
}

// places calls fn with the place of each row.
func (b block) places(fn func(Place)) {
	seqs, idxs := b.cols[columnSeq].(*fixed), b.cols[columnIdx].(*fixed)
	for i := range b.cols[0].rows() {
		fn(Place{binary.LittleEndian.Uint64(seqs.buf[i*8:]), binary.LittleEndian.Uint32(idxs.buf[i*4:])})
	}
}

// Where common.cols has a row's place.
const (
	columnSeq = 3
	columnIdx = 4
)

// ChecksumColumns are the columns of a table's checksum in this version, in their order; nil for an unknown table.
func ChecksumColumns(table string) []string {
	for _, t := range NewBatch().tables {
		name, cols := t.schema()
		if name != table {
			continue
		}
		out := make([]string, len(cols))
		for i, c := range cols {
			out[i] = c.name()
		}
		return out
	}
	return nil
}

// SumQuery selects rows of a table by their messages.
type SumQuery struct {
	Table string
	// Columns of the checksum, as an older version may have had fewer; nil: this version's.
	Columns     []string
	First, Last uint64
	// Since and Until bound the time at which JetStream stored the message, both inclusive: they tell the lives of a stream apart. Zero: no bound.
	Since, Until time.Time
	// Partition limits the query to one partition, as system.parts names it; empty: all.
	Partition string
	// Step is how many sequences make a group; groups are aligned: with a step of 10 they are 1 to 10, 11 to 20 and so on.
	Step uint64
	// Threads bounds the engine's threads; 0: as it likes.
	Threads int
}

// GroupSum is what a table holds of a group of messages.
type GroupSum struct {
	First          uint64 // the group's first sequence
	Rows, Distinct uint64 // Distinct places among the rows; counted with a Step of 1 only
	Sum            uint64
}

var columnName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`) //nolint:gochecknoglobals // compiled once

func (q SumQuery) columns() ([]string, error) {
	if q.Columns == nil {
		if cols := ChecksumColumns(q.Table); cols != nil {
			return cols, nil
		}
		return nil, fmt.Errorf("checksum of table %q: there is no such table of events", q.Table)
	}
	if ChecksumColumns(q.Table) == nil {
		return nil, fmt.Errorf("checksum of table %q: there is no such table of events", q.Table)
	}
	for _, c := range q.Columns {
		if !columnName.MatchString(c) { // they go into a statement, and come from a table
			return nil, fmt.Errorf("checksum of table %s: %.32q is no name of a column", q.Table, c)
		}
	}
	return q.Columns, nil
}

func (q SumQuery) where() string {
	var b strings.Builder
	fmt.Fprintf(&b, " WHERE stream_seq BETWEEN %d AND %d", q.First, q.Last)
	if !q.Since.IsZero() {
		b.WriteString(" AND stream_time >= " + lifeLiteral(q.Since))
	}
	if !q.Until.IsZero() {
		b.WriteString(" AND stream_time <= " + timeLiteral(q.Until))
	}
	if q.Partition != "" {
		b.WriteString(" AND _partition_id = " + quote(q.Partition))
	}
	return b.String()
}

func (q SumQuery) settings(ctx context.Context) context.Context {
	set := clickhouse.Settings{"max_query_size": maxEventSQL}
	if q.Threads > 0 {
		set["max_threads"] = q.Threads
	}
	return clickhouse.Context(ctx, clickhouse.WithSettings(set))
}

// sumExpression uses formatRow, for formatRowNoNewline takes away a last byte that happens to be a line end.
func sumExpression(columns []string) string {
	return "xxh3(formatRow('RowBinary', " + strings.Join(columns, ", ") + "))"
}

// GroupSums hands over what is stored of the selection, group by group, ascending; a group without rows is left out.
func (s *Store) GroupSums(ctx context.Context, q SumQuery, fn func(GroupSum) error) error {
	cols, err := q.columns()
	if err != nil {
		return err
	}
	if q.Step < 1 || q.First < 1 {
		return fmt.Errorf("checksums of %s: sequences begin at 1 and a group has at least one", q.Table)
	}
	distinct := "toUInt64(0)"
	if q.Step == 1 {
		distinct = "uniqExact(idx)"
	}
	sql := fmt.Sprintf("SELECT toUInt64(intDiv(stream_seq - 1, %d)) AS g, count(), %s, sum(%s) FROM %s%s GROUP BY g ORDER BY g", q.Step, distinct, sumExpression(cols), q.Table, q.where())
	conn, err := s.upToDate(ctx, q.Table)
	if err != nil {
		return fmt.Errorf("sum up %s from %d to %d: %w", q.Table, q.First, q.Last, err)
	}
	rows, err := conn.Query(q.settings(ctx), sql)
	if err != nil {
		return fmt.Errorf("sum up %s from %d to %d: %w", q.Table, q.First, q.Last, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var g GroupSum
		if err := rows.Scan(&g.First, &g.Rows, &g.Distinct, &g.Sum); err != nil {
			return fmt.Errorf("read sums of %s: %w", q.Table, err)
		}
		g.First = g.First*q.Step + 1
		if err := fn(g); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("sum up %s from %d to %d: %w", q.Table, q.First, q.Last, err)
	}
	return nil
}

// RowSum is a stored row: its place, its checksum, and how many rows are the same.
type RowSum struct {
	Seq  uint64
	Idx  uint32
	Sum  uint64
	Rows uint64
}

// RowSums hands over the rows of single messages of the selection, in the order of their places.
func (s *Store) RowSums(ctx context.Context, q SumQuery, seqs []uint64, fn func(RowSum) error) error {
	cols, err := q.columns()
	if err != nil {
		return err
	}
	in := make([]string, len(seqs))
	for i, n := range seqs {
		in[i] = strconv.FormatUint(n, 10)
	}
	sql := fmt.Sprintf("SELECT stream_seq, idx, %s AS h, count() FROM %s%s AND stream_seq IN (%s) GROUP BY stream_seq, idx, h ORDER BY stream_seq, idx, h",
		sumExpression(cols), q.Table, q.where(), strings.Join(in, ", "))
	conn, err := s.upToDate(ctx, q.Table)
	if err != nil {
		return fmt.Errorf("read checksums of %d messages in %s: %w", len(seqs), q.Table, err)
	}
	rows, err := conn.Query(q.settings(ctx), sql)
	if err != nil {
		return fmt.Errorf("read checksums of %d messages in %s: %w", len(seqs), q.Table, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r RowSum
		if err := rows.Scan(&r.Seq, &r.Idx, &r.Sum, &r.Rows); err != nil {
			return fmt.Errorf("read checksums of messages in %s: %w", q.Table, err)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read checksums of %d messages in %s: %w", len(seqs), q.Table, err)
	}
	return nil
}
