package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// EventQuery selects stored events of one stream and the order in which they come.
type EventQuery struct {
	Stream market.Stream
	// Keys are patterns, with stars for any run of characters, over what live.Key tells of an event; one that matches is enough. Empty: all.
	Keys []string
	// Source is a pattern over the source. Empty: all.
	Source string
	// Interval of bars. Empty: all.
	Interval market.Interval

	// AfterSeq and AfterIdx are the place behind which the selection begins, ThroughSeq the last sequence that belongs to it; 0: no bound.
	// Blocks of several tables and partitions do not land at one moment: only up to a sequence that the lander has finished is nothing missing.
	AfterSeq   uint64
	AfterIdx   uint32
	ThroughSeq uint64
	// StoredSince leaves out messages that JetStream stored before: those of a stream that was deleted and made again, whose places mean
	// other events now. Zero: no bound.
	StoredSince time.Time

	// ByEventTime orders by event time and then by place, instead of by place.
	ByEventTime bool
	// From and To bound the event time, To exclusive, in both orders. Zero: no bound.
	From, To time.Time
	// AfterTime is the event time of the place AfterSeq, AfterIdx, to go on behind it in the order of event time, in which the place has no
	// meaning without it.
	AfterTime time.Time

	// Limit bounds the events that are handed over. Several tables are merged in memory, which holds so many rows of each.
	Limit int
}

// Events hands the selected events over in their order, at most q.Limit. A row that a table has twice, which the audit reports, is
// handed over once. An error of fn ends the reading and is returned as it is. fn holds a connection: it must not wait for slow readers.
func (s *Store) Events(ctx context.Context, q EventQuery, fn func(market.Event, market.Place) error) error {
	r, err := newEventReader(q, fn)
	if err != nil {
		return err
	}
	if len(r.tables) == 0 {
		return nil
	}
	if r.conn, err = s.reached(ctx, q.Stream, q.StoredSince, q.ThroughSeq); err != nil {
		return fmt.Errorf("read events of %s: %w", q.Stream, err)
	}
	for r.left > 0 && len(r.tables) > 0 {
		more, err := r.step(ctx)
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
	return nil
}

// SeqBetween returns the greatest sequence of a stream that JetStream stored before t and not before since, as far as rows of it have landed; 0 if there
// is none. since is when the stream was made, so that an older life of it does not count; zero: no bound. It reads the stream times of the whole table.
func (s *Store) SeqBetween(ctx context.Context, stream market.Stream, since, t time.Time) (uint64, error) {
	tables, err := tablesOf(stream)
	if err != nil {
		return 0, err
	}
	where := " WHERE stream_time < " + timeLiteral(t)
	if !since.IsZero() {
		where += " AND stream_time >= " + lifeLiteral(since)
	}
	conn, err := s.upToDate(ctx, tables...)
	if err != nil {
		return 0, fmt.Errorf("find sequence of %s at %s: %w", stream, t.UTC().Format(time.RFC3339Nano), err)
	}
	var seq uint64
	sql := "SELECT max(seq) FROM (" + union("max(stream_seq) AS seq", where, tables) + ")"
	if err := conn.QueryRow(ctx, sql).Scan(&seq); err != nil {
		return 0, fmt.Errorf("find sequence of %s at %s: %w", stream, t.UTC().Format(time.RFC3339Nano), err)
	}
	return seq, nil
}

// eventReader reads a selection window by window: spans of sequences, or of event time, that are sized so that a query neither sorts the whole
// table for one page nor asks for each row.
type eventReader struct {
	conn   driver.Conn
	q      EventQuery
	fn     func(market.Event, market.Place) error
	tables []eventTable
	filter string

	left int    // events that may still be handed over
	last *spot  // what was handed over last
	read int    // rows read by the step, doubled ones included
	from uint64 // next window: sequences or nanoseconds since 1970
	span uint64
	end  uint64 // inclusive
	// open says that nobody has looked yet where the stored rows end.
	open bool
}

// spot is an event's place in the order of the query.
type spot struct {
	timeNs int64
	seq    uint64
	idx    uint32
}

func (q *EventQuery) compare(a, b spot) int {
	if q.ByEventTime {
		if c := cmp.Compare(a.timeNs, b.timeNs); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.idx, b.idx))
}

// The first windows and their growth. A message has at least one row, so that a window of Limit sequences is enough where nothing is filtered.
const (
	minSeqSpan   = 1024
	busySpan     = uint64(time.Minute)
	calmSpan     = uint64(time.Hour)
	maxBusySpan  = uint64(4 * 24 * time.Hour)
	maxCalmSpan  = uint64(400 * 24 * time.Hour)
	windowGrowth = 8
)

