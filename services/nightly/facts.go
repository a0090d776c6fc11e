package nightly

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

// Bounds of what is read of a date. The sentences that come of it name a few.
const (
	maxGaps    = 5000
	namedBars  = 5
	ratesSince = 7 // days
)

// Observe gathers the facts of a trade date. The audit, which reads every stream, is made where it is asked for.
func (s *Service) Observe(ctx context.Context, d session.Date, audit bool) (complete.Facts, error) {
	day := s.cal.day(d)
	f := complete.Facts{
		Date: d, Now: s.deps.Now().UTC(), TradeDate: day.is, Known: day.known, HalfDay: day.half, Begin: day.begin, End: day.end, RegularClose: day.regularClose,
		Zone: s.cal.zone(),
	}
	if !day.is {
		return f, nil
	}
	if err := s.deps.Store.CatchUp(ctx); err != nil {
		return f, fmt.Errorf("observe %s: %w", d, err)
	}
	for _, g := range []func(context.Context, *complete.Facts) error{s.feeds, s.leases, s.gaps, s.bars, s.streams, s.inputs} {
		if err := g(ctx, &f); err != nil {
			return f, fmt.Errorf("observe %s: %w", d, err)
		}
	}
	if audit {
		a, err := s.deps.Audit(ctx)
		if err != nil {
			return f, fmt.Errorf("observe %s: audit: %w", d, err)
		}
		f.Audit = &a
	}
	return f, nil
}

// Judge decides over facts by this configuration.
func (s *Service) Judge(f complete.Facts) complete.Verdict {
	return complete.Judge(f, complete.Policy{Settle: s.cfg.Settle, InputsWithin: s.cfg.InputsWithin})
}

// moment is a time as a literal of ClickHouse's SQL.
func moment(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Nano(toInt64(%d), 'UTC')", t.UnixNano())
}

// text is a string as a literal of ClickHouse's SQL.
func text(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// window is what belongs to the date: its sessions, and its day of UTC, which hashprice and rates go by.
func window(f *complete.Facts) (from, to time.Time) {
	from = time.Date(f.Date.Year, f.Date.Month, f.Date.Day, 0, 0, 0, 0, time.UTC)
	to = from.AddDate(0, 0, 1)
	if f.Begin.Before(from) {
		from = f.Begin
	}
	if f.End.After(to) {
		to = f.End
	}
	return from, to
}

func (s *Service) feeds(ctx context.Context, f *complete.Facts) error {
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf(`
SELECT
    source,
    argMaxIf(state, (event_time, stream_time, stream_seq, idx), event_time <= %[1]s) = 'connected' OR countIf(state = 'connected' AND event_time > %[1]s AND event_time < %[2]s) > 0,
    argMax(state, (event_time, stream_time, stream_seq, idx)), max(event_time), argMax(detail, (event_time, stream_time, stream_seq, idx))
FROM feed_events
WHERE event_time <= %[3]s
GROUP BY source
ORDER BY source`, moment(f.Begin), moment(f.End), moment(f.Now)))
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		on, _ := r[1].(uint8)
		since, _ := r[3].(time.Time)
		f.Feeds = append(f.Feeds, complete.Feed{Source: fmt.Sprint(r[0]), OnThatDay: on == 1, State: fmt.Sprint(r[2]), Since: since.UTC(), Detail: fmt.Sprint(r[4])})
	}
	return nil
}

func (s *Service) leases(ctx context.Context, f *complete.Facts) error {
	holders, err := s.deps.Bus.Holders(ctx)
	if err != nil {
		return err
	}
	for _, h := range holders {
		if h.Lease == LeaseName {
			continue
		}
		// Twice the lease's time: who renews a little late is not dead.
		alive := h.Held && s.deps.Stored(f.Now).Sub(h.Renewed) <= 2*h.TTL
		f.Leases = append(f.Leases, complete.Lease{Service: h.Lease, Held: alive, Released: !h.Held, Renewed: h.Renewed})
	}
	return nil
}

