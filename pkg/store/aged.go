package store

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Aged counts the rows of messages that a stream holds no more: below are those of its present life, made at created, before the sequence first; older
// those of earlier lives. It reads two columns of the whole table.
func (s *Store) Aged(ctx context.Context, stream market.Stream, created time.Time, first uint64) (below, older uint64, _ error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return 0, 0, err
	}
	conn, err := s.upToDate(ctx, tables...)
	if err != nil {
		return 0, 0, fmt.Errorf("count rows of %s that the stream holds no more: %w", stream, err)
	}
	life := lifeLiteral(created)
	sql := "SELECT sum(b), sum(o) FROM (" + union(fmt.Sprintf("countIf(stream_time >= %s AND stream_seq < %d) AS b, countIf(stream_time < %s) AS o", life, first, life), "", tables) + ")"
	if err := conn.QueryRow(ctx, sql).Scan(&below, &older); err != nil {
		return 0, 0, fmt.Errorf("count rows of %s that the stream holds no more: %w", stream, err)
	}
	return below, older, nil
}

// Beyond counts the rows of a stream's present life, made at created, behind the sequence last, and names the greatest of theirs.
func (s *Store) Beyond(ctx context.Context, stream market.Stream, created time.Time, last uint64) (rows, top uint64, _ error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return 0, 0, err
	}
	conn, err := s.upToDate(ctx, tables...)
	if err != nil {
		return 0, 0, fmt.Errorf("count rows of %s behind %d: %w", stream, last, err)
	}
	where := fmt.Sprintf(" WHERE stream_seq > %d AND stream_time >= %s", last, lifeLiteral(created))
	sql := "SELECT sum(n), max(s) FROM (" + union("count() AS n, max(stream_seq) AS s", where, tables) + ")"
	if err := conn.QueryRow(ctx, sql).Scan(&rows, &top); err != nil {
		return 0, 0, fmt.Errorf("count rows of %s behind %d: %w", stream, last, err)
	}
	return rows, top, nil
}
