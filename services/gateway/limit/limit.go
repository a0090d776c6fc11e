package limit

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Limiter counts for one gateway.
type Limiter struct {
	cfg     atomic.Pointer[Config]
	refused func(whose, what string)
	open    atomic.Int64

	mu   sync.Mutex
	busy map[string]*account // those that a lease or a call holds
	idle *simplelru.LRU[string, *account]
}

// New makes a limiter. refused, if not nil, is called with whose (gateway, connection, address, subject) limit of what (connections,
// connects, subscriptions, subscribes, requests) refused something.
func New(cfg Config, refused func(whose, what string)) (*Limiter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	idle, err := simplelru.NewLRU[string, *account](cfg.Remembered, nil)
	if err != nil {
		return nil, err
	}
	if refused == nil {
		refused = func(string, string) {}
	}
	l := &Limiter{refused: refused, busy: map[string]*account{}, idle: idle}
	l.cfg.Store(&cfg)
	return l, nil
}

// Config is what is in force.
func (l *Limiter) Config() Config { return *l.cfg.Load() }

// Set puts other limits in force, for who is there too; connections take over theirs by Lease.Adapt. Who has more than a new bound keeps what is there and gets no more.
func (l *Limiter) Set(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.Store(&cfg)
	l.idle.Resize(cfg.Remembered)
	for _, a := range l.busy {
		a.set(cfg)
	}
	for _, a := range l.idle.Values() {
		a.set(cfg)
	}
	return nil
}

// Connections that are open now.
func (l *Limiter) Connections() int { return int(l.open.Load()) }

// The owners of accounts.
const (
	gateway    = "gateway"
	connection = "connection"
	address    = "address"
	subject    = "subject"
)

// account is what is counted for one address or subject.
type account struct {
	whose  string
	key    string
	holds  int // Limiter.mu
	counts [2]counter
	// Buckets lock themselves.
	connects, requests, bytes *rate.Limiter
}

// Indexes of account.counts.
const (
	connections = iota
	subscriptions
)

var countNames = [...]string{"connections", "subscriptions"}

// counter counts up to a bound.
type counter struct {
	n, most atomic.Int64
}

// take adds n unless that goes beyond the bound, or beyond a lower one that is given (0: none).
func (c *counter) take(n, lower int64) bool {
	most := c.most.Load()
	if lower > 0 {
		most = min(most, lower)
	}
	for {
		now := c.n.Load()
		if now+n > most {
			return false
		}
		if c.n.CompareAndSwap(now, now+n) {
			return true
		}
	}
}

func (c *counter) give(n int64) { c.n.Add(-n) }

// hold finds or makes the account, and keeps it until release.
func (l *Limiter) hold(whose, key string) *account {
	id := whose + " " + key
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.busy[id]
	if a == nil {
		if old, ok := l.idle.Peek(id); ok {
			l.idle.Remove(id)
			a = old
		} else {
			a = l.account(whose, id)
		}
		l.busy[id] = a
	}
	a.holds++
	return a
}

// release lets the account be forgotten once nobody holds it.
func (l *Limiter) release(a *account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.holds--; a.holds == 0 {
		delete(l.busy, a.key)
		l.idle.Add(a.key, a)
	}
}

func (l *Limiter) account(whose, id string) *account {
	// Buckets are full at the beginning: their bursts are set by how they are made.
	a := &account{whose: whose, key: id, bytes: rate.NewLimiter(rate.Inf, 0)}
	c := l.Config()
	if whose == address {
		a.connects = rate.NewLimiter(rate.Limit(c.AddressConnects), c.AddressConnectBurst)
		a.requests = rate.NewLimiter(rate.Limit(c.AddressRequests), c.AddressRequestBurst)
	} else {
		a.requests = rate.NewLimiter(rate.Limit(c.SubjectRequests), c.SubjectRequestBurst)
	}
	if c.HistoryBytes > 0 {
		a.bytes = rate.NewLimiter(rate.Limit(c.HistoryBytes), c.HistoryBytes)
	}
	a.set(c)
	return a
}

// set puts limits in force.
func (a *account) set(c Config) {
	if a.whose == address {
		a.counts[connections].most.Store(int64(c.AddressConnections))
		a.counts[subscriptions].most.Store(int64(c.AddressSubscriptions))
		adapt(a.connects, c.AddressConnects, c.AddressConnectBurst)
		adapt(a.requests, c.AddressRequests, c.AddressRequestBurst)
	} else {
		a.counts[connections].most.Store(int64(c.SubjectConnections))
		a.counts[subscriptions].most.Store(int64(c.SubjectSubscriptions))
		adapt(a.requests, c.SubjectRequests, c.SubjectRequestBurst)
	}
	if c.HistoryBytes > 0 {
		adapt(a.bytes, float64(c.HistoryBytes), c.HistoryBytes)
	} else {
		a.bytes.SetLimit(rate.Inf)
	}
}

// adapt changes a bucket, whose fill stays.
func adapt(l *rate.Limiter, perSecond float64, burst int) {
	if l.Limit() != rate.Limit(perSecond) {
		l.SetLimit(rate.Limit(perSecond))
	}
	if l.Burst() != burst {
		l.SetBurst(burst)
	}
}

// addressKey is the address as limits count it. All that have none are one.
func addressKey(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64) // of an IPv6 address: never fails
		return p.String()
	}
	return addr.String()
}

// refuse counts and says what was too much.
func (l *Limiter) refuse(whose, what, format string, args ...any) error {
	l.refused(whose, what)
	return live.Errorf(live.CodeTooMany, format, args...)
}

// HTTP is nil if one more HTTP request of the address may be answered.
func (l *Limiter) HTTP(addr netip.Addr) error { return l.once(address, addressKey(addr)) }

// Subject counts a request for who has asked, once that is known.
func (l *Limiter) Subject(identity string) error { return l.once(subject, identity) }

func (l *Limiter) once(whose, key string) error {
	a := l.hold(whose, key)
	defer l.release(a)
	return l.request(a)
}

func (l *Limiter) request(a *account) error {
	if a.requests.Allow() {
		return nil
	}
	return l.refuse(a.whose, "requests", "this %s sends more than %v requests a second; slow down", a.whose, float64(a.requests.Limit()))
}

// wait until every account lets n bytes through.
func wait(ctx context.Context, n int, accounts ...*account) error {
	for _, a := range accounts {
		if a == nil {
			continue
		}
		for left := n; left > 0 && a.bytes.Limit() != rate.Inf; {
			part := min(left, max(a.bytes.Burst(), 1))
			if err := a.bytes.WaitN(ctx, part); err != nil {
				return errors.Join(ctx.Err(), err)
			}
			left -= part
		}
	}
	return ctx.Err()
}

// flood is a refusal to one that was refused too often.
type flood struct{ err error }

func (f *flood) Error() string { return f.err.Error() }
func (f *flood) Unwrap() error { return f.err }

// Flood reports whether the connection went on after it had been told: close it with live.CloseTooMany.
func Flood(err error) bool {
	var f *flood
	return errors.As(err, &f)
}

// strikes forgive one refusal a second.
func strikes(n int) *rate.Limiter { return rate.NewLimiter(rate.Every(time.Second), n) }
