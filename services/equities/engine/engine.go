package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
)

// Engine runs one upstream. Its methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	up      Upstream
	f       *feed.Feed
	history feed.History // what was published; nil in some tests
	cal     session.Calendar
	http    *http.Client

	revs *revisions
	jobs *jobs
	pace pacer

	symbols symbols

	ahead atomic.Int32 // events in a row with a time that cannot be
	known *feed.Seen   // of an on-demand backfill: what was published of the unit; nil otherwise

	lastTick time.Time // of trades and quotes before we started
	lastBar  time.Time // of bars
	mu       sync.Mutex
	// told has the symbols that were published before we started, or removed since, with the time up to which; zero where only their
	// history was owed.
	told map[string]time.Time
}

// New makes an engine; it starts nothing.
func New(cfg Config, up Upstream, deps feed.Deps) (*Engine, error) {
	f, err := feed.New(deps.Watched(cfg.Source, ""))
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, up: up, f: f, history: deps.History, cal: cfg.Calendar,
		http: &http.Client{Timeout: 60 * time.Second, Transport: http.DefaultTransport.(*http.Transport).Clone()},
		revs: newRevisions(), jobs: newJobs(), told: map[string]time.Time{},
	}
	e.symbols.set(cfg.Symbols)
	return e, nil
}

