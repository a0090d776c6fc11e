package gateway

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// shard writes for its share of the clients. It goes round those that have something to be sent and writes each what has gathered since the last round, in
// one system call. So a quiet feed is sent at once, and the busier it is, the more goes into each write: it clocks itself.
type shard struct {
	index int
	gw    *Gateway
	wake  chan struct{}

	mu      sync.Mutex
	topics  []*topic
	clients []*client
	slots   []map[*client]struct{} // of heartbeats

	members int // clients in slots
	// full counts those whose sockets are.
	full atomic.Int64

	bufs    [][]byte
	scratch []byte
	slot    int
}

// maxWrite is about how much is written to one client at a time.
const maxWrite = 256 << 10

// While more than one client in crowdedShare waits for its socket, a round begins crowdedRound after the one before it. Each socket that has room again
// would begin one otherwise, and what gathers between two of them would be cut into frames of a message or two: that costs more for a message than what
// led there, and those who fell behind would never catch up.
const (
	crowdedShare = 8
	crowdedRound = 20 * time.Millisecond
)

// heartbeatSlots are how many parts a heartbeat's period has.
const heartbeatSlots = 60

func newShard(index int, gw *Gateway) *shard {
	s := &shard{index: index, gw: gw, wake: make(chan struct{}, 1), slots: make([]map[*client]struct{}, heartbeatSlots)}
	for i := range s.slots {
		s.slots[i] = map[*client]struct{}{}
	}
	return s
}

func (s *shard) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// queueTopic tells that a topic has something for clients of this shard.
func (s *shard) queueTopic(t *topic) {
	s.mu.Lock()
	s.topics = append(s.topics, t)
	s.mu.Unlock()
	s.signal()
}

// queueClient tells that a client has something of its own.
func (s *shard) queueClient(c *client) {
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	s.signal()
}

// add puts a client among those that get heartbeats; remove takes it out.
func (s *shard) add(c *client, slot int) {
	s.mu.Lock()
	s.slots[slot%heartbeatSlots][c] = struct{}{}
	s.members++
	s.mu.Unlock()
}

func (s *shard) remove(c *client, slot int) {
	s.mu.Lock()
	delete(s.slots[slot%heartbeatSlots], c)
	s.members--
	s.mu.Unlock()
}

// run writes until ctx ends. Blocked writes are waited for by the gateway.
func (s *shard) run(ctx context.Context) {
	beat := time.NewTicker(max(s.gw.cfg.Heartbeat/heartbeatSlots, time.Millisecond))
	defer beat.Stop()
	pulse := s.gw.deps.Health.Pulse("gateway: writing "+strconv.Itoa(s.index), hungAfter)
	defer pulse.End()
	var ready []*client
	var last time.Time
	for {
		pulse.Beat()
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			s.heartbeat()
			continue
		case <-s.wake:
		}
		if !s.uncrowd(ctx, last) {
			return
		}
		last = time.Now()
		s.mu.Lock()
		topics, clients := s.topics, s.clients
		s.topics, s.clients = nil, nil
		s.mu.Unlock()
		for _, c := range clients {
			ready = c.ready(ready)
		}
		for _, t := range topics {
			ready = t.collect(s.index, s.gw.cfg.Queue, ready)
		}
		for i, c := range ready {
			c.inReady = false
			c.flush(s)
			ready[i] = nil
		}
		ready = ready[:0]
	}
}

