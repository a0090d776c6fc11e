package store

import (
	"context"

	"github.com/pressly/goose/v3"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// What the tests in package store_test need of the inside.

func (s *Store) MigrateTo(ctx context.Context, version int64) error {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	return s.migrate(ctx, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.UpTo(ctx, version) })
}

func ScalePrice(d market.Decimal) (int64, bool)  { return scalePrice(d) }
func ScaleWide(d market.Decimal) (hi, lo uint64) { return scaleWide(d) }

// Schema returns the columns, "name type", that a batch sends to every table.
func Schema() map[string][]string {
	out := map[string][]string{}
	for _, t := range NewBatch().tables {
		name, cols := t.schema()
		for _, c := range cols {
			out[name] = append(out[name], c.name()+" "+c.typ())
		}
	}
	return out
}

// Blocks describes the batch's blocks in order: table, partition, rows.
type Block struct {
	Table, Partition string
	Rows             int
}

func (b *Batch) Blocks() []Block {
	var out []Block
	_ = b.each(func(blk block) error {
		out = append(out, Block{blk.table, blk.partition, blk.cols[0].rows()})
		return nil
	})
	return out
}

// InsertFirst inserts the first n blocks only: what an insert that was cut off leaves.
func (s *Store) InsertFirst(ctx context.Context, b *Batch, token string, n int) error {
	return b.each(func(blk block) error {
		if n--; n < 0 {
			return nil
		}
		return s.insert(ctx, blk, token+":"+blk.partition, nil)
	})
}

// InsertPaused inserts a batch of one block and calls ready before the block is sent.
func (s *Store) InsertPaused(ctx context.Context, b *Batch, token string, ready func()) error {
	return s.InsertAs(ctx, b, Insertion{Token: token, Guard: func() error { ready(); return nil }})
}
