package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// bucketName of the key-value bucket that holds what must be changed by compare-and-swap.
const bucketName = "hashpivot"

// ErrConflict says that somebody else changed the cell.
var ErrConflict = errors.New("cell was changed by another")

func (b *Bus) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv != nil {
		return b.kv, nil
	}
	kv, err := b.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucketName, Description: "hashpivot records", History: 8, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("declare key-value bucket %s: %w", bucketName, err)
	}
	b.kv = kv
	return kv, nil
}

// Cell is one value in JetStream that is changed by compare-and-swap only.
type Cell struct {
	b   *Bus
	key string
}

// Cell names a cell; it need not exist.
func (b *Bus) Cell(key string) *Cell { return &Cell{b, key} }

// Get reads the cell; revision 0 means that it was never written.
func (c *Cell) Get(ctx context.Context) ([]byte, uint64, error) {
	kv, err := c.b.bucket(ctx)
	if err != nil {
		return nil, 0, err
	}
	e, err := kv.Get(ctx, c.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read cell %s: %w", c.key, err)
	}
	return e.Value(), e.Revision(), nil
}

// Swap writes value if the cell is still at the revision, and returns the new one; ErrConflict if it is not. A write whose answer was
// lost is looked up: if the value stands there, the swap was ours (values must therefore be unique to their writer).
func (c *Cell) Swap(ctx context.Context, value []byte, revision uint64) (uint64, error) {
	kv, err := c.b.bucket(ctx)
	if err != nil {
		return 0, err
	}
	var rev uint64
	if revision == 0 {
		rev, err = kv.Create(ctx, c.key, value)
	} else {
		rev, err = kv.Update(ctx, c.key, value, revision)
	}
	if err == nil {
		return rev, nil
	}
	now, at, gerr := c.Get(ctx)
	switch {
	case gerr != nil:
		return 0, fmt.Errorf("swap cell %s: %w (and the look-up: %w)", c.key, err, gerr)
	case at != revision && bytes.Equal(now, value):
		return at, nil
	case at != revision:
		return 0, fmt.Errorf("swap cell %s at revision %d, now %d: %w", c.key, revision, at, ErrConflict)
	}
	return 0, fmt.Errorf("swap cell %s: %w", c.key, err)
}
