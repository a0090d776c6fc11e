package gpurates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// answer is what one poll of an upstream told.
type answer struct {
	Offers []*market.Offer
	// Bad are offers that could not be read, with their bytes.
	Bad []badOffer
	// At is the upstream's clock, Recv ours when the whole answer was in hand.
	At, Recv time.Time
	// Partial says why offers may be missing; nothing is taken for closed then, and the ledger says so. Empty: all are there.
	Partial string
	// End says that a recording has no more; the answer repeats the last.
	End bool
}

type badOffer struct {
	ID  string // empty: not even that could be read
	Raw []byte
	Err error
}

// list is what one poll brings: all offers of an upstream, or of one class where the upstream is asked for each. An upstream is its lists'
// fetch functions; the rest is the same for all.
type list struct {
	name  string // symbol in the ledger
	from  string // where dead letters were read
	fetch func(ctx context.Context) (*answer, error)
	// owns tells whether an offer of the source is of this list.
	owns func(*market.Offer) bool
	// after, if any, is told of each whole or partial poll, inside its publication: further events are stored with its offers.
	after func(ctx context.Context, a *answer) error
	rates string // method of the rates that after tells, if any
	every time.Duration

	book *book
	// restored is the time of the newest event that an earlier run published, done that of the newest poll of this run. A poll from before
	// either is an old story: the upstream's clock went back, or a recording plays again.
	restored, done time.Time
	// signed is the last sign of life of an earlier run, polled the last good poll of this one, both by our clock.
	signed, polled time.Time
	fails          int
	ended          bool
	heard          bool // asked once, with whatever success
}

// poller polls one upstream's lists.
type poller struct {
	up        upstream
	stopAtEnd bool
	skew      time.Duration
	f         *feed.Feed
	board     *board
	lists     []*list
	unknown   map[string]bool // names of GPUs that no identity is known of
}

// upstream is what differs between providers beside the fetch functions.
type upstream struct {
	key   string // in the configuration: gpurates.<key>
	keyed bool   // an API key was sent: 401 and 403 are about it
	every time.Duration
	// refused, if any, says what an answer means to this upstream that elsewhere may pass, such as Vast.ai's 404 for a bad key.
	refused func(status int) string
}

func newPoller(up upstream, cfg Config, f *feed.Feed, b *board, lists ...*list) *poller {
	for _, x := range lists {
		x.book, x.every = newBook(), up.every
	}
	b.add(lists...)
	return &poller{up: up, stopAtEnd: cfg.StopAtEnd, skew: cfg.ClockSkew, f: f, board: b, lists: lists, unknown: map[string]bool{}}
}

// restoreOffer takes an offer that an earlier run published.
func (p *poller) restoreOffer(o *market.Offer) {
	for _, l := range p.lists {
		if l.owns(o) {
			l.book.apply(o)
			l.note(o.EventTime)
		}
	}
	p.board.told(o.RecvTime)
}

// restoreRate takes a rate of an earlier run: where a list tells rates with its offers, it dates the last poll.
func (p *poller) restoreRate(r *market.Rate) {
	for _, l := range p.lists {
		if l.rates == r.Method && l.name == string(r.Class) {
			l.note(r.EventTime)
		}
	}
	p.board.told(r.RecvTime)
}

// sign takes the time of an event in the life of the feed of an earlier run.
func (p *poller) sign(t time.Time) {
	for _, l := range p.lists {
		if t.After(l.signed) {
			l.signed = t
		}
	}
}

// known is until when an earlier run is known to have watched the list.
func (l *list) known() time.Time {
	if l.signed.After(l.restored) {
		return l.signed
	}
	return l.restored
}

func (l *list) note(t time.Time) {
	if t.After(l.restored) {
		l.restored = t
	}
}

// wanted is from when on a recording's polls are wanted: the newest of an earlier run once more, since it may have been published in part, those of this run not.
func (l *list) wanted() time.Time {
	if l.done.IsZero() {
		return l.restored.UTC().Truncate(time.Second)
	}
	return l.done.UTC().Truncate(time.Second).Add(time.Second)
}

// dueAfter is within how many poll intervals one must have been good, and a minute for the call itself.
const dueAfter = 3

