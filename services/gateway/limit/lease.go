package limit

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Lease is what one connection holds. Its methods may be called at the same time; what they lock is the connection's own.
type Lease struct {
	l       *Limiter
	address *account

	requests, subscribes, strikes *rate.Limiter

	mu      sync.Mutex
	subject *account // nil: anonymous
	subs    int64
	closed  bool
}

// Connect takes a place for one more connection. Close gives it back.
func (l *Limiter) Connect(addr netip.Addr) (*Lease, error) {
	c := l.Config()
	// First of all, and before anything is kept for the address: this bounds the memory.
	if l.open.Add(1) > int64(c.Connections) {
		l.open.Add(-1)
		return nil, l.refuse(gateway, "connections", "this gateway serves %d connections and no more; try again later", c.Connections)
	}
	a := l.hold(address, addressKey(addr))
	err := l.connect(a)
	if err != nil {
		l.release(a)
		l.open.Add(-1)
		return nil, err
	}
	return &Lease{
		l: l, address: a, strikes: strikes(c.Strikes), requests: rate.NewLimiter(rate.Limit(c.Requests), c.RequestBurst),
		subscribes: rate.NewLimiter(rate.Limit(c.Subscribes), c.SubscribeBurst),
	}, nil
}

func (l *Limiter) connect(a *account) error {
	if !a.connects.Allow() {
		return l.refuse(address, "connects", "this address connects more than %v times a second; slow down", l.Config().AddressConnects)
	}
	if !a.counts[connections].take(1, 0) {
		return l.refuse(address, "connections", "this address has %d connections already; close some", l.Config().AddressConnections)
	}
	return nil
}

// Grant moves the connection to a subject, with a lower bound of connections that its token may set (0: none). An error leaves it where it
// was. An empty identity belongs to no subject.
func (s *Lease) Grant(identity string, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return live.Errorf(live.CodeUnavailable, "the connection is closing")
	}
	if s.subject != nil && s.subject.key == subject+" "+identity {
		return nil
	}
	var a *account
	if identity != "" {
		a = s.l.hold(subject, identity)
		for i, n := range []int64{connections: 1, subscriptions: s.subs} {
			lower := 0
			if i == connections {
				lower = most
			}
			if a.counts[i].take(n, int64(lower)) {
				continue
			}
			if i == subscriptions {
				a.counts[connections].give(1)
			}
			s.l.release(a)
			return s.l.refuse(subject, countNames[i], "the token's subject has too many %s already; close some", countNames[i])
		}
	}
	s.leaveSubject()
	s.subject = a
	return nil
}

// Adapt takes over limits that were set since the connection began.
func (s *Lease) Adapt() {
	c := s.l.Config()
	adapt(s.requests, c.Requests, c.RequestBurst)
	adapt(s.subscribes, c.Subscribes, c.SubscribeBurst)
	adapt(s.strikes, 1, c.Strikes)
}

// leaveSubject gives back what the subject counts of this connection. s.mu is held.
func (s *Lease) leaveSubject() {
	if s.subject == nil {
		return
	}
	s.subject.counts[connections].give(1)
	s.subject.counts[subscriptions].give(s.subs)
	s.l.release(s.subject)
	s.subject = nil
}

// Request is nil if one more request may be answered. A refusal may be a Flood.
func (s *Lease) Request() error {
	if !s.requests.Allow() {
		return s.strike(s.l.refuse(connection, "requests", "more than %v requests a second; slow down", s.l.Config().Requests))
	}
	if err := s.l.request(s.address); err != nil {
		return s.strike(err)
	}
	if a := s.of(); a != nil {
		if err := s.l.request(a); err != nil {
			return s.strike(err)
		}
	}
	return nil
}

func (s *Lease) of() *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subject
}

func (s *Lease) strike(err error) error {
	if s.strikes.Allow() {
		return err
	}
	return &flood{err}
}

// Subscribe takes room for n subscriptions, all or none. A refusal may be a Flood. Unsubscribe gives them back.
func (s *Lease) Subscribe(n int) error {
	if n <= 0 {
		return nil
	}
	c := s.l.Config()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return live.Errorf(live.CodeUnavailable, "the connection is closing")
	}
	if s.subs+int64(n) > int64(c.Subscriptions) {
		return s.strike(s.l.refuse(connection, "subscriptions", "a connection has at most %d subscriptions; unsubscribe from some, or use a pattern", c.Subscriptions))
	}
	// What is more at once than any burst comes from one resume, which is one request.
	if !s.subscribes.AllowN(time.Now(), min(n, c.SubscribeBurst)) {
		return s.strike(s.l.refuse(connection, "subscribes", "more than %v subscriptions a second; slow down", c.Subscribes))
	}
	if !s.address.counts[subscriptions].take(int64(n), 0) {
		return s.strike(s.l.refuse(address, "subscriptions", "this address has %d subscriptions already", c.AddressSubscriptions))
	}
	if s.subject != nil && !s.subject.counts[subscriptions].take(int64(n), 0) {
		s.address.counts[subscriptions].give(int64(n))
		return s.strike(s.l.refuse(subject, "subscriptions", "the token's subject has %d subscriptions already", c.SubjectSubscriptions))
	}
	s.subs += int64(n)
	return nil
}

// Unsubscribe gives n subscriptions back.
func (s *Lease) Unsubscribe(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	back := min(int64(n), s.subs)
	s.subs -= back
	s.address.counts[subscriptions].give(back)
	if s.subject != nil {
		s.subject.counts[subscriptions].give(back)
	}
}

// Wait until n bytes more of history may be sent.
func (s *Lease) Wait(ctx context.Context, n int) error { return wait(ctx, n, s.address, s.of()) }

// Close gives everything back. It may be called again.
func (s *Lease) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.leaveSubject()
	s.address.counts[subscriptions].give(s.subs)
	s.address.counts[connections].give(1)
	s.subs = 0
	s.l.release(s.address)
	s.l.open.Add(-1)
}
