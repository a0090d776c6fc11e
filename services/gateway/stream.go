package gateway

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// stream is one JetStream stream as the gateway follows it: what is newest in it, and who wants what of it.
//
// Order of locks: stream, topic, client. A topic's chunks are cut and read without the stream's lock.
type stream struct {
	decoder // of whoever reads the stream
	shards  []*shard
	bound   int // of what may wait for a client, bytes
	log     *slog.Logger
	metrics *Metrics
	tracer  trace.Tracer // nil: nothing is traced
	latency prometheus.Observer
	lag     prometheus.Gauge
	ready   chan struct{}          // closed when the stream is followed
	trouble atomic.Pointer[string] // why it cannot be followed now; nil: it can

	// head is the last message that was handed to the topics.
	head  atomic.Uint64
	epoch atomic.Int64
	// behind is what that message said of those behind it.
	behind atomic.Pointer[waiting]

	mu         sync.Mutex
	selections map[string]*selection
	exact      map[string][]*selection // by key
	patterns   []*selection
	recent     recent
	last       map[string]*item // the last value of each thing, by what it is of
	filled     []*topic         // since the last message, with much that waits
}

func newStream(name market.Stream, g *Gateway) *stream {
	return &stream{
		decoder: decoder{name, store.NewBatch()}, shards: g.shards, bound: g.cfg.Queue, log: g.log.With("stream", string(name)), metrics: g.metrics, tracer: g.deps.Tracer,
		latency: g.metrics.latency.WithLabelValues(string(name)), lag: g.metrics.lag.WithLabelValues(string(name)), ready: make(chan struct{}),
		selections: map[string]*selection{}, exact: map[string][]*selection{}, last: map[string]*item{},
		recent: recent{maxBytes: g.cfg.Recent},
	}
}

// decoder makes items of messages.
type decoder struct {
	name  market.Stream
	check *store.Batch
}

// decode reads a message and leaves out what the lander cannot land, so that live equals history.
func (d *decoder) decode(m bus.Msg) ([]*item, error) {
	events, err := wire.Decode(d.name, m.Data)
	if err != nil {
		return nil, err
	}
	d.check.Reset()
	slab := make([]item, len(events))
	items := make([]*item, 0, len(events))
	for i, ev := range events {
		at := market.Place{Stream: d.name, Seq: m.Seq, Idx: uint32(i), StreamTime: m.StreamTime()}
		if ev.Stream() != d.name || ev.Validate() != nil || d.check.Add(ev, at) != nil {
			continue
		}
		slab[i] = item{ev: ev, at: at, key: live.Key(ev)}
		items = append(items, &slab[i])
	}
	return items, nil
}

// take hands a message to whom it concerns. Messages come in order.
func (s *stream) take(m bus.Msg) {
	begun := time.Now()
	items, err := s.decode(m)
	if err != nil {
		s.metrics.undecoded.Inc()
		s.log.Warn("a message is not understood and left out; the lander puts it among the dead letters", "seq", m.Seq, "err", err)
	}
	s.mu.Lock()
	for run := range runs(items) {
		s.dispatch(run)
	}
	s.remember(items)
	for _, old := range s.recent.add(m.Seq, items, len(m.Data)) {
		s.unpin(old)
	}
	s.head.Store(m.Seq)
	s.behind.Store(&waiting{m.Pending, m.Time})
	filled := s.filled
	s.filled = nil
	s.mu.Unlock()
	s.traced(m, begun, len(items))
	s.latency.Observe(max(time.Since(m.Time), 0).Seconds())
	s.lag.Set(float64(m.Pending))
	// JetStream keeps what cannot be written yet; memory need not.
	for _, t := range filled {
		for t.full(s.bound) {
			time.Sleep(time.Millisecond)
		}
	}
}

