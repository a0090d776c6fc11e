package signals

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// exposureStreams are what exposures are made of.
var exposureStreams = []market.Stream{market.Bars, market.Hashprices, market.Rates, market.Feeds}

// runExposure publishes the exposures until ctx ends, as runPivot does the pivot.
func (s *service) runExposure(ctx context.Context) error {
	actions, err := reference.LoadActions()
	if err != nil {
		return fmt.Errorf("run exposures: %w", err)
	}
	if s.deps.actions != nil {
		actions = s.deps.actions
	}
	var engine *exposureEngine
	var next map[market.Stream]uint64
	if err := s.patiently(ctx, "read the inputs of the exposures", func() (err error) {
		engine, next, err = s.loadExposure(ctx, actions)
		return err
	}); err != nil {
		return ended(ctx, err)
	}
	// Most of BARS are shorter ones: they are not decoded.
	want := func(m bus.Msg) bool {
		return !strings.HasPrefix(m.Subject, "md.v1.bar.") || strings.HasPrefix(m.Subject, "md.v1.bar."+string(market.Interval1d)+".")
	}
	return ended(ctx, s.drive(ctx, "exposures", engine, exposureStreams, next, want))
}

// loadExposure fills an engine from the streams, and says where to go on in them. What is stored while it reads is read twice, which changes nothing.
func (s *service) loadExposure(ctx context.Context, actions []reference.Action) (*exposureEngine, map[market.Stream]uint64, error) {
	e, err := newExposureEngine(s.cfg.Exposure, s.cal, actions, s.deps.Metrics, func(ctx context.Context, ev market.Event) error { return s.deps.Sink.Publish(ctx, ev) })
	if err != nil {
		return nil, nil, err
	}
	next := map[market.Stream]uint64{}
	for _, stream := range exposureStreams {
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
	replay(market.Feeds, time.Time{}, e.take, "*")
	for _, symbol := range e.cfg.Symbols {
		replay(market.Bars, time.Time{}, e.take, string(market.Interval1d), symbol)
	}
	replay(market.Hashprices, time.Time{}, e.take, levelDaily)
	// Live levels count from the newest daily one on; they are stored after the time that they are for, give or take the clocks.
	first := time.Time{}
	for _, b := range e.boards {
		if b.any && (first.IsZero() || b.daily.time().Before(first)) {
			first = b.daily.time()
		}
	}
	if !first.IsZero() {
		replay(market.Hashprices, first.Add(-time.Hour), e.take, levelLive)
	}
	replay(market.Rates, time.Time{}, e.take, "rate", exposureGPU, string(market.OnDemand))
	for mark := range e.boards {
		for _, symbol := range e.cfg.Symbols {
			if day, ok := e.oldest(mark, symbol); ok {
				replay(market.Signals, day.time().Add(-margin), func(ev market.Event, _ uint64) {
					if sig, ok := ev.(*market.Signal); ok {
						e.restore(sig)
					}
				}, "*", symbol)
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	s.log.Info("exposures are live", "symbols", e.cfg.Symbols, "window", e.cfg.Window)
	return e, next, nil
}
