package engine

import (
	"context"
	"errors"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// restartMargin is how far before the newest event that we find published a restart fetches anew: events of other subjects may have been
// under way to the broker when we were killed, and prints may be told late.
const restartMargin = 2 * time.Minute

// Reasons of gaps that the engine opens itself.
const (
	reasonHistory  = "history"  // of a symbol that was never published
	reasonRestart  = "restart"  // from the last event before we started
	reasonAdded    = "added"    // a symbol that was published before and is wanted again
	reasonUnserved = "unserved" // wanted, and the venue does not stream it
	reasonBackfill = "backfill" // on demand
)

// restoreWindows are how far back published ticks are read, one after the other until the last event and its margin lie within:
// a standby must take over in seconds, and a day of ticks takes longer to read.
var restoreWindows = [...]time.Duration{10 * time.Minute, 2 * time.Hour}

// restore reads back what was published and opens the lines of the ledger that this start owes: the time since the last event, and the
// history of symbols that were never seen.
func (e *Engine) restore(ctx context.Context) error {
	e.symbols.setting.Lock() // a change of symbols waits until the ledger is known
	defer e.symbols.setting.Unlock()
	if err := e.f.Restore(ctx, time.Time{}); err != nil { // the ledger alone
		return err
	}
	err := e.f.RestoreEach(ctx, time.Time{}, market.Feeds, func(ev market.Event) {
		if g, ok := ev.(*market.FeedGap); ok && g.Symbol != "*" && g.Reason == reasonHistory {
			e.told[g.Symbol] = time.Time{}
		}
	})
	if err != nil {
		return err
	}
	now := e.f.Now()
	oldest := now.Add(-e.cfg.Backfill.Restore)
	need := now
	single := map[string]time.Time{}
	for _, g := range e.f.OpenGaps() {
		if g.State != market.GapOpen || g.Reason == reasonBackfill {
			continue
		}
		since := g.From.Add(-restartMargin)
		if reach := now.Add(-e.cfg.Backfill.MaxHole - restartMargin); since.Before(reach) {
			since = reach
		}
		if g.Reason == reasonHistory { // what was fetched for it came after it was opened, however old it is
			since = g.EventTime.Add(-restartMargin)
		}
		if g.Symbol == "*" {
			need = earlier(need, since)
		} else if at, ok := single[g.Symbol]; !ok || since.Before(at) {
			single[g.Symbol] = since
		}
	}
	oldest = earlier(oldest, need)
	note := func(ev market.Event) { e.restored(ev) }
	for _, w := range append(restoreWindows[:], now.Sub(oldest)) {
		since := now.Add(-w)
		if since.Before(oldest) {
			since = oldest
		}
		for _, st := range []market.Stream{market.Trades, market.Quotes} {
			if err := e.f.RestoreEach(ctx, since, st, note); err != nil {
				return err
			}
		}
		if !since.After(oldest) || !since.After(need) && !e.lastTick.IsZero() && since.Before(e.lastTick.Add(-2*restartMargin)) {
			break
		}
	}
	// A line of one symbol may be open for weeks, where the venue does not stream it: its own subjects are enough for that.
	for symbol, since := range single {
		for _, st := range []market.Stream{market.Trades, market.Quotes} {
			if err := e.f.RestoreEach(ctx, since, st, note, e.cfg.Source, symbol); err != nil {
				return err
			}
		}
	}
	err = errors.Join(
		e.f.RestoreEach(ctx, oldest, market.Halts, note),
		// Bars from the beginning: a revision must follow the last one, however old.
		e.f.RestoreEach(ctx, time.Time{}, market.Bars, note),
	)
	if err != nil {
		return err
	}
	e.symbols.restored = true
	return e.openStart(ctx)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// restored takes an event that was published before.
func (e *Engine) restored(ev market.Event) {
	at := ev.GetMeta().EventTime
	e.mu.Lock()
	defer e.mu.Unlock()
	switch ev := ev.(type) {
	case *market.Trade, *market.Quote:
		if at.After(e.lastTick) {
			e.lastTick = at
		}
	case *market.Bar:
		if at.After(e.lastBar) {
			e.lastBar = at
		}
		e.revs.restore(ev)
	}
	if symbol := symbolOf(ev); symbol != "" && !at.Before(e.told[symbol]) {
		e.told[symbol] = at
	}
	if r, ok := e.up.(interface{ Restored(market.Event) }); ok {
		r.Restored(ev)
	}
}

func (e *Engine) openStart(ctx context.Context) error {
	last := e.lastTick
	if last.IsZero() {
		last = e.lastBar
	}
	if !last.IsZero() {
		if _, err := e.f.OpenGap(ctx, "*", last, time.Time{}, reasonRestart); err != nil {
			return err
		}
	}
	owed := map[string]bool{}
	for _, g := range e.f.OpenGaps() {
		if g.Reason == reasonHistory && g.State == market.GapOpen {
			owed[g.Symbol] = true
		}
	}
	from := e.cfg.Backfill.oldest(e.f.Now())
	if len(e.told) == 0 && len(owed) == 0 {
		_, err := e.f.OpenGap(ctx, "*", from, time.Time{}, reasonHistory)
		return err
	}
	for _, symbol := range e.symbols.list() {
		if _, told := e.told[symbol]; !told && !owed[symbol] && !owed["*"] {
			if _, err := e.f.OpenGap(ctx, symbol, from, time.Time{}, reasonHistory); err != nil {
				return err
			}
		}
	}
	return nil
}
