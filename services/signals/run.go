package signals

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/wire"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Bus is what the service reads the streams with; *bus.Bus is one.
type Bus interface {
	feed.History
	Since(ctx context.Context, stream market.Stream, since time.Time) (*bus.Reader, error)
	Read(ctx context.Context, stream market.Stream, seq uint64) (*bus.Reader, error)
	Info(ctx context.Context, stream market.Stream) (bus.Info, error)
	Get(ctx context.Context, stream market.Stream, seq uint64) (bus.Msg, error)
}

var _ Bus = (*bus.Bus)(nil)

// Deps is what the service is given by the program that runs it.
type Deps struct {
	Bus     Bus
	Sink    feed.Sink
	Logger  *slog.Logger
	Metrics *Metrics         // nil: not counted
	Health  *run.Health      // nil: nobody asks
	Now     func() time.Time // nil: time.Now

	actions []reference.Action // instead of the embedded corporate actions, for tests
}

// tick is how often the service looks whether bars are due.
const tick = 200 * time.Millisecond

// margin is how far before a trade date opens its prints are looked for in the streams: venues' clocks are not ours.
const margin = time.Minute

// Run runs the service until ctx ends. At its start it reads the prints of the open trade dates, and what was published of them, from the
// streams, and stays with the same readers: so no print is missed and none counts twice, and only what is new is told.
func Run(ctx context.Context, cfg Config, deps Deps) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure signals service: %w", err)
	}
	cal, err := cfg.calendar()
	if err != nil {
		return fmt.Errorf("run signals service: %w", err)
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Metrics == nil {
		deps.Metrics = NewMetrics(nil)
	}
	cfg.Bars.Check = cfg.checks()
	pulse := deps.Health.Pulse("signals: bars", hungAfter)
	defer pulse.End()
	s := &service{cfg: cfg, deps: deps, cal: cal, log: deps.Logger.With("component", "signals"), pulse: pulse}
	deps.Health.Add(run.Check{Name: "signals", Stand: s.stand})
	s.engine = newEngine(cfg, cal, deps.Metrics, func(ctx context.Context, ev market.Event) error {
		pulse.Rest() // for as long as there is no room
		defer pulse.Beat()
		return deps.Sink.Publish(ctx, ev)
	})
	s.engine.load = s.load
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.run(gctx) })
	if cfg.Pivot.Enabled {
		g.Go(func() error { return s.runPivot(gctx) })
	}
	if cfg.Exposure.Enabled {
		g.Go(func() error { return s.runExposure(gctx) })
	}
	err = g.Wait()

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if ferr := deps.Sink.Flush(last); err == nil && ferr != nil {
		err = fmt.Errorf("flush signals service: %w", ferr)
	}
	return err
}

type service struct {
	cfg    Config
	deps   Deps
	cal    session.Calendar
	log    *slog.Logger
	engine *engine
	pulse  *run.Pulse  // of the loop that makes bars
	caught atomic.Bool // the streams were read up to where they were at the start
}

// hungAfter is for how long the loop that makes bars may not turn, its waits for NATS aside, before the process counts as hung.
const hungAfter = 2 * time.Minute

// stand tells whether bars are made of what comes.
func (s *service) stand(context.Context) run.Standing {
	if !s.caught.Load() {
		return run.Standing{Why: "the open trade dates are read back from the streams"}
	}
	return run.Standing{OK: true, Why: "bars are made of each print that is stored"}
}

// batch is a message's events, or the news that a follower has come to the end of what was stored before it began.
type batch struct {
	events []market.Event
	place  market.Place
	caught bool
}

