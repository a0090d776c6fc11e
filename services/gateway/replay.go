package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

const (
	// replayEvery is how often a replay tells where it is.
	replayEvery = 250 * time.Millisecond
	// replayStep is how much of the pace may be sent together: a browser draws 20 times a second.
	replayStep = 25 * time.Millisecond
	// replayRows are what a replay holds in memory, over all its selections.
	replayRows = 4000
	maxReplays = 4
)

// States of a replay.
const (
	replayRunning = "running"
	replayPaused  = "paused"
	replayEnded   = "ended"
)

// replay sends a span of history at a pace.
type replay struct {
	c      *client
	id     string
	specs  []live.Spec
	start  time.Time
	end    time.Time
	clock  string
	ctx    context.Context
	cancel context.CancelFunc
	began  chan struct{}
	once   sync.Once

	mu      sync.Mutex
	changed chan struct{} // closed and made anew at each change
	speed   float64
	paused  bool
	seek    *time.Time
}

func (c *client) startReplay(req *live.Request) (string, error) {
	if len(req.Subscriptions) == 0 {
		return "", live.Errorf(live.CodeBadRequest, "replay needs subscriptions: what to send")
	}
	if req.Start.IsZero() {
		return "", live.Errorf(live.CodeBadRequest, "replay needs start, a time")
	}
	r := &replay{c: c, start: req.Start, end: req.End, clock: cmp.Or(req.Clock, live.ClockEvent), speed: 1, began: make(chan struct{}), changed: make(chan struct{})}
	if r.end.IsZero() {
		r.end = time.Now().UTC()
	}
	if !r.end.After(r.start) {
		return "", live.Errorf(live.CodeBadRequest, "replay ends at %s, which is not after its start", r.end.Format(time.RFC3339))
	}
	if req.Speed != nil {
		r.speed = *req.Speed
	}
	g := c.granted()
	for _, spec := range req.Subscriptions {
		spec.MaxRate = 0 // the pace is the replay's
		if err := c.gw.normalize(&spec); err != nil {
			return "", err
		}
		if err := g.Allows(spec.Channel, spec.Symbols); err != nil {
			return "", err
		}
		r.specs = append(r.specs, spec)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.replays) >= maxReplays {
		return "", live.Errorf(live.CodeTooMany, "%d replays are the most of one connection; stop one", maxReplays)
	}
	c.replayN++
	r.id = fmt.Sprintf("replay/%d", c.replayN)
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	c.replays[r.id] = r
	c.work.Go(r.run)
	return r.id, nil
}

// begin lets it send: its acknowledgement is on its way.
func (r *replay) begin() { r.once.Do(func() { close(r.began) }) }

func (r *replay) stop() {
	r.cancel()
	r.c.mu.Lock()
	delete(r.c.replays, r.id)
	r.c.mu.Unlock()
}

