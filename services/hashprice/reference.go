package hashprice

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// reference is a hashprice that somebody else publishes: polled, stored as it is told, and compared with ours of the same time.
type reference struct {
	name   string // the signal's symbol
	f      *feed.Feed
	client *http.Client
	every  time.Duration
	keep   time.Duration // how far back an upstream may correct what it told
	// poll asks for what was published since the time.
	poll func(ctx context.Context, since time.Time) ([]*market.Hashprice, error)
	// history says that a poll after an absence brings what was missed; without it the time is given up.
	history bool
	first   time.Time // the beginning of a history

	calc      *feed.Feed // on whose behalf the difference is told
	ours      func(t time.Time) *market.Hashprice
	stopAtEnd bool // one poll is all that there is of a recording
	// after delays the first poll until there is something to compare with; nil: none.
	after <-chan struct{}

	known map[time.Time]*market.Hashprice // the last word of each time, restored
	last  time.Time
}

// restore reads back what was published before.
func (r *reference) restore(ctx context.Context, hist feed.History) error {
	r.known = map[time.Time]*market.Hashprice{}
	if err := r.f.Restore(ctx, r.f.Now()); err != nil { // its ledger only
		return err
	}
	if hist == nil {
		return nil
	}
	err := hist.Replay(ctx, market.Hashprices, r.f.Source(), time.Time{}, func(ev market.Event, _ market.Place) error {
		if p, ok := ev.(*market.Hashprice); ok {
			r.note(p)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore hashprices of %s: %w", r.f.Source(), err)
	}
	return nil
}

func (r *reference) note(p *market.Hashprice) {
	at := p.EventTime.UTC()
	if old, ok := r.known[at]; !ok || p.Rev >= old.Rev {
		r.known[at] = p
	}
	if at.After(r.last) {
		r.last = at
	}
	if len(r.known) > 20000 { // an index each five minutes for two months
		for t := range r.known {
			if t.Before(r.last.Add(-r.keep)) {
				delete(r.known, t)
			}
		}
	}
}

func (r *reference) run(ctx context.Context) error {
	if r.after != nil {
		limit := time.NewTimer(2 * time.Minute)
		defer limit.Stop()
		select {
		case <-r.after:
		case <-limit.C:
		case <-ctx.Done():
			return nil
		}
	}
	p := feed.DefaultPolicy()
	p.FirstWait, p.ReadyWithin = time.Second, 5*time.Minute
	p.Stale = func(time.Time) time.Duration { return 2*r.every + 5*time.Minute }
	if err := r.f.Run(ctx, p, r.session); err != nil {
		return fmt.Errorf("run feed %s: %w", r.f.Source(), err)
	}
	return nil
}

func (r *reference) session(ctx context.Context, s *feed.Session) error {
	for {
		if err := r.once(ctx, s); err != nil {
			return err
		}
		if r.stopAtEnd {
			return feed.ErrEndOfInput
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(r.every):
		}
	}
}

// once polls, publishes what is new or was corrected, and compares.
func (r *reference) once(ctx context.Context, s *feed.Session) error {
	since := r.first
	if !r.last.IsZero() {
		since = r.last.Add(-r.keep)
	}
	got, err := r.poll(ctx, since)
	if err != nil {
		return err
	}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	s.Alive(r.f.Now())
	recovered := uint64(0)
	gaps := r.f.OpenGaps()
	for _, p := range got {
		at := p.EventTime.UTC()
		p.Published, p.Source = true, r.f.Source()
		if old, ok := r.known[at]; ok {
			if old.HashpriceUSD.Cmp(p.HashpriceUSD) == 0 && old.HashpriceBTC.Cmp(p.HashpriceBTC) == 0 {
				if err := r.compare(ctx, old); err != nil {
					return err
				}
				continue
			}
			p.Rev = old.Rev + 1
		}
		told, err := r.f.Emit(ctx, p, r.name, nil)
		if err != nil {
			return err
		}
		if !told {
			continue
		}
		r.note(p)
		for _, g := range gaps {
			if !at.Before(g.From) {
				recovered++
				break
			}
		}
		if err := r.compare(ctx, p); err != nil {
			return err
		}
	}
	if !r.history {
		return giveUp(ctx, r.f, r.f.Now())
	}
	for _, g := range gaps {
		if err := r.f.SettleGap(ctx, g, r.f.Now(), market.GapFilled, recovered); err != nil {
			return err
		}
		recovered = 0
	}
	return nil
}

// differenceScale is the decimals of the difference, percent.
const differenceScale = 6

// compare publishes how far ours is from theirs of the same time, in percent of theirs: above 0 where ours is higher.
func (r *reference) compare(ctx context.Context, theirs *market.Hashprice) error {
	ours := r.ours(theirs.EventTime)
	if ours == nil || !theirs.HashpriceUSD.IsPos() {
		return nil
	}
	diff := new(big.Rat).Quo(rat(ours.HashpriceUSD), rat(theirs.HashpriceUSD))
	diff.Sub(diff, ratInt(1)).Mul(diff, ratInt(100))
	value, err := round(diff, differenceScale)
	if err != nil {
		r.f.Logger().Warn("no difference", "err", err)
		return nil
	}
	_, err = r.calc.Emit(ctx, &market.Signal{
		Meta: market.Meta{EventTime: theirs.EventTime, RecvTime: r.calc.Now(), Rev: max(theirs.Rev, ours.Rev), Backfill: theirs.Backfill},
		Name: "hashprice-difference", Symbol: r.name, Value: value, Unit: "percent",
		Inputs: map[string]string{
			"ours": ours.HashpriceUSD.String(), "theirs": theirs.HashpriceUSD.String(), "ours.method": ours.Method, "theirs.method": theirs.Method,
			"ours.at": ours.EventTime.UTC().Format(time.RFC3339Nano), "theirs.at": theirs.EventTime.UTC().Format(time.RFC3339Nano),
		},
	}, "difference", nil)
	if err != nil {
		return fmt.Errorf("publish difference to %s: %w", r.name, err)
	}
	return nil
}

// get calls once and decodes; what does not decode becomes a dead letter and an error that another try may cure.
func get[T any](ctx context.Context, r *reference, q feed.Request, from string, decode func(*feed.Response) (T, error)) (T, error) {
	var none T
	resp, err := r.f.Call(ctx, r.client, q)
	if err != nil {
		if m, ok := errors.AsType[*feed.Malformed](err); ok {
			if err := r.f.Reject(ctx, from, m.Reason, m, nil); err != nil {
				return none, sinkError{err}
			}
			return none, fmt.Errorf("ask %s: %s", r.name, m.Error())
		}
		return none, err
	}
	v, err := decode(resp)
	if err != nil {
		if err := r.f.Reject(ctx, from, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); err != nil {
			return none, sinkError{err}
		}
		return none, fmt.Errorf("decode %s of %s: %s", from, r.name, err.Error())
	}
	return v, nil
}
