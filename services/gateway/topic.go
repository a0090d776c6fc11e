package gateway

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// selection is what a subscription selects of a stream, shared by all who asked for the same. It is guarded by the stream's lock.
type selection struct {
	spec   live.Spec
	id     string
	topics map[variant]*topic

	// Of a selection with a rate: what came since the last emission, by symbol.
	window  map[string]*window
	order   []string // of the window's symbols, by their first message
	waiting []func() // joins that wait until the window is empty
	timer   *time.Timer
	next    time.Time    // the next emission may be then
	held    atomic.Int64 // messages in the window
}

// window counts what is left out of one symbol.
type window struct {
	last     *item
	skipped  uint64
	from, to live.Cursor // of what is left out
}

// take puts an item into the window.
func (s *selection) take(it *item) {
	if s.window == nil {
		s.window = map[string]*window{}
	}
	s.held.Add(1)
	w := s.window[it.key]
	if w == nil {
		s.window[it.key] = &window{last: it}
		s.order = append(s.order, it.key)
		return
	}
	if w.skipped == 0 {
		w.from = w.last.cursor()
	}
	w.to = w.last.cursor()
	w.skipped++
	w.last = it
}

// drain empties the window: the last of each symbol in the order of their places, and what was left out.
func (s *selection) drain() batch {
	var b batch
	for _, key := range s.order {
		w := s.window[key]
		b.items = append(b.items, w.last)
		if w.skipped > 0 {
			b.skipped = append(b.skipped, live.Skipped{Symbol: key, Count: w.skipped, From: w.from.String(), To: w.to.String()})
			b.left += w.skipped
			if b.first.Stream == "" || b.first.After(w.from) {
				b.first = w.from
			}
		}
	}
	sortItems(b.items)
	clear(s.window)
	s.order = s.order[:0]
	return b
}

func sortItems(items []*item) {
	slices.SortFunc(items, func(x, y *item) int {
		return cmp.Or(cmp.Compare(x.at.Seq, y.at.Seq), cmp.Compare(x.at.Idx, y.at.Idx))
	})
}

// batch is messages in order and what was left out between them.
type batch struct {
	items   []*item
	skipped []live.Skipped
	left    uint64      // messages that skipped counts
	first   live.Cursor // of those that were left out
}

// conflate leaves the last item of each symbol.
func conflate(items []*item) batch {
	var s selection
	for _, it := range items {
		s.take(it)
	}
	return s.drain()
}

// chunk is what was gathered for a topic between two flushes: whole frames, the same bytes for every client.
type chunk struct {
	data        []byte
	items       int         // messages in data
	messages    uint64      // with those that a rate left out
	first, last live.Cursor // of the messages, those that a rate left out included
	// Totals of the topic before this chunk.
	bytesBefore, messagesBefore uint64
}

// topic is one selection in one variant: a log of chunks that clients read each at its own pace. Nothing is done per message and client.
type topic struct {
	sel     *selection
	variant variant

	mu      sync.Mutex
	pending []*item
	skipped []live.Skipped
	left    uint64      // messages that pending leaves out
	first   live.Cursor // of pending and of what it leaves out
	waits   int         // bytes in pending
	cutAt   time.Time   // when pending was cut last
	chunks  []*chunk
	base    uint64 // index of chunks[0]
	kept    int    // bytes in chunks
	trimAt  int    // kept at which readers are looked at again
	bytes   uint64 // ever cut
	count   uint64 // messages ever cut, with those left out
	last    live.Cursor
	readers [][]*reader
	queued  []bool // by shard: it knows that there is something to cut or read
}

// reader is a client's place in a topic. All but detached and next belongs to the goroutine of the client's shard once it is attached.
type reader struct {
	topic  *topic
	client *client
	sub    *subscription
	// next is the index of the chunk to be sent next.
	next atomic.Uint64
	// Guarded by topic.mu.
	at       int // in topic.readers[shard]
	detached bool
	missed   *chunk // chunks from this one on were dropped before they were sent; without its data

	sent   uint64 // messages of the topic that lie behind: its count at the last chunk sent
	behind uint64 // bytes likewise
	dirty  bool
}

