package hashprice

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest/conform"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/bitcoind"
	"github.com/hashpivot/hashpivot/pkg/sim/braiins"
	simchain "github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/coinbase"
	"github.com/hashpivot/hashpivot/pkg/sim/coinmetrics"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/kraken"
	"github.com/hashpivot/hashpivot/pkg/sim/luxor"
	"github.com/hashpivot/hashpivot/pkg/sim/mempool"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// only runs one upstream of the service, so that its end is the run's.
func only(source string, at func(cfg *Config, e conform.Endpoint)) func(context.Context, conform.Endpoint, feed.Deps) error {
	return func(ctx context.Context, e conform.Endpoint, deps feed.Deps) error {
		cfg := DefaultConfig()
		cfg.HistoryFrom = ""
		cfg.Coinbase.Source, cfg.Mempool.Source = "sim-coinbase", "sim-mempool"
		at(&cfg, e)
		if err := cfg.Validate(); err != nil {
			return err
		}
		s := &service{cfg: cfg, deps: deps, retargets: newRetargets()}
		defer func() {
			for _, c := range s.closers {
				c()
			}
		}()
		if err := s.build(); err != nil {
			return err
		}
		if err := s.restore(ctx); err != nil {
			return err
		}
		s.retargets.set(nil)
		close(s.hist.passed)
		for _, p := range s.parts {
			if p.Name == source {
				return feed.Together(ctx, deps.Logger, p)
			}
		}
		return fmt.Errorf("no part %s", source)
	}
}

func someWorld(t testing.TB) *world.World {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func ok[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestCoinbaseConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
		Source:   "sim-coinbase",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			s := ok[*coinbase.Server](t)(coinbase.New(coinbase.Config{World: someWorld(t), Seed: 1, TickEvery: 10 * time.Millisecond, HeartbeatEvery: 50 * time.Millisecond}))
			return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close}
		},
		Run: only("sim-coinbase", func(c *Config, e conform.Endpoint) { c.Coinbase.StreamURL, c.Coinbase.RESTURL = e.WS, e.HTTP }),
		Errors: map[string]conform.Error{
			"sequence gap": {Order: control.Order{Fault: "sequence-gap"}, Want: conform.Retried, Says: "sequence gap"},
			"error":        {Order: control.Order{Fault: "error", Body: "too many requests"}, Want: conform.Retried, Says: "too many requests"},
		},
	}})
}

func TestKrakenConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for _, channel := range []string{krakenTicker, krakenTrade} {
		t.Run(channel, func(t *testing.T) {
			errs := map[string]conform.Error{
				"pair":       {Order: control.Order{Fault: "error", Body: "Currency pair not supported BTC/USD"}, Want: conform.Refused, Says: "not supported"},
				"rate":       {Order: control.Order{Fault: "error", Body: "Exceeded msg rate"}, Want: conform.Retried, Says: "Exceeded msg rate"},
				"maintained": {Order: control.Order{Fault: "status", Body: "maintenance"}, Want: conform.Ignored, Says: "maintenance"},
			}
			if channel == krakenTrade {
				errs["sequence gap"] = conform.Error{Order: control.Order{Fault: "sequence-gap"}, Want: conform.Retried, Says: "sequence gap"}
			}
			conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
				Source:   "sim-kraken",
				Parallel: true,
				Start: func(t testing.TB) conform.Upstream {
					s := ok[*kraken.Server](t)(kraken.New(kraken.Config{World: someWorld(t), Seed: 1, TickEvery: 10 * time.Millisecond, HeartbeatEvery: 50 * time.Millisecond}))
					return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close}
				},
				Run: only("sim-kraken", func(c *Config, e conform.Endpoint) {
					c.Kraken.Source, c.Kraken.StreamURL, c.Kraken.Channel = "sim-kraken", e.WS+"/v2", channel
				}),
				Errors: errs,
			}})
		})
	}
}

// longAgo is when the clocks begin that run fast: they never reach the present.
var longAgo = time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC)

func fastChain(t testing.TB) *simchain.Chain {
	return ok[*simchain.Chain](t)(simchain.New(simchain.Config{World: someWorld(t), Seed: 1, Every: 150 * time.Millisecond, Origin: time.Now().Add(-time.Minute)}))
}

func TestMempoolConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
		Source:   "sim-mempool",
		Skip:     map[string]string{"clock off": "the height of the simulated chain follows its clock: hours are thousands of blocks to fetch, and the way back is a reorganisation of them"},
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			s := ok[*mempool.Server](t)(mempool.New(mempool.Config{World: someWorld(t), Seed: 1, Chain: fastChain(t), StatsEvery: 50 * time.Millisecond,
				ConversionsEvery: time.Second, HistoryDays: 1}))
			return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close}
		},
		Run: only("sim-mempool", func(c *Config, e conform.Endpoint) {
			c.Mempool.StreamURL, c.Mempool.RESTURL, c.Mempool.CallEvery = e.WS+"/api/v1/ws", e.HTTP+"/api", 0
		}),
		Data:  func(ev market.Event) bool { _, is := ev.(*market.Block); return is },
		Fills: true,
		Errors: map[string]conform.Error{
			"reorg": {Order: control.Order{Fault: "reorg", Times: 3}, Want: conform.Ignored},
		},
	}})
}

func TestBitcoindConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	conform.Poll(t, conform.PollAdapter{Adapter: conform.Adapter{
		Source:   "sim-bitcoind",
		Parallel: true,
		Skip:     map[string]string{"clock off": "the height of the simulated chain follows its clock: hours are thousands of blocks to fetch, and the way back is a reorganisation of them"},
		Start: func(t testing.TB) conform.Upstream {
			s := ok[*bitcoind.Server](t)(bitcoind.New(bitcoind.Config{Chain: fastChain(t), User: "u", Password: "right"}))
			return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close}
		},
		Run: only("sim-bitcoind", func(c *Config, e conform.Endpoint) {
			b := &c.Bitcoind
			b.Source, b.RPCURL, b.User, b.Password, b.PollEvery, b.Timeout = "sim-bitcoind", e.HTTP, "u", "right", 50*time.Millisecond, 2*time.Second
			if e.BadKey {
				b.Password = "wrong"
			}
		}),
		Data:   func(ev market.Event) bool { _, is := ev.(*market.Block); return is },
		BadKey: "hashprice.bitcoind.password", Fills: true,
		Errors: map[string]conform.Error{
			"warming up":      {Order: control.Order{Fault: control.Status, Status: 500, Body: `{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":"1"}`}, Want: conform.Retried, Says: "Loading block index"},
			"out of range":    {Order: control.Order{Fault: control.Status, Status: 500, Body: `{"result":null,"error":{"code":-8,"message":"Block height out of range"},"id":"1"}`}, Want: conform.Retried, Says: "out of range"},
			"reorganisation":  {Order: control.Order{Fault: "reorg", Times: 3}, Want: conform.Ignored},
			"the wrong chain": {Order: control.Order{Fault: control.Body, Body: `{"result":{"chain":"test","blocks":5,"bestblockhash":"` + fmt.Sprintf("%064d", 5) + `"},"error":null}`}, Want: conform.Refused, Says: "main chain"},
		},
	}})
}

func TestBraiinsConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	conform.Poll(t, conform.PollAdapter{Adapter: conform.Adapter{
		Source:   "sim-braiins",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			s := ok[*braiins.Server](t)(braiins.New(braiins.Config{World: someWorld(t), Chain: fastChain(t)}))
			// Dates some seconds apart at each poll: two figures of one second are one fact.
			clock := &byRequest{at: longAgo, by: 5 * time.Second}
			dated := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", clock.now().Format(http.TimeFormat))
				s.Handler().ServeHTTP(w, r)
			})
			return conform.Upstream{Handler: clock.of(dated), Target: s.Target()}
		},
		Run: only("sim-braiins", func(c *Config, e conform.Endpoint) {
			c.Braiins.Source, c.Braiins.URL, c.Braiins.Every, c.Braiins.Timeout = "sim-braiins", e.HTTP+"/api/v1.0", 50*time.Millisecond, 2*time.Second
		}),
		Skip: map[string]string{"clock off": "the time of a figure is the Date header, which is the server's machine's and not the simulator's clock"},
	}})
}

// byRequest is a clock that each request moves on: what is told by the hour or day comes with each poll, however slow the machine is.
type byRequest struct {
	mu sync.Mutex
	at time.Time
	by time.Duration
}

func (c *byRequest) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *byRequest) of(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.at = c.at.Add(c.by)
		c.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// slowChain is one of ten minutes a block that began when the clock does.
func (c *byRequest) slowChain(t testing.TB) *simchain.Chain {
	return ok[*simchain.Chain](t)(simchain.New(simchain.Config{World: someWorld(t), Seed: 1, Every: 10 * time.Minute, Height: 900_000, Origin: c.at}))
}

func TestLuxorConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	conform.Poll(t, conform.PollAdapter{Adapter: conform.Adapter{
		Source:   "sim-luxor",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			// Some days ago: to one who comes from the present it has a week to tell, and a minute of polls does not bring it there.
			clock := &byRequest{at: time.Now().Add(-6 * 24 * time.Hour), by: 7 * time.Minute}
			s := ok[*luxor.Server](t)(luxor.New(luxor.Config{World: someWorld(t), Chain: clock.slowChain(t), Key: "right", Burst: -1, Now: clock.now}))
			return conform.Upstream{Handler: clock.of(s.Handler()), Target: s.Target()}
		},
		Run: only("sim-luxor", func(c *Config, e conform.Endpoint) {
			c.Luxor.Source, c.Luxor.URL, c.Luxor.Key, c.Luxor.Every = "sim-luxor", e.HTTP+"/v1/hashrateindex", "right", 50*time.Millisecond
			c.Luxor.CallEvery, c.Luxor.Timeout = 0, 2*time.Second
			if e.BadKey {
				c.Luxor.Key = "wrong"
			}
		}),
		BadKey: "hashprice.luxor.key", Fills: true,
		Skip: map[string]string{"clock off": "the simulator's clock is days behind, so that an index comes with each poll"},
	}})
}

func TestCoinMetricsConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	conform.Poll(t, conform.PollAdapter{Adapter: conform.Adapter{
		Source:   "sim-coinmetrics",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			clock := &byRequest{at: longAgo, by: 26 * time.Hour}
			s := ok[*coinmetrics.Server](t)(coinmetrics.New(coinmetrics.Config{World: someWorld(t), Chain: clock.slowChain(t), Calls: -1, Now: clock.now}))
			return conform.Upstream{Handler: clock.of(s.Handler()), Target: s.Target()}
		},
		Run: only("sim-coinmetrics", func(c *Config, e conform.Endpoint) {
			c.CoinMetrics.Source, c.CoinMetrics.URL, c.CoinMetrics.Every = "sim-coinmetrics", e.HTTP+"/v4", 50*time.Millisecond
			c.CoinMetrics.CallEvery, c.CoinMetrics.Timeout, c.CoinMetrics.From = 0, 2*time.Second, "2000-01-01"
		}),
		Fills: true, Pages: true,
		Skip: map[string]string{"clock off": "the simulator's clock is years behind, so that a day comes with each poll"},
	}})
}
