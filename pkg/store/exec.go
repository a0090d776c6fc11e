package store

import (
	"context"
	"fmt"
)

// Exec runs a statement that has no answer: ALTER, INSERT ... SELECT, OPTIMIZE.
func (s *Store) Exec(ctx context.Context, sql string) error {
	if err := s.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("run statement: %w", err)
	}
	return nil
}
