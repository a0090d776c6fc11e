package alpaca

import (
	"testing"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
)

func TestStreamsTradesAndQuotes(t *testing.T) {
	for _, encoding := range []string{"json", "msgpack"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			v := newVenue(t, alpaca.Config{Rate: 400, Steady: true})
			cfg := v.config()
			cfg.Alpaca.Encoding = encoding
			cfg.Alpaca.Compress = encoding == "json"
			cfg.Backfill.DailyFrom = "480h"
			r := start(t, cfg, feedtest.NewMemory())
			r.until("200 trades", atLeast[*market.Trade](200, nil))
			r.until("quotes", atLeast[*market.Quote](200, nil))
			r.until("daily history", atLeast(1, gap(market.GapFilled)))
			if err := r.end(); err != nil {
				t.Fatal(err)
			}
			events := r.mem.Events()
			if n := count[*market.DeadLetter](events, nil); n > 0 {
				t.Errorf("%d dead letters of a healthy feed, the first: %+v", n, feedtest.Of[*market.DeadLetter](r.mem)[0])
			}
			symbols := map[string]bool{}
			for _, tr := range feedtest.Of[*market.Trade](r.mem) {
				symbols[tr.Symbol] = true
				if tr.Source != "sim-alpaca" || tr.RecvTime.Before(tr.EventTime) || tr.Tape != "C" {
					t.Fatalf("trade %+v", tr)
				}
				if tr.PriceUSD.Scale() > 4 {
					t.Fatalf("price %s has digits that the venue did not send", tr.PriceUSD)
				}
			}
			if len(symbols) != 4 {
				t.Errorf("trades of %v", symbols)
			}
			if n := count(events, func(b *market.Bar) bool { return b.Interval == market.Interval1d && b.Backfill && b.Final }); n < 4*19 {
				t.Errorf("%d final daily bars, want 19 or 20 days of 4 symbols", n)
			}
			if n := count(events, state(market.FeedStopped)); n != 1 {
				t.Errorf("stopped %d times", n)
			}
		})
	}
}
