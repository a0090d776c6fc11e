// Package files imports prints, quotes and bars of US equities from files: CSV, JSON, JSON lines and Parquet, and the daily histories of
// Yahoo and Stooq. An import is a source like any other: its rows are validated, published once, refused with file and line, and listed in
// the ledger.
//
// # Layouts
//
// The format is told by the name: .csv, .json (an array, or Yahoo's chart), .jsonl or .ndjson, .parquet; all but the last may end in .gz.
// The layout is told by the columns, or by Options.Layout:
//
//	trades      time, symbol, price, size; id, exchange, tape, conditions, sequence
//	quotes      time, symbol, bid_price, ask_price; bid_size, ask_size, bid_exchange, ask_exchange, conditions, tape
//	bars        time or date, symbol, open, high, low, close; volume, vwap, trade_count, interval
//	yahoo-csv   Date,Open,High,Low,Close,Adj Close,Volume
//	yahoo-json  the chart API's answer
//	stooq       Date,Open,High,Low,Close,Volume
//	closes      Date,Close
//
// The columns before the semicolon must be there. Their names are read without regard to case; columnNames lists the other names that they
// may have. docs/import.md has the units, the forms of a time and what is refused.
package files

import (
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Layout of a file.
type Layout string

// The layouts.
const (
	Auto      Layout = "auto"
	Trades    Layout = "trades"
	Quotes    Layout = "quotes"
	Bars      Layout = "bars"
	YahooCSV  Layout = "yahoo-csv"
	YahooJSON Layout = "yahoo-json"
	Stooq     Layout = "stooq"
	Closes    Layout = "closes"
)

var layouts = []Layout{Auto, Trades, Quotes, Bars, YahooCSV, YahooJSON, Stooq, Closes}

// Options of an import.
type Options struct {
	// Source is the name on every event.
	Source string `koanf:"source"`
	// Layout; empty: auto.
	Layout Layout `koanf:"layout"`
	// Symbol of files without such a column; empty: the file's name up to its first dot (IREN.csv).
	Symbol string `koanf:"symbol"`
	// Interval of bars with a time of day and without such a column: 1s, 1m or 1h. Bars with a date alone are daily.
	Interval market.Interval `koanf:"interval"`
	// Timezone of times that tell none.
	Timezone string `koanf:"timezone"`
	// Adjusted takes prices that are adjusted for splits or dividends, as those of Yahoo, Stooq and the closes are. Without it they are
	// refused: they are not what was traded.
	Adjusted bool `koanf:"adjusted"`
}

// DefaultOptions read New York times.
func DefaultOptions() Options {
	return Options{Source: "files", Layout: Auto, Interval: market.Interval1m, Timezone: "America/New_York"}
}

// Validate names the first key that is wrong.
func (o Options) Validate() error {
	if o.Source == "" {
		return fmt.Errorf("source: is empty; name where the files come from, such as files")
	}
	known := o.Layout == ""
	for _, l := range layouts {
		known = known || o.Layout == l
	}
	if !known {
		return fmt.Errorf("layout: %.32q is none of %v", string(o.Layout), layouts)
	}
	if o.Symbol != "" {
		if err := engine.CheckSymbols([]string{o.Symbol}); err != nil {
			return fmt.Errorf("symbol: %w", err)
		}
	}
	switch o.Interval {
	case market.Interval1s, market.Interval1m, market.Interval1h:
	default:
		return fmt.Errorf("interval: %.8q is none of 1s, 1m, 1h", string(o.Interval))
	}
	if _, err := time.LoadLocation(o.Timezone); err != nil || o.Timezone == "" {
		return fmt.Errorf("timezone: %.64q is no time zone such as America/New_York", o.Timezone)
	}
	return nil
}

// Config of the watched directory.
type Config struct {
	// Dir with the files; empty: off. Those below it are not read.
	Dir string `koanf:"dir"`
	// PollEvery is how often it is looked through. A file is read when it has not changed since the last look.
	PollEvery time.Duration `koanf:"poll_every"`
	Options   `koanf:",squash"`
}

// DefaultConfig is off: no directory is named.
func DefaultConfig() Config { return Config{PollEvery: 10 * time.Second, Options: DefaultOptions()} }

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	if c.PollEvery <= 0 {
		return fmt.Errorf("poll_every: %s is not above 0", c.PollEvery)
	}
	return c.Options.Validate()
}

// clock is what times are read by.
type clock struct {
	zone *time.Location
	cal  session.Calendar
}

func newClock(o Options) (clock, error) {
	zone, err := time.LoadLocation(o.Timezone)
	if err != nil {
		return clock{}, fmt.Errorf("load time zone: %w", err)
	}
	cal, err := session.US()
	return clock{zone, cal}, err
}
