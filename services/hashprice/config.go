// Package hashprice streams the bitcoin network (blocks, difficulty, fee rates) from mempool.space and BTC-USD from Coinbase, and computes
// the hashprice from them: live on each block and price ("tip144"), and one a day for years of history ("daily").
package hashprice

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config of the service.
type Config struct {
	Mempool    MempoolConfig    `koanf:"mempool"`
	Coinbase   CoinbaseConfig   `koanf:"coinbase"`
	Calculator CalculatorConfig `koanf:"calculator"`
	// HistoryFrom is the first UTC day of the daily history, YYYY-MM-DD; empty: no history is fetched.
	HistoryFrom string `koanf:"history_from"`
	// HistoryEvery is how often the history is looked at again for days that have ended.
	HistoryEvery time.Duration `koanf:"history_every"`
	// StopAtEnd makes Run return once the upstreams have said that there is no more and the history is read (recordings).
	StopAtEnd bool `koanf:"stop_at_end"`
}

// MempoolConfig is the mempool.space upstream.
type MempoolConfig struct {
	Source    string `koanf:"source"`
	StreamURL string `koanf:"stream_url"` // websocket
	RESTURL   string `koanf:"rest_url"`   // up to and with /api
	// RefillBlocks bounds how many blocks are fetched after an absence; what is older becomes a gap that is given up.
	RefillBlocks int `koanf:"refill_blocks"`
	// FeesEvery is how often unchanged fee rates are published again; changed ones are at once.
	FeesEvery time.Duration `koanf:"fees_every"`
	// CallEvery is the least time between two REST calls: the public host bans clients in a hurry.
	CallEvery time.Duration `koanf:"call_every"`
	// StaleAfter is the longest silence of the websocket, which tells its mempool's state every few seconds.
	StaleAfter time.Duration `koanf:"stale_after"`
}

// CoinbaseConfig is the Coinbase upstream: Advanced Trade for the ticker, Exchange for the daily candles.
type CoinbaseConfig struct {
	Source    string `koanf:"source"`
	StreamURL string `koanf:"stream_url"`
	RESTURL   string `koanf:"rest_url"`
	Product   string `koanf:"product"`
	// StaleAfter is the longest silence; heartbeats come each second.
	StaleAfter time.Duration `koanf:"stale_after"`
	CallEvery  time.Duration `koanf:"call_every"`
}

// CalculatorConfig is the hashprice itself.
type CalculatorConfig struct {
	Source string `koanf:"source"`
	// WindowBlocks is over how many blocks fees are averaged.
	WindowBlocks int `koanf:"window_blocks"`
	// MinEvery bounds the rate of publishing; MaxEvery is the longest time without a value while there is a fresh price.
	MinEvery time.Duration `koanf:"min_every"`
	MaxEvery time.Duration `koanf:"max_every"`
	// MaxPriceAge is when a price is too old to compute with.
	MaxPriceAge time.Duration `koanf:"max_price_age"`
}

// DefaultConfig needs no key.
func DefaultConfig() Config {
	return Config{
		Mempool: MempoolConfig{
			Source: "mempool", StreamURL: "wss://mempool.space/api/v1/ws", RESTURL: "https://mempool.space/api",
			RefillBlocks: 4320, FeesEvery: time.Minute, CallEvery: 500 * time.Millisecond, StaleAfter: time.Minute,
		},
		Coinbase: CoinbaseConfig{
			Source: "coinbase", StreamURL: "wss://advanced-trade-ws.coinbase.com", RESTURL: "https://api.exchange.coinbase.com",
			Product: "BTC-USD", StaleAfter: 15 * time.Second, CallEvery: 250 * time.Millisecond,
		},
		Calculator: CalculatorConfig{
			Source: "hashpivot", WindowBlocks: 144, MinEvery: time.Second, MaxEvery: time.Minute, MaxPriceAge: 5 * time.Minute,
		},
		HistoryFrom: "2016-07-01", HistoryEvery: time.Hour,
	}
}

// Validate names the key that is wrong.
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
	text("mempool.source", c.Mempool.Source)
	text("coinbase.source", c.Coinbase.Source)
	text("calculator.source", c.Calculator.Source)
	text("coinbase.product", c.Coinbase.Product)
	for key, v := range map[string]string{"mempool.stream_url": c.Mempool.StreamURL, "coinbase.stream_url": c.Coinbase.StreamURL} {
		if err := checkURL(v, "ws", "wss"); err != nil {
			bad(key, "%v", err)
		}
	}
	for key, v := range map[string]string{"mempool.rest_url": c.Mempool.RESTURL, "coinbase.rest_url": c.Coinbase.RESTURL} {
		if err := checkURL(v, "http", "https"); err != nil {
			bad(key, "%v", err)
		}
	}
	for key, d := range map[string]time.Duration{
		"mempool.stale_after": c.Mempool.StaleAfter, "coinbase.stale_after": c.Coinbase.StaleAfter, "mempool.fees_every": c.Mempool.FeesEvery,
		"calculator.min_every": c.Calculator.MinEvery, "calculator.max_every": c.Calculator.MaxEvery,
		"calculator.max_price_age": c.Calculator.MaxPriceAge, "history_every": c.HistoryEvery,
	} {
		if d <= 0 {
			bad(key, "is %s; it must be above 0", d)
		}
	}
	if c.Mempool.CallEvery < 0 || c.Coinbase.CallEvery < 0 {
		bad("mempool.call_every", "must not be below 0, nor coinbase.call_every")
	}
	if c.Calculator.WindowBlocks < 1 || c.Calculator.WindowBlocks > retargetBlocks {
		bad("calculator.window_blocks", "is %d; it must be 1 to %d", c.Calculator.WindowBlocks, retargetBlocks)
	}
	if c.Mempool.RefillBlocks < c.Calculator.WindowBlocks {
		bad("mempool.refill_blocks", "is %d, below calculator.window_blocks (%d)", c.Mempool.RefillBlocks, c.Calculator.WindowBlocks)
	}
	if _, err := c.historyFrom(); err != nil {
		bad("history_from", "%v", err)
	}
	return errors.Join(errs...)
}

// historyFrom is the first day of history; zero for none.
func (c Config) historyFrom() (time.Time, error) {
	if c.HistoryFrom == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, c.HistoryFrom)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a date; write YYYY-MM-DD, or leave it empty for no history", c.HistoryFrom)
	}
	return t, nil
}

func checkURL(raw string, schemes ...string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is not a URL; write %s://host/path", raw, schemes[len(schemes)-1])
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return nil
		}
	}
	return fmt.Errorf("%q has the scheme %q; it must be %s", raw, u.Scheme, strings.Join(schemes, " or "))
}
