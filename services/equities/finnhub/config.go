// Package finnhub streams the prints of US equities from Finnhub. They come without id, exchange and tape, and have no history on the free
// plan: every hole is given up in the ledger.
package finnhub

import (
	"fmt"
	"net/url"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Config of the upstream.
type Config struct {
	// Source is the name on every event: "finnhub", "sim-finnhub" with a simulator behind it.
	Source string `koanf:"source"`
	// Symbols of this upstream; empty: those of all upstreams.
	Symbols []string `koanf:"symbols"`
	// StreamURL without the key, which the venue wants in it.
	StreamURL string `koanf:"stream_url"`
	RESTURL   string `koanf:"rest_url"`
	// Key switches the upstream on.
	Key run.Secret `koanf:"key"`
	// SymbolLimit of the plan: what is beyond it is not subscribed to, and the ledger says so. The free plan has 50.
	SymbolLimit int `koanf:"symbol_limit"`
	// History: none, or candles (of a minute) with a plan that has them. Prints have none.
	History string `koanf:"history"`
	// CallEvery is the least pause between two calls for candles.
	CallEvery time.Duration `koanf:"call_every"`
	// HistoryTrails is how far candles may trail the stream: they are read as long after a reconnect.
	HistoryTrails time.Duration `koanf:"history_trails"`
	// MuteAfter without the venue's own ping or a print the connection is dead: on the free plan they go silent without a close.
	MuteAfter time.Duration `koanf:"mute_after"`
	// ReconnectEvery is how long a connection is used at most. From half of it on it is renewed in the first quiet five minutes.
	ReconnectEvery time.Duration `koanf:"reconnect_every"`
}

// DefaultConfig is for the live venue and the free plan. It is off: the key is missing.
func DefaultConfig() Config {
	return Config{
		Source: "finnhub", StreamURL: "wss://ws.finnhub.io", RESTURL: "https://finnhub.io/api/v1", SymbolLimit: 50, History: "none",
		CallEvery: time.Second, HistoryTrails: time.Minute, MuteAfter: 2 * time.Minute, ReconnectEvery: 24 * time.Hour,
	}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	if c.Source == "" {
		return fmt.Errorf("source: is empty; name the upstream, such as finnhub")
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
		if u.RawQuery != "" {
			return fmt.Errorf("%s: has a query; the key goes into the key %q, not into the URL", x.key, "key")
		}
	}
	switch {
	case c.Key == "":
		return fmt.Errorf("key: is empty; make one at finnhub.io, or leave the upstream off")
	case c.SymbolLimit < 1:
		return fmt.Errorf("symbol_limit: %d is below 1", c.SymbolLimit)
	case c.History != "none" && c.History != "candles":
		return fmt.Errorf("history: %.32q is none of none, candles", c.History)
	case c.CallEvery < 0:
		return fmt.Errorf("call_every: %s is below 0", c.CallEvery)
	case c.HistoryTrails < 0:
		return fmt.Errorf("history_trails: %s is below 0", c.HistoryTrails)
	case c.MuteAfter <= 0:
		return fmt.Errorf("mute_after: %s is not above 0", c.MuteAfter)
	case c.ReconnectEvery <= 0:
		return fmt.Errorf("reconnect_every: %s is not above 0", c.ReconnectEvery)
	}
	return nil
}