// runs cuts items where the key or the kind changes; a message has one mostly.
func runs(items []*item) func(yield func([]*item) bool) {
	return func(yield func([]*item) bool) {
		for len(items) > 0 {
			n := 1
			for n < len(items) && items[n].key == items[0].key && items[n].ev.GetMeta().Source == items[0].ev.GetMeta().Source {
				n++
			}
			if !yield(items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}

// dispatch gives events of one key and source to the selections that want them.
func (s *stream) dispatch(items []*item) {
	for _, sel := range s.exact[items[0].key] {
		if sel.wants(items[0]) {
			s.give(sel, items)
		}
	}
	for _, sel := range s.patterns {
		if sel.wants(items[0]) && sel.spec.MatchKey(items[0].key) {
			s.give(sel, items)
		}
	}
}

// wants looks at all but the symbol. Events of one run differ in none of it: bars of two intervals have two subjects.
func (s *selection) wants(it *item) bool {
	if bar, ok := it.ev.(*market.Bar); ok && bar.Interval != s.spec.Interval {
		return false
	}
	return s.spec.Source == "" || live.MatchPattern(s.spec.Source, it.ev.GetMeta().Source)
}

func (s *stream) give(sel *selection, items []*item) {
	if sel.spec.MaxRate == 0 {
		s.publish(sel, batch{items: items})
		return
	}
	for _, it := range items {
		sel.take(it)
	}
	if sel.timer != nil {
		return
	}
	if wait := time.Until(sel.next); wait > 0 {
		sel.timer = time.AfterFunc(wait, func() { s.tick(sel) })
		return
	}
	s.emit(sel)
}

// tick is the end of a selection's window.
func (s *stream) tick(sel *selection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel.timer = nil
	if len(sel.topics) > 0 || len(sel.waiting) > 0 {
		s.emit(sel)
	}
}

// emit ends the window: what it has is sent, and who waited for its end joins.
func (s *stream) emit(sel *selection) {
	sel.next = time.Now().Add(time.Duration(float64(time.Second) / sel.spec.MaxRate))
	// The topics get it before the window counts as empty: whoever looks from outside never sees it nowhere.
	b := sel.drain()
	if len(b.items) > 0 {
		s.publish(sel, b)
	}
	sel.held.Store(0)
	waiting := sel.waiting
	sel.waiting = nil
	for _, join := range waiting {
		join()
	}
	s.prune(sel)
}

func (s *stream) publish(sel *selection, b batch) {
	for v, t := range sel.topics {
		for _, it := range b.items {
			if err := it.encode(v.enc); err != nil {
				s.log.Error("an event cannot be written and is left out", "place", it.cursor().String(), "err", err)
				return
			}
		}
		if t.append(b, s.shards) > fillMessages {
			s.filled = append(s.filled, t)
		}
	}
	s.metrics.dispatched.Add(float64(len(b.items)))
}

// selection finds or makes the selection of the spec. s.mu is held.
func (s *stream) selection(spec live.Spec, id string) *selection {
	sel := s.selections[id]
	if sel != nil {
		return sel
	}
	sel = &selection{spec: spec, id: id, topics: map[variant]*topic{}}
	s.selections[id] = sel
	if spec.Exact() {
		for _, key := range spec.Symbols {
			s.exact[key] = append(s.exact[key], sel)
		}
	} else {
		s.patterns = append(s.patterns, sel)
	}
	return sel
}

// release forgets a topic without readers. s.mu is held.
func (s *stream) release(t *topic) {
	if t.sel.topics[t.variant] == t {
		delete(t.sel.topics, t.variant)
	}
	s.prune(t.sel)
}

// prune forgets a selection that nobody reads or waits for. s.mu is held.
func (s *stream) prune(sel *selection) {
	if len(sel.topics) > 0 || len(sel.waiting) > 0 || s.selections[sel.id] != sel {
		return
	}
	delete(s.selections, sel.id)
	if sel.timer != nil {
		sel.timer.Stop()
	}
	is := func(x *selection) bool { return x == sel }
	s.patterns = slices.DeleteFunc(s.patterns, is)
	if sel.spec.Exact() {
		for _, key := range sel.spec.Symbols {
			if s.exact[key] = slices.DeleteFunc(s.exact[key], is); len(s.exact[key]) == 0 {
				delete(s.exact, key)
			}
		}
	}
}

// whenEven calls join, which attaches, at a moment when no window of the selection is open: at once, or at the window's end. s.mu is held.
func (s *stream) whenEven(sel *selection, join func()) {
	if len(sel.window) == 0 {
		join()
		return
	}
	sel.waiting = append(sel.waiting, join)
}

// join attaches the client to the subscription's topic. s.mu is held and the selection even.
func (s *stream) join(c *client, sub *subscription) {
	sel := s.selection(sub.spec, sub.id)
	t := sel.topics[c.variant]
	if t == nil {
		t = newTopic(sel, c.variant, len(s.shards))
		sel.topics[c.variant] = t
	}
	if !c.attached(sub, t.attach(c, sub, s.bound)) { // it was closed or unsubscribed meanwhile
		s.drop(sub)
	}
}

// leave ends the subscription's reader.
func (s *stream) leave(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(sub)
}

func (s *stream) drop(sub *subscription) {
	r := sub.reader.Load()
	if r != nil && r.topic.detach(r) {
		s.release(r.topic)
	}
}

// remember keeps the last value of each thing. s.mu is held.
func (s *stream) remember(items []*item) {
	for _, it := range items {
		name := thing(it.ev)
		if gone(it.ev) {
			delete(s.last, name)
			continue
		}
		if old := s.last[name]; old == nil || !older(it.ev, old.ev) {
			s.last[name] = it
		}
	}
}

// older tells of what is known by its own time (history that is filled in late) that the last value is newer.
func older(ev, last market.Event) bool {
	a, b := ev.GetMeta(), last.GetMeta()
	return a.EventTime.Before(b.EventTime) || a.EventTime.Equal(b.EventTime) && a.Rev < b.Rev
}

// unpin gives last values that came in a message of their own bytes, so that they do not keep the whole message.
func (s *stream) unpin(items []*item) {
	for _, it := range items {
		name := thing(it.ev)
		if s.last[name] != it || len(items) == 1 {
			continue
		}
		data, err := wire.Encode(nil, []market.Event{it.ev})
		if err != nil {
			continue
		}
		if evs, err := wire.Decode(s.name, data); err == nil {
			s.last[name] = newItem(evs[0], it.at)
		}
	}
}

// thing names what an event is the value of: the last of each is a snapshot.
func thing(ev market.Event) string {
	m := ev.GetMeta()
	name := live.Type(ev) + "|" + m.Source + "|" + live.Key(ev)
	switch e := ev.(type) {
	case *market.Bar:
		return name + "|" + string(e.Interval)
	case *market.Halt:
		return name + "|" + e.Kind.String()
	case *market.Offer:
		return name + "|" + e.OfferID + "|" + string(e.Class)
	case *market.Rate:
		return name + "|" + e.Method + "|" + strconv.FormatUint(uint64(e.Version), 10)
	case *market.FeedGap:
		return name + "|" + e.GapID
	}
	return name
}

// gone tells of an event that ends a thing: a snapshot has it no more.
func gone(ev market.Event) bool {
	switch e := ev.(type) {
	case *market.Offer:
		return e.Action == market.OfferClosed
	case *market.FeedGap:
		return e.State != market.GapOpen
	}
	return false
}

// snapshot is the last value of each thing that the spec selects, in the order of their places. s.mu is held.
func (s *stream) snapshot(spec *live.Spec) []*item {
	var items []*item
	for it := range maps.Values(s.last) {
		if spec.Match(it.ev) {
			items = append(items, it)
		}
	}
	sortItems(items)
	return items
}

// position is a cursor of everything that was handed to the topics. s.mu is held, or nobody cares for the exact moment.
func (s *stream) position() live.Cursor {
	return live.Cursor{Stream: s.name, Seq: s.head.Load(), Idx: live.Whole}
}

// recent are the newest messages, for joins: whoever has everything up to the oldest of them can join without reading.
type recent struct {
	maxBytes int
	messages []recentMessage
	bytes    int
}

type recentMessage struct {
	seq   uint64
	items []*item
	bytes int
}

// eventBytes is about what a decoded event takes beside its bytes on the wire.
const eventBytes = 400

// add keeps a message and returns the items of those that are not kept any more.
func (r *recent) add(seq uint64, items []*item, bytes int) (gone [][]*item) {
	bytes += len(items) * eventBytes
	r.messages = append(r.messages, recentMessage{seq, items, bytes})
	r.bytes += bytes
	n := 0
	for r.bytes > r.maxBytes && n < len(r.messages)-1 {
		r.bytes -= r.messages[n].bytes
		gone = append(gone, r.messages[n].items)
		r.messages[n] = recentMessage{}
		n++
	}
	r.messages = r.messages[n:]
	return gone
}

// after returns what lies behind the cursor and is selected. ok is false if not everything behind it is kept.
func (s *stream) after(c live.Cursor, spec *live.Spec) (items []*item, ok bool) {
	from := c.Seq + 1
	if c.Idx != live.Whole {
		from = c.Seq
	}
	if c.Seq >= s.head.Load() && c.Idx == live.Whole {
		return nil, true
	}
	msgs := s.recent.messages
	if len(msgs) == 0 || msgs[0].seq > from {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(msgs, from, func(m recentMessage, seq uint64) int {
		switch {
		case m.seq < seq:
			return -1
		case m.seq > seq:
			return 1
		}
		return 0
	})
	for _, m := range msgs[i:] {
		for _, it := range m.items {
			if it.cursor().After(c) && spec.Match(it.ev) {
				items = append(items, it)
			}
		}
	}
	return items, true
}

func (s *stream) epochText() string { return fmt.Sprint(s.epoch.Load()) }