const (
	// keepBytes of a topic's chunks are kept without looking whether anybody still needs them.
	keepBytes = 64 << 10
	// burstBounds times the bound may wait in a topic for the shards; then the stream is not read on until they have written.
	burstBounds = 16
	// fillMessages and chunks in a topic make it worth to ask whether it is full; itemBytes is about what a message takes in it.
	fillMessages = 64
	itemBytes    = 512
	// What comes while a shard goes round its clients is cut and given to those it has not come to yet, each cutGap at the earliest and to who has at
	// most cutBehind to be sent: that is newer for them, and spares them a write. Where much comes, larger chunks are cheaper.
	cutGap    = 2 * time.Millisecond
	cutBehind = 4 << 10
)

func newTopic(sel *selection, v variant, shards int) *topic {
	return &topic{sel: sel, variant: v, readers: make([][]*reader, shards), queued: make([]bool, shards), trimAt: keepBytes}
}

// append adds items that are encoded, and tells the shards that have readers. It returns how much waits, messages and chunks.
func (t *topic) append(b batch, shards []*shard) (waiting int) {
	t.mu.Lock()
	if len(t.pending) == 0 {
		t.first = b.items[0].cursor()
	}
	if b.left > 0 && t.first.After(b.first) {
		t.first = b.first
	}
	t.pending = append(t.pending, b.items...)
	for _, it := range b.items {
		t.waits += len(it.text(t.variant.enc))
	}
	t.skipped = append(t.skipped, b.skipped...)
	t.left += b.left
	for i, s := range shards {
		if len(t.readers[i]) > 0 && !t.queued[i] {
			t.queued[i] = true
			s.queueTopic(t)
		}
	}
	waiting = len(t.pending) + len(t.chunks)
	t.mu.Unlock()
	return waiting
}

// cut makes a chunk of what is pending. t.mu is held.
func (t *topic) cut(bound int) {
	if len(t.pending) == 0 {
		return
	}
	c := &chunk{
		data:  t.variant.data(dataFrame{sub: t.sel.id, items: t.pending, skipped: t.skipped}),
		items: len(t.pending), messages: uint64(len(t.pending)) + t.left, first: t.first, last: t.pending[len(t.pending)-1].cursor(),
		bytesBefore: t.bytes, messagesBefore: t.count,
	}
	clear(t.pending)
	t.pending = t.pending[:0]
	if cap(t.pending) > 4096 {
		t.pending = nil
	}
	t.skipped, t.left, t.last = nil, 0, c.last
	t.waits, t.cutAt = 0, time.Now()
	t.chunks = append(t.chunks, c)
	t.kept += len(c.data)
	t.bytes += uint64(len(c.data))
	t.count += c.messages
	if t.kept > t.trimAt {
		t.trim(bound)
	}
}

// trim drops the chunks that every reader has behind it, and, above twice the bound, those of readers whose sockets are full, who are then told exactly
// what they missed. Who takes what it is given keeps its chunks, however large a burst is. t.mu is held.
func (t *topic) trim(bound int) {
	end := t.base + uint64(len(t.chunks))
	least, willing := end, end
	for _, rs := range t.readers {
		for _, r := range rs {
			if r.missed != nil {
				continue
			}
			next := r.next.Load()
			least = min(least, next)
			if !r.client.blocked.Load() {
				willing = min(willing, next)
			}
		}
	}
	t.drop(least)
	if t.kept > 2*bound {
		cut := t.base
		for kept := t.kept; kept > bound && cut < willing; cut++ {
			kept -= len(t.chunks[cut-t.base].data)
		}
		for _, rs := range t.readers {
			for _, r := range rs {
				if n := r.next.Load(); r.missed == nil && n < cut {
					first := *t.chunks[n-t.base]
					first.data = nil
					r.missed = &first
				}
			}
		}
		t.drop(cut)
	}
	t.trimAt = max(keepBytes, t.kept+t.kept/4)
}

