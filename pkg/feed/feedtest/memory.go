// Package feedtest has what tests of feed services need beside a simulator: a sink that remembers, and that a later run can restore from.
package feedtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Memory is a feed.Sink and a feed.History in memory.
type Memory struct {
	mu      sync.Mutex
	events  []market.Event
	stored  []time.Time
	changed chan struct{} // closed and replaced on each event
}

var (
	_ feed.Sink    = (*Memory)(nil)
	_ feed.History = (*Memory)(nil)
)

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{changed: make(chan struct{})} }

// Publish implements feed.Sink.
func (m *Memory) Publish(ctx context.Context, ev market.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, ev)
	m.stored = append(m.stored, time.Now())
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// Flush implements feed.Sink.
func (m *Memory) Flush(context.Context) error { return nil }

// Replay implements feed.History.
func (m *Memory) Replay(_ context.Context, stream market.Stream, source string, since time.Time, fn func(market.Event, market.Place) error) error {
	m.mu.Lock()
	events, stored := slices.Clone(m.events), slices.Clone(m.stored)
	m.mu.Unlock()
	for i, ev := range events {
		if ev.Stream() != stream || ev.GetMeta().Source != source || stored[i].Before(since) {
			continue
		}
		if err := fn(ev, market.Place{Stream: stream, Seq: uint64(i + 1), StreamTime: stored[i]}); err != nil {
			return err
		}
	}
	return nil
}

// Len is the number of events so far.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

// Events are all events so far.
func (m *Memory) Events() []market.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// Of are the events of one type, in order of publishing.
func Of[T market.Event](m *Memory) []T {
	var out []T
	for _, ev := range m.Events() {
		if x, ok := ev.(T); ok {
			out = append(out, x)
		}
	}
	return out
}

// Wait returns once ok holds of the events so far, which it is asked again on each new one; false when ctx ends before.
func (m *Memory) Wait(ctx context.Context, ok func([]market.Event) bool) bool {
	for {
		m.mu.Lock()
		events, changed := slices.Clone(m.events), m.changed
		m.mu.Unlock()
		if ok(events) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}
