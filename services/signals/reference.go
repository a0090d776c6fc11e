package signals

import (
	"context"
	"fmt"

	"github.com/hashpivot/hashpivot/schemas/reference"
)

// LoadReference fills the tables of reference with this version's facts: instruments, corporate actions and their factors, which the views
// bars_adjusted and trades_adjusted read; machines, systems, levels and contracts, which revenue_per_mwh and pivot read; and market_events.
// Run again it changes nothing. exec runs a statement: (*store.Store).Exec.
func LoadReference(ctx context.Context, exec func(ctx context.Context, sql string) error) error {
	facts, err := reference.Facts()
	if err != nil {
		return err
	}
	for _, sql := range facts {
		if err := exec(ctx, sql); err != nil {
			return fmt.Errorf("load reference facts: %w", err)
		}
	}
	return nil
}
