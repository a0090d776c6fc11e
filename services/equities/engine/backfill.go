package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
)

const (
	// liveEdge is how near to now an on-demand backfill comes: younger rows, and the revisions of younger bars, are the running service's.
	liveEdge = 5 * time.Minute
	// restoreUnits is for how many trade dates at once the published identities of a symbol are read.
	restoreUnits = 5
	// unitTries is how often a unit is tried before the command gives up; run again it goes on there.
	unitTries = 3
)

// Request is a backfill on demand.
type Request struct {
	From, To time.Time // To zero: as near to now as may be
	Symbols  []string  // empty: the configured ones
}

// Progress of a backfill: units are a symbol's trade date.
type Progress struct {
	Source      string
	Done, Total int
	// Skipped of Done were filled by an earlier run, Left of Done are holes that the running service fills itself.
	Skipped, Left int
	Rows          uint64
	Symbol        string // of the unit that ended last
	TradeDate     session.Date
}

// unit is one symbol's trade date, or the part of it that was asked for.
type unit struct {
	symbol   string
	date     session.Date
	from, to time.Time
}

// Backfill reads the history of a span on demand and publishes what was never published. It is safe beside the running service: what
// was published is read from the stream first, the live edge is left alone, and so is what the ledger shows as open. Each unit has a line of the ledger
// with the reason "backfill": a run that was interrupted goes on after the lines that are filled. progress may be nil.
func (e *Engine) Backfill(ctx context.Context, req Request, progress func(Progress)) error {
	defer e.http.CloseIdleConnections()
	fail := func(err error) error { return fmt.Errorf("backfill %s: %w", e.cfg.Source, err) }
	if len(e.up.History().Kinds) == 0 {
		return fail(errors.New("this upstream has no history"))
	}
	if len(req.Symbols) == 0 {
		req.Symbols = e.Symbols()
	}
	if err := CheckSymbols(req.Symbols); err != nil {
		return fail(err)
	}
	e.symbols.set(req.Symbols)
	if edge := e.f.Now().Add(-liveEdge - e.up.History().Delay); req.To.IsZero() || req.To.After(edge) {
		req.To = edge
	}
	if !req.From.Before(req.To) {
		return fail(fmt.Errorf("nothing lies between %s and %s, which is as near to now as may be", req.From.Format(time.RFC3339), req.To.Format(time.RFC3339)))
	}
	b := &backfill{Engine: e, lines: map[string][]market.FeedGap{}}
	if err := b.readLedger(ctx); err != nil {
		return fail(err)
	}
	var units []unit
	for _, symbol := range req.Symbols {
		units = append(units, e.units(symbol, req.From, req.To)...)
	}
	p := Progress{Source: e.cfg.Source, Total: len(units)}
	tell := func(u unit) {
		p.Done++
		p.Symbol, p.TradeDate = u.symbol, u.date
		if progress != nil {
			progress(p)
		}
	}
	var todo []unit
	for _, u := range units {
		switch {
		case b.filled(u):
			p.Skipped++
			tell(u)
		case b.owed(u):
			p.Left++
			tell(u)
		default:
			todo = append(todo, u)
		}
	}
	for len(todo) > 0 {
		n := 1
		for n < len(todo) && n < restoreUnits && todo[n].symbol == todo[0].symbol {
			n++
		}
		if err := b.restoreUnits(ctx, todo[:n]); err != nil {
			return fail(err)
		}
		for _, u := range todo[:n] {
			rows, err := b.unit(ctx, u)
			p.Rows += rows
			if err != nil {
				return fail(fmt.Errorf("%s of %s: %w; run it again to go on", u.symbol, u.date, err))
			}
			tell(u)
		}
		todo = todo[n:]
	}
	return nil
}

// units are the trade dates of a span.
func (e *Engine) units(symbol string, from, to time.Time) (list []unit) {
	for at := from; at.Before(to); {
		s := e.cal.At(at)
		if s.Kind == session.Closed {
			at = s.Close
			continue
		}
		end := earlier(e.cal.TradeDateEnd(s.TradeDate), to)
		list = append(list, unit{symbol, s.TradeDate, at.UTC(), end.UTC()})
		at = end
	}
	return list
}

// backfill is one run of the command.
type backfill struct {
	*Engine
	lines map[string][]market.FeedGap // of the ledger, by symbol: those with the reason backfill, each as it is now
	open  []market.FeedGap            // of the running service
}

func (b *backfill) readLedger(ctx context.Context) error {
	if err := b.f.Restore(ctx, time.Time{}); err != nil {
		return err
	}
	for _, g := range b.f.OpenGaps() {
		if g.State == market.GapOpen && g.Reason != reasonBackfill {
			b.open = append(b.open, g)
		}
	}
	now := map[string]market.FeedGap{}
	err := b.f.RestoreEach(ctx, time.Time{}, market.Feeds, func(ev market.Event) {
		if g, ok := ev.(*market.FeedGap); ok && strings.HasPrefix(g.Reason, reasonBackfill) && (now[g.GapID].GapID == "" || g.Rev > now[g.GapID].Rev) {
			now[g.GapID] = *g
		}
	})
	for _, g := range now {
		b.lines[g.Symbol] = append(b.lines[g.Symbol], g)
	}
	return err
}

