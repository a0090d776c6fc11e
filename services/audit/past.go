package audit

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
)

// maxExact bounds the ranges of gone messages that are asked for singly.
const maxExact = 1000

const (
	whyNever = "the stream holds their messages no more, and no audit saw them while it did"
	whyOlder = "of earlier lives of the stream, which no audit saw"
)

type rangeKey struct {
	table string
	chunk uint64
}

// knownRanges are the checksums that earlier audits wrote of the present life, of each chunk and table the widest range; older are those of earlier lives.
type knownRanges struct {
	now   map[rangeKey]store.AuditRange
	older map[int64][]store.AuditRange // by the life, Unix ns
}

func (k knownRanges) find(table string, chunk uint64) (store.AuditRange, bool) {
	r, ok := k.now[rangeKey{table, chunk}]
	return r, ok
}

func (a *streamAudit) loadKnown(ctx context.Context) error {
	a.known = knownRanges{map[rangeKey]store.AuditRange{}, map[int64][]store.AuditRange{}}
	columns := map[string][]string{} // one list for all ranges that have the same
	older := map[int64]map[rangeKey]store.AuditRange{}
	life := a.info.Created.UnixNano()
	err := a.deps.Store.AuditRanges(ctx, a.stream, func(r store.AuditRange) error {
		key := strings.Join(r.Columns, ",")
		if same, ok := columns[key]; ok {
			r.Columns = same
		}
		columns[key] = r.Columns
		into := a.known.now
		if at := r.Life.UnixNano(); at != life {
			if older[at] == nil {
				older[at] = map[rangeKey]store.AuditRange{}
			}
			into = older[at]
		}
		at := rangeKey{r.Table, chunkOf(r.First)}
		if k, ok := into[at]; !ok || r.Last-r.First > k.Last-k.First {
			into[at] = r
		}
		return nil
	}, a.res.damaged)
	if store.IsSchema(err) {
		// The database is of a version before audits were kept: nothing is known of what is gone.
		a.deps.Logger.Warn("earlier checksums cannot be read; run hashpivot migrate", "stream", string(a.stream), "err", err)
		return nil
	}
	for at, ranges := range older {
		a.known.older[at] = slices.Collect(maps.Values(ranges))
	}
	return err
}

// past compares the rows of messages that the stream holds no more with earlier checksums.
func (a *streamAudit) past(ctx context.Context) error {
	below, older, err := a.deps.Store.Aged(ctx, a.stream, a.info.Created, a.from)
	if err != nil {
		return err
	}
	a.sum.Aged = below + older
	for t, table := range a.tables {
		ranges := map[uint64]store.AuditRange{}
		for key, r := range a.known.now {
			if key.table == table && key.chunk+chunkSeqs <= a.from { // the chunk that the stream holds in part is compared with the rest of it
				ranges[key.chunk] = r
			}
		}
		if below == 0 && len(ranges) == 0 {
			continue
		}
		if _, err := a.pastTable(ctx, a.query(t, 1, max(a.from, 2)-1, chunkSeqs), ranges, true); err != nil {
			return err
		}
	}
	// Rows of earlier lives.
	left := older
	for _, at := range slices.Sorted(maps.Keys(a.known.older)) {
		for t, table := range a.tables {
			q := a.query(t, math.MaxUint64, 0, chunkSeqs)
			q.Since = time.Time{}
			ranges := map[uint64]store.AuditRange{}
			for _, r := range a.known.older[at] {
				if r.Table != table {
					continue
				}
				ranges[chunkOf(r.First)] = r
				q.First, q.Last = min(q.First, r.First), max(q.Last, r.Last)
				if q.Since.IsZero() || r.From.Before(q.Since) {
					q.Since = r.From
				}
				if r.To.After(q.Until) {
					q.Until = r.To
				}
			}
			if len(ranges) == 0 {
				continue
			}
			found, err := a.pastTable(ctx, q, ranges, false)
			if err != nil {
				return err
			}
			left -= min(found, left)
		}
	}
	if left > 0 {
		a.sum.Unverified += left
		a.res.unverified(Span{Stream: a.stream, Rows: left, Why: whyOlder})
	}
	return nil
}

// pastTable compares one table's rows of one life with the ranges, by their chunk, and returns how many rows of theirs it found. unknown tells to count the
// rows that no range covers.
func (a *streamAudit) pastTable(ctx context.Context, q store.SumQuery, ranges map[uint64]store.AuditRange, unknown bool) (found uint64, _ error) {
	groups := map[uint64]store.GroupSum{}
	if err := a.deps.Store.GroupSums(ctx, q, func(g store.GroupSum) error {
		groups[g.First] = g
		return nil
	}); err != nil {
		return 0, err
	}
	for c := range ranges {
		if _, ok := groups[c]; !ok {
			groups[c] = store.GroupSum{First: c}
		}
	}
	for _, c := range slices.Sorted(maps.Keys(groups)) {
		g := groups[c]
		r, ok := ranges[c]
		if !ok {
			// Of the chunk that the stream holds in part goneOf speaks.
			if unknown && c+chunkSeqs <= a.from {
				a.never(c, min(c+chunkSeqs, a.from)-1, g.Rows)
			}
			continue
		}
		if !slices.Equal(r.Columns, q.Columns) || g.Rows != r.Rows || g.Sum != r.Sum {
			// The chunk may have rows besides the range, or the range was summed up by other columns.
			all := g.Rows
			one, seen, err := a.exactly(ctx, r, r.First, r.Last)
			if err != nil {
				return found, err
			}
			if !seen {
				if unknown {
					a.never(r.First, r.Last, all)
				}
				continue
			}
			if g = one; unknown && all > g.Rows {
				a.never(c, min(c+chunkSeqs, a.from)-1, all-g.Rows)
			}
		}
		found += g.Rows
		a.judge(r, r.Rows, r.Sum, g.Rows, g.Sum)
	}
	return found, nil
}

