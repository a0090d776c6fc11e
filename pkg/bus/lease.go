package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// DefaultLeaseTTL makes a standby take over within five seconds.
const DefaultLeaseTTL = 3 * time.Second

// ErrLeaseLost is the cause of a context whose lease has ended, and the error of a gate that is shut.
var ErrLeaseLost = errors.New("lease is lost")

const leasePrefix = "lease."

// Lease lets one of several processes be active and the others stand by. The record is a cell that the holder renews by compare-and-swap
// every quarter of the TTL.
//
// No clock is compared with another machine's. The holder counts from before it sent its last renewal that succeeded and gives up after two
// thirds of the TTL; a standby counts from after it last saw the record change and takes it after the whole TTL. So a holder that cannot
// renew stops a third of a TTL before anyone can follow it, whatever the clocks show.
//
// What is left: a process that is frozen after Gate has said yes and before its message has left the machine sends that message when it is
// thawed, though another holds the lease by then; so does a network that holds a message back for longer than a third of the TTL. It is
// at most one message a subject. Where it is stored before the follower's feeds restore, they find it and it does no harm. Where it is stored
// later, the follower tells the same facts too, and the stream and the tables have them twice: message ids differ between publishers, so
// JetStream cannot see it. The identity in each row shows such a double.
type Lease struct {
	b      *Bus
	cell   *Cell
	name   string
	holder string
	nonce  string // of this Lease: a process that was started again is another holder
	ttl    time.Duration
	n      uint64
	since  time.Time
	dead   func(holder string) bool // nil: nobody is known to be
	aside  func(holder string)      // nil: nobody wants to know

	mu   sync.Mutex
	term *term // nil: not ours
}

// term is one time of holding.
type term struct {
	mu       sync.Mutex
	ended    bool
	sent     time.Time     // before the last renewal that succeeded
	validFor time.Duration // from then on
}

// leaseRecord is the cell's value; N makes each one unique, as Cell.Swap needs.
type leaseRecord struct {
	Holder string    `json:"holder"`
	Nonce  string    `json:"nonce"`
	N      uint64    `json:"n"`
	Held   bool      `json:"held"`
	TTL    string    `json:"ttl"`
	Since  time.Time `json:"since"`
}

// Lease names a lease; holder says who we are, for people. ttl 0 means DefaultLeaseTTL; all who share a lease should have the same.
func (b *Bus) Lease(name, holder string, ttl time.Duration) *Lease {
	if ttl <= 0 {
		ttl = DefaultLeaseTTL
	}
	return &Lease{b: b, cell: b.Cell(leasePrefix + name), name: name, holder: holder, nonce: nuid.Next(), ttl: ttl}
}

// KnowDead tells the lease how to recognise a holder that is certainly gone, such as a process of this machine that has ended: it is followed at
// once. Call it before Hold.
func (l *Lease) KnowDead(dead func(holder string) bool) { l.dead = dead }

// OnStandby is told each time that another holds the lease and we stand by, and who. Call it before Hold.
func (l *Lease) OnStandby(f func(holder string)) { l.aside = f }

// Hold waits until the lease is ours and runs fn, whose context ends with the cause ErrLeaseLost when it no longer is. Then it stands by again
// and runs fn anew; so fn must make its publishers (with Gate) and feeds itself, and close them before it returns. Hold ends with fn's
// result when fn returns while the lease is ours, and with nil when ctx ends. At a clean end the lease is released: a standby follows
// at once.
func (l *Lease) Hold(ctx context.Context, fn func(context.Context) error) error {
	metrics := l.b.watched.Load().metrics
	metrics.lease(l.name, false)
	for {
		t, rev, ok := l.acquire(ctx)
		if !ok {
			return nil
		}
		l.b.log.Info("lease taken", "lease", l.name, "holder", l.holder)
		metrics.lease(l.name, true)
		lost, err := l.serve(ctx, t, rev, fn)
		metrics.lease(l.name, false)
		if !lost {
			return err
		}
		l.b.log.Warn("lease lost, standing by", "lease", l.name, "holder", l.holder, "err", err)
	}
}

