package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// joinHoles that are so near to each other are fetched in one.
const joinHoles = 10 * time.Minute

// job is a line of the ledger that is to be settled.
type job struct {
	gap       market.FeedGap
	to        time.Time
	notBefore time.Time
	tries     int
	recovered uint64 // by earlier tries
}

// jobs is the queue between the stream, which learns of holes, and the worker, which fills them. Its bound is the ledger's: one job a gap,
// and gaps come no faster than the back-off lets sessions begin.
type jobs struct {
	mu        sync.Mutex
	list      []job
	queued    map[string]bool // by gap id
	finishing bool
	wake      chan struct{}
}

func newJobs() *jobs { return &jobs{queued: map[string]bool{}, wake: make(chan struct{}, 1)} }

func (j *jobs) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// connected queues the gaps that end with this connection. The lines of lost connections have our times; those of a delayed stream are
// moved to the venue's.
func (j *jobs) connected(gaps []market.FeedGap, now time.Time, after, delay time.Duration) {
	j.mu.Lock()
	for _, g := range gaps {
		if j.queued[g.GapID] {
			continue
		}
		id := g.GapID
		to := g.To
		if to.IsZero() {
			to = now
		}
		if delay > 0 && ofSession(g.Reason) && g.Rev == 0 {
			g.From = g.From.Add(-delay)
		}
		to = to.Add(-delay)
		if to.Before(g.From) {
			to = g.From
		}
		j.queued[id] = true
		j.list = append(j.list, job{gap: g, to: to, notBefore: now.Add(after)})
	}
	j.mu.Unlock()
	j.poke()
}

// ofSession reports whether a line's beginning is a moment of our clock.
func ofSession(reason string) bool {
	return reason == string(market.FeedLost) || reason == string(market.FeedStale)
}

// finish lets the worker end when nothing is queued any more.
func (j *jobs) finish() {
	j.mu.Lock()
	j.finishing = true
	j.mu.Unlock()
	j.poke()
}

func (j *jobs) again(x job) {
	j.mu.Lock()
	j.list = append(j.list, x)
	j.mu.Unlock()
}

func (j *jobs) settled(id string) {
	j.mu.Lock()
	delete(j.queued, id)
	j.mu.Unlock()
}

// take removes the jobs that are due and can be done together. Without one it says how long to wait; done means that there will be none.
func (j *jobs) take(now time.Time) (batch []job, pause time.Duration, done bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.list) == 0 {
		return nil, time.Hour, j.finishing
	}
	slices.SortStableFunc(j.list, func(a, b job) int { return a.gap.From.Compare(b.gap.From) })
	pause = time.Hour
	var rest []job
	for _, x := range j.list {
		due := !now.Before(x.notBefore) || j.finishing && x.tries == 0
		switch {
		case !due:
			pause = min(pause, x.notBefore.Sub(now))
			rest = append(rest, x)
		case len(batch) == 0, together(batch[len(batch)-1], x):
			batch = append(batch, x)
		default:
			pause = 0
			rest = append(rest, x)
		}
	}
	j.list = rest
	return batch, pause, false
}

// together reports whether two holes, the second later, are read in one query.
func together(a, b job) bool {
	return a.gap.Reason != reasonHistory && b.gap.Reason != reasonHistory && a.gap.Symbol == b.gap.Symbol && b.gap.From.Sub(a.to) <= joinHoles
}

// finalAfter the end of a trade date its daily bars are read once more, final.
const finalAfter = 16 * time.Minute

// work fills holes until ctx ends or finish was called and all is done.
func (e *Engine) work(ctx context.Context) error {
	nextFinal := e.nextFinal(e.f.Now())
	for {
		now := e.f.Now()
		batch, pause, done := e.jobs.take(now)
		switch {
		case len(batch) > 0:
			if err := e.fill(ctx, batch); err != nil {
				return err
			}
			continue
		case done, ctx.Err() != nil:
			return nil
		case !e.cfg.StopAtEnd && !now.Before(nextFinal):
			if err := e.finalise(ctx, nextFinal.Add(-finalAfter)); err != nil && ctx.Err() == nil {
				e.f.Logger().Warn("daily bars of the closed session could not be read", "err", err)
			}
			nextFinal = e.nextFinal(now)
		}
		timer := time.NewTimer(min(max(pause, time.Millisecond), max(nextFinal.Sub(now), time.Millisecond), time.Hour))
		select {
		case <-ctx.Done():
		case <-e.jobs.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// nextFinal is when the daily bars of the trade date that runs at the time, or of the next, are final.
func (e *Engine) nextFinal(now time.Time) time.Time {
	end := e.cal.TradeDateEnd(e.cal.At(now).TradeDate).Add(finalAfter)
	if ended := e.cal.TradeDateEnd(e.cal.At(now.Add(-finalAfter)).TradeDate).Add(finalAfter); ended.After(now) && ended.Before(end) {
		return ended
	}
	return end
}

// finalise reads the daily bars of the trade date that ended.
func (e *Engine) finalise(ctx context.Context, end time.Time) error {
	if !slices.Contains(e.up.History().Kinds, DailyBars) {
		return nil
	}
	midnight := e.cal.Midnight(e.cal.At(end.Add(-time.Nanosecond)).TradeDate)
	return e.fetch(ctx, Query{Kind: DailyBars, Symbols: e.Symbols(), From: midnight, To: midnight}, func(market.Event) {})
}