func (p *poller) run(ctx context.Context) error {
	pol := feed.DefaultPolicy()
	pol.ReadyWithin = 0                                    // a poll that fails is tried again here, not by a new session
	pol.Stale = func(time.Time) time.Duration { return 0 } // a poll is never mute: it fails
	due := dueAfter*p.up.every + time.Minute
	pol.Due = func(time.Time) (time.Duration, string) { return due, "" }
	if err := p.f.Run(ctx, pol, p.session); err != nil {
		return fmt.Errorf("run feed %s: %w", p.f.Source(), err)
	}
	return nil
}

func (p *poller) session(ctx context.Context, fs *feed.Session) error {
	for {
		wait, ended := p.up.every, 0
		for _, l := range p.lists {
			if l.ended {
				ended++
				continue
			}
			ok, err := p.poll(ctx, fs, l)
			p.board.heard(l)
			if err != nil {
				return err
			}
			if ok {
				l.fails = 0
				continue
			}
			l.fails = min(l.fails+1, 4)
			wait = max(wait, p.up.every<<l.fails/2)
		}
		if ended == len(p.lists) {
			return feed.ErrEndOfInput
		}
		if p.stopAtEnd && !p.failing() {
			continue // a recording waits for nobody
		}
		// A twentieth of jitter: many of us must not ask at the same second.
		wait += rand.N(wait/20 + 1) //nolint:gosec // no secret hangs on it
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (p *poller) failing() bool {
	return slices.ContainsFunc(p.lists, func(l *list) bool { return l.fails > 0 })
}

// poll asks once and publishes what the answer tells. false without error: the poll failed and is in the ledger.
func (p *poller) poll(ctx context.Context, fs *feed.Session, l *list) (bool, error) {
	a, err := l.fetch(ctx)
	if err != nil {
		if un, ok := errors.AsType[*unreadable](err); ok {
			if err := p.f.Reject(ctx, l.from, feed.ReasonOf(err, feed.ReasonMalformed), un.err, un.body); err != nil {
				return false, sinkError{err}
			}
		}
		return false, p.failed(ctx, l, err)
	}
	if a.At.IsZero() {
		a.At = a.Recv
	}
	if p.stopAtEnd && a.End {
		l.ended = true
		return true, fs.Ready(ctx)
	}
	if err := p.checkClock(a); err != nil {
		return false, p.failed(ctx, l, err)
	}
	if err := fs.Ready(ctx); err != nil {
		return false, err
	}
	fs.Alive(a.Recv)
	// Date headers are whole seconds: an answer within the second of the last poll is a later one.
	if !p.stopAtEnd && a.At.Equal(l.done.Truncate(time.Second)) {
		a.At = l.done.Add(time.Microsecond)
	}
	if a.At.Before(l.restored) || !l.done.IsZero() && !a.At.After(l.done) {
		p.f.Logger().Debug("a poll from before the last was left out", "list", l.name, "at", a.At)
		return true, nil
	}
	complete, keep, err := p.rejectBad(ctx, l, a)
	if err != nil {
		return false, err
	}
	if err := p.noteAbsence(ctx, l, a.At); err != nil {
		return false, err
	}
	err = p.board.publish(a.Recv, func(recv time.Time) error {
		a.Recv = recv
		if err := p.publish(ctx, l, a, keep, complete && a.Partial == ""); err != nil {
			return err
		}
		l.done, l.polled = a.At, p.f.Now()
		return nil
	})
	if err != nil {
		return false, err
	}
	if a.Partial != "" {
		// Not a failure to be slowed down for, but a hole in what we know.
		return true, p.openGap(ctx, l, a.Partial)
	}
	return true, p.settle(ctx, l, a.At)
}

// checkClock refuses an answer whose clock is far from ours: its offers would stand at a time when they were not made.
func (p *poller) checkClock(a *answer) error {
	if d := a.At.Sub(a.Recv).Abs(); !p.stopAtEnd && p.skew > 0 && d > p.skew {
		return &feed.Malformed{Reason: market.ReasonTime, Err: fmt.Errorf("the upstream's clock says %s, ours %s: they are %s apart, allowed are %s (gpurates.clock_skew)",
			a.At.Format(time.RFC3339), a.Recv.Format(time.RFC3339), d.Round(time.Second), p.skew)}
	}
	return nil
}

// rejectBad makes dead letters of what could not be read. complete is false where an offer has not even an id, so that nothing may be taken
// for closed.
func (p *poller) rejectBad(ctx context.Context, l *list, a *answer) (complete bool, keep map[string]bool, _ error) {
	complete, keep = true, map[string]bool{}
	for _, b := range a.Bad {
		if b.ID == "" {
			complete = false
		}
		keep[b.ID] = true
		if err := p.f.Reject(ctx, l.from, feed.ReasonOf(b.Err, feed.ReasonMalformed), b.Err, b.Raw); err != nil {
			return false, nil, sinkError{err}
		}
	}
	good := a.Offers[:0]
	seen := make(map[string]bool, len(a.Offers))
	for _, o := range a.Offers {
		if seen[offerKey(o)] {
			continue
		}
		seen[offerKey(o)] = true
		o.Source, o.Action = p.f.Source(), market.OfferOpened
		o.EventTime, o.RecvTime = a.At, a.Recv
		err := o.Validate()
		if err == nil && !l.owns(o) {
			err = &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("an offer of class %s in list %s", o.Class, l.name)}
		}
		if err != nil {
			keep[o.OfferID] = true
			raw, _ := json.Marshal(map[string]string{"id": o.OfferID, "gpu_name": o.GPUName, "raw_price": o.RawPrice.String(), "unit": o.RawUnit})
			if err := p.f.Reject(ctx, l.from, feed.ReasonOf(err, feed.ReasonMalformed), err, raw); err != nil {
				return false, nil, sinkError{err}
			}
			continue
		}
		p.noteUnknown(o)
		good = append(good, o)
	}
	a.Offers = good
	return complete, keep, nil
}

// maxUnknown bounds what is remembered of an upstream that makes names up.
const maxUnknown = 1000

// noteUnknown shows, once each, the names that no identity is known of. Their offers are published under a slug of the name, and no index
// across providers takes them.
func (p *poller) noteUnknown(o *market.Offer) {
	if _, known := models.ByID(o.GPU); known || p.unknown[o.GPU] || len(p.unknown) >= maxUnknown {
		return
	}
	p.unknown[o.GPU] = true
	p.f.Ignore("gpu_without_identity")
	p.f.Logger().Warn("a GPU without an identity: its offers are kept under a name of their own; see schemas/reference/gpus.yaml",
		"gpu", o.GPU, "name", o.GPUName, "memory_mib", o.GPUMemoryMiB)
}

// publish tells the differences, and what comes after, and waits until all is stored: the next poll must not be told before this one is safe,
// or a restart could not tell what it had.
func (p *poller) publish(ctx context.Context, l *list, a *answer, keep map[string]bool, complete bool) error {
	for _, o := range a.Offers {
		o.RecvTime = a.Recv
	}
	for _, o := range l.book.diff(a.Offers, keep, complete, market.Meta{EventTime: a.At, RecvTime: a.Recv}) {
		if _, err := p.f.Emit(ctx, o, l.from, nil); err != nil {
			return sinkError{err}
		}
		if p.f.Has(o) { // else it was refused
			l.book.apply(o)
		}
	}
	if l.after != nil {
		if err := l.after(ctx, a); err != nil {
			return err
		}
	}
	if err := p.f.Flush(ctx); err != nil {
		return sinkError{err}
	}
	return nil
}

// unreadable is an answer that is not what the protocol says, with its bytes.
type unreadable struct {
	err  error
	body []byte
}

func (u *unreadable) Error() string { return u.err.Error() }
func (u *unreadable) Unwrap() error { return u.err }

// sinkError marks an error of our own side.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// access is how an upstream is called: all its calls share one rate limit.
type access struct {
	f       *feed.Feed
	client  *http.Client
	limiter *feed.Limiter
}

// get makes a call and hands its answer to decode, whose error keeps the body.
func (a *access) get(ctx context.Context, r feed.Request, decode func(*feed.Response) error) error {
	r.Limiter = a.limiter
	resp, err := a.f.Call(ctx, a.client, r)
	if err != nil {
		return err
	}
	if err := decode(resp); err != nil {
		return &unreadable{err, resp.Body}
	}
	return nil
}