// control changes how it goes on.
func (c *client) control(req *live.Request) error {
	c.mu.Lock()
	r := c.replays[req.Sub]
	c.mu.Unlock()
	if r == nil {
		return live.Errorf(live.CodeNotSubscribed, "there is no replay %.64q that still runs", req.Sub)
	}
	if req.Action == live.ActionStop {
		r.stop()
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch req.Action {
	case live.ActionPause:
		r.paused = true
	case live.ActionResume:
		r.paused = false
	case live.ActionSpeed:
		if req.Speed == nil {
			return live.Errorf(live.CodeBadRequest, "action speed needs speed")
		}
		r.speed = *req.Speed
	case live.ActionSeek:
		if req.Start.Before(r.start) || !req.Start.Before(r.end) {
			return live.Errorf(live.CodeBadRequest, "seek is not within the replay, from %s to %s", r.start.Format(time.RFC3339), r.end.Format(time.RFC3339))
		}
		r.seek = &req.Start
	default:
		return live.Errorf(live.CodeBadRequest, "action %.16q is none of pause, resume, stop, speed, seek", req.Action)
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// now is what was ordered last; seek is taken.
func (r *replay) now() (speed float64, paused bool, seek *time.Time, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seek, r.seek = r.seek, nil
	return r.speed, r.paused, seek, r.changed
}

func (r *replay) run() {
	defer r.stop()
	select {
	case <-r.began:
	case <-r.ctx.Done():
		return
	}
	err := r.play()
	switch {
	case r.ctx.Err() != nil, errors.Is(err, errGone):
	case err != nil:
		r.c.sendError("", r.id, r.c.unavailable("the span of the replay", err))
	default:
		r.tell(replayEnded, r.end)
	}
}

func (r *replay) tell(state string, at time.Time) {
	r.mu.Lock()
	speed := r.speed
	r.mu.Unlock()
	at = at.UTC()
	r.c.send(live.FrameReplay, live.Replay{Type: live.FrameReplay, Sub: r.id, State: state, Time: &at, Speed: speed})
}

// play sends everything at its pace. The clock of the replay is pinned anew at each change: from then on it is at plus what has passed, times the speed.
func (r *replay) play() error {
	m, err := r.merge(r.start)
	if err != nil {
		return err
	}
	w := &pageWriter{c: r.c, ctx: r.ctx, id: r.id}
	at, pinned, told := r.start, time.Now(), time.Time{}
	speed, paused, _, changed := r.now()
	for {
		now := time.Now()
		clock := at
		if !paused && speed > 0 {
			clock = at.Add(time.Duration(min(float64(now.Sub(pinned))*speed, float64(r.end.Sub(at)))))
		}
		if now.Sub(told) >= replayEvery {
			state := replayRunning
			if paused {
				state = replayPaused
			}
			r.tell(state, clock)
			told = now
		}
		wait := replayEvery
		if !paused {
			next, ok, err := r.sendUntil(m, w, clock, speed == 0)
			if err != nil {
				return err
			}
			if !ok {
				if speed == 0 || !clock.Before(r.end) {
					return nil
				}
				next = r.end
			}
			if speed == 0 {
				at, wait = next, 0
			} else {
				wait = min(replayEvery, max(replayStep, time.Duration(float64(next.Sub(clock))/speed)))
			}
		}
		select {
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-changed:
			var seek *time.Time
			at, pinned, told = clock, time.Now(), time.Time{}
			speed, paused, seek, changed = r.now()
			if seek != nil {
				at = *seek
				if m, err = r.merge(at); err != nil {
					return err
				}
			}
		case <-time.After(wait):
		}
	}
}

// sendUntil sends what is due, or one frame where there is no pace, and tells when the next is; ok is false at the end.
func (r *replay) sendUntil(m *merger, w *pageWriter, due time.Time, free bool) (next time.Time, ok bool, _ error) {
	sent := 0
	for {
		it, t, err := m.peek(r.ctx)
		if err != nil || it == nil {
			return t, false, errors.Join(err, w.flush())
		}
		if free && sent >= replayRows/8 || !free && t.After(due) {
			return t, true, w.flush()
		}
		m.pop()
		sent++
		if err := w.add(it); err != nil {
			return t, false, err
		}
	}
}

// merger merges the selections in the order of the replay's clock.
type merger struct {
	r       *replay
	sources []*replaySource
	best    *replaySource
}

// replaySource reads one selection page by page.
type replaySource struct {
	r     *replay
	q     store.EventQuery
	page  []*item
	ended bool
	size  int
}

func (r *replay) merge(from time.Time) (*merger, error) {
	m := &merger{r: r}
	for _, spec := range r.specs {
		s := &replaySource{r: r, size: max(100, replayRows/len(r.specs)), q: store.EventQuery{
			Stream: spec.Stream(), Keys: spec.Symbols, Source: spec.Source, Interval: spec.Interval,
		}}
		s.q.Limit = s.size
		if r.clock == live.ClockEvent {
			s.q.ByEventTime, s.q.From, s.q.To = true, from, r.end
		} else {
			seq, err := r.c.gw.seqBefore(r.ctx, spec.Stream(), from)
			if err != nil {
				return nil, err
			}
			s.q.AfterSeq, s.q.AfterIdx = seq, live.Whole
		}
		m.sources = append(m.sources, s)
	}
	return m, nil
}

// time of an item on the replay's clock.
func (r *replay) time(it *item) time.Time {
	if r.clock == live.ClockEvent {
		return it.ev.GetMeta().EventTime
	}
	return it.at.StreamTime
}

// peek is the next item and its time; nil at the end.
func (m *merger) peek(ctx context.Context) (*item, time.Time, error) {
	m.best = nil
	for _, s := range m.sources {
		if err := s.fill(ctx); err != nil {
			return nil, time.Time{}, err
		}
		if len(s.page) > 0 && (m.best == nil || m.r.time(s.page[0]).Before(m.r.time(m.best.page[0]))) {
			m.best = s
		}
	}
	if m.best == nil {
		return nil, m.r.end, nil
	}
	it := m.best.page[0]
	return it, m.r.time(it), nil
}

func (m *merger) pop() {
	m.best.page[0] = nil
	m.best.page = m.best.page[1:]
}

func (s *replaySource) fill(ctx context.Context) error {
	if len(s.page) > 0 || s.ended {
		return nil
	}
	n := 0
	err := s.r.c.gw.deps.History.Events(ctx, s.q, func(ev market.Event, at market.Place) error {
		n++
		s.q.AfterSeq, s.q.AfterIdx, s.q.AfterTime = at.Seq, at.Idx, ev.GetMeta().EventTime
		s.page = append(s.page, newItem(ev, at))
		return nil
	})
	if err != nil {
		return err
	}
	s.ended = n < s.size
	if s.r.clock == live.ClockStream {
		i := slices.IndexFunc(s.page, func(it *item) bool { return !it.at.StreamTime.Before(s.r.end) })
		if i >= 0 {
			s.page, s.ended = s.page[:i], true
		}
	}
	return nil
}
