package gateway

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
)

// client is one connection. What it is sent comes from its own queue (answers, history) and, behind that, from the topics that it reads.
// It has no goroutine for writing: a shard writes for all its clients.
type client struct {
	gw      *Gateway
	conn    *conn
	variant variant
	shard   *shard
	log     *slog.Logger
	place   *limit.Lease
	slot    int           // of its heartbeats
	flushed chan struct{} // closed when the last byte was written, or nothing can be written any more

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // catching up and replays

	mu      sync.Mutex
	room    *sync.Cond // the queue has become shorter, or the client is closed
	queue   [][]byte
	queued  int // bytes
	subs    map[string]*subscription
	replays map[string]*replay
	grant   *auth.Grant
	closed  bool
	closing []byte // the last frame, if any
	expiry  *time.Timer
	replayN int

	// The shard's.
	dirty   []*reader
	inReady bool
	all     bool // look at all subscriptions, not at the dirty ones only
	owed    bool // a heartbeat, put off because the socket was full

	blocked  atomic.Bool
	finished sync.Once
}

// subscription is one subscription of one client.
type subscription struct {
	id    string
	spec  live.Spec
	start live.Cursor
	epoch string
	// reader is set while it reads live; nil while it catches up.
	reader atomic.Pointer[reader]
	ctx    context.Context // ends with the subscription
	cancel context.CancelFunc

	mu    sync.Mutex
	place live.Cursor // everything up to here was handed to the connection
	ended bool
}

func (s *subscription) sent(c live.Cursor) {
	s.mu.Lock()
	if c.After(s.place) {
		s.place = c
	}
	s.mu.Unlock()
}

func (s *subscription) at() live.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place
}

func (s *subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.cancel()
}

func (s *subscription) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// attached notes the reader of a subscription that has caught up. False if it has been ended meanwhile; then the reader must be detached.
func (c *client) attached(sub *subscription, r *reader) bool {
	sub.reader.Store(r)
	return !sub.hasEnded() && c.ctx.Err() == nil
}

// enqueue puts frames behind what waits for the client, if it is not closed. A client that lets its answers pile up is closed.
func (c *client) enqueue(frames ...[]byte) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	for _, f := range frames {
		c.queue = append(c.queue, f)
		c.queued += len(f)
	}
	over := c.queued > 4*c.gw.cfg.Queue
	c.mu.Unlock()
	if over {
		c.close(live.CloseSlow, "answers were not read")
		return false
	}
	c.shard.queueClient(c)
	return true
}

// enqueueWait is enqueue for history: it waits while more than a share of the bound waits already. It tells whether the client lives.
func (c *client) enqueueWait(ctx context.Context, frame []byte) bool {
	stop := context.AfterFunc(ctx, c.wake)
	defer stop()
	c.mu.Lock()
	for c.queued > c.gw.cfg.Queue/4 && !c.closed && ctx.Err() == nil {
		c.room.Wait()
	}
	c.mu.Unlock()
	return ctx.Err() == nil && c.enqueue(frame)
}

func (c *client) wake() {
	c.mu.Lock()
	c.room.Broadcast()
	c.mu.Unlock()
}

// send queues a control frame.
func (c *client) send(name string, frame any) bool { return c.enqueue(c.variant.control(name, frame)) }

// sendError tells an error.
func (c *client) sendError(id, sub string, err error) {
	e := live.AsError(err)
	c.gw.metrics.errors.WithLabelValues(e.Code).Inc()
	if e.Code == live.CodeInternal {
		c.log.Error("a request failed", "err", err)
	}
	c.send(live.FrameError, live.ErrorFrame{Type: live.FrameError, ID: id, Sub: sub, Error: *e})
}

// close ends the connection: what waits is sent, then a close frame, then the connection is closed. It can be called again, by anyone.
func (c *client) close(code int, reason string) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	if c.variant.enc != encSSE {
		c.closing = closeFrame(code, reason)
	}
	c.room.Broadcast()
	c.gw.metrics.closed.WithLabelValues(closeLabel(code)).Inc() // before the shard can take the frame: who reads it and asks finds it counted
	c.mu.Unlock()
	c.cancel(&closeReason{code, reason})
	c.shard.queueClient(c)
}

// closeReason is the cause of a client's context.
type closeReason struct {
	code   int
	reason string
}

func (r *closeReason) Error() string { return r.reason }

// drop ends the connection without a word, when nothing can be written any more.
func (c *client) drop(err error) {
	c.mu.Lock()
	c.closed = true
	c.room.Broadcast()
	c.mu.Unlock()
	c.cancel(err)
	c.finished.Do(func() { close(c.flushed) })
	_ = c.conn.Close()
}

// takeQueue hands over what waits, up to about room bytes.
func (c *client) takeQueue(bufs [][]byte, room int) (_ [][]byte, taken int, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.queue) && taken < room {
		bufs = append(bufs, c.queue[n])
		taken += len(c.queue[n])
		c.queue[n] = nil
		n++
	}
	c.queue = c.queue[n:]
	c.queued -= taken
	if len(c.queue) == 0 {
		c.queue = nil
		if c.closed {
			last = true
			if c.closing != nil {
				bufs = append(bufs, c.closing)
				taken += len(c.closing)
				c.closing = nil
			}
		}
	}
	if taken > 0 {
		c.room.Broadcast()
	}
	return bufs, taken, last
}

// state lists the subscriptions, in the order of their names. c.mu is held.
func (c *client) state() []live.Subscription {
	out := make([]live.Subscription, 0, len(c.subs))
	for _, id := range slices.Sorted(maps.Keys(c.subs)) {
		s := c.subs[id]
		out = append(out, live.Subscription{Sub: s.id, Spec: s.spec, Epoch: s.epoch, Start: s.start.String()})
	}
	return out
}

// gone is called when nobody reads from the connection any more: it gives everything back.
func (c *client) gone() {
	c.mu.Lock()
	c.closed = true
	subs := slices.Collect(maps.Values(c.subs))
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.gw.metrics.subscriptions.Sub(float64(len(c.subs)))
	clear(c.subs)
	c.room.Broadcast()
	c.mu.Unlock()
	c.cancel(context.Canceled)
	for _, s := range subs {
		s.end()
		c.gw.streams[s.spec.Stream()].leave(s)
	}
	c.work.Wait()
	for _, s := range subs { // one that was joining just now
		c.gw.streams[s.spec.Stream()].leave(s)
	}
}
