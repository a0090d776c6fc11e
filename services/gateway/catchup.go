package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

const (
	// pageRows of history are read at a time.
	pageRows = 5000
	// historyFrame is about how large a frame of history is, bytes.
	historyFrame = 32 << 10
	// nearMessages behind the head are read from the stream; what lies further back comes from ClickHouse, which can select.
	nearMessages = 2000
	// joinBytes of recent messages may be sent in the moment of joining.
	joinBytes = 256 << 10
)

// begin starts a subscription; ack is called when its start is known, before anything of it is sent.
func (c *client) begin(sub *subscription, from live.From, ack func()) error {
	st := c.gw.streams[sub.spec.Stream()]
	switch from.Kind {
	case live.FromCursor:
		sub.start = from.Cursor
		sub.sent(from.Cursor)
		if err := c.reach(sub, from.Cursor); err != nil {
			return err
		}
		ack()
		c.catchUp(sub, from.Cursor)
		return nil
	case live.FromTime:
		seq, err := c.gw.seqBefore(c.ctx, st.name, from.Time)
		if err != nil {
			return err
		}
		sub.start = live.Cursor{Stream: st.name, Seq: seq, Idx: live.Whole}
		sub.sent(sub.start)
		ack()
		c.catchUp(sub, sub.start)
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	sub.start = st.position()
	sub.sent(sub.start)
	ack()
	if from.Kind == live.FromSnapshot {
		items := st.snapshot(&sub.spec)
		for _, it := range items {
			if err := it.encode(c.variant.enc); err != nil {
				return err
			}
		}
		c.enqueue(c.variant.data(dataFrame{sub: sub.id, snapshot: true, position: sub.start.String(), items: items}))
	}
	start := sub.start
	sel := st.selection(sub.spec, sub.id)
	st.whenEven(sel, func() {
		// Where there is a rate, the window that was open has ended: what came since the start is conflated for this client alone.
		items, ok := st.after(start, &sub.spec)
		if !ok {
			st.prune(sel)
			c.catchUp(sub, start)
			return
		}
		if b := conflate(items); len(b.items) > 0 && c.encode(b.items) == nil {
			c.enqueue(c.variant.data(dataFrame{sub: sub.id, items: b.items, skipped: b.skipped}))
			sub.sent(b.items[len(b.items)-1].cursor())
		}
		st.join(c, sub)
		c.send(live.FrameLive, live.Live{Type: live.FrameLive, Sub: sub.id, Position: st.position().String()})
	})
	return nil
}

func (c *client) encode(items []*item) error {
	for _, it := range items {
		if err := it.encode(c.variant.enc); err != nil {
			return err
		}
	}
	return nil
}

// reach refuses a cursor that the stream has not come to.
func (c *client) reach(sub *subscription, at live.Cursor) error {
	st := c.gw.streams[sub.spec.Stream()]
	if at.Seq <= st.head.Load() {
		return nil
	}
	// Another gateway may be a moment ahead of this one, but nobody is ahead of the stream.
	info, err := c.gw.deps.Log.Info(c.ctx, st.name)
	if err != nil {
		return live.Errorf(live.CodeUnavailable, "stream %s cannot be asked now; try again", st.name)
	}
	if at.Seq > info.LastSeq {
		return live.Errorf(live.CodeBadCursor, "cursor %s lies ahead of the stream, which ends at %s:%d", at, st.name, info.LastSeq)
	}
	return nil
}

// catchUp sends what lies behind the cursor, and joins the live topic where that meets the present.
func (c *client) catchUp(sub *subscription, at live.Cursor) {
	c.work.Go(func() {
		err := c.follow(sub, at)
		if err == nil || sub.ctx.Err() != nil {
			return
		}
		c.sendError("", sub.id, err)
		c.forget(sub)
	})
}

func (c *client) follow(sub *subscription, at live.Cursor) error {
	st := c.gw.streams[sub.spec.Stream()]
	for {
		joined, err := c.joinAt(sub, st, at)
		if joined || err != nil {
			return err
		}
		next, err := c.history(sub, st, at)
		if err != nil {
			return err
		}
		if !next.After(at) { // nothing yet between what is stored and what is kept: the head moves on by itself
			select {
			case <-sub.ctx.Done():
				return sub.ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
		at = next
	}
}

// joinAt joins if everything behind the cursor is at hand. Where the subscription has a rate it waits for a moment between two windows.
func (c *client) joinAt(sub *subscription, st *stream, at live.Cursor) (bool, error) {
	joined, err := c.tryJoin(sub, st, at)
	if joined == nil || err != nil {
		return false, err
	}
	select {
	case ok := <-joined:
		return ok, nil
	case <-sub.ctx.Done():
		return false, sub.ctx.Err()
	}
}

// tryJoin answers nil if too much lies between the cursor and the present.
func (c *client) tryJoin(sub *subscription, st *stream, at live.Cursor) (<-chan bool, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if at.Seq > st.head.Load() {
		return nil, nil
	}
	items, ok := st.after(at, &sub.spec)
	if !ok {
		return nil, nil
	}
	size := 0
	for _, it := range items {
		if err := it.encode(c.variant.enc); err != nil {
			return nil, err
		}
		size += len(it.text(c.variant.enc))
	}
	if size > joinBytes {
		return nil, nil
	}
	done := make(chan bool, 1)
	sel := st.selection(sub.spec, sub.id)
	st.whenEven(sel, func() {
		items, ok := st.after(at, &sub.spec)
		if !ok || sub.hasEnded() || c.encode(items) != nil {
			st.prune(sel)
			done <- false
			return
		}
		if len(items) > 0 {
			c.enqueue(c.variant.data(dataFrame{sub: sub.id, items: items}))
			sub.sent(items[len(items)-1].cursor())
		}
		st.join(c, sub)
		c.send(live.FrameLive, live.Live{Type: live.FrameLive, Sub: sub.id, Position: st.position().String()})
		done <- true
	})
	return done, nil
}

// history sends a part of what lies behind the cursor, and tells up to where it came.
func (c *client) history(sub *subscription, st *stream, at live.Cursor) (live.Cursor, error) {
	info, err := c.gw.deps.Log.Info(sub.ctx, st.name)
	if err != nil {
		return at, c.unavailable("stream "+string(st.name), err)
	}
	from := at.Seq + 1
	if at.Idx != live.Whole {
		from = at.Seq
	}
	if from > info.LastSeq {
		return at, nil
	}
	held := from >= info.FirstSeq
	if held && info.LastSeq-from < nearMessages {
		return c.fromLog(sub, st, at, from, info.LastSeq)
	}
	landed, err := c.gw.landed(sub.ctx, st.name, info)
	if err == nil && landed >= from {
		return c.fromTables(sub, st, at, landed)
	}
	switch {
	case held:
		return c.fromLog(sub, st, at, from, min(info.LastSeq, from+nearMessages))
	case err != nil:
		return at, c.unavailable("what has landed of "+string(st.name), err)
	}
	return at, live.Errorf(live.CodePurged, "what follows %s is kept neither in the stream, which begins at %d, nor in ClickHouse, which has what lies before %d", at, info.FirstSeq, landed+1)
}

func (c *client) unavailable(what string, err error) error {
	c.log.Warn("history cannot be read", "of", what, "err", err)
	return live.Errorf(live.CodeUnavailable, "%s cannot be read now; subscribe again from your last cursor in a moment", what)
}

// fromTables sends what has landed behind the cursor, page by page.
func (c *client) fromTables(sub *subscription, st *stream, at live.Cursor, through uint64) (live.Cursor, error) {
	w := c.pageWriter(sub)
	q := store.EventQuery{
		Stream: st.name, Keys: sub.spec.Symbols, Source: sub.spec.Source, Interval: sub.spec.Interval, AfterSeq: at.Seq, AfterIdx: at.Idx, ThroughSeq: through, StoredSince: time.Unix(0, st.epoch.Load()), Limit: pageRows,
	}
	page := make([]*item, 0, pageRows)
	for {
		page = page[:0]
		err := c.gw.deps.History.Events(sub.ctx, q, func(ev market.Event, place market.Place) error {
			page = append(page, newItem(ev, place))
			return nil
		})
		if sub.ctx.Err() != nil {
			return at, errGone
		}
		if err != nil {
			return at, c.unavailable("ClickHouse", err)
		}
		for i, it := range page { // after the query: it must not wait for a slow client
			q.AfterSeq, q.AfterIdx = it.at.Seq, it.at.Idx
			if err := w.add(it); err != nil {
				return at, err
			}
			page[i] = nil
		}
		if err := w.flush(); err != nil {
			return at, err
		}
		if len(page) < pageRows {
			return live.Cursor{Stream: st.name, Seq: through, Idx: live.Whole}, nil
		}
	}
}

// fromLog sends messages of the stream itself.
func (c *client) fromLog(sub *subscription, st *stream, at live.Cursor, from, through uint64) (live.Cursor, error) {
	r, err := c.gw.deps.Log.Read(sub.ctx, st.name, from)
	if err != nil {
		return at, c.unavailable("stream "+string(st.name), err)
	}
	defer r.Close()
	w := c.pageWriter(sub)
	d := decoder{name: st.name, check: store.NewBatch()}
	for at.Seq < through {
		m, err := r.Next(sub.ctx)
		if err != nil {
			if sub.ctx.Err() != nil {
				return at, errGone
			}
			return at, c.unavailable("stream "+string(st.name), err)
		}
		items, err := d.decode(m)
		if err != nil {
			items = nil // as live: the lander makes it a dead letter
		}
		for _, it := range items {
			if it.cursor().After(at) && sub.spec.Match(it.ev) {
				if err := w.add(it); err != nil {
					return at, err
				}
			}
		}
		at = live.Cursor{Stream: st.name, Seq: m.Seq, Idx: live.Whole}
	}
	return at, w.flush()
}

// errGone says that nobody waits for the history any more.
var errGone = errors.New("the subscription has ended")

// pageWriter gathers history into frames.
type pageWriter struct {
	c    *client
	ctx  context.Context
	id   string
	sub  *subscription // nil: a replay
	page []*item
	size int
}

func (c *client) pageWriter(sub *subscription) *pageWriter {
	return &pageWriter{c: c, ctx: sub.ctx, id: sub.id, sub: sub}
}

func (w *pageWriter) add(it *item) error {
	if err := it.encode(w.c.variant.enc); err != nil {
		return err
	}
	w.page = append(w.page, it)
	if w.size += len(it.text(w.c.variant.enc)); w.size < historyFrame {
		return nil
	}
	return w.flush()
}

func (w *pageWriter) flush() error {
	if len(w.page) == 0 {
		return nil
	}
	frame := w.c.variant.data(dataFrame{sub: w.id, items: w.page})
	if w.c.place.Wait(w.ctx, len(frame)) != nil || !w.c.enqueueWait(w.ctx, frame) {
		return errGone
	}
	if w.sub != nil {
		w.sub.sent(w.page[len(w.page)-1].cursor())
	}
	clear(w.page)
	w.page, w.size = w.page[:0], 0
	return nil
}

// landed tells up to where the tables have everything.
func (g *Gateway) landed(ctx context.Context, name market.Stream, info bus.Info) (uint64, error) {
	through, created, err := g.deps.Log.Landed(ctx, name)
	if err != nil {
		return 0, err
	}
	if created != info.Created.UnixNano() {
		return 0, fmt.Errorf("the lander's record of %s is of another life of the stream", name)
	}
	return through, nil
}

// seqBefore is the last message that was stored before the time.
func (g *Gateway) seqBefore(ctx context.Context, name market.Stream, t time.Time) (uint64, error) {
	info, err := g.deps.Log.Info(ctx, name)
	if err != nil {
		return 0, live.Errorf(live.CodeUnavailable, "stream %s cannot be asked now; try again", name)
	}
	if info.LastSeq == 0 || t.After(info.LastTime) {
		return info.LastSeq, nil
	}
	// The stream knows what it holds; what it holds no more is in the tables.
	seq, first, err := g.deps.Log.SeqBefore(ctx, name, t)
	if err != nil {
		return 0, live.Errorf(live.CodeUnavailable, "stream %s cannot be asked now; try again", name)
	}
	if !first || info.FirstSeq <= 1 {
		return seq, nil
	}
	seq, err = g.deps.History.SeqBetween(ctx, name, info.Created, t)
	if err != nil {
		g.log.Warn("the tables cannot be asked where a time begins", "stream", string(name), "err", err)
		return 0, live.Errorf(live.CodeUnavailable, "ClickHouse cannot be asked now; try again")
	}
	return seq, nil
}
