package bus

import (
	"context"
	"fmt"
	"time"
)

// Clock compares the clock of the server that leads the bucket of records with ours: it is ahead by offset, known to within.
func (b *Bus) Clock(ctx context.Context) (offset, within time.Duration, _ error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	asked := time.Now()
	s, err := b.stream(ctx, recordsKV)
	if err != nil {
		return 0, 0, fmt.Errorf("ask NATS for its clock: %w", err)
	}
	within = time.Since(asked) / 2
	// The wall clock is what is compared: the monotonic one does not show that it was set.
	return s.CachedInfo().TimeStamp.Sub(asked.Round(0).Add(within)), within, nil
}
