package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// Beyond so many differences an audit says "at least": looking into each would take longer than anybody waits.
const (
	maxLooked = 256  // chunks that differ
	maxRows   = 1024 // messages that are compared row by row
)

// compare holds a chunk of the stream against the tables.
func (a *streamAudit) compare(ctx context.Context, c *chunk) error {
	lo, hi := max(c.first, a.from), min(c.first+chunkSeqs-1, a.through)
	var published, dead, unknown, rows, stored uint64
	same := true
	for seq := lo; seq <= hi; seq++ {
		m := c.at(seq)
		published += m.published
		dead += m.dead
		unknown += m.unknown
	}
	for t := range a.tables {
		r, s := c.of(t, lo, hi)
		g := a.coarse[t][c.first]
		delete(a.coarse[t], c.first)
		rows, stored = rows+r, stored+g.Rows
		same = same && g.Rows == r && g.Sum == s
	}
	var gone orphaned
	switch {
	case same && published == rows+dead && unknown == 0:
		a.sum.Published += published
		a.sum.Landed += rows
		a.sum.Dead += dead
	case stored == 0 && lo > a.settled && dead <= published:
		a.sum.Published += published
		a.sum.Dead += dead
		a.sum.Pending += published - dead
	case a.looked >= maxLooked && lo <= a.settled:
		a.whole(c, lo, hi, published, dead, stored)
	default:
		var err error
		if gone, err = a.look(ctx, c, lo, hi); err != nil {
			return err
		}
	}
	if err := a.goneOf(ctx, c, gone); err != nil {
		return err
	}
	a.write(c)
	return nil
}

// whole counts a chunk that differs by its totals alone.
func (a *streamAudit) whole(c *chunk, lo, hi, published, dead, stored uint64) {
	d := Difference{Stream: a.stream, First: lo, Last: hi, Published: published, Landed: stored, Dead: min(dead, published), AtLeast: true}
	want := published - d.Dead
	switch {
	case stored < want && hi <= a.settled:
		d.Lost = want - stored
	case stored < want:
		a.sum.Pending += want - stored
	case stored > want:
		d.Doubled = stored - want
	default:
		d.Altered = 1
	}
	a.atLeast = true
	a.sum.Published += published
	a.sum.Landed += min(stored, want)
	a.sum.Dead += d.Dead
	a.count(d)
}

func (a *streamAudit) count(d Difference) {
	a.sum.Lost += d.Lost
	a.sum.Doubled += d.Doubled
	a.sum.Altered += d.Altered
	if d.Lost > 0 || d.Doubled > 0 || d.Altered > 0 {
		a.res.differ(d)
	}
}

// landed is what the tables have of a message.
type landed struct {
	rows, distinct, sum uint64
}

// orphan is a message that the stream does not hold, among others that it holds, of which a table has rows.
type orphan struct {
	seq       uint64
	table     int
	rows, sum uint64
}

// orphaned are the orphans of a chunk.
type orphaned []orphan