// acquire stands by until the record is ours; false when ctx ended.
func (l *Lease) acquire(ctx context.Context) (*term, uint64, bool) {
	tick := time.NewTicker(l.ttl / 8)
	defer tick.Stop()
	var seen uint64
	var changed time.Time
	warned := false
	for {
		value, rev, err := l.cell.Get(ctx)
		now := time.Now()
		free := rev == 0
		if err == nil && !free {
			var rec leaseRecord
			bad := json.Unmarshal(value, &rec) != nil
			if rev != seen {
				seen, changed = rev, now
			}
			// A record of our own nonce is of a term of ours that has ended.
			free = !bad && (!rec.Held || rec.Nonce == l.nonce || l.dead != nil && l.dead(rec.Holder)) || now.Sub(changed) >= l.ttl
			if !free && l.aside != nil {
				l.aside(rec.Holder)
			}
		}
		if err == nil && free {
			l.since = now.UTC()
			sent := time.Now()
			if rev, err = l.write(ctx, true, rev); err == nil {
				t := &term{sent: sent, validFor: l.ttl * 2 / 3}
				l.mu.Lock()
				l.term = t
				l.mu.Unlock()
				return t, rev, true
			}
		}
		if err != nil && !errors.Is(err, ErrConflict) && ctx.Err() == nil && !warned {
			warned = true
			l.b.log.Warn("lease cannot be read or taken, trying on", "lease", l.name, "err", err, "hint", "is NATS reachable?")
		}
		select {
		case <-ctx.Done():
			return nil, 0, false
		case <-tick.C:
		}
	}
}

func (l *Lease) write(ctx context.Context, held bool, rev uint64) (uint64, error) {
	l.n++
	value, err := json.Marshal(leaseRecord{l.holder, l.nonce, l.n, held, l.ttl.String(), l.since})
	if err != nil {
		return 0, fmt.Errorf("encode lease %s: %w", l.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/4)
	defer cancel()
	return l.cell.Swap(ctx, value, rev)
}

// serve runs fn for a term and renews beside it.
func (l *Lease) serve(ctx context.Context, t *term, rev uint64, fn func(context.Context) error) (lost bool, err error) {
	fctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx)) // fn still flushes when ctx has ended
	var wg sync.WaitGroup
	wg.Go(func() { rev = l.renew(renewing, t, rev, cancel) })
	err = fn(fctx)
	lost = errors.Is(context.Cause(fctx), ErrLeaseLost)
	if !lost && !t.valid() {
		lost = true // fn ended at the very moment
	}
	stop()
	wg.Wait()
	l.mu.Lock()
	l.term = nil
	l.mu.Unlock()
	t.end()
	if lost {
		return true, context.Cause(fctx)
	}
	if werr := l.release(context.WithoutCancel(ctx), rev); werr != nil {
		l.b.log.Warn("lease was not released; a standby follows after its time", "lease", l.name, "ttl", l.ttl, "err", werr)
	}
	return false, err
}

// release tells a standby that it need not wait.
func (l *Lease) release(ctx context.Context, rev uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.ttl/2)
	defer cancel()
	_, err := l.write(ctx, false, rev)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	// The last renewal was on its way when it was called off.
	value, rev, err := l.cell.Get(ctx)
	var rec leaseRecord
	if err != nil || json.Unmarshal(value, &rec) != nil || rec.Nonce != l.nonce {
		return err
	}
	_, err = l.write(ctx, false, rev)
	return err
}

