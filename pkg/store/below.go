package store

import (
	"context"
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// RowsBelow counts the rows of a stream's messages before the sequence.
func (s *Store) RowsBelow(ctx context.Context, stream market.Stream, seq uint64) (uint64, error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return 0, err
	}
	var n uint64
	sql := "SELECT sum(n) FROM (" + union("count() AS n", fmt.Sprintf(" WHERE stream_seq < %d", seq), tables) + ")"
	if err := s.conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("count rows of %s below %d: %w", stream, seq, err)
	}
	return n, nil
}
