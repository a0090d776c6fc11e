package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// maxEventSQL bounds the statement of an EventQuery, bytes: a thousand keys of the worst kind fit.
const maxEventSQL = 4 << 20

// stored is an event with its place.
type stored struct {
	ev market.Event
	at market.Place
}

func (e stored) spot() spot {
	return spot{timeNs: e.ev.GetMeta().EventTime.UnixNano(), seq: e.at.Seq, idx: e.at.Idx}
}

// rows reads at most limit rows of one table in the window up to to, in the query's order.
func (r *eventReader) rows(ctx context.Context, t eventTable, to uint64, limit int, each func(stored) error) error {
	order := "stream_seq, idx"
	if r.q.ByEventTime {
		order = "event_time, stream_seq, idx"
	}
	sql := "SELECT " + strings.Join(append(commonColumns(), t.columns...), ", ") + " FROM " + t.name + " WHERE " + r.where(t, to) +
		" ORDER BY " + order + " LIMIT " + strconv.Itoa(limit)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := r.conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_query_size": maxEventSQL})), sql)
	if err != nil {
		return fmt.Errorf("read events of %s: %w", t.name, err)
	}
	done := false
	defer func() {
		if !done {
			cancel() // Close alone would read the rest of the answer
		}
		_ = rows.Close()
	}()
	var c commonRow
	own := t.row()
	dest := append(c.dest(), own.dest()...)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fmt.Errorf("read events of %s: %w", t.name, err)
		}
		r.read++
		ev, err := own.event(c.meta())
		if err != nil {
			return fmt.Errorf("read event %d:%d of %s: %w", c.seq, c.idx, t.name, err)
		}
		if err := each(stored{ev, market.Place{Stream: r.q.Stream, Seq: c.seq, Idx: c.idx, StreamTime: c.stream.UTC()}}); err != nil {
			return err
		}
	}
	done = true
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read events of %s: %w", t.name, err)
	}
	return nil
}

// where is the condition of the window up to to, behind what was handed over last.
func (r *eventReader) where(t eventTable, to uint64) string {
	var b strings.Builder
	if r.q.ByEventTime {
		fmt.Fprintf(&b, "event_time >= %s AND event_time <= %s", nsLiteral(int64(r.from)), nsLiteral(int64(to)))
		if l := r.last; l != nil {
			fmt.Fprintf(&b, " AND event_time >= %[1]s AND (event_time > %[1]s OR stream_seq > %[2]d OR stream_seq = %[2]d AND idx > %[3]d)", nsLiteral(l.timeNs), l.seq, l.idx)
		}
		if r.q.ThroughSeq > 0 {
			fmt.Fprintf(&b, " AND stream_seq <= %d", r.q.ThroughSeq)
		}
	} else {
		fmt.Fprintf(&b, "stream_seq >= %d AND stream_seq <= %d", r.from, to)
		if l := r.last; l != nil {
			// The first bound is for the index.
			fmt.Fprintf(&b, " AND stream_seq >= %[1]d AND (stream_seq > %[1]d OR idx > %[2]d)", l.seq, l.idx)
		}
		if !r.q.From.IsZero() {
			b.WriteString(" AND event_time >= " + timeLiteral(r.q.From))
		}
		if !r.q.To.IsZero() {
			b.WriteString(" AND event_time < " + timeLiteral(r.q.To))
		}
	}
	b.WriteString(r.filter)
	if k := keyFilter(t.key, r.q.Keys); k != "" {
		b.WriteString(" AND (" + k + ")")
	}
	return b.String()
}

// filter is what holds for every table of the query, each condition with AND before it.
func (q *EventQuery) filter() string {
	var b strings.Builder
	if !q.StoredSince.IsZero() {
		b.WriteString(" AND stream_time >= " + lifeLiteral(q.StoredSince))
	}
	if q.Source != "" && q.Source != "*" {
		b.WriteString(" AND " + matchSQL("source", q.Source))
	}
	if q.Interval != "" && q.Stream == market.Bars {
		b.WriteString(" AND interval = " + quote(string(q.Interval)))
	}
	return b.String()
}

// tables are those of the stream that may have what is asked for: the keys of NETWORK are its tables.
func (q *EventQuery) tables() []eventTable {
	var out []eventTable
	for _, name := range Tables(q.Stream) {
		t := eventTableOf(name)
		if t.kind != "" && len(q.Keys) > 0 && !matchesAny(q.Keys, t.kind) {
			continue
		}
		out = append(out, t)
	}
	return out
}

// keyFilter is the condition that a key matches a pattern; empty where it always does.
func keyFilter(key []string, patterns []string) string {
	if len(key) == 0 || len(patterns) == 0 {
		return ""
	}
	whole := key[0]
	if len(key) == 2 {
		whole = "concat(" + key[0] + ", '/', " + key[1] + ")"
	}
	var exact, others []string
	for _, p := range patterns {
		head, tail, _ := strings.Cut(p, "/")
		switch {
		case p == "*":
			return ""
		case strings.Contains(p, "*"):
			others = append(others, matchSQL(whole, p))
		case len(key) == 2 && strings.Count(p, "/") == 1:
			// By the columns themselves, which the table is sorted by.
			others = append(others, key[0]+" = "+quote(head)+" AND "+key[1]+" = "+quote(tail))
		default:
			exact = append(exact, quote(p))
		}
	}
	if len(exact) > 0 {
		others = append(others, whole+" IN ("+strings.Join(exact, ", ")+")")
	}
	return strings.Join(others, " OR ")
}

// matchSQL is the condition that an expression matches a pattern with stars.
func matchSQL(expr, pattern string) string {
	if !strings.Contains(pattern, "*") {
		return expr + " = " + quote(pattern)
	}
	like := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(pattern)
	return expr + " LIKE " + quote(like)
}

func matchesAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return live.MatchPattern(p, s) })
}

// QuoteText writes any text as a literal for a statement of Query.
func QuoteText(s string) string { return quote(s) }

// QuoteTime writes a time as a literal for a statement of Query; what lies beyond the bounds of stored ones is such a bound.
func QuoteTime(t time.Time) string { return timeLiteral(t) }

// MatchText is the condition, for a statement of Query, that an expression matches a pattern with stars.
func MatchText(expr, pattern string) string { return matchSQL(expr, pattern) }

// quote writes any bytes as a string literal: what is not a letter, a digit or plainly harmless goes by its number.
func quote(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2)
	b = append(b, '\'')
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '/':
			b = append(b, c)
		default:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		}
	}
	return string(append(b, '\''))
}

// timeLiteral writes a time; what lies beyond the bounds of stored ones is such a bound.
func timeLiteral(t time.Time) string { return nsLiteral(clampNs(t)) }

func nsLiteral(ns int64) string {
	return "fromUnixTimestamp64Nano(toInt64(" + strconv.FormatInt(ns, 10) + "), 'UTC')"
}