func newEventReader(q EventQuery, fn func(market.Event, market.Place) error) (*eventReader, error) {
	if _, err := tablesOf(q.Stream); err != nil {
		return nil, err
	}
	if q.Limit < 1 {
		return nil, fmt.Errorf("read events of %s: limit %d is below 1", q.Stream, q.Limit)
	}
	r := &eventReader{q: q, fn: fn, left: q.Limit, tables: q.tables(), filter: q.filter()}
	if !q.ByEventTime {
		r.from, r.span = q.AfterSeq, max(uint64(q.Limit), minSeqSpan)
		r.end, r.open = q.ThroughSeq, q.ThroughSeq == 0
		if r.open {
			r.end = math.MaxUint64
		}
		if r.end < r.from {
			r.tables = nil
		}
		if q.AfterSeq > 0 || q.AfterIdx > 0 {
			r.last = &spot{seq: q.AfterSeq, idx: q.AfterIdx}
		}
		return r, nil
	}
	r.span = calmSpan
	if r.busy() {
		r.span = busySpan
	}
	lo, hi := int64(minSeconds)*1e9, int64(maxSeconds+1)*1e9-1
	if !q.From.IsZero() {
		lo = max(lo, clampNs(q.From))
	}
	if !q.To.IsZero() {
		hi = clampNs(q.To) - 1
	}
	if !q.AfterTime.IsZero() {
		r.last = &spot{timeNs: clampNs(q.AfterTime), seq: q.AfterSeq, idx: q.AfterIdx}
		lo = max(lo, r.last.timeNs)
	}
	if hi < lo {
		r.tables = nil
		return r, nil
	}
	r.from, r.end = uint64(lo), uint64(hi)
	return r, nil
}

// clampNs is t in nanoseconds since 1970, or the bound of what is stored that it lies beyond; the upper one is exclusive.
func clampNs(t time.Time) int64 {
	s := t.Unix()
	if s < minSeconds {
		return minSeconds * 1e9
	}
	if s > maxSeconds {
		return (maxSeconds + 1) * 1e9
	}
	return s*1e9 + int64(t.Nanosecond())
}

// busy streams have millions of rows a day.
func (r *eventReader) busy() bool { return r.q.Stream == market.Trades || r.q.Stream == market.Quotes }

// step reads a window, or what is left of it, and reports whether there may be more behind.
func (r *eventReader) step(ctx context.Context) (bool, error) {
	to := r.end
	if r.end-r.from >= r.span {
		to = r.from + r.span - 1
	}
	limit := r.left
	r.read = 0
	if err := r.window(ctx, to, limit); err != nil {
		return false, err
	}
	if r.read >= limit {
		return true, nil // the window may have more; what was handed over last says from where
	}
	return r.advance(ctx, to)
}

// advance moves behind a window that is exhausted.
func (r *eventReader) advance(ctx context.Context, to uint64) (bool, error) {
	if r.open {
		top, err := maxSeq(ctx, r.conn, r.q.Stream)
		if err != nil {
			return false, err
		}
		r.end, r.open = top, false
	}
	if to >= r.end {
		return false, nil
	}
	r.from = to + 1
	if !r.q.ByEventTime {
		if r.span < math.MaxUint64/windowGrowth {
			r.span *= windowGrowth
		}
		return true, nil
	}
	most := maxCalmSpan
	if r.busy() {
		most = maxBusySpan
	}
	if r.read == 0 && r.span == most {
		return r.jump(ctx)
	}
	r.span = min(r.span*windowGrowth, most)
	return true, nil
}

// jump goes to the first event behind a long span without any.
func (r *eventReader) jump(ctx context.Context) (bool, error) {
	parts := make([]string, len(r.tables))
	for i, t := range r.tables {
		parts[i] = "SELECT minOrNull(event_time) AS t FROM " + t.name + " WHERE " + r.where(t, r.end)
	}
	var first *time.Time
	if err := r.conn.QueryRow(ctx, "SELECT min(t) FROM ("+strings.Join(parts, " UNION ALL ")+")").Scan(&first); err != nil {
		return false, fmt.Errorf("find next event of %s: %w", r.q.Stream, err)
	}
	if first == nil {
		return false, nil
	}
	r.from, r.span = uint64(clampNs(*first)), calmSpan
	if r.busy() {
		r.span = busySpan
	}
	return true, nil
}

// window hands over what lies in the window up to to, at most limit events.
func (r *eventReader) window(ctx context.Context, to uint64, limit int) error {
	if len(r.tables) == 1 {
		return r.rows(ctx, r.tables[0], to, limit, func(e stored) error { return r.give(e) })
	}
	var all []stored
	for _, t := range r.tables {
		if err := r.rows(ctx, t, to, limit, func(e stored) error {
			all = append(all, e)
			return nil
		}); err != nil {
			return err
		}
	}
	slices.SortStableFunc(all, func(a, b stored) int { return r.q.compare(a.spot(), b.spot()) })
	for _, e := range all[:min(limit, len(all))] {
		if err := r.give(e); err != nil {
			return err
		}
	}
	return nil
}

// give hands an event over unless it is a doubled row of the one before.
func (r *eventReader) give(e stored) error {
	sp := e.spot()
	if r.last != nil && r.q.compare(sp, *r.last) == 0 {
		return nil
	}
	r.last = &sp
	r.left--
	return r.fn(e.ev, e.at)
}