// Run streams until ctx ends (nil), the recording ends (nil, with StopAtEnd), or nothing can cure what is wrong.
func (e *Engine) Run(ctx context.Context) error {
	defer e.http.CloseIdleConnections()
	if err := e.restore(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("start feed %s: %w", e.cfg.Source, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parent := ctx
	worked := make(chan error, 1)
	go func() {
		err := e.work(ctx)
		if err != nil {
			cancel(err)
		}
		worked <- err
	}()
	err := e.f.Run(ctx, e.policy(), func(ctx context.Context, s *feed.Session) error {
		defer e.symbols.disconnected()
		e.ahead.Store(0)
		return e.up.Stream(ctx, s, e)
	})
	if err == nil && parent.Err() == nil {
		e.jobs.finish() // the input ended: what it owes is still fetched
	} else {
		cancel(err)
	}
	err = errors.Join(err, <-worked)
	// What was emitted goes out even though ctx has ended.
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 9*time.Second)
	defer stop()
	if ferr := e.f.Flush(last); ferr != nil {
		err = errors.Join(err, fmt.Errorf("flush what was emitted: %w", ferr))
	}
	if err != nil {
		return fmt.Errorf("equities feed %s: %w", e.cfg.Source, err)
	}
	return nil
}

// Feed is the upstream's feed: for Reject and Ignore, its clock and its logger.
func (e *Engine) Feed() *feed.Feed { return e.f }

// HTTP is the client for the upstream's REST calls.
func (e *Engine) HTTP() *http.Client { return e.http }

// StopAtEnd reports whether the end of a recording ends the upstream.
func (e *Engine) StopAtEnd() bool { return e.cfg.StopAtEnd }

// Live publishes an event of the stream, whose RecvTime is set, and reports whether it was new. from names the stream in dead letters, raw is what the event came from.
// A bar gets its revision, and one that says nothing new is dropped.
func (e *Engine) Live(ctx context.Context, ev market.Event, from string, raw []byte) (bool, error) {
	if symbol := symbolOf(ev); symbol != "" && !e.symbols.wants(symbol) {
		e.f.Ignore("symbol_removed") // under way while it was unsubscribed
		return false, nil
	}
	m := ev.GetMeta()
	if ahead := m.EventTime.Sub(m.RecvTime); ahead <= maxAhead {
		e.ahead.Store(0)
	} else if n := e.ahead.Add(1); n >= aheadInARow {
		err := fmt.Errorf("%w: %d events in a row, this one by %s", ErrClock, n, ahead.Round(time.Second))
		return false, errors.Join(e.f.Reject(ctx, from, market.ReasonFuture, err, raw), err)
	}
	if b, ok := ev.(*market.Bar); ok {
		return e.emitBar(ctx, b, b.RecvTime, from, raw)
	}
	return e.f.Emit(ctx, ev, from, raw)
}

// emitBar publishes a bar that was true at asOf as its next revision, if it says anything new.
func (e *Engine) emitBar(ctx context.Context, b *market.Bar, asOf time.Time, from string, raw []byte) (bool, error) {
	// Emit sets the source too, but a bar without one is not valid, and one that is not valid gets no revision: each update was taken for the first
	// telling once more, and dropped.
	b.Source = e.f.Source()
	before, known := e.revs.state(b)
	if b.Validate() == nil && !e.revs.next(b, asOf) {
		return false, nil
	}
	fresh, err := e.f.Emit(ctx, b, from, raw)
	if err != nil {
		e.revs.undo(b, before, known)
	}
	return fresh, err
}

// ErrClock is the error of a stream whose clock, or ours, is wrong: nothing of it can be published.
var ErrClock = errors.New("the venue's clock is ahead of ours; check both")

const (
	// maxAhead is more than any clock that is kept differs.
	maxAhead = time.Minute
	// aheadInARow events end the connection: one may be a slip of the venue's.
	aheadInARow = 20
)

// Alive tells the session of a sign of life. A stream of which every event is refused for its time is none: the hole begins with it.
func (e *Engine) Alive(s *feed.Session, at time.Time) {
	if e.ahead.Load() == 0 {
		s.Alive(at)
	}
}

func symbolOf(ev market.Event) string {
	switch ev := ev.(type) {
	case *market.Trade:
		return ev.Symbol
	case *market.Quote:
		return ev.Symbol
	case *market.Bar:
		return ev.Symbol
	case *market.Halt:
		return ev.Symbol
	case *market.Imbalance:
		return ev.Symbol
	}
	return ""
}

// Ready says that the venue accepted us and streams these symbols. What was wanted and is not among them has a line of the ledger each, with the reason why.
func (e *Engine) Ready(ctx context.Context, s *feed.Session, served []string, why string) error {
	if err := e.notServed(ctx, served, why); err != nil {
		return err
	}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	// The lines of the ledger must be stored before anything newer than their holes is: a crash would hide the hole otherwise.
	if err := e.f.Flush(ctx); err != nil {
		return fmt.Errorf("store the ledger: %w", err)
	}
	e.symbols.serve(served)
	e.queue()
	return nil
}

// queue hands the open lines of what is served to the worker.
func (e *Engine) queue() {
	h := e.up.History()
	var due []market.FeedGap
	for _, g := range e.f.OpenGaps() {
		if g.State != market.GapOpen || g.Reason == reasonBackfill {
			continue // settled as far as it can be; or the operator's
		}
		if g.Symbol == "*" || e.symbols.isServed(g.Symbol) || !e.symbols.wants(g.Symbol) {
			due = append(due, g)
		}
	}
	e.jobs.connected(due, e.f.Now(), h.Trails, h.Delay)
}

// policy of the stream. Mute is not quiet: silence is judged by the session, and from its opening on.
func (e *Engine) policy() feed.Policy {
	p := feed.DefaultPolicy()
	delay := e.up.History().Delay
	p.Due = func(now time.Time) (time.Duration, string) { return e.due(now.Add(-delay)) }
	p.Stale = func(now time.Time) time.Duration {
		limit, _ := p.Due(now)
		return limit
	}
	return p
}

// due is for how long silence is in order; 0 for ever, with a reason where that is the calendar's.
func (e *Engine) due(now time.Time) (limit time.Duration, why string) {
	x := e.cal.At(now)
	switch x.Kind {
	case session.Closed:
		return 0, "the market is closed until " + x.Close.UTC().Format(time.RFC3339)
	case session.Regular:
		limit = e.cfg.Stale.Regular
	case session.Pre, session.After:
		limit = e.cfg.Stale.Extended
	case session.Overnight:
		limit = e.cfg.Stale.Overnight
	}
	if limit > 0 && now.Sub(x.Open) <= limit {
		return 0, fmt.Sprintf("the session opened at %s; silence is in order for %s", x.Open.UTC().Format(time.RFC3339), limit) // it was the closed market's
	}
	return limit, ""
}
