package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
)

const (
	// holeMargin is how far before a hole the history is read anew: the tapes allow a print to be told ten seconds late.
	holeMargin = 30 * time.Second
	// firstRetry and lastRetry bound the wait after a failed backfill.
	firstRetry, lastRetry = 5 * time.Second, 5 * time.Minute
	// triesAtEnd is how often backfill is tried of a recording, which will not get better by waiting.
	triesAtEnd = 5
)

// fill fetches what the batch missed and settles its lines of the ledger. What fails is queued again.
func (e *Engine) fill(ctx context.Context, batch []job) error {
	from, to := batch[0].gap.From, batch[0].to
	for _, x := range batch {
		if x.to.After(to) {
			to = x.to
		}
	}
	count := func(ev market.Event) {
		at := ev.GetMeta().EventTime
		for i := range batch {
			if x := &batch[i]; !at.Before(x.gap.From) && !at.After(x.to) {
				x.recovered++
				return
			}
		}
		batch[0].recovered++ // the margins
	}
	log := e.f.Logger().With("from", from, "to", to, "symbol", batch[0].gap.Symbol, "reason", batch[0].gap.Reason)
	lacks, err := e.fetchAll(ctx, batch[0], from, to, count)
	if ctx.Err() != nil {
		return nil // the ledger still has the lines
	}
	now := e.f.Now()
	if recent, ok := errors.AsType[*TooRecent](err); ok {
		if upTo := now.Add(-recent.Delay); upTo.After(from) {
			// An error of this one is met again with the rest, which is fetched later.
			_, _ = e.fetchAll(ctx, batch[0], from, upTo, count)
		}
		log.Info("backfill waits for what the plan does not let us read yet", "until", to.Add(recent.Delay))
		for _, x := range batch {
			x.notBefore = to.Add(recent.Delay)
			if !x.notBefore.After(now) {
				x.notBefore = now.Add(time.Minute)
			}
			e.jobs.again(x)
		}
		return nil
	}
	if err != nil {
		tries := batch[0].tries
		if e.cfg.StopAtEnd && (feed.IsRefused(err) || tries+1 >= triesAtEnd) {
			return fmt.Errorf("backfill: %w", err)
		}
		pause := min(firstRetry<<min(tries, 10), lastRetry)
		log.Warn("backfill failed, will be tried again", "err", err, "wait", pause)
		for _, x := range batch {
			x.tries, x.notBefore = x.tries+1, now.Add(pause)
			e.jobs.again(x)
		}
		return nil
	}
	// What was recovered is stored before the ledger says so.
	if err := e.f.Flush(ctx); err != nil {
		return ignoreEnd(ctx, fmt.Errorf("store what backfill brought: %w", err))
	}
	for _, x := range batch {
		if err := e.settle(ctx, x, lacks); err != nil {
			return ignoreEnd(ctx, err)
		}
		log.Info("hole settled", "recovered", x.recovered)
	}
	return nil
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// settle writes what became of a hole, in one line: filled; partly, naming what no history brings back; given up where that is all.
func (e *Engine) settle(ctx context.Context, x job, lacks []string) error {
	state := market.GapFilled
	switch h := e.up.History(); {
	case x.gap.Symbol != "*" && !e.Wants(x.gap.Symbol):
		state = market.GapGivenUp
		x.gap.Reason += "; the symbol is no longer configured"
	case e.quiet(x.gap.From, x.to), len(lacks) == 0:
	case len(h.Kinds) == 0 && x.recovered == 0:
		state = market.GapGivenUp
		x.gap.Reason += "; no history of " + strings.Join(lacks, ", ")
	default:
		state = market.GapPartly
		x.gap.Reason += "; no history of " + strings.Join(lacks, ", ")
	}
	if err := e.f.SettleGap(ctx, x.gap, x.to, state, x.recovered); err != nil {
		return err
	}
	e.jobs.settled(x.gap.GapID)
	return nil
}

// quiet reports whether no session was open between the times: nothing can have been missed.
func (e *Engine) quiet(from, to time.Time) bool {
	s := e.cal.At(from)
	return s.Kind == session.Closed && !s.Close.Before(to)
}

// fetchAll reads all kinds of history of a hole, and names what of it has none.
func (e *Engine) fetchAll(ctx context.Context, x job, from, to time.Time, count func(market.Event)) (lacks []string, err error) {
	now := e.f.Now()
	symbols := e.Symbols()
	if x.gap.Symbol != "*" {
		if !slices.Contains(symbols, x.gap.Symbol) {
			return nil, nil // nothing is owed any more
		}
		symbols = []string{x.gap.Symbol}
	}
	h := e.up.History()
	var daily, minute, ticks time.Time
	if x.gap.Reason == reasonHistory {
		// What is configured now, not when the line was written. Validate has read these.
		daily, _ = run.ParseTime(e.cfg.Backfill.DailyFrom, now)
		minute, _ = run.ParseTime(e.cfg.Backfill.MinuteFrom, now)
		ticks, _ = run.ParseTime(e.cfg.Backfill.TicksFrom, now)
	} else {
		margin := holeMargin
		if x.gap.Reason == reasonRestart {
			margin = restartMargin
		}
		lacks = slices.Clone(h.Without)
		minute, ticks = from.Add(-margin), from.Add(-margin)
		if oldest := now.Add(-e.cfg.Backfill.MaxHole); from.Before(oldest) {
			ticks = oldest
			lacks = append(lacks, fmt.Sprintf("trades and quotes before %s (backfill.max_hole is %s)", oldest.Format(time.RFC3339), e.cfg.Backfill.MaxHole))
		}
		daily = e.cal.Midnight(e.cal.DateOf(from))
	}
	for _, q := range []Query{
		{Kind: DailyBars, From: daily}, {Kind: MinuteBars, From: minute.Truncate(time.Minute)}, {Kind: Trades, From: ticks}, {Kind: Quotes, From: ticks},
	} {
		q.Symbols, q.To = symbols, to
		if q.From.IsZero() || !q.From.Before(q.To) || !slices.Contains(h.Kinds, q.Kind) {
			continue
		}
		err := e.fetch(ctx, q, count)
		if isNotServed(err) {
			e.f.Logger().Warn("the venue does not give us this history", "kind", q.Kind, "err", err)
			lacks = append(lacks, string(q.Kind)+" (the plan does not have it)")
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return lacks, nil
}

// fetch reads a query to its end and publishes what is new. count sees each new event.
func (e *Engine) fetch(ctx context.Context, q Query, count func(market.Event)) error {
	err := e.up.Fetch(ctx, e, q, func(ev market.Event, p Page, raw []byte) error { return e.recorded(ctx, ev, p, raw, count) })
	if err != nil {
		return fmt.Errorf("fetch history of %s from %s to %s: %w", q.Kind, q.From.Format(time.RFC3339), q.To.Format(time.RFC3339), err)
	}
	return nil
}

// recorded publishes a record of history.
func (e *Engine) recorded(ctx context.Context, ev market.Event, p Page, raw []byte, count func(market.Event)) error {
	m := ev.GetMeta()
	m.Source, m.RecvTime, m.Backfill = e.cfg.Source, p.Recv, true
	if b, ok := ev.(*market.Bar); ok {
		b.Final = !e.cal.TradeDateEnd(e.cal.At(b.EventTime).TradeDate).After(p.Now)
		if b.Interval == market.Interval1d {
			b.Final = !e.cal.TradeDateEnd(e.cal.DateOf(b.EventTime)).After(p.Now)
		}
		fresh, err := e.emitBar(ctx, b, p.AsOf, p.Path, raw)
		if fresh {
			count(ev)
		}
		return err
	}
	if e.known != nil && e.known.Has([]byte(ev.Identity())) {
		return nil
	}
	fresh, err := e.f.Emit(ctx, ev, p.Path, raw)
	if fresh {
		count(ev)
	}
	return err
}
