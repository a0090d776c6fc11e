package lander

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// lost writes into the gap ledger that sequences of the stream are gone and never landed, and raises the alarm. Told twice it is one line.
func (w *worker) lost(ctx context.Context, created int64, first, last uint64, from, to time.Time, why string) error {
	now := time.Now().UTC()
	if to.IsZero() {
		to = now
	}
	if from.IsZero() || from.After(to) {
		from = to
	}
	w.log.Error("messages are lost: they were gone from the stream before they landed", "first", first, "last", last, "why", why)
	w.deps.Metrics.lost(w.stream, last-first+1)
	return w.patiently(ctx, "write into the gap ledger", func() error {
		p := w.deps.Bus.NewPublisher(bus.PublisherConfig{})
		err := p.Publish(ctx, &market.FeedGap{
			Meta:  market.Meta{Source: w.deps.Mark + "lander", EventTime: now, RecvTime: now},
			GapID: fmt.Sprintf("%s@%d:%d-%d", w.name(), created, first, last), Symbol: "*", From: from.UTC(), To: to.UTC(), Reason: why, State: market.GapGivenUp,
		})
		if err == nil {
			err = p.Flush(ctx)
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if cerr := p.Close(end); err == nil {
			err = cerr
		}
		return err
	})
}

// lostHoles tells of the holes of a span.
func (w *worker) lostHoles(ctx context.Context, s *span) error {
	for _, h := range s.holes {
		// The same words each time that a range is landed: whether they aged out or were deleted cannot be told later.
		why := fmt.Sprintf("sequences %d-%d of stream %s were gone (aged out, purged or deleted) before they landed", h.first, h.last, w.stream)
		if err := w.lost(ctx, w.life.UnixNano(), h.first, h.last, w.ledger.now.LastTime, s.lastTime, why); err != nil {
			return err
		}
	}
	return nil
}
