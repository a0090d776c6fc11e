package alpaca

import (
	"testing"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
)

func TestErrorsOfTheStream(t *testing.T) {
	cfg := defaultTestConfig()
	e, err := cfg.engine(deps(t, feedtest.NewMemory()))
	if err != nil {
		t.Fatal(err)
	}
	st := &stream{u: New(cfg.Alpaca), e: e}
	for code, c := range map[uint64]struct{ ignored, refused bool }{
		400: {false, true}, 401: {}, 402: {false, true}, 403: {true, false}, 404: {}, 405: {}, 406: {}, 407: {},
		408: {false, true}, 409: {false, true}, 410: {false, true}, 411: {false, true}, 500: {}, 999: {},
	} {
		st.subs.init(st.u.channels())
		err := st.failed(t.Context(), &control{typ: "error", code: code, msg: "x"})
		if (err == nil) != c.ignored || feed.IsRefused(err) != c.refused {
			t.Errorf("code %d: %v", code, err)
		}
	}
}

// A plan without recent data: what is old enough is fetched at once, the rest when it may be.
func TestRecentHistoryIsWaitedFor(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 50, Steady: true, RecentBarred: true})
	cfg := v.config()
	cfg.Alpaca.Feed = "sip"
	cfg.Backfill.DailyFrom = "480h"
	r := start(t, cfg, feedtest.NewMemory())
	r.until("daily bars at once", atLeast(4*19, func(b *market.Bar) bool { return b.Backfill && b.Interval == market.Interval1d }))
	r.until("the stream", atLeast[*market.Trade](50, nil))
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if n := count(r.mem.Events(), gap(market.GapFilled)); n > 0 {
		t.Error("the line of the ledger is settled too early")
	}
}
