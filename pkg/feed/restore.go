package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// RestoreEach is Restore of one stream for an adapter that keeps more than identities (the revision of a bar, the last time of a symbol):
// fn sees each event that this source published, oldest first; tokens select by subject, as in History. The gap ledger is not read.
func (f *Feed) RestoreEach(ctx context.Context, since time.Time, stream market.Stream, fn func(market.Event), tokens ...string) error {
	if f.cfg.History == nil {
		return nil
	}
	n := 0
	err := f.cfg.History.Replay(ctx, stream, f.cfg.Source, since, func(ev market.Event, _ market.Place) error {
		f.remember(ev)
		f.noteTime(ev.GetMeta().EventTime)
		fn(ev)
		n++
		return nil
	}, tokens...)
	if err != nil {
		return fmt.Errorf("restore %s from stream %s: %w", f.cfg.Source, stream, err)
	}
	if n > 0 {
		f.log.Info("restored what was published before", "stream", string(stream), "events", n)
	}
	return nil
}
