package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
)

// Insert writes the batch, block by block in the order of tables and partitions, and returns when the server has stored every
// block. The batch is unchanged. The token must name exactly these events: the same batch under the same token adds nothing, and
// completes what an earlier, failed Insert left undone; other events under a used token would be dropped in silence.
//
// After an error some of the blocks may be stored and the outcome of one may be unknown. IsTransient says to call Insert again with the same
// batch and token; IsRefused that a block can never be stored.
func (s *Store) Insert(ctx context.Context, b *Batch, token string) error {
	return s.InsertAs(ctx, b, Insertion{Token: token})
}

// Insertion says how a batch is inserted.
type Insertion struct {
	// Token names exactly the events of the batch, see Insert.
	Token string
	// Rest are the blocks, as Places names them, of which rows of the same range were stored already: what the batch still holds of them goes under a token
	// of its own, because the range's is used up.
	Rest map[string]bool
	// Guard, if any, is asked for each block when everything but the sending is done; its error ends the insertion. The server waits for the rows for
	// receiveTimeout only, so that a process which was frozen behind its guard can send them no later than that.
	Guard func() error
}

// InsertAs is Insert with more to say.
func (s *Store) InsertAs(ctx context.Context, b *Batch, how Insertion) error {
	if how.Token == "" {
		return fmt.Errorf("insert batch of %d rows: token is empty", b.Rows())
	}
	return b.each(func(blk block) error {
		token := how.Token
		if how.Rest[blk.table+":"+blk.partition] {
			token += "+rest"
		}
		if err := s.insert(ctx, blk, token+":"+blk.partition, b.via, how.Guard); err != nil {
			b.via = newNative() // an unfinished column may have left bytes in it
			return fmt.Errorf("insert %d rows into %s, partition %s: %w", blk.cols[0].rows(), blk.table, blk.partition, err)
		}
		return nil
	})
}

// insertSettings pins everything that could cut a block in two or make the server forget what it has seen.
func insertSettings(token string) clickhouse.Settings {
	return clickhouse.Settings{
		"insert_deduplication_token":                         token,
		"insert_deduplicate":                                 1,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert":                                       0,
		"max_insert_threads":                                 1,
		"max_insert_block_size":                              maxBlockRows,
		"min_insert_block_size_rows":                         maxBlockRows,
		"min_insert_block_size_bytes":                        maxBlockBytes,
		"max_partitions_per_insert_block":                    0,
		"throw_on_max_partitions_per_insert_block":           0,
		"optimize_on_insert":                                 0,
		"materialize_skip_indexes_on_insert":                 1,
		"receive_timeout":                                    receiveTimeout,
	}
}

// receiveTimeout, in seconds, is for how long the server waits for the next piece of a block that is being sent.
const receiveTimeout = 30

// A token covers a block, so a block must never be split. These are beyond what any batch holds.
const (
	maxBlockRows  = 1 << 30
	maxBlockBytes = 16 << 30
)

// insert sends one block. ready, if any, is called when everything but the sending is done, and can call it off.
func (s *Store) insert(ctx context.Context, blk block, token string, via *native, ready func() error) error {
	names := make([]string, len(blk.cols))
	for i, c := range blk.cols {
		names[i] = c.name()
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(insertSettings(token)))
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+blk.table+" ("+strings.Join(names, ", ")+")")
	if err != nil {
		return fmt.Errorf("begin insert: %w", err)
	}
	// Abort gives the connection up; after Send it does nothing.
	defer func() { _ = batch.Abort() }()
	if err := fill(batch.Columns(), blk, via); err != nil {
		return err
	}
	if ready != nil {
		if err := ready(); err != nil {
			return err
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("send block: %w", err)
	}
	return nil
}

// fill moves the block's columns into the batch's, which come from the server and must be what the block was made for.
func fill(dst []column.Interface, blk block, via *native) error {
	if len(dst) != len(blk.cols) {
		return fmt.Errorf("%w: the server wants %d columns, not %d", ErrSchema, len(dst), len(blk.cols))
	}
	rows := blk.cols[0].rows()
	for i, c := range blk.cols {
		if dst[i].Name() != c.name() || string(dst[i].Type()) != c.typ() {
			return fmt.Errorf("%w: column %s is %s there, %s %s here", ErrSchema, dst[i].Name(), dst[i].Type(), c.name(), c.typ())
		}
		if err := c.fill(dst[i], via); err != nil {
			return err
		}
		if dst[i].Rows() != rows {
			return fmt.Errorf("fill column %s: %d rows of %d", c.name(), dst[i].Rows(), rows)
		}
	}
	return nil
}