// exactly asks for the rows of a range from first to last, by its own columns and times; seen is false where too many were asked for or a column is gone.
func (a *streamAudit) exactly(ctx context.Context, r store.AuditRange, first, last uint64) (g store.GroupSum, seen bool, _ error) {
	if a.exact++; a.exact > maxExact {
		a.atLeast = true
		return g, false, nil
	}
	q := store.SumQuery{Table: r.Table, Columns: r.Columns, First: first, Last: last, Since: r.From, Until: r.To, Step: math.MaxInt64, Threads: a.order.Threads}
	err := a.deps.Store.GroupSums(ctx, q, func(x store.GroupSum) error {
		g = x
		return nil
	})
	if store.IsSchema(err) {
		a.res.damaged(err)
		return g, false, nil
	}
	return g, err == nil, err
}

// judge compares what an earlier audit saw of messages that are gone with the rows that there are.
func (a *streamAudit) judge(r store.AuditRange, wantRows, wantSum, rows, sum uint64) {
	d := Difference{Stream: a.stream, First: r.First, Last: r.Last, Published: wantRows, Landed: rows, Gone: true}
	if !r.Life.Equal(a.info.Created) {
		d.Life = &r.Life
	}
	switch {
	case rows < wantRows:
		d.Lost = wantRows - rows
	case rows > wantRows:
		d.Doubled = rows - wantRows
	case sum != wantSum:
		d.Altered, d.AtLeast, a.atLeast = 1, true, true
	default:
		a.sum.Verified += rows
		return
	}
	a.count(d)
}

func (a *streamAudit) never(first, last, rows uint64) {
	if rows == 0 {
		return
	}
	a.sum.Unverified += rows
	a.res.unverified(Span{Stream: a.stream, First: first, Last: last, Rows: rows, Why: whyNever})
}

// goneOf compares the messages of a chunk that the stream holds no more, while it holds others of it: those that aged out, and those that were deleted.
func (a *streamAudit) goneOf(ctx context.Context, c *chunk, gone orphaned) error {
	if a.order.Kind != KindFull {
		for _, o := range gone { // a full audit looks what earlier ones saw of them
			a.never(o.seq, o.seq, o.rows)
		}
		return nil
	}
	for t, table := range a.tables {
		r, ok := a.known.find(table, c.first)
		var rows, sum, outside uint64
		for _, o := range gone {
			switch {
			case o.table != t:
			case ok && o.seq >= r.First && o.seq <= r.Last:
				rows, sum = rows+o.rows, sum+o.sum
			default:
				outside += o.rows
			}
		}
		a.sum.Aged += rows + outside
		if c.first < a.from { // those below the first message that the stream holds; they are counted as aged
			all, err := a.belowOf(ctx, t, c.first, a.from-1)
			if err != nil {
				return err
			}
			in := all
			if !ok {
				in = store.GroupSum{}
			} else if r.First > c.first || r.Last < a.from-1 {
				if in, err = a.belowOf(ctx, t, r.First, min(a.from-1, r.Last)); err != nil {
					return err
				}
			}
			rows, sum, outside = rows+in.Rows, sum+in.Sum, outside+all.Rows-in.Rows
		}
		a.never(c.first, c.first+chunkSeqs-1, outside)
		if !ok {
			continue
		}
		heldRows, heldSum := c.of(t, r.First, r.Last)
		switch {
		case !slices.Equal(r.Columns, a.columns[t]) && heldRows == 0:
			g, seen, err := a.exactly(ctx, r, r.First, r.Last)
			if err != nil {
				return err
			}
			if !seen {
				a.never(r.First, r.Last, rows)
				continue
			}
			a.judge(r, r.Rows, r.Sum, g.Rows, g.Sum)
		case !slices.Equal(r.Columns, a.columns[t]):
			if r.Rows != heldRows || rows > 0 {
				a.never(r.First, r.Last, rows) // summed up by other columns, and parts cannot be taken from it
			}
		case r.Rows < heldRows || r.Rows == heldRows && r.Sum != heldSum:
			a.res.damaged(&staleError{r, heldRows})
			a.never(r.First, r.Last, rows)
		case r.Rows > heldRows || rows > 0:
			a.judge(r, r.Rows-heldRows, r.Sum-heldSum, rows, sum)
		}
	}
	return nil
}

func (a *streamAudit) belowOf(ctx context.Context, table int, first, last uint64) (g store.GroupSum, _ error) {
	if last < first {
		return g, nil
	}
	q := a.query(table, first, last, math.MaxInt64)
	err := a.deps.Store.GroupSums(ctx, q, func(x store.GroupSum) error {
		g = x
		return nil
	})
	return g, err
}

// staleError is an earlier checksum that the messages which the stream still holds do not agree with.
type staleError struct {
	r    store.AuditRange
	held uint64
}

func (e *staleError) Error() string {
	return fmt.Sprintf("the checksum that an earlier audit wrote of %s, sequences %d to %d (%d rows), is not that of the messages that the stream still holds (%d rows): "+
		"was a message replaced, or does this version decode them otherwise? The messages were compared as they are now; the earlier checksum was left out",
		e.r.Table, e.r.First, e.r.Last, e.r.Rows, e.held)
}
