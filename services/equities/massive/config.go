// Package massive streams US equities from Massive (formerly Polygon.io): trades, quotes, second and minute bars, price bands and
// auction imbalances, and fills holes from its REST history.
package massive

import (
	"fmt"
	"net/url"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Config of the upstream.
type Config struct {
	// Source is the name on every event: "massive", "sim-massive" with a simulator behind it.
	Source string `koanf:"source"`
	// Symbols of this upstream; empty: those of all upstreams.
	Symbols []string `koanf:"symbols"`
	// StreamURL of the stocks cluster: wss://socket.massive.com/stocks, or wss://delayed.massive.com/stocks with a plan for delayed data.
	StreamURL string `koanf:"stream_url"`
	RESTURL   string `koanf:"rest_url"`
	// Key switches the upstream on.
	Key run.Secret `koanf:"key"`
	// Trades and Quotes need a plan that has them.
	Trades bool `koanf:"trades"`
	Quotes bool `koanf:"quotes"`
	// QuoteSizeUnit of the venue's quote sizes: lots (of 100 shares, as documented) or shares. Whether Massive follows the SIPs, which tell
	// shares since 3 November 2025, is not published: compare with another feed before you trade on sizes.
	QuoteSizeUnit string `koanf:"quote_size_unit"`
	MinuteBars    bool   `koanf:"minute_bars"`
	// SecondBars are many, and bars are kept for ever: 57,600 a symbol and day at most. No history fills their holes.
	SecondBars bool `koanf:"second_bars"`
	// Halts subscribes to LULD price bands, which have no history.
	Halts bool `koanf:"halts"`
	// Imbalances subscribes to net order imbalances before auctions, which have no history.
	Imbalances bool `koanf:"imbalances"`
	// CorrectionsEvery is how often the prints of the last CorrectionsWindow are read again: the stream tells no cancels. 0: never.
	CorrectionsEvery  time.Duration `koanf:"corrections_every"`
	CorrectionsWindow time.Duration `koanf:"corrections_window"`
	// PageLimit of the history; at most 50,000.
	PageLimit int `koanf:"page_limit"`
	// CallEvery is the least pause between two calls of the history; 12.5s on a plan of 5 a minute.
	CallEvery time.Duration `koanf:"call_every"`
	// LimitWait is the wait after the venue said, with HTTP 200, that there were too many calls.
	LimitWait time.Duration `koanf:"limit_wait"`
	// HistoryTrails is how far the history may trail the stream: backfill waits as long after a reconnect.
	HistoryTrails time.Duration `koanf:"history_trails"`
	// Delay of the stream: 15m with a plan for delayed data.
	Delay time.Duration `koanf:"delay"`
	// SlowRetry is the wait after "max_connections": an old connection may still be counted, for a minute.
	SlowRetry time.Duration `koanf:"slow_retry"`
}

// DefaultConfig is for the live venue and a plan with trades and quotes. It is off: the key is missing.
func DefaultConfig() Config {
	return Config{
		Source: "massive", StreamURL: "wss://socket.massive.com/stocks", RESTURL: "https://api.massive.com",
		Trades: true, Quotes: true, QuoteSizeUnit: "lots", MinuteBars: true, Halts: true, Imbalances: true,
		CorrectionsEvery: 10 * time.Minute, CorrectionsWindow: time.Hour,
		PageLimit: 50_000, LimitWait: time.Minute, HistoryTrails: 3 * time.Second, SlowRetry: time.Minute,
	}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	if c.Source == "" {
		return fmt.Errorf("source: is empty; name the upstream, such as massive")
	}
	if err := engine.CheckSymbols(c.Symbols); err != nil {
		return fmt.Errorf("symbols: %w", err)
	}
	for _, x := range []struct{ key, text, plain, tls string }{
		{"stream_url", c.StreamURL, "ws", "wss"}, {"rest_url", c.RESTURL, "http", "https"},
	} {
		u, err := url.Parse(x.text)
		if err != nil || u.Host == "" || u.Scheme != x.plain && u.Scheme != x.tls {
			return fmt.Errorf("%s: is no URL of %s://host or %s://host", x.key, x.tls, x.plain)
		}
	}
	switch {
	case c.Key == "":
		return fmt.Errorf("key: is empty; make one at massive.com, or leave the upstream off")
	case c.QuoteSizeUnit != "lots" && c.QuoteSizeUnit != "shares":
		return fmt.Errorf("quote_size_unit: %.32q is none of lots, shares", c.QuoteSizeUnit)
	case len(c.topics()) == 0:
		return fmt.Errorf("trades: is off and so is all the rest; switch one of trades, quotes, minute_bars, second_bars, halts, imbalances on")
	case c.CorrectionsEvery > 0 && (c.CorrectionsWindow < c.CorrectionsEvery || c.CorrectionsWindow > 4*time.Hour):
		return fmt.Errorf("corrections_window: %s is not from corrections_every (%s) to 4h", c.CorrectionsWindow, c.CorrectionsEvery)
	case c.PageLimit < 1 || c.PageLimit > 50_000:
		return fmt.Errorf("page_limit: %d is not between 1 and 50000", c.PageLimit)
	}
	for _, x := range []struct {
		key string
		d   time.Duration
	}{
		{"corrections_every", c.CorrectionsEvery}, {"corrections_window", c.CorrectionsWindow}, {"call_every", c.CallEvery}, {"limit_wait", c.LimitWait}, {"history_trails", c.HistoryTrails}, {"delay", c.Delay}, {"slow_retry", c.SlowRetry},
	} {
		if x.d < 0 {
			return fmt.Errorf("%s: %s is below 0", x.key, x.d)
		}
	}
	return nil
}

// topics that the configuration asks for.
func (c Config) topics() (out []string) {
	for _, x := range []struct {
		on    bool
		topic string
	}{{c.Trades, "T"}, {c.Quotes, "Q"}, {c.SecondBars, "A"}, {c.MinuteBars, "AM"}, {c.Halts, "LULD"}, {c.Imbalances, "NOI"}} {
		if x.on {
			out = append(out, x.topic)
		}
	}
	return out
}
