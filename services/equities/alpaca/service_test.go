package alpaca

import (
	"strings"
	"testing"
	"time"

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

// delayed_sip is a quarter of an hour behind: that is no staleness, and its holes are as old.
func TestDelayedStream(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 400, FaultEvery: 20, LateBy: time.Second, FateBy: 500 * time.Millisecond, RecentBarred: true})
	cfg := v.config()
	cfg.Alpaca.Feed, cfg.Alpaca.StreamURL = "sip", strings.Replace(cfg.Alpaca.StreamURL, "/v2/iex", "/v2/delayed_sip", 1)
	if err := cfg.Alpaca.Validate(); err != nil {
		t.Fatal(err)
	}
	r := start(t, cfg, feedtest.NewMemory())
	r.until("the stream", atLeast[*market.Trade](20, nil))
	begin := time.Now().Add(-sipDelay)
	v.DropAll()
	r.until("a connection", atLeast(2, state(market.FeedConnected)))
	n := count[*market.Trade](r.mem.Events(), nil)
	r.until("live prints", atLeast(n+100, func(x *market.Trade) bool { return !x.Backfill }))
	r.until("the hole", atLeast(1, func(g *market.FeedGap) bool {
		return strings.HasPrefix(g.Reason, "lost") && gap(market.GapFilled)(g) && time.Since(g.To) > sipDelay
	}))
	end := time.Now().Add(-sipDelay)
	r.until("everything told", toldAfter(end.Add(2*time.Second)))
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if n := checkTape(t, v, r.mem, begin, end); n < 20 {
		t.Errorf("the truth has only %d prints", n)
	}
	for _, x := range feedtest.Of[*market.Trade](r.mem) {
		if behind := x.RecvTime.Sub(x.EventTime); behind < sipDelay-2*time.Second {
			t.Fatalf("a print that is %s behind", behind)
		}
	}
}

// The night's stream is a second connection of the same account.
func TestOvernightStreamBesideTheDays(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 200, Steady: true})
	cfg := v.config()
	cfg.Alpaca.Overnight.StreamURL = strings.Replace(cfg.Alpaca.StreamURL, "/v2/iex", "/v1beta1/boats", 1)
	if err := cfg.Alpaca.Validate(); err != nil {
		t.Fatal(err)
	}
	day := start(t, cfg, feedtest.NewMemory())
	night := cfg
	night.Alpaca, _ = cfg.Alpaca.Night()
	r := start(t, night, feedtest.NewMemory())
	day.until("the day's stream", atLeast[*market.Trade](20, nil))
	r.until("the night's stream", atLeast(20, func(x *market.Trade) bool { return x.Source == "alpaca-overnight" }))
	v.DropAll()
	r.until("its hole", atLeast(1, func(g *market.FeedGap) bool { return g.Reason == "lost" && g.State == market.GapFilled }))
}
