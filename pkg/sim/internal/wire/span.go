package wire

import (
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// span is for how long, or how often, a fault strikes. Its owner locks.
type span struct {
	order control.Order
	until time.Time // zero: no end by time
	left  int       // strikes; below 0: any number
}

// standing is the span of a condition: it lasts until it is cleared unless the order says otherwise.
func standing(o control.Order) *span {
	s := &span{order: o, left: -1}
	if o.For > 0 {
		s.until = time.Now().Add(time.Duration(o.For))
	} else if o.Times > 0 {
		s.left = o.Times
	}
	return s
}

// event is the span of what happens once unless the order says otherwise.
func event(o control.Order) *span {
	s := standing(o)
	if o.For == 0 && o.Times == 0 {
		s.left = 1
	}
	return s
}

func (s *span) on() bool {
	return s != nil && s.left != 0 && (s.until.IsZero() || time.Now().Before(s.until))
}

// strike reports whether the fault strikes now, and counts it.
func (s *span) strike() bool {
	if !s.on() {
		return false
	}
	if s.left > 0 {
		s.left--
	}
	return true
}

// Clock is a simulator's clock, which can be set off.
type Clock struct {
	now func() time.Time

	mu   sync.Mutex
	skew *span
}

// NewClock makes a clock over now; nil means time.Now.
func NewClock(now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	return &Clock{now: now}
}

// Now is the time that the simulator believes.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skew.on() {
		return c.now().Add(time.Duration(c.skew.order.By))
	}
	return c.now()
}

// Skew sets the clock off by so much until it is set again; 0 sets it right.
func (c *Clock) Skew(by time.Duration) { c.set(standing(control.Order{By: control.Duration(by)})) }

func (c *Clock) set(s *span) {
	c.mu.Lock()
	c.skew = s
	c.mu.Unlock()
}

// seenMost bounds what is remembered of arrivals.
const seenMost = 4096

// arrivals are times, the newest few thousand.
type arrivals struct{ at []time.Time }

func (a *arrivals) add() {
	if len(a.at) == seenMost {
		a.at = append(a.at[:0], a.at[seenMost/2:]...)
	}
	a.at = append(a.at, time.Now())
}
