package massive

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/massive"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

func all[T market.Event](T) bool { return true }

var lively = tape.Config{Rate: 400, Steady: true, FaultEvery: 10, LateBy: 100 * time.Millisecond, FateBy: 50 * time.Millisecond}

// What was published is what the venue's history tells of the time, hole included: every print once, and the cancel of each that does not
// count any more as far as a hole was read.
func TestLiveEqualsHistory(t *testing.T) {
	t.Parallel()
	sim := simulator(t, massive.Config{Key: "key", Tape: lively})
	r := start(t, sim, feedtest.NewMemory(), func(c *Config) { c.PageLimit = 100 })
	r.until("prints", atLeast(100, all[*market.Trade]))
	from := time.Now()
	r.until("more prints", atLeast(300, all[*market.Trade]))
	sim.DropAll()
	r.until("the hole filled as far as it can be", atLeast(1, func(g *market.FeedGap) bool {
		return g.State == market.GapPartly && strings.Contains(g.Reason, "1s bars, lulds, imbalances")
	}))
	to := time.Now()
	r.until("prints after the hole", func(evs []market.Event) bool {
		return count(evs, func(x *market.Trade) bool { return x.EventTime.After(to.Add(500 * time.Millisecond)) }) > 100
	})
	owed := map[string]bool{} // prints that history says are no longer valid
	if err := r.fetch(engine.Trades, from, to, func(ev market.Event) {
		if x := ev.(*market.Trade); x.Action == market.TradeCancel {
			owed[x.Symbol+x.ID] = true
		}
	}); err != nil {
		t.Fatal(err)
	}
	r.until("the cancels", func(evs []market.Event) bool {
		return count(evs, func(x *market.Trade) bool { return x.Action == market.TradeCancel && owed[x.Symbol+x.ID] }) >= len(owed)
	})
	prints, cancels := map[string]*market.Trade{}, map[string]string{}
	quotes := map[string]bool{}
	for _, ev := range r.mem.Events() {
		switch x := ev.(type) {
		case *market.Trade:
			key := x.Symbol + x.ID
			if x.Action == market.TradeCancel {
				cancels[key] = x.CancelCode
			} else if prints[key] != nil {
				t.Errorf("print %s twice", key)
			} else {
				prints[key] = x
			}
		case *market.Quote:
			if quotes[x.Identity()] {
				t.Errorf("quote %s twice", x.Identity())
			}
			quotes[x.Identity()] = true
		}
	}
	told, invalidPrints := 0, 0
	err := r.fetch(engine.Trades, from, to, func(ev market.Event) {
		x := ev.(*market.Trade)
		key := x.Symbol + x.ID
		if x.Action == market.TradeCancel {
			invalidPrints++
			if cancels[key] != x.CancelCode {
				t.Errorf("print %s is cancelled with %s in history, with %q here", key, x.CancelCode, cancels[key])
			}
			return
		}
		told++
		have := prints[key]
		if have == nil {
			t.Errorf("print %s is missing", key)
		} else if have.PriceUSD.Cmp(x.PriceUSD) != 0 || have.Sequence != x.Sequence || have.Exchange != x.Exchange || len(have.Conditions) != len(x.Conditions) {
			t.Errorf("print %s is %+v here, %+v in history", key, have, x)
		}
	})
	if err != nil || told < 100 || invalidPrints == 0 {
		t.Errorf("history tells of %d prints, %d of them invalid, %v", told, invalidPrints, err)
	}
	n := 0
	err = r.fetch(engine.Quotes, from, to, func(ev market.Event) {
		n++
		ev.GetMeta().Source = "sim-massive"
		if !quotes[ev.Identity()] {
			t.Errorf("quote %s is missing", ev.Identity())
		}
	})
	if err != nil || n < 100 {
		t.Errorf("history tells of %d quotes, %v", n, err)
	}
	if n := count(r.mem.Events(), func(b *market.Bar) bool { return b.Interval == market.Interval1s }); n < 4 {
		t.Errorf("%d second bars", n)
	}
}

// fetch reads history beside the running feed.
func (r *running) fetch(kind engine.Kind, from, to time.Time, fn func(market.Event)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return r.up.Fetch(ctx, r.e, engine.Query{Kind: kind, Symbols: testSymbols, From: from, To: to}, func(ev market.Event, _ engine.Page, _ []byte) error {
		fn(ev)
		return nil
	})
}

func TestWhatThePlanLacks(t *testing.T) {
	t.Parallel()
	sim := simulator(t, massive.Config{NoWebsocket: true})
	if err := start(t, sim, feedtest.NewMemory(), nil).refused(); !strings.Contains(err.Error(), "plan") {
		t.Errorf("refused with %v", err)
	}
	sim = simulator(t, massive.Config{NotInPlan: []string{"NOI"}})
	if err := start(t, sim, feedtest.NewMemory(), nil).refused(); !strings.Contains(err.Error(), "imbalances") {
		t.Errorf("refused with %v", err)
	}
}