// full reports whether the shards are so far behind that whoever fills the topic must wait.
func (t *topic) full(bound int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	waits := func() bool { return t.kept+len(t.pending)*itemBytes > burstBounds*bound }
	if waits() {
		t.trim(bound)
	}
	return waits() && slices.ContainsFunc(t.readers, func(rs []*reader) bool { return len(rs) > 0 })
}

func (t *topic) drop(to uint64) {
	n := int(to - t.base)
	for i := range n {
		t.kept -= len(t.chunks[i].data)
		t.chunks[i] = nil
	}
	t.chunks = t.chunks[n:]
	t.base = to
	if len(t.chunks) == 0 {
		t.chunks = nil
	}
}

// attach makes the client a reader of what comes after everything appended so far.
func (t *topic) attach(c *client, sub *subscription, bound int) *reader {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut(bound)
	r := &reader{topic: t, client: c, sub: sub, at: len(t.readers[c.shard.index]), sent: t.count, behind: t.bytes}
	r.next.Store(t.base + uint64(len(t.chunks)))
	t.readers[c.shard.index] = append(t.readers[c.shard.index], r)
	return r
}

// detach ends the reader; it gets nothing any more. It tells whether the topic has no readers left.
func (t *topic) detach(r *reader) (empty bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !r.detached {
		r.detached = true
		rs := t.readers[r.client.shard.index]
		last := len(rs) - 1
		rs[r.at] = rs[last]
		rs[r.at].at = r.at
		rs[last] = nil
		t.readers[r.client.shard.index] = rs[:last]
	}
	for _, rs := range t.readers {
		if len(rs) > 0 {
			return false
		}
	}
	return true
}

// take hands out the chunks that the reader has not had, up to about room bytes, and how many messages they are. slow tells that it is too far behind to be sent everything:
// its socket was full and what waits for it has outgrown the bound.
func (r *reader) take(bufs [][]byte, room, bound int, wasBlocked bool) (_ [][]byte, taken, items int, slow bool) {
	t := r.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.detached {
		return bufs, 0, 0, false
	}
	if r.missed != nil || wasBlocked && t.bytes-r.behind > uint64(bound) {
		return bufs, 0, 0, true
	}
	if len(t.pending) > 0 && t.bytes-r.behind+uint64(t.waits) <= cutBehind && time.Since(t.cutAt) >= cutGap {
		t.cut(bound)
	}
	next, end := r.next.Load(), t.base+uint64(len(t.chunks))
	for next < end && taken < room {
		c := t.chunks[next-t.base]
		bufs = append(bufs, c.data)
		taken += len(c.data)
		items += c.items
		r.sent, r.behind = c.messagesBefore+c.messages, c.bytesBefore+uint64(len(c.data))
		r.sub.sent(c.last)
		next++
	}
	r.next.Store(next)
	return bufs, taken, items, false
}

// skip moves the reader to the end and tells what lies between.
func (r *reader) skip(bound int) (missed live.Skipped, pending int, ok bool) {
	t := r.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut(bound)
	end := t.base + uint64(len(t.chunks))
	if r.detached || t.count == r.sent {
		return live.Skipped{}, 0, false
	}
	first := r.missed
	if first == nil {
		first = t.chunks[r.next.Load()-t.base]
	}
	missed = live.Skipped{Count: t.count - r.sent, From: first.first.String(), To: t.last.String()}
	pending = int(t.bytes - r.behind)
	r.missed = nil
	r.next.Store(end)
	r.sent, r.behind = t.count, t.bytes
	r.sub.sent(t.last)
	return missed, pending, true
}

// drained reports whether everything that was appended has been handed out.
func (r *reader) drained() bool {
	t := r.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.pending) == 0 && r.missed == nil && t.count == r.sent
}
