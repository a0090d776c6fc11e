// Package feedtest has what tests of feed services need beside a simulator: a sink that remembers, and that a later run can restore from.
package feedtest

import (
	"context"
	"maps"
	"slices"
	"strings"
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
	flushed int           // events[:flushed] are safe
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
func (m *Memory) Flush(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushed = len(m.events)
	return nil
}

// Crash loses what a killed process loses: of each subject, which is a batch and a message of its own, some of the newest events that were
// not flushed. How many is up to lose, which is given the number that there are.
func (m *Memory) Crash(lose func(n int) int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	subject := func(ev market.Event) string {
		kind, rest := ev.Tokens()
		return string(ev.Stream()) + " " + kind + "." + strings.Join(rest, ".")
	}
	left := map[string]int{}
	for _, ev := range m.events[m.flushed:] {
		left[subject(ev)]++
	}
	for _, s := range slices.Sorted(maps.Keys(left)) {
		left[s] -= lose(left[s])
	}
	events, stored := m.events[:m.flushed:m.flushed], m.stored[:m.flushed:m.flushed]
	for i, ev := range m.events[m.flushed:] {
		if s := subject(ev); left[s] > 0 {
			left[s]--
			events, stored = append(events, ev), append(stored, m.stored[m.flushed+i])
		}
	}
	m.events, m.stored, m.flushed = events, stored, len(events)
}

// Replay implements feed.History.
func (m *Memory) Replay(_ context.Context, stream market.Stream, source string, since time.Time, fn func(market.Event, market.Place) error, tokens ...string) error {
	m.mu.Lock()
	events, stored := slices.Clone(m.events), slices.Clone(m.stored)
	m.mu.Unlock()
	for i, ev := range events {
		if ev.Stream() != stream || source != "" && ev.GetMeta().Source != source || stored[i].Before(since) {
			continue
		}
		if _, rest := ev.Tokens(); len(tokens) > 0 && !slices.EqualFunc(tokens, rest, func(want, have string) bool { return want == "*" || want == have }) {
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

// Killed is a sink that ends a run by calling kill when n events were published, and takes none after it: a process that is killed.
type Killed struct {
	*Memory
	Kill context.CancelFunc

	mu   sync.Mutex
	left int
}

// NewKilled passes n events on to m.
func NewKilled(m *Memory, n int, kill context.CancelFunc) *Killed {
	return &Killed{Memory: m, Kill: kill, left: n}
}

// Publish implements feed.Sink.
func (k *Killed) Publish(ctx context.Context, ev market.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left == 0 {
		k.Kill()
		return context.Canceled
	}
	k.left--
	return k.Memory.Publish(ctx, ev)
}

// Flush implements feed.Sink: after the kill nothing becomes safe any more.
func (k *Killed) Flush(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left == 0 {
		return context.Canceled
	}
	return k.Memory.Flush(ctx)
}

// Diff compares the facts of two memories, states of feeds and the ledger left out: what is only in want, what only in got, and what got has
// twice.
func Diff(want, got *Memory) (missing, extra, doubled []string) {
	facts := func(m *Memory) map[string]int {
		out := map[string]int{}
		for _, ev := range m.Events() {
			if ev.Stream() != market.Feeds {
				out[string(ev.Stream())+" "+ev.Identity()]++
			}
		}
		return out
	}
	w, g := facts(want), facts(got)
	for id := range w {
		if g[id] == 0 {
			missing = append(missing, id)
		}
	}
	for id, n := range g {
		if w[id] == 0 {
			extra = append(extra, id)
		}
		if n > 1 {
			doubled = append(doubled, id)
		}
	}
	slices.Sort(missing)
	slices.Sort(extra)
	slices.Sort(doubled)
	return missing, extra, doubled
}
