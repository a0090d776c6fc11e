package hashprice

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func tipAt(height uint64) tipState {
	return tipState{Height: height, Hash: "h", Difficulty: market.MustDecimal("127450789715843.1"), FeesSat: big.NewInt(144 * 1_970_000), Blocks: 144}
}

func priceAt(usd string, at time.Time) *market.BTCPrice {
	return &market.BTCPrice{Meta: market.Meta{EventTime: at, Source: "coinbase"}, PriceUSD: market.MustDecimal(usd)}
}

func at(c *calculator, t tipState) {
	c.onAlive("mempool", time.Now())
	c.onTip("mempool", t)
}

func calc(t *testing.T, mem *feedtest.Memory) (c *calculator, stop func()) {
	t.Helper()
	f, err := feed.New(feed.Config{Source: "hashpivot", Sink: mem})
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig().Calculator
	cfg.MaxPriceAge = 5 * time.Minute
	c = newCalculator(cfg, []string{"mempool"}, f)
	ctx, cancel := newCancel(t)
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Time in the bubble is the test's own: a minute passes at once when all wait.
func TestCalculatorPublishesOnChangeBoundedAndAtLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		c, stop := calc(t, mem)
		n := func() int { return len(feedtest.Of[*market.Hashprice](mem)) }

		at(c, tipAt(964000))
		synctest.Wait()
		if n() != 0 {
			t.Fatal("published without a price")
		}
		c.onPrice(priceAt("77362", time.Now()))
		synctest.Wait()
		if n() != 1 {
			t.Fatalf("%d values after the first price, want 1", n())
		}
		// A hundred prices within a second are one more value, the last.
		for i := range 100 {
			c.onPrice(priceAt("773"+string(rune('0'+i/10))+string(rune('0'+i%10)), time.Now()))
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		all := feedtest.Of[*market.Hashprice](mem)
		if len(all) != 2 || all[1].BTCUSD.String() != "77399" {
			t.Fatalf("%d values, the last at %s; want 2, at 77399", len(all), all[len(all)-1].BTCUSD)
		}
		// The same price again is no news; a minute without news is.
		c.onPrice(priceAt("77399", time.Now()))
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n() != 2 {
			t.Fatalf("%d values: told again what had not changed", n())
		}
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if all = feedtest.Of[*market.Hashprice](mem); len(all) != 3 || all[2].BTCUSDAgeMs < 55_000 {
			t.Fatalf("%d values after a quiet minute, age %d ms", len(all), all[len(all)-1].BTCUSDAgeMs)
		}
		// A new block is news, whatever the price.
		at(c, tipAt(964001))
		synctest.Wait()
		if n() != 4 {
			t.Fatalf("%d values after a block, want 4", n())
		}
		// An old price is no price.
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		before := n()
		at(c, tipAt(964002))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n() != before || before > 4+5 {
			t.Fatalf("%d values, %d before: computed with a price older than five minutes", n(), before)
		}
		if _, err := c.compute(time.Now()); err == nil || !strings.Contains(err.Error(), "max_price_age") {
			t.Errorf("error %v", err)
		}
		c.onPrice(priceAt("80000", time.Now()))
		synctest.Wait()
		if n() != before+1 {
			t.Fatal("a fresh price did not bring it back")
		}
		stop()
	})
}

func TestHashpriceCarriesItsInputs(t *testing.T) {
	mem := feedtest.NewMemory()
	c, stop := calc(t, mem)
	defer stop()
	now := time.Now()
	at(c, tipAt(964000))
	c.onPrice(priceAt("77362", now.Add(-3*time.Second)))
	h, err := c.compute(now)
	if err != nil {
		t.Fatal(err)
	}
	if h.Method != "tip144" || h.SubsidySat != 312500000 || h.MeanFeesSat.Cmp(market.MustDecimal("1970000")) != 0 || h.FeeWindowBlocks != 144 || h.BTCUSDSource != "coinbase" ||
		h.BTCUSDAgeMs != 3000 || h.Height != 964000 {
		t.Errorf("%+v", h)
	}
	// What is published can be computed again from the row alone.
	v, err := Compute(Inputs{Difficulty: rat(h.Difficulty), SubsidySat: ratInt(h.SubsidySat), FeesSat: rat(h.MeanFeesSat), Blocks: 1, BTCUSD: rat(h.BTCUSD)})
	if err != nil || v.HashpriceUSD.Cmp(h.HashpriceUSD) != 0 || v.HashpriceSat.Cmp(h.HashpriceSat) != 0 {
		t.Errorf("%+v from the row, published %+v, %v", v, h, err)
	}
}