func (s *service) run(ctx context.Context) error {
	var from time.Time
	if err := s.patiently(ctx, "find where to begin", func() (err error) {
		from, err = s.begin(ctx)
		return err
	}); err != nil {
		return ended(ctx, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	follow := func(stream market.Stream, since time.Time) <-chan batch {
		out := make(chan batch, 16)
		g.Go(func() error { return s.follow(gctx, stream, since, 0, nil, out) })
		return out
	}
	bars, trades := follow(market.Bars, from), follow(market.Trades, from)
	signals, feeds := follow(market.Signals, from), follow(market.Feeds, time.Time{})
	g.Go(func() error {
		// What we told comes before what it was made of, so that nothing is told again.
		for _, c := range []<-chan batch{signals, bars, feeds, trades} {
			if err := s.catchUp(gctx, c); err != nil {
				return err
			}
		}
		s.caught.Store(true)
		s.log.Info("bars are live", "trade_dates_from", s.engine.complete.String(), "dates_held", len(s.engine.books))
		return s.live(gctx, bars, trades, signals, feeds)
	})
	return ended(ctx, g.Wait())
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// begin finds the first trade date that is held from the start on, and when its prints began to be stored.
func (s *service) begin(ctx context.Context) (time.Time, error) {
	now := s.deps.Now()
	s.engine.now = now
	date := dateOf(s.cal, now.Add(-s.cfg.Bars.Restore))
	aged, err := s.aged(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for !aged.IsZero() && s.opens(date).Before(aged) && date.Before(dateOf(s.cal, now)) {
		date = s.next(date)
	}
	s.engine.complete = date
	return s.opens(date).Add(-margin), nil
}

// aged is when the oldest print that the stream still holds was stored; zero if none was ever dropped.
func (s *service) aged(ctx context.Context) (time.Time, error) {
	info, err := s.deps.Bus.Info(ctx, market.Trades)
	if err != nil || info.FirstSeq <= 1 {
		return time.Time{}, err
	}
	if info.Messages == 0 {
		return info.LastTime, nil
	}
	m, err := s.deps.Bus.Get(ctx, market.Trades, info.FirstSeq)
	if err != nil {
		return time.Time{}, err
	}
	return m.Time, nil
}

// opens is when the first session of a trade date does.
func (s *service) opens(d session.Date) time.Time {
	at := s.cal.TradeDateEnd(previous(s.cal, d))
	if x := s.cal.At(at); x.Kind == session.Closed {
		return x.Close
	}
	return at
}

func (s *service) next(d session.Date) session.Date { return s.cal.At(s.cal.TradeDateEnd(d)).TradeDate }

// derived is an engine whose values are told when it is flushed.
type derived interface {
	take(ev market.Event, order uint64)
	flush(ctx context.Context, now time.Time) error
}

// drive follows streams, each from its sequence on, hands what they have to the engine and has it tell what is due.
func (s *service) drive(ctx context.Context, what string, engine derived, streams []market.Stream, next map[market.Stream]uint64, want func(bus.Msg) bool) error {
	g, gctx := errgroup.WithContext(ctx)
	in := make(chan batch, 16)
	for _, stream := range streams {
		g.Go(func() error { return s.follow(gctx, stream, time.Time{}, next[stream], want, in) })
	}
	g.Go(func() error {
		t := time.NewTicker(tick)
		defer t.Stop()
		for {
			select {
			case <-gctx.Done():
				return nil
			case <-t.C:
				if err := engine.flush(gctx, s.deps.Now()); err != nil {
					return fmt.Errorf("publish %s: %w", what, err)
				}
			case b := <-in:
				for i, ev := range b.events {
					engine.take(ev, orderOf(b.place.Seq, i))
				}
			}
		}
	})
	return g.Wait()
}

// follow reads a stream through every failure, without a hole and without a double: from the sequence next on, or where that is 0, from what was
// stored since a time. Messages that are not wanted are left out; nil wants all.
func (s *service) follow(ctx context.Context, stream market.Stream, since time.Time, next uint64, want func(bus.Msg) bool, out chan<- batch) error {
	caught := false
	err := s.patiently(ctx, "read stream "+string(stream), func() error {
		r, err := s.open(ctx, stream, since, next)
		if err != nil {
			return err
		}
		defer r.Close()
		send := func(b batch) error {
			select {
			case out <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for left := r.Pending(); ; {
			if left == 0 && !caught {
				if err := send(batch{caught: true}); err != nil {
					return err
				}
				caught = true
			}
			m, err := r.Next(ctx)
			if err != nil {
				return err
			}
			if left > 0 {
				left--
			}
			if m.Pending == 0 {
				left = 0
			}
			if m.Seq < next || want != nil && !want(m) {
				continue
			}
			// What does not decode is the lander's to dead-letter; there is nothing to make a bar of.
			events, _ := wire.Decode(stream, m.Data)
			if err := send(batch{events: events, place: market.Place{Stream: stream, Seq: m.Seq, StreamTime: m.StreamTime()}}); err != nil {
				return err
			}
			next = m.Seq + 1
		}
	})
	return ended(ctx, err)
}

func (s *service) open(ctx context.Context, stream market.Stream, since time.Time, next uint64) (*bus.Reader, error) {
	if next > 0 {
		return s.deps.Bus.Read(ctx, stream, next)
	}
	return s.deps.Bus.Since(ctx, stream, since)
}

// catchUp takes what was stored before the start.
func (s *service) catchUp(ctx context.Context, in <-chan batch) error {
	for {
		s.pulse.Rest()
		select {
		case <-ctx.Done():
			return nil
		case b := <-in:
			if b.caught {
				return nil
			}
			if err := s.take(ctx, b, true); err != nil {
				return err
			}
		}
	}
}

func (s *service) live(ctx context.Context, bars, trades, signals, feeds <-chan batch) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		s.pulse.Beat()
		var b batch
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.engine.flush(ctx, s.deps.Now()); err != nil {
				return ended(ctx, fmt.Errorf("publish bars: %w", err))
			}
			for source, r := range s.engine.rules {
				s.deps.Metrics.conditions(source, r.Unknown)
			}
			continue
		case b = <-trades:
		case b = <-bars:
		case b = <-feeds:
		case b = <-signals:
		}
		if err := s.take(ctx, b, false); err != nil {
			return err
		}
	}
}

// take hands events to the engine. restoring: what is ours was told before we started; later it is what we have just told ourselves.
func (s *service) take(ctx context.Context, b batch, restoring bool) error {
	for i, ev := range b.events {
		ours := strings.HasSuffix(ev.GetMeta().Source, suffix)
		if ours && !restoring {
			continue
		}
		s.pulse.Beat()
		err := s.patiently(ctx, "read a trade date again", func() error {
			switch ev := ev.(type) {
			case *market.Trade:
				return s.engine.trade(ctx, ev, orderOf(b.place.Seq, i))
			case *market.Bar:
				if ours {
					return s.engine.restore(ctx, ev)
				}
				return s.engine.own(ctx, ev, s.deps.Now())
			case *market.Signal:
				return s.engine.restoreSignal(ctx, ev)
			case *market.FeedGap:
				s.engine.gap(ev)
			}
			return nil
		})
		if err != nil {
			return ended(ctx, err)
		}
	}
	return nil
}

// orderOf a place in a stream, as one number. A message has far fewer than a million events.
func orderOf(seq uint64, idx int) uint64 { return seq<<20 | uint64(idx) }

// load reads a trade date of a symbol again: its prints, and what was told of it.
func (s *service) load(ctx context.Context, b *symbolBook) (whole bool, _ error) {
	s.pulse.Rest() // the streams are read
	defer s.pulse.Beat()
	since := s.opens(b.date)
	aged, err := s.aged(ctx)
	if err != nil {
		return false, err
	}
	// What was told stands in any case; a date that is no longer there whole makes no new bars.
	ours := b.source + suffix
	err = s.deps.Bus.Replay(ctx, market.Bars, ours, since.Add(-margin), func(ev market.Event, _ market.Place) error {
		if bar, ok := ev.(*market.Bar); ok && bar.TradeDate == b.date.String() {
			b.restore(bar)
		}
		return nil
	}, "*", b.symbol)
	if err != nil {
		return false, err
	}
	err = s.deps.Bus.Replay(ctx, market.Signals, ours, since.Add(-margin), func(ev market.Event, _ market.Place) error {
		if sig, ok := ev.(*market.Signal); ok && sig.Name == signalSkipped && s.cal.DateOf(sig.EventTime) == b.date {
			b.restoreSignal(sig, barKey{})
		}
		return nil
	}, signalSkipped, b.symbol)
	if err != nil {
		return false, err
	}
	if !aged.IsZero() && aged.After(since) {
		s.log.Warn("prints of a trade date came that the stream no longer holds whole: its bars stay as they are", "source", b.source, "symbol", b.symbol, "trade_date", b.date.String())
		return false, nil
	}
	n := 0
	err = s.deps.Bus.Replay(ctx, market.Trades, b.source, since.Add(-margin), func(ev market.Event, at market.Place) error {
		t, ok := ev.(*market.Trade)
		if !ok || t.Symbol != b.symbol {
			return nil
		}
		x := s.engine.at(t.EventTime)
		date := x.TradeDate
		if x.Kind == session.Closed {
			date = dateOf(s.cal, t.EventTime)
		}
		if date == b.date {
			b.take(t, orderOf(at.Seq, int(at.Idx)), x)
			n++
		}
		return nil
	}, b.source, b.symbol)
	if err != nil {
		return false, err
	}
	s.log.Info("trade date read again from the stream", "source", b.source, "symbol", b.symbol, "trade_date", b.date.String(), "prints", n)
	return true, nil
}

// patiently does a step again and again until it succeeds or ctx ends.
func (s *service) patiently(ctx context.Context, step string, do func() error) error {
	bo := &backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, MaxInterval: 5 * time.Second, RandomizationFactor: 0.5, Multiplier: 2}
	bo.Reset()
	var warned time.Time
	for {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, bus.ErrClosed) {
			return err
		}
		s.pulse.Rest() // until NATS answers
		if time.Since(warned) > 5*time.Second {
			warned = time.Now()
			s.log.Warn("will be tried again", "step", step, "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(bo.NextBackOff()):
		}
	}
}
