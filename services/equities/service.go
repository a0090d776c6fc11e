package equities

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
)

// service is one Alpaca feed.
type service struct {
	cfg  Config
	f    *feed.Feed
	cal  session.Calendar
	http *http.Client

	revs  *revisions
	fates *fates
	jobs  *jobs

	published map[string]bool // symbols that had events before we started
	lastTick  time.Time       // of trades and quotes before we started
	lastBar   time.Time
}

// restartMargin is how far before the newest event that we find published a restart fetches anew: events of other subjects may have been
// under way to the broker when we were killed, and prints may be told late.
const restartMargin = 2 * time.Minute

// Run streams until ctx ends (nil), the recording ends (nil, with StopAtEnd), or nothing can cure what is wrong.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s, err := newService(cfg, deps)
	if err != nil {
		return fmt.Errorf("start equities: %w", err)
	}
	if err := s.restore(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("start equities: %w", err)
	}
	return s.run(ctx)
}

func newService(cfg Config, deps feed.Deps) (*service, error) {
	f, err := feed.New(deps.Config(cfg.Source))
	if err != nil {
		return nil, err
	}
	cal, err := cfg.calendar()
	if err != nil {
		return nil, err
	}
	return &service{
		cfg: cfg, f: f, cal: cal, http: &http.Client{Timeout: 60 * time.Second, Transport: http.DefaultTransport.(*http.Transport).Clone()},
		revs: newRevisions(), fates: newFates(), jobs: newJobs(), published: map[string]bool{},
	}, nil
}

// restore reads back what was published and opens the lines of the ledger that this start owes: the time since the last event, and the
// history of symbols that were never seen.
func (s *service) restore(ctx context.Context) error {
	if err := s.f.Restore(ctx, time.Time{}); err != nil { // the ledger alone
		return err
	}
	since := s.f.Now().Add(-s.cfg.Backfill.Restore)
	for _, g := range s.f.OpenGaps() {
		if g.Reason != reasonHistory && g.From.Before(since) {
			since = g.From.Add(-restartMargin)
		}
	}
	note := func(symbol string, at time.Time, last *time.Time) {
		s.published[symbol] = true
		if at.After(*last) {
			*last = at
		}
	}
	err := errors.Join(
		s.f.RestoreEach(ctx, since, market.Trades, func(ev market.Event) {
			if t, ok := ev.(*market.Trade); ok {
				note(t.Symbol, t.EventTime, &s.lastTick)
				if t.Action == market.TradeCorrection {
					s.fates.addCorrection(t)
				}
			}
		}),
		s.f.RestoreEach(ctx, since, market.Quotes, func(ev market.Event) {
			if q, ok := ev.(*market.Quote); ok {
				note(q.Symbol, q.EventTime, &s.lastTick)
			}
		}),
		s.f.RestoreEach(ctx, since, market.Halts, func(market.Event) {}),
		// Bars from the beginning: a revision must follow the last one, however old.
		s.f.RestoreEach(ctx, time.Time{}, market.Bars, func(ev market.Event) {
			if b, ok := ev.(*market.Bar); ok {
				note(b.Symbol, b.EventTime, &s.lastBar)
				s.revs.restore(b)
			}
		}),
	)
	if err != nil {
		return err
	}
	return s.openStart(ctx)
}

// Reasons of gaps that a start opens.
const (
	reasonHistory = "history" // of a symbol that was never published
	reasonRestart = "restart" // from the last event before we started
	reasonUntold  = "no history exists: statuses, lulds"
)

func (s *service) openStart(ctx context.Context) error {
	last := s.lastTick
	if last.IsZero() {
		last = s.lastBar
	}
	if !last.IsZero() {
		if _, err := s.f.OpenGap(ctx, "*", last, time.Time{}, reasonRestart); err != nil {
			return err
		}
	}
	owed := map[string]bool{}
	for _, g := range s.f.OpenGaps() {
		if g.Reason == reasonHistory {
			owed[g.Symbol] = true
		}
	}
	now := s.f.Now()
	from := now
	for _, text := range []string{s.cfg.Backfill.DailyFrom, s.cfg.Backfill.MinuteFrom, s.cfg.Backfill.TicksFrom} {
		if t, err := fromTime(text, now); err == nil && !t.IsZero() && t.Before(from) {
			from = t
		}
	}
	if len(s.published) == 0 && len(owed) == 0 {
		_, err := s.f.OpenGap(ctx, "*", from, time.Time{}, reasonHistory)
		return err
	}
	for _, symbol := range s.cfg.Symbols {
		if !s.published[symbol] && !owed[symbol] && !owed["*"] {
			if _, err := s.f.OpenGap(ctx, symbol, from, time.Time{}, reasonHistory); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *service) run(ctx context.Context) error {
	defer s.http.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parent := ctx
	worked := make(chan error, 1)
	go func() {
		err := s.work(ctx)
		if err != nil {
			cancel(err)
		}
		worked <- err
	}()
	err := s.f.Run(ctx, s.policy(), s.session)
	if err == nil && parent.Err() == nil {
		s.jobs.finish() // the input ended: what it owes is still fetched
	} else {
		cancel(err)
	}
	err = errors.Join(err, <-worked)
	// What was emitted goes out even though ctx has ended.
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 9*time.Second)
	defer stop()
	if ferr := s.f.Flush(last); ferr != nil {
		err = errors.Join(err, fmt.Errorf("flush what was emitted: %w", ferr))
	}
	if err != nil {
		return fmt.Errorf("equities feed %s: %w", s.cfg.Source, err)
	}
	return nil
}

// policy of the stream. Mute is not quiet: silence is judged by the session, and from its opening on.
func (s *service) policy() feed.Policy {
	p := feed.DefaultPolicy()
	p.Stale = func(now time.Time) time.Duration {
		x := s.cal.At(now)
		var limit time.Duration
		switch x.Kind {
		case session.Regular:
			limit = s.cfg.Stale.Regular
		case session.Pre, session.After:
			limit = s.cfg.Stale.Extended
		case session.Overnight:
			limit = s.cfg.Stale.Overnight
		}
		if now.Sub(x.Open) <= limit {
			return 0 // the silence was the closed market's
		}
		return limit
	}
	return p
}