// look compares message by message, and row by row where that is needed.
func (a *streamAudit) look(ctx context.Context, c *chunk, lo, hi uint64) (orphaned, error) {
	have := map[uint64]landed{}
	var gone orphaned
	for t := range a.tables {
		err := a.deps.Store.GroupSums(ctx, a.query(t, lo, hi, 1), func(g store.GroupSum) error {
			if !c.at(g.First).held {
				gone = append(gone, orphan{g.First, t, g.Rows, g.Sum})
				return nil
			}
			l := have[g.First]
			have[g.First] = landed{l.rows + g.Rows, l.distinct + g.Distinct, l.sum + g.Sum}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var (
		differ []Difference
		doubt  []uint64 // whose rows must be compared
	)
	for seq := lo; seq <= hi; seq++ {
		m := c.at(seq)
		if !m.held {
			continue
		}
		l := have[seq]
		a.sum.Published += m.published
		a.sum.Landed += l.distinct
		a.sum.Dead += m.dead
		d := Difference{Stream: a.stream, First: seq, Last: seq, Published: m.published, Landed: l.distinct, Dead: m.dead, Doubled: l.rows - l.distinct}
		rows, sum := m.total()
		switch found := l.distinct + m.dead; {
		case found > m.published: // rows that no message explains
			d.Doubled += found - m.published
		case found < m.published && seq > a.settled:
			a.sum.Pending += m.published - found
		case found < m.published:
			d.Lost = m.published - found
		}
		unsure := l.rows > 0 && (l.rows != rows || l.sum != sum)
		if unsure {
			doubt = append(doubt, seq)
		}
		if m.unknown > 0 && l.distinct > rows {
			n := min(m.unknown, l.distinct-rows)
			a.sum.Unverified += n
			a.res.unverified(Span{Stream: a.stream, First: seq, Last: seq, Rows: n, Why: "this version cannot read their messages, which an earlier one landed"})
		}
		if d.Lost > 0 || d.Doubled > 0 || unsure {
			differ = append(differ, d)
		}
	}
	altered, err := a.alteredOf(ctx, c, doubt, have)
	if err != nil {
		return nil, err
	}
	any := false
	for _, d := range differ {
		d.Altered = altered[d.First]
		a.count(d)
		any = any || d.Lost > 0 || d.Doubled > 0 || d.Altered > 0
	}
	if any {
		a.looked++
	}
	return gone, nil
}

// alteredOf counts, by message, the places whose row is not what the message says.
func (a *streamAudit) alteredOf(ctx context.Context, c *chunk, seqs []uint64, have map[uint64]landed) (map[uint64]uint64, error) {
	out := map[uint64]uint64{}
	const atOnce = 256
	for len(seqs) > 0 {
		n := min(len(seqs), atOnce, max(maxRows-a.rows, 0))
		if n == 0 {
			for _, seq := range seqs {
				rows, _ := c.at(seq).total()
				if have[seq].rows == rows { // as many rows as there should be, and another sum
					out[seq], a.atLeast = 1, true
				}
			}
			return out, nil
		}
		if err := a.alteredRows(ctx, seqs[:n], out); err != nil {
			return nil, err
		}
		a.rows += n
		seqs = seqs[n:]
	}
	return out, nil
}

func (a *streamAudit) alteredRows(ctx context.Context, seqs []uint64, out map[uint64]uint64) error {
	type place struct {
		seq uint64
		idx uint32
	}
	want, read := map[place]uint64{}, map[place]bool{}
	b := store.NewBatch()
	for _, seq := range seqs {
		m, err := a.deps.Bus.Get(ctx, a.stream, seq)
		if err != nil {
			return fmt.Errorf("look into message %d: %w", seq, err)
		}
		events, err := wire.Decode(a.stream, m.Data)
		if err != nil {
			continue // without a checksum; counted as unverified
		}
		dead := a.dead.of(seq)
		for i, ev := range events {
			if dead.whole() || dead.has(i) || ev.Validate() != nil {
				continue
			}
			_ = b.Add(ev, market.Place{Stream: a.stream, Seq: seq, Idx: uint32(i), StreamTime: m.StreamTime()}) // refused: without a checksum too
		}
	}
	b.Checksums(func(_ string, seq uint64, idx uint32, sum uint64) { want[place{seq, idx}] = sum })
	right := map[place]bool{}
	for t := range a.tables {
		q := a.query(t, seqs[0], seqs[len(seqs)-1], 1)
		err := a.deps.Store.RowSums(ctx, q, seqs, func(r store.RowSum) error {
			p := place{r.Seq, r.Idx}
			if sum, ok := want[p]; ok {
				read[p] = true
				right[p] = right[p] || sum == r.Sum
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for p := range read {
		if !right[p] {
			out[p.seq]++
		}
	}
	return nil
}

// write keeps the checksums of a chunk for the time when the stream does not hold its messages any more. They are the stream's, not the tables': what is lost or
// altered now is so later too.
func (a *streamAudit) write(c *chunk) {
	if !a.order.Record || a.order.Kind == KindSince && a.from > c.first && a.from > a.info.FirstSeq {
		return // a chunk that was cut by a time says nothing about the whole
	}
	first, last := max(a.from, c.first), min(c.first+chunkSeqs-1, a.settled)
	if last < first || last <= a.before {
		return
	}
	r := store.AuditRange{Stream: a.stream, Life: a.info.Created.UTC(), First: first, Last: last}
	for seq := first; seq <= last; seq++ {
		m := c.at(seq)
		if m.unknown > 0 {
			return
		}
		if m.held {
			t := time.Unix(0, m.stored).UTC()
			if r.From.IsZero() || t.Before(r.From) {
				r.From = t
			}
			if t.After(r.To) {
				r.To = t
			}
		}
	}
	for t, name := range a.tables {
		r.Table, r.Columns = name, a.columns[t]
		if r.Rows, r.Sum = c.of(t, first, last); r.Rows == 0 {
			continue
		}
		if k, ok := a.known.find(name, c.first); ok && k.First <= first && k.Last >= last {
			continue
		}
		a.ranges = append(a.ranges, r)
	}
}

// writeRanges stores them, some at a time.
func (a *streamAudit) writeRanges(ctx context.Context) error {
	const atOnce = 10000
	for len(a.ranges) > 0 {
		n := min(len(a.ranges), atOnce)
		if err := a.deps.Store.AddAuditRanges(ctx, a.res.ID, time.Now().UTC(), a.ranges[:n]); err != nil {
			return err
		}
		a.ranges = a.ranges[n:]
	}
	return nil
}
