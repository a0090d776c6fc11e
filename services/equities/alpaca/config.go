// Package alpaca streams US equities from Alpaca's market data v2: trades with their corrections and cancels, quotes, minute, updated and
// daily bars, trading statuses and price bands.
package alpaca

import (
	"fmt"
	"net/url"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Config of the upstream.
type Config struct {
	// Source is the name on every event: "alpaca", "sim-alpaca" with a simulator behind it, "rec-alpaca" with a recording.
	Source string `koanf:"source"`
	// Symbols of this upstream; empty: those of all upstreams.
	Symbols []string `koanf:"symbols"`
	// StreamURL with the feed as its last part: wss://stream.data.alpaca.markets/v2/iex, or /v2/sip with a plan that has it.
	StreamURL string `koanf:"stream_url"`
	RESTURL   string `koanf:"rest_url"`
	// Feed of the history: iex or sip. It should be the stream's: the tapes differ.
	Feed   string     `koanf:"feed"`
	Key    run.Secret `koanf:"key"`
	Secret run.Secret `koanf:"secret"`
	// Encoding of the stream: json keeps the venue's decimal text, msgpack is smaller and carries prices as float64.
	Encoding string `koanf:"encoding"`
	// Compress offers permessage-deflate.
	Compress bool `koanf:"compress"`
	Quotes   bool `koanf:"quotes"`
	// Halts subscribes to trading statuses and LULD bands, which have no history.
	Halts bool `koanf:"halts"`
	// Imbalances subscribes to auction imbalances; a feed without them is streamed without them.
	Imbalances bool `koanf:"imbalances"`
	// Overnight is a second stream of the same account, from 20:00 to 04:00 New York time.
	Overnight Overnight `koanf:"overnight"`
	// PageLimit of the history, records of all symbols together; at most 10,000.
	PageLimit int `koanf:"page_limit"`
	// HistoryTrails is how far the history may trail the stream: backfill waits as long after a reconnect.
	HistoryTrails time.Duration `koanf:"history_trails"`
	// SlowRetry is the wait after "connection limit exceeded": an old connection may still be counted.
	SlowRetry time.Duration `koanf:"slow_retry"`
}

// Overnight is the stream of the night's own venues.
type Overnight struct {
	// Source on its events.
	Source string `koanf:"source"`
	// StreamURL; empty: off. wss://stream.data.alpaca.markets/v1beta1/boats, or /v1beta1/overnight.
	StreamURL string `koanf:"stream_url"`
	// Feed of its history: boats; empty: none, and holes are given up.
	Feed string `koanf:"feed"`
}

// Night is the configuration of the overnight stream, where there is one.
func (c Config) Night() (Config, bool) {
	night := c
	night.Source, night.StreamURL, night.Feed, night.Overnight = c.Overnight.Source, c.Overnight.StreamURL, c.Overnight.Feed, Overnight{}
	night.Halts, night.Imbalances = false, false // the listing exchanges tell them, by day
	return night, c.Overnight.StreamURL != ""
}

// DefaultConfig is the live venue's free feed. The key is missing.
func DefaultConfig() Config {
	return Config{
		Source:    "alpaca",
		StreamURL: "wss://stream.data.alpaca.markets/v2/iex",
		RESTURL:   "https://data.alpaca.markets",
		Feed:      "iex",
		Encoding:  "json",
		Quotes:    true, Halts: true, Imbalances: true,
		Overnight:     Overnight{Source: "alpaca-overnight", Feed: "boats"},
		PageLimit:     10_000,
		HistoryTrails: 3 * time.Second,
		SlowRetry:     5 * time.Second,
	}
}

// Validate names the first key that is wrong, without the upstream's own prefix.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
	}
	if c.Source == "" {
		return bad("source", "is empty; name the upstream, such as alpaca")
	}
	if err := engine.CheckSymbols(c.Symbols); err != nil {
		return bad("symbols", "%s", err)
	}
	if err := checkURL(c.StreamURL, "ws", "wss"); err != nil {
		return bad("stream_url", "%s", err)
	}
	if err := checkURL(c.RESTURL, "http", "https"); err != nil {
		return bad("rest_url", "%s", err)
	}
	switch c.Feed {
	case "iex", "sip", "otc", "boats":
	default:
		return bad("feed", "%.32q is none of iex, sip, otc, boats", c.Feed)
	}
	if c.delayed() && c.Feed != "sip" {
		return bad("feed", "%.32q is not the tape of the stream delayed_sip; set it to sip", c.Feed)
	}
	if night, on := c.Night(); on {
		switch {
		case night.Source == "" || night.Source == c.Source:
			return bad("overnight.source", "%.32q must be a name of its own, such as alpaca-overnight", night.Source)
		case night.Feed != "" && night.Feed != "boats":
			return bad("overnight.feed", "%.32q is not boats, and not empty", night.Feed)
		}
		if err := checkURL(night.StreamURL, "ws", "wss"); err != nil {
			return bad("overnight.stream_url", "%s", err)
		}
	}
	switch {
	case c.Key == "":
		return bad("key", "is empty; make one at alpaca.markets and set APCA_API_KEY_ID and APCA_API_SECRET_KEY, or leave the service off")
	case c.Secret == "":
		return bad("secret", "is empty; it comes with the key")
	case c.Encoding != "json" && c.Encoding != "msgpack":
		return bad("encoding", "%.32q is none of json, msgpack", c.Encoding)
	case c.PageLimit < 1 || c.PageLimit > 10_000:
		return bad("page_limit", "%d is not between 1 and 10000", c.PageLimit)
	case c.HistoryTrails < 0:
		return bad("history_trails", "%s is below 0", c.HistoryTrails)
	case c.SlowRetry < 0:
		return bad("slow_retry", "%s is below 0", c.SlowRetry)
	}
	return nil
}

func checkURL(text string, schemes ...string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("does not parse; want a URL such as %s://host/path", schemes[0])
	}
	for _, s := range schemes {
		if u.Scheme == s && u.Host != "" {
			return nil
		}
	}
	return fmt.Errorf("%q is no URL of %s://host or %s://host", u.Redacted(), schemes[0], schemes[1])
}
