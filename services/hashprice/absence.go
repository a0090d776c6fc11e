package hashprice

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// noteAbsence writes into the ledger that we were not running since this source's last sign of life: its newest event or change of state.
// The first good session settles the line. A source that never ran was not missed, and a line that is open already covers it.
func noteAbsence(ctx context.Context, f *feed.Feed, hist feed.History) error {
	if hist == nil || len(f.OpenGaps()) > 0 {
		return nil
	}
	now, last := f.Now(), time.Time{}
	note := func(t time.Time) {
		if t.After(last) && !t.After(now) { // a block may be stamped ahead of our clock
			last = t
		}
	}
	note(f.LastEventTime())
	err := hist.Replay(ctx, market.Feeds, f.Source(), time.Time{}, func(ev market.Event, _ market.Place) error {
		note(ev.GetMeta().EventTime)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the last state of %s: %w", f.Source(), err)
	}
	if last.IsZero() {
		return nil
	}
	_, err = f.OpenGap(ctx, "*", last, time.Time{}, "not running")
	return err
}
