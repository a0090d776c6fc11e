package client

import (
	"fmt"
	"slices"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// request is what to ask the gateway for, from where the subscription stands; false: nothing now.
func (s *Subscription) request() (live.Request, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished || s.name != "" || s.asking || s.replay != nil && s.replay.paused { // Resume will ask
		return live.Request{}, false
	}
	s.asking = true
	if s.replay != nil {
		return s.replay.request(), true
	}
	r := live.Request{
		Op: live.OpSubscribe, Channel: s.spec.Channel, Symbols: s.spec.Symbols, Interval: s.spec.Interval, Source: s.spec.Source,
		MaxRate: s.spec.MaxRate, From: s.from.String(),
	}
	switch {
	case s.cursor.Stream != "":
		r.From, r.Epoch = s.cursor.String(), s.epoch
	case s.hole != nil && s.from.Kind != live.FromSnapshot:
		// A time or cursor that was asked for lies before the hole.
		r.From = live.From{}.String()
	default:
		s.waiting = s.from.Kind == live.FromSnapshot
	}
	return r, true
}

// answered notes that no answer to request is due any more.
func (s *Subscription) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = false
}

// unbind notes that the gateway, or this connection to it, has the subscription no more.
func (s *Subscription) unbind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = ""
}

// begin takes over the acknowledged state; false: it is not wanted so, and must be taken back. Its error is a *live.Error.
func (s *Subscription) begin(name string, state *live.Subscription) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return false, nil
	}
	if s.replay == nil {
		if err := s.beginAt(state); err != nil {
			return false, err
		}
	} else if s.replay.changed {
		return false, live.Errorf(live.CodeUnavailable, "the replay was changed while it was asked for")
	}
	s.name, s.named = name, true
	s.acked.Do(func() { close(s.accepted) })
	return true, nil
}

func (s *Subscription) beginAt(state *live.Subscription) error {
	start, err := live.ParseCursor(state.Start)
	if err != nil || start.Stream != s.spec.Stream() {
		return live.Errorf(live.CodeInternal, "the gateway acknowledged start %.64q, which is no cursor of %s", state.Start, s.spec.Stream())
	}
	if s.epoch != "" && state.Epoch != s.epoch {
		return live.Errorf(live.CodeOtherEpoch, "the stream has epoch %.64q now; cursor %s is of %s", state.Epoch, s.cursor, s.epoch)
	}
	s.epoch = state.Epoch
	if s.cursor.Stream == "" && !s.waiting {
		s.cursor = start
	}
	if s.hole != nil {
		s.hole.To = s.cursor
		s.enqueue(batch{gap: s.hole})
		s.hole = nil
	}
	return nil
}

// gap forgets where the subscription stood, because the gateway cannot go on there.
func (s *Subscription) gap(cause *live.Error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replay != nil {
		return false
	}
	if s.hole == nil {
		s.hole = &Gap{From: s.cursor, Cause: cause}
	}
	s.cursor, s.epoch, s.shown = live.Cursor{}, "", nil
	return true
}

// accept takes from a frame what lies behind the cursor.
func (s *Subscription) accept(f *live.DataFrame) (batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(f.Messages) > 0 {
		s.waits.Reset()
	}
	if s.replay != nil {
		return batch{msgs: s.replay.accept(s, f.Messages), skipped: f.Skipped}, nil
	}
	for i := range f.Messages {
		if got := f.Messages[i].Place.Stream; got != s.spec.Stream() {
			return batch{}, fmt.Errorf("data of %s has a message of %s", s, got)
		}
	}
	if f.Snapshot {
		return s.acceptSnapshot(f)
	}
	s.waiting, s.shown = false, nil
	return batch{msgs: slices.DeleteFunc(f.Messages, func(m live.Message) bool {
		if c := m.Cursor(); c.After(s.cursor) {
			s.cursor = c
			return false
		}
		s.dropped++
		return true
	}), skipped: f.Skipped}, nil
}

// acceptSnapshot takes a snapshot whole, in however many frames of one position it comes. One comes where it was asked for, and where a client that read
// too slowly must be told anew all that there is.
func (s *Subscription) acceptSnapshot(f *live.DataFrame) (batch, error) {
	at := f.Position
	if at.Stream != s.spec.Stream() {
		return batch{}, fmt.Errorf("snapshot of %s has position %s", s, at)
	}
	b := batch{snapshot: true, after: at, skipped: f.Skipped}
	if s.shown == nil || at != s.shownAt {
		s.shown, s.shownAt, b.begins = map[live.Cursor]struct{}{}, at, true
	}
	b.msgs = slices.DeleteFunc(f.Messages, func(m live.Message) bool {
		c := m.Cursor()
		_, again := s.shown[c]
		if again {
			s.dropped++
		}
		s.shown[c] = struct{}{}
		return again
	})
	s.waiting = false
	if at.After(s.cursor) || s.cursor.Stream == "" {
		s.cursor = at
	}
	return b, nil
}

// moveOn notes that the gateway has sent everything up to at.
func (s *Subscription) moveOn(at live.Cursor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replay != nil || s.waiting || s.finished {
		return nil
	}
	if at.Stream != s.spec.Stream() {
		return fmt.Errorf("position of %s is %s", s, at)
	}
	if !at.After(s.cursor) {
		return nil
	}
	s.cursor = at
	switch n := len(s.queue); {
	case n == 0:
		s.position = at
	case s.queue[n-1].after.Stream == "" || at.After(s.queue[n-1].after):
		s.queue[n-1].after = at
	}
	return nil
}
