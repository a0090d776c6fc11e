package signals

import (
	"context"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// runPivot publishes the pivot until ctx ends. At its start it reads back the inputs and what was told of them, so that nothing is told twice
// and what changed meanwhile is told; then it follows the streams from there.
func (s *service) runPivot(ctx context.Context) error {
	var engine *pivotEngine
	var next map[market.Stream]uint64
	if err := s.patiently(ctx, "read the inputs of the pivot", func() (err error) {
		engine, next, err = s.loadPivot(ctx)
		return err
	}); err != nil {
		return ended(ctx, err)
	}
	return ended(ctx, s.drive(ctx, "the pivot", engine, []market.Stream{market.Hashprices, market.Rates}, next, nil))
}

// take hands an event to the engine.
func (e *pivotEngine) take(ev market.Event, order uint64) {
	switch ev := ev.(type) {
	case *market.Hashprice:
		e.hashprice(ev, order)
	case *market.Rate:
		e.rate(ev, order)
	}
}

// loadPivot fills an engine from the streams, and says where to go on in them. What is stored while it reads is read twice, which changes nothing.
func (s *service) loadPivot(ctx context.Context) (*pivotEngine, map[market.Stream]uint64, error) {
	e, err := newPivotEngine(s.cfg.Pivot, s.deps.Metrics, func(ctx context.Context, ev market.Event) error { return s.deps.Sink.Publish(ctx, ev) })
	if err != nil {
		return nil, nil, err
	}
	next := map[market.Stream]uint64{}
	for _, stream := range []market.Stream{market.Hashprices, market.Rates} {
		info, err := s.deps.Bus.Info(ctx, stream)
		if err != nil {
			return nil, nil, err
		}
		next[stream] = info.LastSeq + 1
	}
	replay := func(stream market.Stream, since time.Time, take func(market.Event, uint64), tokens ...string) {
		if err == nil {
			err = s.deps.Bus.Replay(ctx, stream, "", since, func(ev market.Event, at market.Place) error {
				take(ev, orderOf(at.Seq, int(at.Idx)))
				return nil
			}, tokens...)
		}
	}
	recent := s.deps.Now().Add(-pivotWindow - 2*pivotMaxAge)
	replay(market.Hashprices, time.Time{}, e.take, "daily")
	replay(market.Hashprices, recent, e.take, "tip144")
	for _, gpu := range e.gpus {
		replay(market.Rates, time.Time{}, e.take, "rate", gpu, string(market.OnDemand))
	}
	told := func(ev market.Event, _ uint64) {
		if sig, ok := ev.(*market.Signal); ok {
			e.restore(sig)
		}
	}
	for name := range pivotUnits {
		replay(market.Signals, time.Time{}, told, name+pivotDaily, "*")
		replay(market.Signals, recent, told, name, "*")
	}
	if err != nil {
		return nil, nil, err
	}
	e.recheck(s.deps.Now().Add(-pivotWindow))
	s.log.Info("pivot is live", "models", e.gpus, "fleet", s.cfg.Pivot.Fleet)
	return e, next, nil
}

// recheck has the live values computed again that were told since a time: an input before them may have come while nobody was here.
func (e *pivotEngine) recheck(since time.Time) {
	for s, t := range e.told {
		for x := range t.at {
			if !s.daily && x >= since.UnixNano() {
				t.dirty[x] = struct{}{}
			}
		}
	}
}
