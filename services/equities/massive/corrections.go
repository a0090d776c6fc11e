package massive

import (
	"context"
	"errors"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// The stream tells neither cancels nor corrections: a print that was taken back is told by the history alone. So the history of the last
// hour or so is read again and again while the stream runs. It never reaches back before this process began: what was published before
// is not known in full, and would be published twice. Later corrections come by an on-demand backfill of the day.

// reread reads prints again until ctx ends.
func (u *Upstream) reread(ctx context.Context, e *engine.Engine) {
	if u.cfg.CorrectionsEvery == 0 || !u.cfg.Trades {
		return
	}
	u.mu.Lock()
	if u.began.IsZero() {
		u.began = e.Feed().Now()
	}
	began := u.began
	u.mu.Unlock()
	every := time.NewTicker(u.cfg.CorrectionsEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		to := e.Feed().Now().Add(-u.cfg.HistoryTrails - u.cfg.Delay)
		from := to.Add(-u.cfg.CorrectionsWindow)
		if from.Before(began) {
			from = began
		}
		if !from.Before(to) {
			continue
		}
		cancels, missed := 0, 0
		err := u.Fetch(ctx, e, engine.Query{Kind: engine.Trades, Symbols: e.Symbols(), From: from, To: to}, func(ev market.Event, p engine.Page, raw []byte) error {
			m := ev.GetMeta()
			m.RecvTime, m.Backfill = p.Recv, true
			fresh, err := e.Feed().Emit(ctx, ev, p.Path, raw)
			if t, ok := ev.(*market.Trade); ok && fresh && t.Action == market.TradeCancel {
				cancels++
			} else if fresh {
				missed++
			}
			return err
		})
		log := e.Feed().Logger()
		switch _, not := errors.AsType[*engine.NotServed](err); {
		case ctx.Err() != nil:
			return
		case not, feed.IsRefused(err):
			log.Warn("corrections cannot be read: the plan does not have the history of prints", "err", err)
			return
		case err != nil:
			log.Warn("corrections could not be read, will be tried again", "err", err)
		case cancels+missed > 0:
			log.Info("read prints again", "from", from, "to", to, "cancels", cancels, "untold_by_the_stream", missed)
		}
	}
}