// A second connection is told so after its subscription succeeded, and comes again when the first has gone.
func TestOneConnectionTooMany(t *testing.T) {
	t.Parallel()
	sim := simulator(t, massive.Config{Tape: lively})
	first := start(t, sim, feedtest.NewMemory(), nil)
	first.until("prints", atLeast(1, all[*market.Trade]))
	second := start(t, sim, feedtest.NewMemory(), func(c *Config) { c.Source = "sim-massive-2" })
	second.until("the limit", atLeast(1, func(f *market.FeedEvent) bool {
		return f.State == market.FeedLost && strings.Contains(f.Detail, "max_connections")
	}))
	first.stop()
	second.until("prints", atLeast(1, func(x *market.Trade) bool { return !x.Backfill }))
}

// History that the plan does not have is in the ledger, and the rest is read.
func TestHistoryWithoutEntitlement(t *testing.T) {
	t.Parallel()
	sim := simulator(t, massive.Config{Tape: lively})
	r := start(t, sim, feedtest.NewMemory(), func(c *Config) { c.Halts, c.Imbalances, c.SecondBars = false, false, false })
	r.until("the first line", atLeast(1, func(g *market.FeedGap) bool { return g.State == market.GapFilled }))
	sim.Faults().Order(1, massive.Fault{Status: http.StatusForbidden, Body: `{"status":"NOT_AUTHORIZED","request_id":"x","message":"upgrade"}`})
	sim.DropAll()
	r.until("the hole filled partly", atLeast(1, func(g *market.FeedGap) bool {
		return g.State == market.GapPartly && g.Recovered > 0 && strings.Contains(g.Reason, "1d bars (the plan does not have it)")
	}))
}

// The venue's word on too many calls comes with HTTP 200 at times: the page is asked for again, and nothing of it is lost.
func TestLimitWith200(t *testing.T) {
	t.Parallel()
	sim := simulator(t, massive.Config{Tape: lively})
	r := start(t, sim, feedtest.NewMemory(), func(c *Config) { c.PageLimit, c.Halts, c.Imbalances, c.SecondBars = 100, false, false, false })
	r.until("the first line", atLeast(1, func(g *market.FeedGap) bool { return g.State == market.GapFilled }))
	sim.Faults().Order(3, massive.LimitExceeded(http.StatusOK))
	sim.DropAll()
	r.until("the hole filled", atLeast(2, func(g *market.FeedGap) bool { return g.State == market.GapFilled }))
	if n := count(r.mem.Events(), all[*market.DeadLetter]); n > 0 {
		t.Errorf("%d dead letters of an answer that was understood", n)
	}
}

// Symbols come and go on the open connection.
func TestSymbolsChange(t *testing.T) {
	t.Parallel()
	sim := simulator(t, massive.Config{Tape: lively})
	r := start(t, sim, feedtest.NewMemory(), nil)
	r.until("prints", atLeast(1, all[*market.Trade]))
	if err := r.e.SetSymbols(t.Context(), []string{"IREN"}); err != nil {
		t.Fatal(err)
	}
	if err := r.e.SetSymbols(t.Context(), []string{"IREN", "CORZ"}); err != nil {
		t.Fatal(err)
	}
	again := time.Now()
	r.until("prints of the one that came back", atLeast(1, func(x *market.Trade) bool { return x.Symbol == "CORZ" && !x.Backfill && x.RecvTime.After(again) }))
	r.until("its line settled", atLeast(1, func(g *market.FeedGap) bool { return g.Symbol == "CORZ" && g.State != market.GapOpen }))
	if n := count(r.mem.Events(), func(f *market.FeedEvent) bool { return f.State == market.FeedConnected }); n != 1 {
		t.Errorf("%d connections for a change of symbols", n)
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	for want, edit := range map[string]func(*Config){
		"source": func(c *Config) { c.Source = "" }, "symbols": func(c *Config) { c.Symbols = []string{"iren"} },
		"stream_url": func(c *Config) { c.StreamURL = "https://x" }, "rest_url": func(c *Config) { c.RESTURL = "api" },
		"key": func(c *Config) { c.Key = "" }, "quote_size_unit": func(c *Config) { c.QuoteSizeUnit = "contracts" },
		"page_limit": func(c *Config) { c.PageLimit = 60_000 }, "slow_retry": func(c *Config) { c.SlowRetry = -1 },
		"trades": func(c *Config) {
			c.Trades, c.Quotes, c.MinuteBars, c.SecondBars, c.Halts, c.Imbalances = false, false, false, false, false, false
		},
	} {
		c := DefaultConfig()
		c.Key = "hush"
		edit(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("error %v, want one that begins with %s", err, want)
		}
	}
}
