package alpaca

import (
	"testing"
	"time"

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

// TestUpdatedMinute: a minute that the venue updates is told again as the bar's next revision.
func TestUpdatedMinute(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 50})
	r := start(t, v.config(), feedtest.NewMemory())
	r.until("prints", atLeast[*market.Trade](5, nil))
	at := time.Now().Add(-2 * time.Hour).UTC().Truncate(time.Minute).Format(time.RFC3339)
	bar := func(typ, volume string) []byte {
		return []byte(`[{"T":"` + typ + `","S":"IREN","o":1,"h":2,"l":1,"c":1.6,"v":` + volume + `,"n":1,"vw":1.5,"t":"` + at + `"}]`)
	}
	is := func(rev uint32, volume string) func(*market.Bar) bool {
		return func(b *market.Bar) bool {
			return b.Symbol == "IREN" && b.Interval == market.Interval1m && b.EventTime.Format(time.RFC3339) == at && b.Rev == rev && b.Volume.String() == volume
		}
	}
	v.Inject(bar("b", "10"), false)
	r.until("the minute", atLeast(1, is(0, "10")))
	v.Inject(bar("u", "12"), false)
	r.until("the updated minute", atLeast(1, is(1, "12")))
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
}
