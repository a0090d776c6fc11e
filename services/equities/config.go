// Package equities streams US equities into the system: trades with their corrections and cancels, quotes, bars with their revisions, halts
// and price bands, from Alpaca's market data v2.
package equities

import (
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
)

// Config of the service.
type Config struct {
	// Source is the name on every event: "alpaca", "sim-alpaca" with a simulator behind it, "rec-alpaca" with a recording.
	Source  string   `koanf:"source"`
	Symbols []string `koanf:"symbols"`
	// Calendar that staleness and final bars go by: "us", or "always" for a simulator, which trades every day around the clock.
	Calendar string `koanf:"calendar"`
	// StopAtEnd ends the service when the upstream says that its recording is over.
	StopAtEnd bool     `koanf:"stop_at_end"`
	Alpaca    Alpaca   `koanf:"alpaca"`
	Backfill  Backfill `koanf:"backfill"`
	Stale     Stale    `koanf:"stale"`
}

// Alpaca is the connection to the venue.
type Alpaca struct {
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
	// PageLimit of the history, records of all symbols together; at most 10,000.
	PageLimit int `koanf:"page_limit"`
	// HistoryTrails is how far the history may trail the stream: backfill waits as long after a reconnect.
	HistoryTrails time.Duration `koanf:"history_trails"`
	// SlowRetry is the wait after "connection limit exceeded": an old connection may still be counted.
	SlowRetry time.Duration `koanf:"slow_retry"`
}

// Backfill says what is fetched from history for a symbol that was never published, each as a date, an RFC 3339 time, or a duration
// before now ("720h"); empty: nothing. A symbol that was published goes on from its last event.
type Backfill struct {
	DailyFrom  string `koanf:"daily_from"`
	MinuteFrom string `koanf:"minute_from"`
	TicksFrom  string `koanf:"ticks_from"`
	// MaxHole bounds how far back a hole is filled with trades and quotes; what is older is given up, and the ledger says so.
	MaxHole time.Duration `koanf:"max_hole"`
	// Restore is how far back published ticks are read at a start, so that they are recognised; open gaps reach back further.
	Restore time.Duration `koanf:"restore"`
}

// Stale is for how long silence is in order while a session is open; 0: for ever. While the market is closed silence is in order.
type Stale struct {
	Regular   time.Duration `koanf:"regular"`
	Extended  time.Duration `koanf:"extended"` // before the opening and after the close
	Overnight time.Duration `koanf:"overnight"`
}

// DefaultConfig is for the live venue, four miners, the free feed. The key is missing.
func DefaultConfig() Config {
	return Config{
		Source:   "alpaca",
		Symbols:  []string{"WGMI", "CORZ", "BTBT", "IREN"},
		Calendar: "us",
		Alpaca: Alpaca{
			StreamURL: "wss://stream.data.alpaca.markets/v2/iex",
			RESTURL:   "https://data.alpaca.markets",
			Feed:      "iex",
			Encoding:  "json",
			Quotes:    true, Halts: true,
			PageLimit:     10_000,
			HistoryTrails: 3 * time.Second,
			SlowRetry:     5 * time.Second,
		},
		Backfill: Backfill{DailyFrom: "8760h", MinuteFrom: "24h", MaxHole: 72 * time.Hour, Restore: 96 * time.Hour},
		Stale:    Stale{Regular: time.Minute, Extended: 15 * time.Minute, Overnight: time.Hour},
	}
}

var symbolPattern = regexp.MustCompile(`^[A-Z][A-Z0-9./-]{0,15}$`)

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("equities.%s: %s", key, fmt.Sprintf(format, args...))
	}
	if c.Source == "" {
		return bad("source", "is empty; name the upstream, such as alpaca")
	}
	if len(c.Symbols) == 0 {
		return bad("symbols", "is empty; list at least one symbol")
	}
	seen := map[string]bool{}
	for _, s := range c.Symbols {
		if !symbolPattern.MatchString(s) {
			return bad("symbols", "%.32q is no symbol; write it as the venue does, such as BRK.B", s)
		}
		if seen[s] {
			return bad("symbols", "%s is there twice", s)
		}
		seen[s] = true
	}
	if c.Calendar != "us" && c.Calendar != "always" {
		return bad("calendar", "%.32q is none of us, always", c.Calendar)
	}
	if err := checkURL(c.Alpaca.StreamURL, "ws", "wss"); err != nil {
		return bad("alpaca.stream_url", "%s", err)
	}
	if err := checkURL(c.Alpaca.RESTURL, "http", "https"); err != nil {
		return bad("alpaca.rest_url", "%s", err)
	}
	switch c.Alpaca.Feed {
	case "iex", "sip", "otc", "boats":
	default:
		return bad("alpaca.feed", "%.32q is none of iex, sip, otc, boats", c.Alpaca.Feed)
	}
	switch {
	case c.Alpaca.Key == "":
		return bad("alpaca.key", "is empty; make one at alpaca.markets and set APCA_API_KEY_ID and APCA_API_SECRET_KEY, or leave the service off")
	case c.Alpaca.Secret == "":
		return bad("alpaca.secret", "is empty; it comes with the key")
	case c.Alpaca.Encoding != "json" && c.Alpaca.Encoding != "msgpack":
		return bad("alpaca.encoding", "%.32q is none of json, msgpack", c.Alpaca.Encoding)
	case c.Alpaca.PageLimit < 1 || c.Alpaca.PageLimit > 10_000:
		return bad("alpaca.page_limit", "%d is not between 1 and 10000", c.Alpaca.PageLimit)
	}
	for key, d := range map[string]time.Duration{
		"alpaca.history_trails": c.Alpaca.HistoryTrails, "alpaca.slow_retry": c.Alpaca.SlowRetry,
		"backfill.max_hole": c.Backfill.MaxHole, "backfill.restore": c.Backfill.Restore,
		"stale.regular": c.Stale.Regular, "stale.extended": c.Stale.Extended, "stale.overnight": c.Stale.Overnight,
	} {
		if d < 0 {
			return bad(key, "%s is below 0", d)
		}
	}
	for key, text := range map[string]string{
		"backfill.daily_from": c.Backfill.DailyFrom, "backfill.minute_from": c.Backfill.MinuteFrom, "backfill.ticks_from": c.Backfill.TicksFrom,
	} {
		if _, err := fromTime(text, time.Now()); err != nil {
			return bad(key, "%s", err)
		}
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

// fromTime reads a date, a time, or a duration before now; zero for an empty text.
func fromTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	if d, err := session.ParseDate(text); err == nil {
		return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%.32q is neither a date (2026-11-01), a time (2026-11-01T09:30:00Z) nor a duration before now (720h)", text)
}

func (c Config) calendar() (session.Calendar, error) {
	if c.Calendar == "always" {
		return session.NewAlways()
	}
	return session.US()
}
