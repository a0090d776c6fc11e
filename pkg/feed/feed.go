// Package feed is what every upstream adapter needs: one way to connect, lose, wait and come again; to tell mute from quiet; to refuse
// bad input without stopping; to publish each fact once although upstreams tell it twice; and to keep the ledger of what was missed.
//
// An adapter is a function that speaks one upstream's protocol (a Session's life) plus decoders. Everything else is here:
//
//	f, err := feed.New(feed.Config{Source: "alpaca", Sink: publisher, History: bus, ...})
//	err = f.Restore(ctx, since, market.Trades, market.Bars)        // what was published before we started
//	err = f.Run(ctx, feed.DefaultPolicy(), func(ctx context.Context, s *feed.Session) error {
//		conn, err := f.Dial(ctx, feed.WebsocketConfig{URL: url})
//		...                                                        // log in, subscribe
//		s.Ready(ctx)                                               // accepted: the feed counts as connected
//		for {
//			frame, err := conn.Read(ctx)
//			s.Alive(frame.Recv)                                    // resets the staleness clock
//			... decode; f.Emit(ctx, ev) or f.Reject(ctx, ...)
//		}
//	})
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Sink takes the events that a feed publishes; bus.Publisher is one.
type Sink interface {
	// Publish hands an event over. It blocks while the publisher's bounded queue is full, so that a slow broker slows the reader
	// instead of growing memory, and fails only when ctx ends or the publisher is closed.
	Publish(ctx context.Context, ev market.Event) error
	// Flush waits until everything published so far is stored by the broker.
	Flush(ctx context.Context) error
}

// History reads back what a source has published; bus.Bus is one.
type History interface {
	// Replay calls fn for each event of source in stream that was stored since the time (zero: from the beginning), oldest first,
	// up to the end of the stream as it stands at the call. tokens, if any are given, select by subject: they are the tokens behind the
	// kind (market.Event.Tokens), "*" for any; an empty source, of a stream whose subjects do not name it, is every source.
	Replay(ctx context.Context, stream market.Stream, source string, since time.Time, fn func(market.Event, market.Place) error, tokens ...string) error
}

// Config of a Feed.
type Config struct {
	// Source is the name on every event and in the ledger: "alpaca"; "sim-alpaca" where a simulator is behind it.
	Source  string
	Sink    Sink
	History History // may be nil in tests: nothing is restored
	Logger  *slog.Logger
	Metrics *Metrics // nil: not counted
	// Health, if any, is told whether data moves: as one of Group, of which one is enough (empty: this one must), or aside.
	Health *run.Health
	Group  string
	Aside  bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Policy, if any, changes the policy that Run and CallPatiently use.
	Policy func(Policy) Policy
	// FutureSkew is how far ahead of our clock a venue's time may be; 0 means 2 s.
	FutureSkew time.Duration
	// RejectLogEvery limits the log to one line per reason and interval; 0 means a minute.
	RejectLogEvery time.Duration
	// RejectKeepPerMinute bounds the dead letters kept per reason and minute (the rest is counted only); 0 means 20.
	RejectKeepPerMinute int
}

// Feed is the state of one upstream: what it told already, what it owes, how often it lied.
type Feed struct {
	cfg    Config
	log    *slog.Logger
	seen   *Seen
	ledger *Ledger
	life   life
	calls  *received

	mu      sync.Mutex
	rejects map[market.Reason]*rejectState
	lastAt  time.Time // event time of the newest event emitted
	counted map[market.Stream]*counted
}