// filled reports whether an earlier run filled the unit.
func (b *backfill) filled(u unit) bool {
	return slices.ContainsFunc(b.lines[u.symbol], func(g market.FeedGap) bool {
		return g.State == market.GapFilled && !g.From.After(u.from) && !g.To.Before(u.to)
	})
}

// owed reports whether the running service has a hole there, which it fills itself.
func (b *backfill) owed(u unit) bool {
	return slices.ContainsFunc(b.open, func(g market.FeedGap) bool {
		return (g.Symbol == "*" || g.Symbol == u.symbol) && g.From.Add(-restartMargin).Before(u.to) && (g.To.IsZero() || g.To.After(u.from))
	})
}

// restoreUnits reads what was published of some trade dates of one symbol, so that nothing of it is published again.
func (b *backfill) restoreUnits(ctx context.Context, units []unit) error {
	b.known = feed.NewSeen(math.MaxInt) // a generation that is never full: the units bound it
	if b.history == nil {
		return nil
	}
	symbol, from, to := units[0].symbol, units[0].from, units[len(units)-1].to
	note := func(ev market.Event, _ market.Place) error {
		if bar, ok := ev.(*market.Bar); ok {
			b.revs.restore(bar)
			return nil
		}
		if at := ev.GetMeta().EventTime; at.Before(from.Add(-restartMargin)) || at.After(to.Add(restartMargin)) {
			return nil
		}
		b.known.Add([]byte(ev.Identity()))
		if r, ok := b.up.(interface{ Restored(market.Event) }); ok {
			r.Restored(ev)
		}
		return nil
	}
	source := b.cfg.Source
	// Nothing is stored before it has happened, but a daily bar is stamped with its midnight.
	since := from.Add(-24 * time.Hour)
	for _, x := range []struct {
		stream market.Stream
		tokens []string
	}{
		{market.Trades, []string{source, symbol}}, {market.Quotes, []string{source, symbol}},
		{market.Bars, []string{string(market.Interval1m), symbol}}, {market.Bars, []string{string(market.Interval1d), symbol}},
	} {
		if err := b.history.Replay(ctx, x.stream, source, since, note, x.tokens...); err != nil {
			return fmt.Errorf("read what was published of %s: %w", symbol, err)
		}
	}
	return nil
}

// unit fills one unit and settles its line.
func (b *backfill) unit(ctx context.Context, u unit) (rows uint64, err error) {
	line, err := b.line(ctx, u)
	if err != nil {
		return 0, err
	}
	var lacks []string
	for try := 1; ; try++ {
		lacks, err = b.fetchUnit(ctx, u, func(market.Event) { rows++ })
		if err == nil {
			break
		}
		if recent, ok := errors.AsType[*TooRecent](err); ok {
			to := b.f.Now().Add(-recent.Delay)
			if !to.After(u.from) {
				return rows, err // the line stays open
			}
			if to.Before(u.to) {
				u.to = to
				continue
			}
		}
		if ctx.Err() != nil || feed.IsRefused(err) || try >= unitTries {
			return rows, err
		}
		b.f.Logger().Warn("backfill failed, will be tried again", "symbol", u.symbol, "trade_date", u.date.String(), "err", err)
		if werr := wait(ctx, firstRetry); werr != nil {
			return rows, werr
		}
	}
	if err := b.f.Flush(ctx); err != nil {
		return rows, fmt.Errorf("store what backfill brought: %w", err)
	}
	state := market.GapFilled
	if len(lacks) > 0 {
		state = market.GapPartly
		line.Reason += "; no history of " + strings.Join(lacks, ", ")
	}
	if err := b.f.SettleGap(ctx, line, u.to, state, line.Recovered+rows); err != nil {
		return rows, err
	}
	return rows, b.f.Flush(ctx)
}

// line is the unit's line of the ledger: the one that an interrupted run left, or a new one.
func (b *backfill) line(ctx context.Context, u unit) (market.FeedGap, error) {
	for _, g := range b.lines[u.symbol] {
		if g.State != market.GapFilled && g.From.Equal(u.from) {
			g.Reason = reasonBackfill
			return g, nil
		}
	}
	return b.f.OpenGap(ctx, u.symbol, u.from, u.to, reasonBackfill)
}

func (b *backfill) fetchUnit(ctx context.Context, u unit, count func(market.Event)) (lacks []string, err error) {
	h := b.up.History()
	var queries []Query
	if b.cal.TradeDateEnd(u.date).Add(finalAfter).Before(b.f.Now()) { // the running day's bar is revised by the running service
		midnight := b.cal.Midnight(u.date)
		queries = append(queries, Query{Kind: DailyBars, From: midnight, To: midnight})
	}
	queries = append(queries, Query{Kind: MinuteBars, From: u.from.Truncate(time.Minute), To: u.to},
		Query{Kind: Trades, From: u.from, To: u.to}, Query{Kind: Quotes, From: u.from, To: u.to})
	for _, q := range queries {
		if !slices.Contains(h.Kinds, q.Kind) {
			continue
		}
		q.Symbols = []string{u.symbol}
		err := b.fetch(ctx, q, count)
		if isNotServed(err) {
			lacks = append(lacks, string(q.Kind)+" (the plan does not have it)")
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return lacks, nil
}
