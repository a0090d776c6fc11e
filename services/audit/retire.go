package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nuid"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// Rows are kept for ever, or for as long as audit.retention says. Old ones are removed by whole partitions, and only those whose messages the stream holds no more, so that
// the two sides are never compared where one was cleared away. What audits knew of them is taken from their checksums, so that what is left of a range is still
// held to the last bit.

// Retention says how long the rows of a table are kept, by its name, counted from their event time; a table that is not named keeps them.
type Retention map[string]time.Duration

// minKeep is the least that a table may be told to keep: what is younger may still be corrected.
const minKeep = 7 * 24 * time.Hour

// Validate names the key that is wrong.
func (r Retention) Validate() error {
	var errs []error
	for _, table := range slices.Sorted(maps.Keys(r)) {
		switch {
		case store.ChecksumColumns(table) == nil:
			errs = append(errs, fmt.Errorf("audit.retention.%.40s: there is no such table of events", table))
		case r[table] < minKeep:
			errs = append(errs, fmt.Errorf("audit.retention.%s: %s is less than %s", table, r[table], minKeep))
		}
	}
	return errors.Join(errs...)
}

// Removal is a partition whose time is over.
type Removal struct {
	store.Retirement
	Bytes uint64 // on the disk
	// Waits says why it cannot be removed yet; empty: it can.
	Waits string
}

// Plan lists the partitions whose newest row is older than its table keeps them.
func Plan(ctx context.Context, deps Deps, keep Retention, now time.Time) ([]Removal, error) {
	var out []Removal
	for _, table := range slices.Sorted(maps.Keys(keep)) {
		stream, err := store.StreamOf(table)
		if err != nil {
			return nil, err
		}
		before, err := held(ctx, deps.Bus, stream)
		if err != nil {
			return nil, err
		}
		parts, err := deps.Store.Partitions(ctx, table, before)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if !p.Newest.Before(now.Add(-keep[table])) {
				continue
			}
			r := Removal{Bytes: p.Bytes, Retirement: store.Retirement{
				ID: nuid.Next(), Table: table, Partition: p.ID, Before: before, Rows: p.Rows, Oldest: p.Oldest, Newest: p.Newest, Keep: keep[table],
			}}
			if p.Others > 0 {
				r.Waits = fmt.Sprintf("stream %s still holds the messages of %d rows", stream, p.Others)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// held is the moment before which the stream holds no messages.
func held(ctx context.Context, b *bus.Bus, stream market.Stream) (time.Time, error) {
	info, err := b.Info(ctx, stream)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case info.LastSeq == 0: // what is in the tables is of earlier lives
		return info.Created, nil
	case info.Messages == 0:
		return info.LastTime.Add(1), nil
	}
	m, err := b.Get(ctx, stream, info.FirstSeq)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the oldest message of %s: %w", stream, err)
	}
	return m.StreamTime(), nil
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Retire removes the rows of one removal. Interrupted, it is gone on with by Finish.
func Retire(ctx context.Context, deps Deps, r Removal) error {
	if r.Waits != "" {
		return fmt.Errorf("remove partition %s of %s: %s", r.Partition, r.Table, r.Waits)
	}
	if err := deps.Store.AddRetirement(ctx, r.Retirement, false); err != nil {
		return err
	}
	return finish(ctx, deps, r.Retirement)
}

// Finish goes on with retirements that were interrupted. An audit does so before it compares.
func Finish(ctx context.Context, deps Deps) error {
	begun, err := deps.Store.Begun(ctx)
	if err != nil {
		return err
	}
	for _, r := range begun {
		if err := finish(ctx, deps, r); err != nil {
			return err
		}
	}
	return nil
}

// finish takes the rows from the checksums, then from the table. The checksums are written in one block, before any row goes: whether they stand tells where an
// interrupted retirement stopped.
func finish(ctx context.Context, deps Deps, r store.Retirement) error {
	stream, err := store.StreamOf(r.Table)
	if err != nil {
		return err
	}
	taken, err := deps.Store.HasAuditRanges(ctx, r.ID)
	if err != nil {
		return err
	}
	if !taken {
		ranges, err := without(ctx, deps.Store, stream, r)
		if err != nil {
			return err
		}
		if err := deps.Store.AddAuditRanges(ctx, r.ID, time.Now().UTC(), ranges); err != nil {
			return err
		}
	}
	if err := deps.Store.Remove(ctx, r); err != nil {
		return err
	}
	return deps.Store.AddRetirement(ctx, r, true)
}

// without are the known ranges of the table as they will be when the rows are gone, of those that lose any.
func without(ctx context.Context, st *store.Store, stream market.Stream, r store.Retirement) ([]store.AuditRange, error) {
	type key struct {
		life  int64
		chunk uint64
	}
	known := map[key]store.AuditRange{} // those that an audit goes by: the widest of each chunk
	err := st.AuditRanges(ctx, stream, func(a store.AuditRange) error {
		at := key{a.Life.UnixNano(), chunkOf(a.First)}
		if k, ok := known[at]; a.Table == r.Table && (!ok || a.Last-a.First > k.Last-k.First) {
			known[at] = a
		}
		return nil
	}, func(error) {})
	if err != nil {
		return nil, err
	}
	until := r.Before.Add(-1)
	var out []store.AuditRange
	for _, a := range known {
		if a.From.After(until) {
			continue
		}
		q := store.SumQuery{Table: r.Table, Columns: a.Columns, First: a.First, Last: a.Last, Since: a.From, Until: minTime(a.To, until), Partition: r.Partition, Step: math.MaxInt64}
		err := st.GroupSums(ctx, q, func(g store.GroupSum) error {
			a.Rows, a.Sum = a.Rows-min(g.Rows, a.Rows), a.Sum-g.Sum
			out = append(out, a)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("sum up what is removed of %s: %w", r.Table, err)
		}
	}
	slices.SortFunc(out, func(x, y store.AuditRange) int {
		if x.Life.Equal(y.Life) {
			return int(int64(x.First) - int64(y.First))
		}
		return x.Life.Compare(y.Life)
	})
	return out, nil
}