// renew keeps the term alive until ctx ends or it is lost, and returns the newest revision of ours.
func (l *Lease) renew(ctx context.Context, t *term, rev uint64, cancel context.CancelCauseFunc) uint64 {
	next := time.NewTimer(l.ttl / 4)
	defer next.Stop()
	for {
		left := t.left()
		if left <= 0 {
			t.end()
			cancel(fmt.Errorf("%w: %s was not renewed within %s", ErrLeaseLost, l.name, t.validFor))
			return rev
		}
		expiry := time.NewTimer(left)
		select {
		case <-ctx.Done():
			expiry.Stop()
			return rev
		case <-expiry.C:
			continue
		case <-next.C:
			expiry.Stop()
		}
		try, done := context.WithTimeout(ctx, left) // an answer after the term's end is of no use
		sent := time.Now()
		r, err := l.write(try, true, rev)
		switch {
		case err == nil:
			if rev = r; t.renewed(sent) {
				next.Reset(l.ttl / 4)
				done()
				continue
			}
		case errors.Is(err, ErrConflict):
			// A renewal of ours whose answer was lost may stand there: then go on from it, without a longer life for it.
			value, at, gerr := l.cell.Get(try)
			var rec leaseRecord
			if gerr == nil && (json.Unmarshal(value, &rec) != nil || rec.Nonce != l.nonce) {
				t.end()
				done()
				cancel(fmt.Errorf("%w: %s was taken by %s", ErrLeaseLost, l.name, rec.Holder))
				return rev
			}
			if gerr == nil {
				rev = at
			}
		}
		done()
		next.Reset(l.ttl / 32)
	}
}

// left is how long the term is still valid, by the monotonic clock and by the wall clock, whichever has run further: the monotonic one
// stands still while a machine sleeps.
func (t *term) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return 0
	}
	now := time.Now()
	return t.validFor - max(now.Sub(t.sent), now.Round(0).Sub(t.sent.Round(0)))
}

func (t *term) valid() bool { return t.left() > 0 }

// renewed makes the term live from the time on, unless it has ended before.
func (t *term) renewed(sent time.Time) bool {
	if !t.valid() {
		return false
	}
	t.mu.Lock()
	t.sent = sent
	t.mu.Unlock()
	return true
}

func (t *term) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
}

// Valid reports whether the lease is ours now. It asks nobody.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	t := l.term
	l.mu.Unlock()
	return t != nil && t.valid()
}

// Gate is for PublisherConfig.Gate of a publisher made in Hold's function: it lets through while the present term lasts, never again after.
func (l *Lease) Gate() func() error {
	l.mu.Lock()
	t := l.term
	l.mu.Unlock()
	return func() error {
		if t == nil || !t.valid() {
			return fmt.Errorf("%w: %s is not held by %s", ErrLeaseLost, l.name, l.holder)
		}
		return nil
	}
}

// Holder is who has a lease, as its record says.
type Holder struct {
	Lease  string `json:"lease"`
	Holder string `json:"holder"`
	// Held is false after a release.
	Held bool          `json:"held"`
	TTL  time.Duration `json:"ttl"`
	// Since is by the holder's clock, Renewed by that of NATS.
	Since   time.Time `json:"since"`
	Renewed time.Time `json:"renewed"`
}

// Holders lists all leases by name. One that was not renewed for its TTL has no holder any more.
func (b *Bus) Holders(ctx context.Context) ([]Holder, error) {
	kv, err := b.bucket(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) { // we only look
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keys, err := kv.ListKeysFiltered(ctx, leasePrefix+">")
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	defer func() { _ = keys.Stop() }() // it has ended or the connection has
	var out []Holder
	for key := range keys.Keys() {
		e, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read lease %s: %w", key, err)
		}
		var rec leaseRecord
		if err := json.Unmarshal(e.Value(), &rec); err != nil {
			return nil, fmt.Errorf("read lease %s: %w", key, err)
		}
		ttl, _ := time.ParseDuration(rec.TTL)
		out = append(out, Holder{strings.TrimPrefix(key, leasePrefix), rec.Holder, rec.Held, ttl, rec.Since, e.Created().UTC()})
	}
	slices.SortFunc(out, func(a, b Holder) int { return strings.Compare(a.Lease, b.Lease) })
	return out, nil
}
