package gpurates

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// failed writes a poll that brought nothing into the ledger. A poll has no history: what it would have told is lost for ever.
func (p *poller) failed(ctx context.Context, l *list, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if se, ok := errors.AsType[*feed.StatusError](cause); ok {
		if p.up.refused != nil {
			if why := p.up.refused(se.Status); why != "" {
				return feed.Refused(fmt.Errorf("%s: %w", why, cause))
			}
		}
		// Without a key it is no matter of a key: a firewall in a bad mood passes.
		if feed.IsRefused(cause) && p.up.keyed {
			return fmt.Errorf("poll %s: it does not take the key; check gpurates.%s.api_key: %w", p.f.Source(), p.up.key, cause)
		}
	} else if feed.IsRefused(cause) {
		return fmt.Errorf("poll %s: check gpurates.%s.api_key: %w", p.f.Source(), p.up.key, cause)
	}
	p.f.Logger().Warn("poll failed", "list", l.name, "err", cause)
	return p.openGap(ctx, l, cause.Error())
}

// late is how long after the last good poll the next is not yet a hole.
func (p *poller) late() time.Duration { return max(2*p.up.every, p.up.every+10*time.Second) }

// noteAbsence writes that no poll was made for longer than the cadence allows: at the first poll of a run since the run before, and after a
// sleep of the machine. What came and went meanwhile was never seen. The caller settles it.
func (p *poller) noteAbsence(ctx context.Context, l *list, at time.Time) error {
	switch {
	case p.stopAtEnd:
		return nil
	case l.polled.IsZero():
		if known := l.known(); known.IsZero() || at.Sub(known) < p.late() {
			return nil
		}
		return p.openGap(ctx, l, "not running")
	case p.f.Now().Sub(l.polled) > p.late()+p.up.every<<l.fails/2:
		return p.openGap(ctx, l, "no poll for "+p.f.Now().Sub(l.polled).Round(time.Second).String())
	}
	return nil
}

func (p *poller) openGap(ctx context.Context, l *list, reason string) error {
	if _, open := p.gap(l); open {
		return nil
	}
	from := l.done
	if from.IsZero() {
		from = l.known()
	}
	if from.IsZero() {
		from = p.f.Now()
	}
	if len(reason) > 256 {
		reason = strings.ToValidUTF8(reason[:256], "")
	}
	if _, err := p.f.OpenGap(ctx, l.name, from, time.Time{}, reason); err != nil {
		return sinkError{err}
	}
	return nil
}

func (p *poller) gap(l *list) (market.FeedGap, bool) {
	for _, g := range p.f.OpenGaps() {
		if g.Symbol == l.name {
			return g, true
		}
	}
	return market.FeedGap{}, false
}

// settle ends the list's gaps at the first good poll, given up.
func (p *poller) settle(ctx context.Context, l *list, at time.Time) error {
	for {
		g, open := p.gap(l)
		if !open {
			return nil
		}
		if at.Before(g.From) {
			at = g.From
		}
		if err := p.f.SettleGap(ctx, g, at, market.GapGivenUp, 0); err != nil {
			return sinkError{err}
		}
	}
}
