package lander

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Adopt lets a NATS land into a database whose rows came from another one that is gone for good: it writes the record with which the stream's landing begins.
// What the other NATS held and had not landed is lost; the gap ledger says so. It reports false where there is nothing to adopt.
func Adopt(ctx context.Context, deps Deps, stream market.Stream) (bool, error) {
	if deps.Metrics == nil {
		deps.Metrics = NewMetrics(nil)
	}
	w := &worker{stream: stream, deps: deps, log: deps.Logger.With("stream", string(stream)), landed: &progress{}}
	w.ledger = newLedger(deps.Bus.Cell(bus.LandingKey(stream, bus.Shard{})))
	v, err := w.look(ctx)
	if err != nil {
		return false, err
	}
	w.ledger.rev, w.ledger.database, w.life = v.rev, v.database, v.info.Created
	if v.rev != 0 {
		return false, nil // there is a record: the lander knows what to do with it
	}
	all, err := w.top(ctx, time.Time{})
	if err != nil || all.Seq == 0 {
		return false, err
	}
	life, err := w.top(ctx, w.life)
	if err != nil {
		return false, err
	}
	if life.Seq > 0 {
		return false, nil // rows of this very stream: the lander rebuilds its record from them
	}
	why := fmt.Sprintf("stream %s of another NATS was given up: what it held behind sequence %d has not landed", stream, all.Seq)
	if err := w.lost(ctx, 0, all.Seq+1, all.Seq+1, all.Time, w.life, why); err != nil {
		return false, err
	}
	rec := w.start(v)
	if err := w.ledger.move(ctx, w.ledger.next(rec.Landing, rec.LastTime)); err != nil {
		return false, fmt.Errorf("adopt stream %s: %w", stream, err)
	}
	return true, nil
}