func (s *Service) gaps(ctx context.Context, f *complete.Facts) error {
	from, to := window(f)
	// A line that was settled and never had a time is of the date when it was told.
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf(`
SELECT source, symbol, toString(state), reason, from_time, to_time
FROM feed_gaps_now
WHERE (from_time IS NULL OR from_time < %[2]s) AND (to_time IS NULL OR to_time > %[1]s)
    AND (state = 'open' OR from_time IS NOT NULL OR (event_time >= %[1]s AND event_time < %[2]s))
ORDER BY state = 'open' DESC, source, from_time, gap_id
LIMIT %[3]d`, moment(from), moment(to), maxGaps))
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		g := complete.Gap{Source: fmt.Sprint(r[0]), Symbol: fmt.Sprint(r[1]), State: fmt.Sprint(r[2]), Reason: fmt.Sprint(r[3])}
		g.From, _ = r[4].(time.Time)
		g.To, _ = r[5].(time.Time)
		f.Gaps = append(f.Gaps, g)
	}
	return nil
}

func (s *Service) bars(ctx context.Context, f *complete.Facts) error {
	from, to := window(f)
	date := text(f.Date.String())
	// Ours name their trade date. Of a venue's only the daily bar is ever said to be final.
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf(`
SELECT source, toString(interval), countIf(is_final), countIf(NOT is_final), arraySort(groupUniqArrayIf(%[4]d)(symbol, NOT is_final))
FROM
(
    SELECT source, interval, symbol, argMax(final, (rev, stream_time, stream_seq, idx)) AS is_final
    FROM bars
    WHERE event_time >= %[1]s AND event_time < %[2]s AND (trade_date = %[3]s OR (trade_date = '' AND interval = '1d' AND toDate(event_time) = %[3]s))
    GROUP BY source, interval, symbol, session, event_time
)
GROUP BY source, interval
ORDER BY source, interval`, moment(from), moment(to), date, namedBars))
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		b := complete.Bars{Source: fmt.Sprint(r[0]), Interval: fmt.Sprint(r[1])}
		b.Final, _ = r[2].(uint64)
		b.Provisional, _ = r[3].(uint64)
		b.Symbols, _ = r[4].([]string)
		b.Finalises = b.Final > 0
		if !b.Finalises {
			ever, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT 1 FROM bars WHERE source = %s AND interval = %s AND final LIMIT 1", text(b.Source), text(b.Interval)))
			if err != nil {
				return err
			}
			b.Finalises = len(ever.Rows) > 0
		}
		f.Bars = append(f.Bars, b)
	}
	return nil
}

func (s *Service) streams(ctx context.Context, f *complete.Facts) error {
	for _, st := range market.Streams() {
		info, err := s.deps.Bus.Info(ctx, st)
		if err != nil {
			return err
		}
		x := complete.Stream{Name: string(st)}
		if info.LastSeq > 0 {
			if x.Target, _, err = s.deps.Bus.SeqBefore(ctx, st, s.deps.Stored(f.End)); err != nil {
				return err
			}
		}
		if x.Through, x.Trouble, err = s.through(ctx, st, info); err != nil {
			return err
		}
		f.Streams = append(f.Streams, x)
	}
	return nil
}

func (s *Service) inputs(ctx context.Context, f *complete.Facts) error {
	date := f.Date.String()
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT uniqExact(event_time) FROM hashprice WHERE method = 'daily' AND toDate(event_time) = '%s'", date))
	if err != nil {
		return err
	}
	f.Hashprice, _ = res.Rows[0][0].(uint64)
	res, err = s.deps.Store.Query(ctx, fmt.Sprintf(
		"SELECT gpu, countIf(toDate(event_time) = '%s') FROM gpu_rates WHERE class = 'on-demand' AND event_time >= '%s' AND event_time < '%s' GROUP BY gpu ORDER BY gpu",
		date, f.Date.AddDays(-ratesSince), f.Date.AddDays(1)))
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		n, _ := r[1].(uint64)
		f.Rates.Count += n
		if n == 0 {
			f.Rates.Missing = append(f.Rates.Missing, fmt.Sprint(r[0]))
		}
	}
	return nil
}
