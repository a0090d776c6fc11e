package hashprice

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Validate names the key that is wrong. What is off is not looked at.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("hashprice."+key+": "+format, args...))
	}
	text := func(key, v string) {
		if strings.TrimSpace(v) == "" {
			bad(key, "is empty; set it")
		}
	}
	link := func(key, v string, schemes ...string) {
		if err := checkURL(v, schemes...); err != nil {
			bad(key, "%v", err)
		}
	}
	above := func(key string, d time.Duration) {
		if d <= 0 {
			bad(key, "is %s; it must be above 0", d)
		}
	}
	notBelow := func(key string, d time.Duration) {
		if d < 0 {
			bad(key, "is %s; it must not be below 0", d)
		}
	}
	refill := func(key string, n int) {
		if n < c.Calculator.WindowBlocks {
			bad(key, "is %d, below calculator.window_blocks (%d)", n, c.Calculator.WindowBlocks)
		}
	}
	text("calculator.source", c.Calculator.Source)
	if m := c.Mempool; m.Enabled {
		text("mempool.source", m.Source)
		link("mempool.stream_url", m.StreamURL, "ws", "wss")
		link("mempool.rest_url", m.RESTURL, "http", "https")
		above("mempool.stale_after", m.StaleAfter)
		above("mempool.fees_every", m.FeesEvery)
		notBelow("mempool.call_every", m.CallEvery)
		refill("mempool.refill_blocks", m.RefillBlocks)
	}
	if b := c.Bitcoind; b.on() {
		text("bitcoind.source", b.Source)
		link("bitcoind.rpc_url", b.RPCURL, "http", "https")
		if b.ZMQURL != "" {
			link("bitcoind.zmq_url", b.ZMQURL, "tcp")
		}
		if (b.CookieFile == "") == (b.User == "") {
			bad("bitcoind.cookie_file", "set either it, or user and password")
		}
		above("bitcoind.poll_every", b.PollEvery)
		above("bitcoind.stale_after", b.StaleAfter)
		above("bitcoind.timeout", b.Timeout)
		refill("bitcoind.refill_blocks", b.RefillBlocks)
	}
	if b := c.Coinbase; b.Enabled {
		text("coinbase.source", b.Source)
		text("coinbase.product", b.Product)
		link("coinbase.stream_url", b.StreamURL, "ws", "wss")
		link("coinbase.rest_url", b.RESTURL, "http", "https")
		above("coinbase.stale_after", b.StaleAfter)
		notBelow("coinbase.call_every", b.CallEvery)
	}
	if k := c.Kraken; k.Enabled {
		text("kraken.source", k.Source)
		text("kraken.symbol", k.Symbol)
		link("kraken.stream_url", k.StreamURL, "ws", "wss")
		above("kraken.stale_after", k.StaleAfter)
		if k.Channel != krakenTicker && k.Channel != krakenTrade {
			bad("kraken.channel", "is %q; it must be ticker or trade", k.Channel)
		}
	}
	if l := c.Luxor; l.on() {
		text("luxor.source", l.Source)
		link("luxor.url", l.URL, "http", "https")
		above("luxor.every", l.Every)
		above("luxor.timeout", l.Timeout)
		notBelow("luxor.call_every", l.CallEvery)
	}
	if b := c.Braiins; b.Enabled {
		text("braiins.source", b.Source)
		link("braiins.url", b.URL, "http", "https")
		above("braiins.every", b.Every)
		above("braiins.timeout", b.Timeout)
	}
	if m := c.CoinMetrics; m.Enabled {
		text("coinmetrics.source", m.Source)
		link("coinmetrics.url", m.URL, "http", "https")
		above("coinmetrics.every", m.Every)
		above("coinmetrics.timeout", m.Timeout)
		notBelow("coinmetrics.call_every", m.CallEvery)
		if _, err := time.Parse(time.DateOnly, m.From); err != nil {
			bad("coinmetrics.from", "%q is not a date; write YYYY-MM-DD", m.From)
		}
	}
	c.Calculator.validate(bad, above)
	above("history_every", c.HistoryEvery)
	if _, err := c.historyFrom(); err != nil {
		bad("history_from", "%v", err)
	}
	if len(c.chainSources()) == 0 {
		bad("mempool.enabled", "no source of blocks is on; turn mempool on, or set bitcoind.rpc_url, and name it in calculator.chain_order")
	}
	if !c.Coinbase.Enabled && !c.Kraken.Enabled {
		bad("coinbase.enabled", "no source of BTC-USD is on; turn coinbase or kraken on")
	}
	names, sources := map[string]string{}, c.Sources()
	for _, key := range slices.Sorted(maps.Keys(sources)) {
		if other, ok := names[sources[key]]; ok {
			bad(strings.TrimPrefix(key, "hashprice."), "is %q, as %s is; two upstreams under one name would be taken for one", sources[key], other)
		}
		names[sources[key]] = key
	}
	return errors.Join(errs...)
}

func (c CalculatorConfig) validate(bad func(key, format string, args ...any), above func(string, time.Duration)) {
	above("calculator.min_every", c.MinEvery)
	above("calculator.max_every", c.MaxEvery)
	above("calculator.max_price_age", c.MaxPriceAge)
	above("calculator.max_chain_age", c.MaxChainAge)
	if c.WindowBlocks < 1 || c.WindowBlocks > retargetBlocks {
		bad("calculator.window_blocks", "is %d; it must be 1 to %d", c.WindowBlocks, retargetBlocks)
	}
	if !(c.MaxSpreadPercent >= 0 && c.MaxSpreadPercent <= 100) {
		bad("calculator.max_spread_percent", "is %v; it must be 0 to 100", c.MaxSpreadPercent)
	}
	for i, name := range c.ChainOrder {
		if name != chainBitcoind && name != chainMempool || slices.Contains(c.ChainOrder[:i], name) {
			bad("calculator.chain_order", "%q is none of bitcoind, mempool, or named twice", name)
		}
	}
}
