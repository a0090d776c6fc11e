package equities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

const (
	// holeMargin is how far before a hole the history is read anew: the tapes allow a print to be told ten seconds late.
	holeMargin = 30 * time.Second
	// recentDelay is how old history must be on a plan without recent data, with some room.
	recentDelay = 15*time.Minute + 15*time.Second
	// joinHoles that are so near to each other are fetched in one.
	joinHoles = 10 * time.Minute
	// firstRetry and lastRetry bound the wait after a failed backfill.
	firstRetry, lastRetry = 5 * time.Second, 5 * time.Minute
	// triesAtEnd is how often backfill is tried of a recording, which will not get better by waiting.
	triesAtEnd = 5
	// finalAfter the end of a trade date its daily bars are read once more, final.
	finalAfter = 16 * time.Minute
)

// job is a line of the ledger that is to be settled.
type job struct {
	gap       market.FeedGap
	to        time.Time
	notBefore time.Time
	tries     int
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

// connected queues the gaps that end with this connection.
func (j *jobs) connected(gaps []market.FeedGap, now time.Time, after time.Duration) {
	j.mu.Lock()
	for _, g := range gaps {
		if j.queued[g.GapID] {
			continue
		}
		to := g.To
		if to.IsZero() {
			to = now
		}
		j.queued[g.GapID] = true
		j.list = append(j.list, job{gap: g, to: to, notBefore: now.Add(after)})
	}
	j.mu.Unlock()
	j.poke()
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
	return a.gap.Reason != reasonHistory && b.gap.Reason != reasonHistory && b.gap.From.Sub(a.to) <= joinHoles
}

// work fills holes until ctx ends or finish was called and all is done.
func (s *service) work(ctx context.Context) error {
	nextFinal := s.nextFinal(s.f.Now())
	for {
		now := s.f.Now()
		batch, pause, done := s.jobs.take(now)
		switch {
		case len(batch) > 0:
			if err := s.fill(ctx, batch); err != nil {
				return err
			}
			continue
		case done, ctx.Err() != nil:
			return nil
		case !s.cfg.StopAtEnd && !now.Before(nextFinal):
			if err := s.finalise(ctx, nextFinal.Add(-finalAfter)); err != nil && ctx.Err() == nil {
				s.f.Logger().Warn("daily bars of the closed session could not be read", "err", err)
			}
			nextFinal = s.nextFinal(now)
		}
		timer := time.NewTimer(min(max(pause, time.Millisecond), max(nextFinal.Sub(now), time.Millisecond), time.Hour))
		select {
		case <-ctx.Done():
		case <-s.jobs.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// nextFinal is when the daily bars of the trade date that runs at the time, or of the next, are final.
func (s *service) nextFinal(now time.Time) time.Time {
	end := s.cal.TradeDateEnd(s.cal.At(now).TradeDate).Add(finalAfter)
	if ended := s.cal.TradeDateEnd(s.cal.At(now.Add(-finalAfter)).TradeDate).Add(finalAfter); ended.After(now) && ended.Before(end) {
		return ended
	}
	return end
}

// finalise reads the daily bars of the trade date that ended.
func (s *service) finalise(ctx context.Context, end time.Time) error {
	midnight := s.cal.Midnight(s.cal.At(end.Add(-time.Nanosecond)).TradeDate)
	return s.fetch(ctx, history{name: "bars", interval: market.Interval1d, symbols: s.cfg.Symbols, from: midnight, to: midnight}, func(market.Event) {})
}

// fill fetches what the batch missed and settles its lines of the ledger. What fails is queued again.
func (s *service) fill(ctx context.Context, batch []job) error {
	from, to := batch[0].gap.From, batch[0].to
	for _, x := range batch {
		if x.to.After(to) {
			to = x.to
		}
	}
	recovered := make([]uint64, len(batch))
	count := func(ev market.Event) {
		at := ev.GetMeta().EventTime
		for i, x := range batch {
			if !at.Before(x.gap.From) && !at.After(x.to) {
				recovered[i]++
				return
			}
		}
		recovered[0]++ // the margins
	}
	log := s.f.Logger().With("from", from, "to", to, "reason", batch[0].gap.Reason)
	err := s.fetchAll(ctx, batch[0], from, to, count)
	if ctx.Err() != nil {
		return nil // the ledger still has the lines
	}
	now := s.f.Now()
	if errors.Is(err, errRecent) {
		if upTo := now.Add(-recentDelay); upTo.After(from) {
			// An error of this one is met again with the rest, which is fetched later.
			_ = s.fetchAll(ctx, batch[0], from, upTo, count)
		}
		log.Info("backfill waits for what the plan does not let us read yet", "until", to.Add(recentDelay))
		for _, x := range batch {
			x.notBefore = to.Add(recentDelay)
			if !x.notBefore.After(now) {
				x.notBefore = now.Add(time.Minute)
			}
			s.jobs.again(x)
		}
		return nil
	}
	if err != nil {
		tries := batch[0].tries
		if s.cfg.StopAtEnd && (feed.IsRefused(err) || tries+1 >= triesAtEnd) {
			return fmt.Errorf("backfill: %w", err)
		}
		pause := min(firstRetry<<min(tries, 10), lastRetry)
		log.Warn("backfill failed, will be tried again", "err", err, "wait", pause)
		for _, x := range batch {
			x.tries, x.notBefore = x.tries+1, now.Add(pause)
			s.jobs.again(x)
		}
		return nil
	}
	// What was recovered is stored before the ledger says so.
	if err := s.f.Flush(ctx); err != nil {
		return ignoreEnd(ctx, fmt.Errorf("store what backfill brought: %w", err))
	}
	for i, x := range batch {
		if err := s.settle(ctx, x, recovered[i]); err != nil {
			return ignoreEnd(ctx, err)
		}
		log.Info("hole filled", "recovered", recovered[i])
	}
	return nil
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *service) settle(ctx context.Context, x job, recovered uint64) error {
	if err := s.f.SettleGap(ctx, x.gap, x.to, market.GapFilled, recovered); err != nil {
		return err
	}
	s.jobs.settled(x.gap.GapID)
	if x.gap.Reason == reasonHistory {
		return nil
	}
	if s.cfg.Alpaca.Halts {
		if err := s.giveUp(ctx, x.gap.From, x.to, reasonUntold); err != nil {
			return err
		}
	}
	if oldest := s.f.Now().Add(-s.cfg.Backfill.MaxHole); x.gap.From.Before(oldest) {
		end := oldest
		if x.to.Before(end) {
			end = x.to
		}
		return s.giveUp(ctx, x.gap.From, end, fmt.Sprintf("trades and quotes older than backfill.max_hole (%s)", s.cfg.Backfill.MaxHole))
	}
	return nil
}

// giveUp writes a line for what no history brings back.
func (s *service) giveUp(ctx context.Context, from, to time.Time, reason string) error {
	g, err := s.f.OpenGap(ctx, "*", from, to, reason)
	if err != nil {
		return err
	}
	return s.f.SettleGap(ctx, g, to, market.GapGivenUp, 0)
}

// fetchAll reads all kinds of history of a hole.
func (s *service) fetchAll(ctx context.Context, x job, from, to time.Time, count func(market.Event)) error {
	now := s.f.Now()
	symbols := s.cfg.Symbols
	var daily, minute, ticks time.Time
	if x.gap.Reason == reasonHistory {
		if x.gap.Symbol != "*" {
			if !slices.Contains(symbols, x.gap.Symbol) {
				return nil // no longer configured: nothing is owed
			}
			symbols = []string{x.gap.Symbol}
		}
		// What is configured now, not when the line was written. Validate has read these.
		daily, _ = fromTime(s.cfg.Backfill.DailyFrom, now)
		minute, _ = fromTime(s.cfg.Backfill.MinuteFrom, now)
		ticks, _ = fromTime(s.cfg.Backfill.TicksFrom, now)
	} else {
		margin := holeMargin
		if x.gap.Reason == reasonRestart {
			margin = restartMargin
		}
		minute, ticks = from.Add(-margin), from.Add(-margin)
		if oldest := now.Add(-s.cfg.Backfill.MaxHole); ticks.Before(oldest) {
			ticks = oldest
		}
		daily = s.cal.Midnight(s.cal.DateOf(from))
	}
	queries := []history{
		{name: "bars", interval: market.Interval1d, from: daily},
		{name: "bars", interval: market.Interval1m, from: minute.Truncate(time.Minute)},
		{name: "trades", from: ticks},
	}
	if s.cfg.Alpaca.Quotes {
		queries = append(queries, history{name: "quotes", from: ticks})
	}
	for _, q := range queries {
		q.symbols, q.to = symbols, to
		if q.from.IsZero() || !q.from.Before(q.to) {
			continue
		}
		if err := s.fetch(ctx, q, count); err != nil {
			return err
		}
	}
	return nil
}
