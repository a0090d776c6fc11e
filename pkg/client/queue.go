package client

import (
	"context"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// patience is how many messages may wait while an answer is due, which lies behind them: whoever waits for it may be who ought to take them.
const patience = 1 << 18

// push queues what a frame brought and waits for room: while it waits the socket is not read.
func (s *Subscription) push(k *conn, b batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enqueue(b)
	for s.queued > s.c.cfg.Buffer && !s.finished && (s.queued > patience || !k.awaits()) {
		s.mu.Unlock()
		select {
		case <-s.room:
			s.mu.Lock()
		case <-k.ctx.Done():
			s.mu.Lock()
			return k.ctx.Err()
		}
	}
	return nil
}

// enqueue wants s.mu held.
func (s *Subscription) enqueue(b batch) {
	if s.finished {
		return
	}
	s.queue = append(s.queue, b)
	s.queued += len(b.msgs)
	signal(s.wake)
}

type itemKind uint8

const (
	itemEnd itemKind = iota
	itemMessage
	itemSkipped
	itemGap
	itemLive
	itemSnapshot
	itemSnapshotEnd
)

// item is one thing to hand out.
type item struct {
	kind    itemKind
	msg     Message
	skipped []live.Skipped
	gap     *Gap
	live    live.Cursor
}

// next waits for what is to be handed out.
func (s *Subscription) next(ctx context.Context) (item, error) {
	for {
		if err := ctx.Err(); err != nil {
			return item{}, err
		}
		it, ok, err := s.pop()
		if ok || err != nil {
			return it, err
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-s.over:
		}
	}
}

func (s *Subscription) pop() (item, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		if it, ok := s.popFrom(&s.queue[0]); ok {
			if len(s.queue) > 0 {
				signal(s.wake) // for another loop over the same subscription
			}
			return it, true, nil
		}
	}
	if s.finished {
		return item{}, s.err == nil, s.err
	}
	return item{}, false, nil
}

// popFrom takes the next item out of the first batch, and the batch out of the queue when it is empty.
func (s *Subscription) popFrom(b *batch) (item, bool) {
	switch {
	case b.gap != nil:
		it := item{kind: itemGap, gap: b.gap}
		s.position = b.gap.To
		b.gap = nil
		return it, true
	case len(b.skipped) > 0:
		it := item{kind: itemSkipped, skipped: b.skipped}
		b.skipped = nil
		return it, true
	case b.begins:
		b.begins = false
		return item{kind: itemSnapshot}, true
	case len(b.msgs) > 0:
		it := item{kind: itemMessage, msg: Message{b.msgs[0], b.snapshot}}
		b.msgs[0] = live.Message{}
		b.msgs = b.msgs[1:]
		if !b.snapshot && s.replay == nil {
			s.position = it.msg.Cursor()
		}
		if s.queued--; s.queued <= s.c.cfg.Buffer {
			signal(s.room)
		}
		return it, true
	case b.live.Stream != "":
		it := item{kind: itemLive, live: b.live}
		b.live = live.Cursor{}
		return it, true
	}
	if b.after.Stream != "" && (b.after.After(s.position) || s.position.Stream == "") {
		s.position = b.after
	}
	ended := b.snapshot
	s.queue[0] = batch{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return item{kind: itemSnapshotEnd}, ended
}