func TestChainRevisesAndTakesBack(t *testing.T) {
	c := newChain()
	b := func(h uint64, hash, prev string) *market.Block {
		return &market.Block{Height: h, Hash: hash, PreviousHash: prev, FeesSat: int64(h), Difficulty: market.MustDecimal("1")}
	}
	for i, x := range []struct {
		b     *market.Block
		isNew bool
		rev   uint32
	}{
		{b(10, "a", ""), true, 0}, {b(11, "b", "a"), true, 0}, {b(11, "b", "a"), false, 0},
		{b(11, "b2", "a"), true, 1}, {b(11, "b", "a"), true, 2}, // the branch that lost wins after all
		{b(12, "c", "b"), true, 0},
	} {
		if got := c.put(x.b); got != x.isNew || x.b.Rev != x.rev {
			t.Errorf("%d: new %v, rev %d; want %v, %d", i, got, x.b.Rev, x.isNew, x.rev)
		}
	}
	first, again := b(11, "b", "a"), b(11, "b", "a")
	again.Rev = 2
	if first.Identity() == again.Identity() {
		t.Error("the block that won after all has the identity of its first telling, and would be dropped")
	}
	if w, ok := c.window(3); !ok || w.FeesSat.Int64() != 33 || w.Height != 12 {
		t.Errorf("window %+v, %v", w, ok)
	}
	if _, ok := c.window(4); ok {
		t.Error("a window over a block that is not there")
	}
	if h, missing := c.hole(8, 12, nil); !missing || h != 9 {
		t.Errorf("hole at %d, %v; want 9", h, missing)
	}
	if h, missing := c.hole(10, 13, map[uint64]*market.Block{13: b(13, "d", "other")}); !missing || h != 12 {
		t.Errorf("hole at %d, %v; want 12, which the new block does not follow", h, missing)
	}
	c.lower(11)
	if x := b(12, "c", "b"); c.tipHeight() != 11 || !c.put(x) || x.Rev != 1 {
		t.Errorf("after the chain got shorter: tip %d, rev %d", c.tipHeight(), x.Rev)
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"hashprice.mempool.stream_url":       func(c *Config) { c.Mempool.StreamURL = "https://mempool.space" },
		"hashprice.mempool.rest_url":         func(c *Config) { c.Mempool.RESTURL = "mempool" },
		"hashprice.coinbase.stream_url":      func(c *Config) { c.Coinbase.StreamURL = "" },
		"hashprice.coinbase.rest_url":        func(c *Config) { c.Coinbase.RESTURL = "ws://x" },
		"hashprice.mempool.source":           func(c *Config) { c.Mempool.Source = "" },
		"hashprice.calculator.window_blocks": func(c *Config) { c.Calculator.WindowBlocks = 0 },
		"hashprice.calculator.min_every":     func(c *Config) { c.Calculator.MinEvery = 0 },
		"hashprice.mempool.refill_blocks":    func(c *Config) { c.Mempool.RefillBlocks = 10 },
		"hashprice.mempool.enabled":          func(c *Config) { c.Mempool.Enabled = false },
		"hashprice.coinbase.enabled":         func(c *Config) { c.Coinbase.Enabled, c.Kraken.Enabled = false, false },
		"hashprice.bitcoind.rpc_url":         func(c *Config) { c.Bitcoind.RPCURL, c.Bitcoind.User = "http://u:pw@127.0.0.1:8332", "u" },
		"hashprice.bitcoind.cookie_file":     func(c *Config) { c.Bitcoind.RPCURL = "http://127.0.0.1:8332" },
		"hashprice.bitcoind.zmq_url": func(c *Config) {
			c.Bitcoind.RPCURL, c.Bitcoind.User, c.Bitcoind.ZMQURL = "http://127.0.0.1:8332", "u", "127.0.0.1:28332"
		},
		"hashprice.kraken.channel":                func(c *Config) { c.Kraken.Channel = "book" },
		"hashprice.kraken.source":                 func(c *Config) { c.Kraken.Source = "coinbase" },
		"hashprice.luxor.every":                   func(c *Config) { c.Luxor.Key, c.Luxor.Every = "k", 0 },
		"hashprice.braiins.url":                   func(c *Config) { c.Braiins.URL = "" },
		"hashprice.coinmetrics.from":              func(c *Config) { c.CoinMetrics.From = "2020" },
		"hashprice.calculator.chain_order":        func(c *Config) { c.Calculator.ChainOrder = []string{"mempool", "mempool"} },
		"hashprice.calculator.max_spread_percent": func(c *Config) { c.Calculator.MaxSpreadPercent = math.NaN() },
		"hashprice.history_from":                  func(c *Config) { c.HistoryFrom = "yesterday" },
	} {
		c := DefaultConfig()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	// A secret in a URL is not repeated.
	c := DefaultConfig()
	c.Bitcoind.RPCURL, c.Bitcoind.User = "http://u:hush@127.0.0.1:8332", "u"
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "hush") {
		t.Error(err)
	}
	// What is off is not looked at.
	c = DefaultConfig()
	c.Kraken, c.Braiins, c.CoinMetrics = KrakenConfig{}, BraiinsConfig{}, CoinMetricsConfig{}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
