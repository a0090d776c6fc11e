package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// ReplaySpec says what span of history to see again, and how fast.
type ReplaySpec struct {
	Specs      []live.Spec
	Start, End time.Time // a zero End: up to the present
	// Speed is times the pace that it had, 0.1 to 10,000; 0: as fast as it is read.
	Speed float64
	// Clock is live.ClockEvent (the venues' time; the default) or live.ClockStream (by arrival).
	Clock string
}

// Replay is a Subscription to history. A connection that is lost is made again and the replay goes on where it was.
type Replay struct{ *Subscription }

// replay is a replay's state as it is wanted. The Subscription's mutex guards it.
type replay struct {
	spec   ReplaySpec
	paused bool
	// at is the time of the last message, seen the messages of that very time: to go on means to begin there and to leave those out.
	at      time.Time
	seen    map[live.Cursor]struct{}
	begun   time.Time // start of what was asked for on this connection
	changed bool      // since it was asked for
}

// Replay begins a replay and returns when the gateway has accepted it.
func (c *Client) Replay(ctx context.Context, spec ReplaySpec) (*Replay, error) {
	if spec.Clock == "" {
		spec.Clock = live.ClockEvent
	}
	s := newSubscription(c)
	s.replay = &replay{spec: spec, seen: map[live.Cursor]struct{}{}}
	if err := c.add(ctx, s); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return &Replay{s}, nil
}

// Pause stops the clock. What is on its way still comes.
func (r *Replay) Pause(ctx context.Context) error {
	return r.control(ctx, live.Request{Action: live.ActionPause}, func(p *replay) { p.paused = true })
}

// Resume lets the clock go on.
func (r *Replay) Resume(ctx context.Context) error {
	return r.control(ctx, live.Request{Action: live.ActionResume}, func(p *replay) { p.paused = false })
}

// SetSpeed changes the pace.
func (r *Replay) SetSpeed(ctx context.Context, speed float64) error {
	return r.control(ctx, live.Request{Action: live.ActionSpeed, Speed: &speed}, func(p *replay) { p.spec.Speed = speed })
}

// Seek goes to another time. When it returns, what is handed out is of there.
func (r *Replay) Seek(ctx context.Context, start time.Time) error {
	q := live.Request{Action: live.ActionSeek, Start: start}
	r.mu.Lock()
	if start.Before(r.replay.begun) { // the gateway has a later beginning, from when the connection was made again
		q = live.Request{Action: live.ActionStop}
	}
	r.mu.Unlock()
	return r.control(ctx, q, func(p *replay) {
		p.spec.Start, p.at = start, time.Time{}
		clear(p.seen)
		r.queue, r.queued = nil, 0
		signal(r.room)
	})
}

// control asks for a change and applies it to the wanted state when the gateway has answered: what comes behind the answer is by the new state.
// Where there is no connection it is applied at once, and the next connection begins with it.
func (r *Replay) control(ctx context.Context, q live.Request, apply func(*replay)) error {
	r.mu.Lock()
	ended, name := r.finished, r.name
	r.mu.Unlock()
	if ended {
		return fmt.Errorf("%s replay: it has ended", q.Action)
	}
	k := r.c.current()
	done := make(chan error, 1)
	answered := func(_ *live.Ack, err error) {
		again := err == nil && (q.Action == live.ActionStop || name == "" && q.Action == live.ActionResume)
		if err == nil || errors.Is(err, errLost) {
			r.mu.Lock()
			apply(r.replay)
			r.replay.changed = true
			if q.Action == live.ActionStop {
				r.name = ""
			}
			r.mu.Unlock()
			err = nil
		}
		if again && k != nil {
			if name != "" {
				k.names[name] = nil // what is still on its way is of before
			}
			k.subscribe(r.Subscription)
		}
		done <- err
	}
	if k == nil || name == "" {
		answered(nil, nil)
	} else {
		q.Op, q.Sub = live.OpControl, name
		k.send(q, answered)
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s replay: %w", q.Action, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request wants the Subscription's mutex held.
func (p *replay) request() live.Request {
	p.changed = false
	p.begun = p.spec.Start
	if !p.at.IsZero() {
		p.begun = p.at
	}
	return live.Request{
		Op: live.OpReplay, Subscriptions: p.spec.Specs, Start: p.begun, End: p.spec.End, Speed: new(p.spec.Speed), Clock: p.spec.Clock,
	}
}

// accept takes what was not handed out before the connection was made again.
func (p *replay) accept(s *Subscription, msgs []live.Message) []live.Message {
	kept := msgs[:0]
	for _, m := range msgs {
		t := m.Place.StreamTime
		if p.spec.Clock == live.ClockEvent {
			t = m.Event.GetMeta().EventTime
		}
		switch c := m.Cursor(); {
		case t.After(p.at):
			p.at = t
			clear(p.seen)
			p.seen[c] = struct{}{}
		case t.Equal(p.at):
			if _, again := p.seen[c]; again {
				s.dropped++
				continue
			}
			p.seen[c] = struct{}{}
		}
		kept = append(kept, m)
	}
	return kept
}
