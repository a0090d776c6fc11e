package gpurates

import (
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// board is the open offers of all upstreams as far as they are published: what the index is computed from. It also keeps the order that makes
// an index repeatable: an offer has a receive time up to an index's if, and only if, the index saw it. So it counts in the step of the times that are published.
type board struct {
	mu    sync.Mutex
	lists []*list
	last  time.Time // the newest receive time of an offer, or time of an index
}

// step is the least difference of two receive times that are told apart once they are published (feed.Emit).
const step = time.Microsecond

func newBoard() *board { return &board{} }

func (b *board) add(lists ...*list) {
	b.mu.Lock()
	b.lists = append(b.lists, lists...)
	b.mu.Unlock()
}

// told notes the receive time of an event that an earlier run published.
func (b *board) told(t time.Time) {
	b.mu.Lock()
	if t.After(b.last) {
		b.last = t
	}
	b.mu.Unlock()
}

// publish runs fn with the receive time for what was received at recv. An index that was computed while the answer waited for its turn has not
// seen it: the time is moved up behind that index, by the milliseconds that the answer has waited.
func (b *board) publish(recv time.Time, fn func(recv time.Time) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = b.after(recv)
	return fn(b.last)
}

// after is t in whole steps, or the first step behind what was before.
func (b *board) after(t time.Time) time.Time {
	if t = t.Truncate(step); t.After(b.last) {
		return t
	}
	return b.last.Truncate(step).Add(step)
}

// heard notes that a list was asked.
func (b *board) heard(l *list) {
	b.mu.Lock()
	l.heard = true
	b.mu.Unlock()
}

// index runs fn with the time of an index and the lists that are fresh at it.
func (b *board) index(now time.Time, stale int, fn func(cut time.Time, fresh []*list) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lists {
		if !l.heard {
			return nil // at the start, what a reseller tells would stand in for what its provider is about to
		}
	}
	now = b.after(now)
	b.last = now
	var fresh []*list
	for _, l := range b.lists {
		if !l.polled.IsZero() && now.Sub(l.polled) <= time.Duration(stale)*l.every {
			fresh = append(fresh, l)
		}
	}
	return fn(now, fresh)
}

// offersOf are the open offers of the lists.
func offersOf(lists []*list) []*market.Offer {
	var out []*market.Offer
	for _, l := range lists {
		for _, o := range l.book.open {
			out = append(out, o)
		}
	}
	return out
}
