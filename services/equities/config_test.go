package equities

import (
	"strings"
	"testing"
)

func TestConfigNamesTheKey(t *testing.T) {
	good := DefaultConfig()
	good.Alpaca.Key, good.Alpaca.Secret = "k", "hush"
	if err := good.Validate(); err != nil {
		t.Fatalf("the default with a key: %v", err)
	}
	for want, edit := range map[string]func(*Config){
		"equities.alpaca.source":        func(c *Config) { c.Alpaca.Source = "" },
		"equities.symbols":              func(c *Config) { c.Symbols = nil },
		"equities.symbols: \"iren\"":    func(c *Config) { c.Symbols = []string{"iren"} },
		"equities.symbols: IREN":        func(c *Config) { c.Symbols = []string{"IREN", "IREN"} },
		"equities.calendar":             func(c *Config) { c.Calendar = "moon" },
		"equities.alpaca.stream_url":    func(c *Config) { c.Alpaca.StreamURL = "https://x" },
		"equities.alpaca.rest_url":      func(c *Config) { c.Alpaca.RESTURL = "data.alpaca.markets" },
		"equities.alpaca.feed":          func(c *Config) { c.Alpaca.Feed = "all" },
		"equities.alpaca.symbols":       func(c *Config) { c.Alpaca.Symbols = []string{"iren"} },
		"equities.alpaca.key":           func(c *Config) { c.Alpaca.Key = "" },
		"equities.alpaca.secret":        func(c *Config) { c.Alpaca.Secret = "" },
		"equities.massive.quote_size":   func(c *Config) { c.Massive.Key, c.Massive.QuoteSizeUnit = "hush", "contracts" },
		"equities.finnhub.history":      func(c *Config) { c.Finnhub.Key, c.Finnhub.History = "hush", "all" },
		"equities.files.layout":         func(c *Config) { c.Files.Dir, c.Files.Layout = "x", "xls" },
		"equities.files.source":         func(c *Config) { c.Files.Dir, c.Files.Source = "x", "alpaca" },
		"equities.alpaca.encoding":      func(c *Config) { c.Alpaca.Encoding = "xml" },
		"equities.alpaca.page_limit":    func(c *Config) { c.Alpaca.PageLimit = 20_000 },
		"equities.backfill.daily_from":  func(c *Config) { c.Backfill.DailyFrom = "last year" },
		"equities.backfill.minute_from": func(c *Config) { c.Backfill.MinuteFrom = "-1h" },
		"equities.backfill.max_hole":    func(c *Config) { c.Backfill.MaxHole = -1 },
		"equities.stale.regular":        func(c *Config) { c.Stale.Regular = -1 },
	} {
		c := good
		edit(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}
