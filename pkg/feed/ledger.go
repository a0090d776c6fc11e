package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Ledger is the list of what a feed missed. A line is opened when the feed is lost and changed as backfill brings rows; every change is
// published to FEEDS, so the ledger survives us and can be queried (table feed_gaps).
type Ledger struct {
	source string
	mu     sync.Mutex
	open   map[string]market.FeedGap
}

func newLedger(source string) *Ledger {
	return &Ledger{source: source, open: map[string]market.FeedGap{}}
}

func (l *Ledger) restore(g *market.FeedGap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.open[g.GapID]; ok && old.Rev > g.Rev {
		return
	}
	if g.State == market.GapOpen {
		l.open[g.GapID] = *g
	} else {
		delete(l.open, g.GapID)
	}
}

// opened is how many lines are not settled.
func (l *Ledger) opened() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// OpenGaps lists the gaps that are not settled, oldest first.
func (f *Feed) OpenGaps() []market.FeedGap {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	gaps := make([]market.FeedGap, 0, len(f.ledger.open))
	for _, g := range f.ledger.open {
		gaps = append(gaps, g)
	}
	slices.SortFunc(gaps, func(a, b market.FeedGap) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return strings.Compare(a.GapID, b.GapID)
	})
	return gaps
}

// OpenGap writes a new line: from the time on, symbol ("*" for all) was missed. to may be zero while the end is unknown.
func (f *Feed) OpenGap(ctx context.Context, symbol string, from, to time.Time, reason string) (market.FeedGap, error) {
	now := f.Now()
	g := market.FeedGap{
		Meta:   market.Meta{Source: f.cfg.Source, EventTime: now, RecvTime: now},
		GapID:  fmt.Sprintf("%s-%s-%d", f.cfg.Source, symbol, now.UnixNano()),
		Symbol: symbol, From: from.UTC(), To: to, Reason: reason, State: market.GapOpen,
	}
	return g, f.writeGap(ctx, g)
}

// SettleGap changes a line: its end, its state and how many rows backfill recovered for it.
func (f *Feed) SettleGap(ctx context.Context, g market.FeedGap, to time.Time, state market.GapState, recovered uint64) error {
	now := f.Now()
	g.Meta = market.Meta{Source: f.cfg.Source, EventTime: now, RecvTime: now, Rev: g.Rev + 1}
	g.To, g.State, g.Recovered = to.UTC(), state, recovered
	return f.writeGap(ctx, g)
}

func (f *Feed) writeGap(ctx context.Context, g market.FeedGap) error {
	if err := g.Validate(); err != nil {
		return fmt.Errorf("write gap of %s: %w", f.cfg.Source, err)
	}
	f.ledger.restore(&g)
	f.cfg.Metrics.gap(f.cfg.Source, g.State)
	if err := f.cfg.Sink.Publish(ctx, &g); err != nil {
		return fmt.Errorf("write gap of %s: %w", f.cfg.Source, err)
	}
	return nil
}

// State publishes a change of the feed's state.
func (f *Feed) State(ctx context.Context, state market.FeedState, detail string) error {
	now := f.Now()
	f.cfg.Metrics.state(f.cfg.Source, state)
	ev := &market.FeedEvent{Meta: market.Meta{Source: f.cfg.Source, EventTime: now, RecvTime: now}, State: state, Detail: detail}
	if err := f.cfg.Sink.Publish(ctx, ev); err != nil {
		return fmt.Errorf("publish state %s of feed %s: %w", state, f.cfg.Source, err)
	}
	return nil
}
