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

// recordsBucket declares it.
func (b *Bus) recordsBucket() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: bucketName, Description: "hashpivot records", History: 8, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas}
}

// bucket of records, opened once.
func (b *Bus) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv != nil {
		return b.kv, nil
	}
	if b.cfg.LookOnly {
		kv, err := b.js.KeyValue(ctx, bucketName)
		if err != nil {
			return nil, fmt.Errorf("look for key-value bucket %s: %w", bucketName, err)
		}
		b.kv = kv
		return kv, nil
	}
	kv, err := b.openBucket(ctx, b.recordsBucket())
	if err == nil {
		b.kv = kv
	}
	return kv, err
}

// openBucket makes a bucket that is not there.
func (b *Bus) openBucket(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	var kv jetstream.KeyValue
	err := b.asking(ctx, func(ctx context.Context) (err error) {
		kv, err = b.js.KeyValue(ctx, cfg.Bucket)
		return err
	}, api+"STREAM.INFO.KV_"+cfg.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return b.declareBucket(ctx, cfg, "it is not there")
	}
	if err != nil {
		return nil, fmt.Errorf("open key-value bucket %s: %w", cfg.Bucket, err)
	}
	return kv, nil
}

// ensureBucket makes a bucket that is not there, and updates one that differs.
func (b *Bus) ensureBucket(ctx context.Context, cfg jetstream.KeyValueConfig) error {
	why := "it is not there"
	s, err := b.stream(ctx, "KV_"+cfg.Bucket)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
	case err != nil:
		return fmt.Errorf("open key-value bucket %s: %w", cfg.Bucket, err)
	default:
		is := s.CachedInfo().Config
		if is.Replicas == cfg.Replicas && is.MaxAge == cfg.TTL && is.MaxMsgsPerSubject == max(int64(cfg.History), 1) {
			return nil
		}
		why = fmt.Sprintf("it has %d replicas, not %d, or keeps its values otherwise", is.Replicas, cfg.Replicas)
	}
	_, err = b.declareBucket(ctx, cfg, why)
	return err
}

func (b *Bus) declareBucket(ctx context.Context, cfg jetstream.KeyValueConfig, why string) (kv jetstream.KeyValue, _ error) {
	err := b.asking(ctx, func(ctx context.Context) (err error) {
		kv, err = b.js.CreateOrUpdateKeyValue(ctx, cfg)
		return err
	}, api+"INFO", api+"STREAM.CREATE.KV_"+cfg.Bucket, api+"STREAM.UPDATE.KV_"+cfg.Bucket)
	if _, ok := errors.AsType[*DeniedError](err); ok {
		return nil, fmt.Errorf("declare key-value bucket %s: %s, and we may not declare it: run hashpivot migrate as a user that may: %w", cfg.Bucket, why, err)
	}
	if err != nil {
		return nil, fmt.Errorf("declare key-value bucket %s: %w", cfg.Bucket, err)
	}
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
	if errors.Is(err, jetstream.ErrBucketNotFound) { // we only look
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var e jetstream.KeyValueEntry
	err = c.b.asking(ctx, func(ctx context.Context) (err error) {
		e, err = kv.Get(ctx, c.key)
		return err
	}, api+"DIRECT.GET."+recordsKV+".$KV."+bucketName+"."+c.key)
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
	err = c.b.asking(ctx, func(ctx context.Context) (err error) {
		if revision == 0 {
			rev, err = kv.Create(ctx, c.key, value)
		} else {
			rev, err = kv.Update(ctx, c.key, value, revision)
		}
		return err
	}, "$KV."+bucketName+"."+c.key)
	if err == nil {
		return rev, nil
	}
	if _, ok := errors.AsType[*DeniedError](err); ok {
		return 0, fmt.Errorf("swap cell %s: %w", c.key, err)
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