// uncrowd waits until the next round may begin; false: ctx has ended.
func (s *shard) uncrowd(ctx context.Context, last time.Time) bool {
	s.mu.Lock()
	crowded := s.full.Load()*crowdedShare > int64(s.members)
	s.mu.Unlock()
	if !crowded {
		return true
	}
	t := time.NewTimer(time.Until(last.Add(crowdedRound)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (c *client) ready(list []*client) []*client {
	if c.inReady {
		return list
	}
	c.inReady = true
	return append(list, c)
}

// collect cuts what is pending and lists the clients that have something to read.
func (t *topic) collect(shard, bound int, ready []*client) []*client {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queued[shard] = false
	t.cut(bound)
	end := t.base + uint64(len(t.chunks))
	for _, r := range t.readers[shard] {
		if r.next.Load() < end && !r.dirty {
			r.dirty = true
			r.client.dirty = append(r.client.dirty, r)
			ready = r.client.ready(ready)
		}
	}
	return ready
}

// flush writes what the client has to be sent, as far as its socket takes it.
func (c *client) flush(s *shard) {
	if c.blocked.Load() {
		return // whoever writes the rest comes back
	}
	if c.owed {
		c.owed = false
		c.beat()
	}
	wasBlocked := c.all
	if c.all {
		c.all = false
		c.mu.Lock()
		for _, sub := range c.subs {
			if r := sub.reader.Load(); r != nil && !r.dirty {
				r.dirty = true
				c.dirty = append(c.dirty, r)
			}
		}
		c.mu.Unlock()
	}
	bound := c.gw.cfg.Queue
	// The client's own queue first: an acknowledgement stands in it before its subscription reads anything.
	bufs, size, last := c.takeQueue(s.bufs[:0], maxWrite)
	again, delivered := false, 0
	if !last {
		rest := c.dirty[:0]
		for _, r := range c.dirty {
			if size >= maxWrite {
				rest = append(rest, r)
				continue
			}
			var n, items int
			var slow bool
			if bufs, n, items, slow = r.take(bufs, maxWrite-size, bound, wasBlocked); slow {
				r.dirty = false
				c.conflate(r)
				again = true
				continue
			}
			size += n
			delivered += items
			if size >= maxWrite { // there may be more
				rest = append(rest, r)
				continue
			}
			r.dirty = false
		}
		clear(c.dirty[len(rest):])
		c.dirty = rest
		again = again || len(rest) > 0 || size >= maxWrite
	}
	if delivered > 0 {
		c.gw.metrics.deliveries.Add(float64(delivered))
	}
	s.bufs = bufs
	if len(bufs) > 0 {
		c.write(s, bufs, size, last)
	} else if last {
		c.finish()
	}
	clear(bufs)
	if again && !c.blocked.Load() {
		s.queueClient(c)
	}
}

func (c *client) write(s *shard, bufs [][]byte, size int, last bool) {
	b := bufs[0]
	if len(bufs) > 1 {
		s.scratch = s.scratch[:0]
		for _, buf := range bufs {
			s.scratch = append(s.scratch, buf...)
		}
		b = s.scratch
	}
	n, err := c.conn.tryWrite(b)
	c.gw.metrics.sentBytes.Add(float64(n))
	if err != nil {
		c.drop(err)
		return
	}
	if n < len(b) || c.conn.owes() {
		rest := append([]byte(nil), b[n:]...)
		c.blocked.Store(true)
		c.shard.full.Add(1)
		c.gw.blocked.Go(func() {
			defer c.shard.full.Add(-1)
			c.wait(rest, last)
		})
		return
	}
	if last {
		c.finish()
	}
	if cap(s.scratch) > 4*maxWrite {
		s.scratch = nil
	}
}

// wait writes the rest of a write when the socket takes it. A client that reads nothing for too long is closed.
func (c *client) wait(rest []byte, last bool) {
	patience := func() time.Duration {
		if last || c.ctx.Err() != nil {
			return min(c.gw.cfg.Stuck, c.gw.cfg.Linger)
		}
		return c.gw.cfg.Stuck
	}
	stop := context.AfterFunc(c.ctx, func() { _ = c.conn.TCPConn.SetWriteDeadline(time.Now().Add(c.gw.cfg.Linger)) })
	defer stop()
	if err := c.conn.writeAll(rest, patience, c.alive); err != nil {
		if c.ctx.Err() == nil {
			c.gw.metrics.closed.WithLabelValues(closeLabel(live.CloseSlow)).Inc()
			c.log.Info("a client did not read and is closed", "after", c.gw.cfg.Stuck)
		}
		c.drop(err)
		return
	}
	if last {
		c.finish()
		return
	}
	c.all = true
	c.blocked.Store(false)
	c.shard.queueClient(c)
}

// finish closes our side: what was written is still delivered, and the reading side ends when the client closes or its time is up.
func (c *client) finish() {
	_ = c.conn.CloseWrite()
	_ = c.conn.SetReadDeadline(time.Now().Add(c.gw.cfg.Linger))
	c.finished.Do(func() { close(c.flushed) })
}

// conflate puts a reader that is too far behind forward to the present, and says exactly what it missed.
func (c *client) conflate(r *reader) {
	st := c.gw.streams[r.topic.sel.spec.Stream()]
	st.mu.Lock()
	defer st.mu.Unlock()
	before := r.sub.at()
	missed, pending, ok := r.skip(c.gw.cfg.Queue)
	if !ok {
		return
	}
	sub := r.sub
	f := dataFrame{sub: sub.id}
	if sub.spec.Channel != live.Trades {
		for _, it := range st.snapshot(&sub.spec) {
			// What still waits in a window comes by itself.
			between := it.cursor().After(before) && !it.cursor().After(sub.at())
			if between {
				missed.Count--
			}
			if (between || stateful(sub.spec.Channel)) && it.encode(c.variant.enc) == nil {
				f.items = append(f.items, it)
			}
		}
	}
	c.gw.metrics.skipped.Add(float64(missed.Count))
	frames := [][]byte{c.variant.control(live.FrameSlow, live.Slow{Type: live.FrameSlow, Sub: sub.id, PendingBytes: pending})}
	if missed.Count > 0 {
		frames = append(frames, c.variant.control(live.FrameSkipped, live.SkippedFrame{Type: live.FrameSkipped, Sub: sub.id, Skipped: []live.Skipped{missed}}))
	}
	if stateful(sub.spec.Channel) {
		f.snapshot, f.position = true, sub.at().String()
	}
	if len(f.items) > 0 || f.snapshot {
		frames = append(frames, c.variant.data(f))
	}
	c.enqueue(frames...)
}

// stateful channels tell of things that end: who missed an end must be told all that are left.
func stateful(c live.Channel) bool { return c == live.Offers || c == live.Feeds }

// heartbeat tells the clients of this slot that we live, and up to where they have everything.
func (s *shard) heartbeat() {
	s.slot = (s.slot + 1) % heartbeatSlots
	s.mu.Lock()
	due := make([]*client, 0, len(s.slots[s.slot]))
	for c := range s.slots[s.slot] {
		due = append(due, c)
	}
	s.mu.Unlock()
	for _, c := range due {
		if c.blocked.Load() {
			// Left out, a client whose socket is often full would owe no pong, and be closed for want of one.
			c.owed = true
			continue
		}
		c.beat()
	}
}

// beat queues a heartbeat, on the client's shard.
func (c *client) beat() {
	if c.variant.enc == encSSE {
		c.enqueue(c.heartbeat())
		return
	}
	c.enqueue(appendWS(nil, opPing, nil), c.heartbeat())
}
