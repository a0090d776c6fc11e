package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// onceName is the bucket that holds what was claimed, for onceTTL.
const (
	onceName = "hashpivot_once"
	onceTTL  = 15 * time.Minute
)

// onceBucket declares it.
func (b *Bus) onceBucket() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: onceName, Description: "hashpivot one-time ids", TTL: onceTTL, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas}
}

// Claim is true for the first who claims the id, of all who are connected to this JetStream. It is remembered for a quarter of an hour; until may not lie
// further ahead.
func (b *Bus) Claim(ctx context.Context, id string, until time.Time) (bool, error) {
	if time.Until(until) > onceTTL {
		return false, fmt.Errorf("claim until %s: claims are forgotten after %s", until.Format(time.RFC3339), onceTTL)
	}
	kv, err := b.openBucket(ctx, b.onceBucket())
	if err != nil {
		return false, err
	}
	mine := nuid.Next()
	_, err = kv.Create(ctx, EscapeToken(id), []byte(mine))
	if err == nil {
		return true, nil
	}
	if e, gerr := kv.Get(ctx, EscapeToken(id)); gerr == nil { // the answer to our own may have been lost
		return string(e.Value()) == mine, nil
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return false, fmt.Errorf("claim: %w", err)
}