// New checks the configuration and makes a feed; it starts nothing.
func New(cfg Config) (*Feed, error) {
	if cfg.Source == "" {
		return nil, errors.New("make feed: source is empty; name the upstream")
	}
	if cfg.Sink == nil {
		return nil, fmt.Errorf("make feed %s: no sink to publish to", cfg.Source)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.FutureSkew == 0 {
		cfg.FutureSkew = 2 * time.Second
	}
	if cfg.RejectLogEvery == 0 {
		cfg.RejectLogEvery = time.Minute
	}
	if cfg.RejectKeepPerMinute == 0 {
		cfg.RejectKeepPerMinute = 20
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	f := &Feed{
		cfg: cfg, log: cfg.Logger.With("source", cfg.Source),
		seen: NewSeen(DefaultSeen), ledger: newLedger(cfg.Source), calls: cfg.Metrics.received(cfg.Source),
		rejects: map[market.Reason]*rejectState{}, counted: map[market.Stream]*counted{},
	}
	cfg.Health.Add(run.Check{Name: "feed " + cfg.Source, Group: cfg.Group, Aside: cfg.Aside, Stand: f.stand})
	return f, nil
}

// Source returns the name on the feed's events.
func (f *Feed) Source() string { return f.cfg.Source }

// Now returns the feed's clock.
func (f *Feed) Now() time.Time { return f.cfg.Now().UTC() }

// Logger returns the feed's logger.
func (f *Feed) Logger() *slog.Logger { return f.log }

// Restore reads back what this source published into the streams since the time, so that what an upstream tells again after our
// restart is recognised, and reopens the gaps that the last run left open. Call it once, before Run.
func (f *Feed) Restore(ctx context.Context, since time.Time, streams ...market.Stream) error {
	if f.cfg.History == nil {
		return nil
	}
	for _, st := range streams {
		n := 0
		err := f.cfg.History.Replay(ctx, st, f.cfg.Source, since, func(ev market.Event, _ market.Place) error {
			f.remember(ev)
			f.noteTime(ev.GetMeta().EventTime)
			n++
			return nil
		})
		if err != nil {
			return fmt.Errorf("restore %s from stream %s: %w", f.cfg.Source, st, err)
		}
		if n > 0 {
			f.log.Info("restored what was published before", "stream", string(st), "events", n)
		}
	}
	err := f.cfg.History.Replay(ctx, market.Feeds, f.cfg.Source, time.Time{}, func(ev market.Event, _ market.Place) error {
		if g, ok := ev.(*market.FeedGap); ok {
			f.ledger.restore(g)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore the gap ledger of %s: %w", f.cfg.Source, err)
	}
	return nil
}

// Has reports whether the fact was published already (by this run, or before it and restored).
func (f *Feed) Has(ev market.Event) bool {
	buf := identities.Get().(*[]byte)
	defer identities.Put(buf)
	*buf = market.AppendIdentity((*buf)[:0], ev)
	return f.seen.Has(*buf)
}

// identities are buffers to write identities into: one an event would be much garbage.
var identities = sync.Pool{New: func() any { return new([]byte) }}

// remember takes note of an event that was published.
func (f *Feed) remember(ev market.Event) {
	buf := identities.Get().(*[]byte)
	defer identities.Put(buf)
	*buf = market.AppendIdentity((*buf)[:0], ev)
	f.seen.Add(*buf)
}

// LastEventTime is the newest event time that this source published; zero when it never did.
func (f *Feed) LastEventTime() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastAt
}

func (f *Feed) noteTime(t time.Time) {
	f.mu.Lock()
	if t.After(f.lastAt) {
		f.lastAt = t
	}
	f.mu.Unlock()
}

// published takes note of an event that the sink took.
func (f *Feed) published(st market.Stream, m *market.Meta) {
	f.mu.Lock()
	if m.EventTime.After(f.lastAt) {
		f.lastAt = m.EventTime
	}
	x := f.counted[st]
	if x == nil {
		x = f.cfg.Metrics.of(f.cfg.Source, st)
		f.counted[st] = x
	}
	f.mu.Unlock()
	x.event(m)
}

// Emit publishes an event once: it fills in the source, validates (a bad event becomes a dead letter with its frame, and is no error),
// drops what was told before, cuts the time of receipt to whole microseconds, and hands the rest to the sink. It reports whether the event was new. frame is the raw bytes that the
// event came from, kept only when the event is refused; from says where they were read (a channel, a path).
func (f *Feed) Emit(ctx context.Context, ev market.Event, from string, frame []byte) (bool, error) {
	m := ev.GetMeta()
	m.Source = f.cfg.Source
	if m.RecvTime.IsZero() {
		m.RecvTime = f.Now()
	}
	m.RecvTime = m.RecvTime.Truncate(time.Microsecond) // our clock tells no more, and its nanoseconds would take a byte of each row
	err := ev.Validate()
	if err == nil {
		err = market.CheckFuture(ev, f.cfg.FutureSkew)
	}
	if err != nil {
		return false, f.Reject(ctx, from, ReasonOf(err, ReasonMalformed), err, frame)
	}
	id := identities.Get().(*[]byte)
	defer identities.Put(id)
	*id = market.AppendIdentity((*id)[:0], ev)
	if !f.seen.Add(*id) {
		f.cfg.Metrics.duplicate(f.cfg.Source, ev.Stream())
		return false, nil
	}
	if err := f.cfg.Sink.Publish(ctx, ev); err != nil {
		// A session that ends while the sink blocks: the event was not taken, and backfill must not find it known.
		f.seen.Remove(*id)
		return false, fmt.Errorf("publish %s event of %s: %w", ev.Stream(), f.cfg.Source, err)
	}
	f.published(ev.Stream(), m)
	return true, nil
}

// Flush waits until everything emitted is stored.
func (f *Feed) Flush(ctx context.Context) error { return f.cfg.Sink.Flush(ctx) }
