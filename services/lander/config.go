// Package lander brings every event from JetStream into ClickHouse exactly once.
//
// The law (DESIGN.md, "Delivery"): for each stream, or shard of one, one record in JetStream says which range of sequences is being landed. The record is
// moved by compare-and-swap, which also fences off any other lander; then exactly that range is inserted, one block a partition, under
// tokens made of the range; then the next. After any crash or doubt the range in the record is read again from the stream, decoded
// again to the same rows, and inserted again under the same tokens, and ClickHouse drops what it has.
package lander

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// Config of the lander.
type Config struct {
	// Streams to land; empty means all.
	Streams []market.Stream `koanf:"streams"`
	// MinInterval between two inserts of one stream. A stream that was quiet is landed at once; a busy one in larger blocks, which is
	// what ClickHouse wants.
	MinInterval time.Duration `koanf:"min_interval"`
	// MaxRows and MaxBytes bound a range, and so a block and the memory of a stream (two ranges: one in flight, one being built).
	MaxRows  int `koanf:"max_rows"`
	MaxBytes int `koanf:"max_bytes"`
	// ReadyWithin is how long a stored message may wait before the lander does not count as ready.
	ReadyWithin time.Duration `koanf:"ready_within"`
}

// DefaultConfig suits one machine.
func DefaultConfig() Config {
	return Config{MinInterval: 100 * time.Millisecond, MaxRows: 500_000, MaxBytes: 64 << 20, ReadyWithin: time.Minute}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	for _, s := range c.Streams {
		if !slices.Contains(market.Streams(), s) {
			return fmt.Errorf("lander.streams: %q is not a stream; the streams are %v", s, market.Streams())
		}
	}
	if c.MinInterval < 0 || c.MinInterval > time.Minute {
		return fmt.Errorf("lander.min_interval: %s is not from 0 to 1m", c.MinInterval)
	}
	// A block above the engine's max_insert_block_size would be split, and a token covers one block.
	if c.MaxRows < 1 || c.MaxRows > 1_000_000 {
		return fmt.Errorf("lander.max_rows: %d is not from 1 to 1000000", c.MaxRows)
	}
	if c.MaxBytes < 1<<20 {
		return fmt.Errorf("lander.max_bytes: %d is less than 1 MiB", c.MaxBytes)
	}
	if c.ReadyWithin < time.Second {
		return fmt.Errorf("lander.ready_within: %s is less than a second", c.ReadyWithin)
	}
	return nil
}

// Deps is what the lander works with.
type Deps struct {
	Bus     *bus.Bus
	Store   *store.Store
	Logger  *slog.Logger
	Metrics *Metrics     // nil: not counted
	Tracer  trace.Tracer // nil: nothing is traced
	Health  *run.Health  // nil: nobody asks
	// Mark begins the source of the lines that we write into the gap ledger, where the data is not live: sim- or rec-.
	Mark string
	// Holder says who we are, for people; TTL is how long a lander that is gone keeps its work; Dead, if any, recognises one that is certainly gone.
	Holder string
	TTL    time.Duration
	Dead   func(holder string) bool
	// Watch is how often the streams are looked at for what changes seldom: that one was made again, or cut. 0: every 5 s.
	Watch time.Duration
	// Zombies is for how long an insert of a lander that is gone can still be under way; 0: a minute, twice what the server waits for rows.
	Zombies time.Duration
}

func (d Deps) ttl() time.Duration     { return cmp.Or(d.TTL, bus.DefaultLeaseTTL) }
func (d Deps) watch() time.Duration   { return cmp.Or(d.Watch, 5*time.Second) }
func (d Deps) zombies() time.Duration { return cmp.Or(d.Zombies, time.Minute) }

// ErrFenced says that another lander has taken a stream over; this one must stop.
var ErrFenced = errors.New("another lander has taken over")

// ErrNewLife says that the stream or the record is not the one that the rows in ClickHouse came from.
var ErrNewLife = errors.New("stream, record and database do not belong together")
