package client

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Spec says what to subscribe to; docs/live.md describes the fields.
type Spec struct {
	Channel  live.Channel
	Symbols  []string // keys of the channel or patterns with stars
	Source   string   // a source or a pattern; empty: all
	Interval market.Interval
	MaxRate  float64 // messages a second and symbol; 0: all
	From     string  // live, snapshot, a time, or a cursor; empty: live
	Epoch    string  // of the cursor
}

// Message is an event with its place.
type Message struct {
	live.Message
	// Snapshot marks the last value of a symbol, which is told beside the order: at the beginning, where it was asked for, and on channels of things that
	// end (offers, feeds) after messages were skipped. Config.OnSnapshot is called before the first of a snapshot.
	Snapshot bool
}

// Subscription is a selection of messages, whichever connection brings them: each once and in order, after a snapshot if one was asked for.
type Subscription struct {
	c        *Client
	spec     live.Spec // normalized
	from     live.From
	replay   *replay       // nil: live
	accepted chan struct{} // closed once the gateway has accepted it, or it has ended
	over     chan struct{} // closed when it has ended
	wake     chan struct{} // there is something to hand out
	room     chan struct{} // something was handed out
	acked    sync.Once

	mu     sync.Mutex
	name   string // on the current connection; empty: none
	asking bool   // an answer to request is due
	named  bool   // was accepted once
	cursor live.Cursor
	epoch  string
	// waiting is until the snapshot that was asked for comes; shown are the messages of the last one until what follows comes.
	waiting  bool
	shown    map[live.Cursor]struct{}
	shownAt  live.Cursor
	hole     *Gap // to be told once delivery goes on
	waits    *backoff.ExponentialBackOff
	dropped  uint64
	queue    []batch
	queued   int // messages
	position live.Cursor
	finished bool
	err      error
}

// batch is what one frame brought. It is handed out in the order of its fields.
type batch struct {
	gap      *Gap
	skipped  []live.Skipped
	msgs     []live.Message
	snapshot bool
	begins   bool        // the snapshot
	live     live.Cursor // history has been caught up with
	after    live.Cursor // everything up to here has been handed out then
}

func newSubscription(c *Client) *Subscription {
	return &Subscription{
		c: c, accepted: make(chan struct{}), over: make(chan struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		waits: newBackoff(&c.cfg),
	}
}

// Subscribe subscribes and returns when the gateway has accepted it. What it refuses is a *live.Error.
func (c *Client) Subscribe(ctx context.Context, spec Spec) (*Subscription, error) {
	s := newSubscription(c)
	s.spec = live.Spec{Channel: spec.Channel, Symbols: spec.Symbols, Source: spec.Source, Interval: spec.Interval, MaxRate: spec.MaxRate}
	if err := s.spec.Normalize(); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	var err error
	if s.from, err = live.ParseFrom(spec.From); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", s, err)
	}
	if s.from.Kind == live.FromCursor {
		s.cursor, s.position, s.epoch = s.from.Cursor, s.from.Cursor, spec.Epoch
	}
	if err := c.add(ctx, s); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", s, err)
	}
	return s, nil
}

// Snapshot is the last value of each symbol. spec must not be subscribed to already.
func (c *Client) Snapshot(ctx context.Context, spec Spec) ([]Message, error) {
	spec.From, spec.Epoch = live.From{Kind: live.FromSnapshot}.String(), ""
	s, err := c.Subscribe(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var all []Message
	for {
		it, err := s.next(ctx)
		switch {
		case err != nil:
			return nil, fmt.Errorf("snapshot of %s: %w", s, err)
		case it.kind == itemMessage && it.msg.Snapshot:
			all = append(all, it.msg)
		case it.kind == itemSnapshotEnd, it.kind == itemMessage, it.kind == itemLive, it.kind == itemEnd:
			return all, nil
		}
	}
}

// String names the subscription by its content.
func (s *Subscription) String() string {
	if s.replay != nil {
		return "replay"
	}
	return s.spec.ID()
}

// Messages hands out messages until ctx ends, the subscription fails or the client ends, which the last error tells; after Close, and at the end
// of a replay, it just ends. It may be left and called again: it goes on behind the last message.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			it, err := s.next(ctx)
			if err != nil {
				yield(Message{}, err)
				return
			}
			switch cfg := &s.c.cfg; it.kind {
			case itemEnd:
				return
			case itemMessage:
				if !yield(it.msg, nil) {
					return
				}
			case itemSkipped:
				if cfg.OnSkipped != nil {
					cfg.OnSkipped(s, it.skipped)
				}
			case itemGap:
				cfg.OnGap(s, *it.gap)
			case itemSnapshot:
				if cfg.OnSnapshot != nil {
					cfg.OnSnapshot(s)
				}
			case itemLive:
				if cfg.OnLive != nil {
					cfg.OnLive(s, it.live)
				}
			}
		}
	}
}

// Position is up to where everything was handed out, and the epoch to give with it: kept somewhere, they are the From and Epoch from which
// another process goes on without a hole. The cursor is empty before the first message or heartbeat.
func (s *Subscription) Position() (cursor, epoch string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.position.Stream == "" {
		return "", s.epoch
	}
	return s.position.String(), s.epoch
}

// Dropped counts messages that came again, or behind later ones, and were not handed out.
func (s *Subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Close ends the subscription; what waits in it is dropped.
func (s *Subscription) Close() {
	s.finish(nil)
	s.c.remove(s)
	s.mu.Lock()
	name := s.name
	s.name, s.queue, s.queued = "", nil, 0
	s.mu.Unlock()
	if k := s.c.current(); k != nil && name != "" {
		k.send(s.farewell(name), func(*live.Ack, error) {})
	}
}

func (s *Subscription) farewell(name string) live.Request {
	if s.replay != nil {
		return live.Request{Op: live.OpControl, Sub: name, Action: live.ActionStop}
	}
	return live.Request{Op: live.OpUnsubscribe, Sub: name}
}

// finish ends the subscription behind what waits in it; nil is an end without an error. Only the first call counts.
func (s *Subscription) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.finished, s.err = true, err
	close(s.over)
	s.acked.Do(func() { close(s.accepted) })
	signal(s.room)
}

func (s *Subscription) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fresh reports whether the gateway never accepted it.
func (s *Subscription) fresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.named
}

func (s *Subscription) nextWait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waits.NextBackOff()
}
