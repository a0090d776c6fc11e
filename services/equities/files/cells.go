package files

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
)

// columnNames are the other names that a column may have.
var columnNames = map[string]string{
	"timestamp": "time", "datetime": "time", "event_time": "time", "ts": "time", "t": "time", "sip_timestamp": "time",
	"ticker": "symbol", "sym": "symbol",
	"price_usd": "price", "p": "price", "size_shares": "size", "qty": "size", "quantity": "size", "trade_id": "id", "i": "id", "x": "exchange",
	"z": "tape", "c": "conditions", "condition": "conditions", "sequence_number": "sequence",
	"bp": "bid_price", "ap": "ask_price", "bs": "bid_size", "as": "ask_size", "bx": "bid_exchange", "ax": "ask_exchange",
	"bid_price_usd": "bid_price", "ask_price_usd": "ask_price", "bid_size_shares": "bid_size", "ask_size_shares": "ask_size",
	"open_usd": "open", "high_usd": "high", "low_usd": "low", "close_usd": "close", "vwap_usd": "vwap", "vw": "vwap", "n": "trade_count", "trades": "trade_count",
}

// column is a column's name as the rest of the package knows it.
func column(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	if known, ok := columnNames[name]; ok {
		return known
	}
	return name
}

// localTime is a wall clock without its zone.
const localTime = "2006-01-02T15:04:05.999999999"

var localTimes = []string{localTime, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04"}

var zonedTimes = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999 -0700"}

// parseTime reads a time: RFC 3339, a wall clock of the options' zone, or Unix time in seconds, ms, µs or ns by its magnitude.
func (c clock) parseTime(text string) (time.Time, error) {
	bad := func(why string) (time.Time, error) {
		return time.Time{}, &market.Invalid{Reason: market.ReasonTime, Detail: fmt.Sprintf("time %.40q %s", text, why)}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		switch {
		case n >= 1e17:
			return time.Unix(0, n).UTC(), nil
		case n >= 1e14:
			return time.UnixMicro(n).UTC(), nil
		case n >= 1e11:
			return time.UnixMilli(n).UTC(), nil
		case n >= 1e8:
			return time.Unix(n, 0).UTC(), nil
		}
		return bad("is no Unix time in s, ms, µs or ns")
	}
	for _, form := range zonedTimes {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	for _, form := range localTimes {
		t, err := time.ParseInLocation(form, text, c.zone)
		if err != nil {
			continue
		}
		// A wall clock that the spring's change skips does not exist.
		if t.Format("15:04:05") != mustParse(form, text).Format("15:04:05") {
			return bad("does not exist in " + c.zone.String())
		}
		return t.UTC(), nil
	}
	return bad("is neither RFC 3339, nor 2006-01-02 15:04:05, nor Unix time")
}

// mustParse reads again what was read in another zone.
func mustParse(form, text string) time.Time {
	t, _ := time.Parse(form, text)
	return t
}

// cells reads a row's cells; it remembers the first error.
type cells struct {
	row
	clock clock
	err   error
}

func (c *cells) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// get is a cell's text; what stands for a missing value is missing.
func (c *cells) get(name string, required bool) string {
	s := c.cells[name]
	switch strings.ToLower(s) {
	case "n/d", "nan", "null", "none", "n/a":
		s = ""
	}
	if s == "" && required {
		c.fail(missing(name))
	}
	return s
}

func (c *cells) time(name string) time.Time {
	s := c.get(name, true)
	if s == "" {
		return time.Time{}
	}
	t, err := c.clock.parseTime(s)
	if err != nil {
		c.fail(err)
	}
	return t
}

// decimal reads a number exactly.
func (c *cells) decimal(name string, required bool) market.Decimal {
	s := c.get(name, required)
	if s == "" {
		return market.Decimal{}
	}
	if len(s) > 64 {
		c.fail(&feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s is a text of %d bytes, no number", name, len(s))})
		return market.Decimal{}
	}
	d, err := market.ParseDecimal(s)
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", name, &market.Invalid{Reason: market.ReasonPrecision, Detail: err.Error()}))
	}
	return d
}

func (c *cells) count(name string) uint64 {
	s := c.get(name, false)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(s, ".0"), 10, 64)
	if err != nil {
		c.fail(&feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s %.32q is no whole number", name, s)})
	}
	return n
}

func (c *cells) codes(name string) []string {
	s := c.get(name, false)
	if s == "" {
		return nil
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' || r == '|' })
}

// noisyPrice reads a price of Yahoo, which prints single-precision floats with the digits of double ones (24.014999389648438 for 24.015): of a
// number with more than six digits behind the point the shortest text of the single-precision float is meant. What remains lies
// between ticks, because the prices are adjusted, and is rounded to 4 digits, below a dollar to 6.
func (c *cells) noisyPrice(name string) market.Decimal {
	s := c.get(name, true)
	if _, frac, _ := strings.Cut(s, "."); len(frac) <= 6 {
		return c.decimal(name, true)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.Abs(f) > 1e9 {
		c.fail(&feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s %.40q is no price", name, s)})
		return market.Decimal{}
	}
	text := strconv.FormatFloat(f, 'f', 10, 64)
	if float64(float32(f)) == f {
		text = strconv.FormatFloat(f, 'f', -1, 32)
	}
	d, err := market.ParseDecimal(text)
	if err != nil {
		c.fail(&market.Invalid{Reason: market.ReasonPrecision, Detail: err.Error()})
		return d
	}
	if f >= 1 {
		return d.Round(4).Trim(0)
	}
	return d.Round(6).Trim(0)
}

// trade of a row of the layout trades. Its id is given by the importer where the file has none.
func (c *cells) trade() *market.Trade {
	return &market.Trade{
		Meta: market.Meta{EventTime: c.time("time")}, Action: market.TradeNew, Symbol: c.get("symbol", true), ID: c.get("id", false),
		Exchange: c.get("exchange", false), Tape: c.get("tape", false), PriceUSD: c.decimal("price", true), SizeShares: c.decimal("size", true),
		Conditions: c.codes("conditions"), Sequence: c.count("sequence"),
	}
}

func (c *cells) quote() *market.Quote {
	return &market.Quote{
		Meta: market.Meta{EventTime: c.time("time")}, Symbol: c.get("symbol", true), BidExchange: c.get("bid_exchange", false),
		AskExchange: c.get("ask_exchange", false), BidPriceUSD: c.decimal("bid_price", false), AskPriceUSD: c.decimal("ask_price", false),
		BidSizeShares: c.decimal("bid_size", false), AskSizeShares: c.decimal("ask_size", false), Conditions: c.codes("conditions"), Tape: c.get("tape", false),
	}
}

// bar of the layout bars: daily with a date alone.
func (c *cells) bar(interval market.Interval) *market.Bar {
	b := &market.Bar{
		Symbol: c.get("symbol", true), OpenUSD: c.decimal("open", true), HighUSD: c.decimal("high", true), LowUSD: c.decimal("low", true),
		CloseUSD: c.decimal("close", true), Volume: c.decimal("volume", false), VWAPUSD: c.decimal("vwap", false), TradeCount: c.count("trade_count"),
	}
	if own := c.get("interval", false); own != "" {
		interval = market.Interval(strings.ToLower(own))
	}
	when := "time"
	if c.cells["time"] == "" {
		when = "date"
	}
	text := c.get(when, true)
	if d, err := session.ParseDate(text); err == nil {
		b.Interval, b.EventTime = market.Interval1d, c.clock.cal.Midnight(d)
		return b
	}
	b.Interval = interval
	if text == "" {
		return b
	}
	b.EventTime = c.time(when)
	switch d := interval.Duration(); {
	case c.err != nil, d == 0: // market refuses an unknown interval
	case interval == market.Interval1d:
		b.EventTime = c.clock.cal.Midnight(c.clock.cal.DateOf(b.EventTime))
	case !b.EventTime.Equal(b.EventTime.Truncate(d)):
		c.fail(&market.Invalid{Reason: market.ReasonTime, Detail: fmt.Sprintf("%s is no start of a bar of %s", b.EventTime.Format(time.RFC3339Nano), interval)})
	}
	return b
}

// daily bar of Yahoo's and Stooq's layouts.
func (c *cells) daily(symbol string) *market.Bar {
	b := &market.Bar{Symbol: symbol, Interval: market.Interval1d, Volume: c.decimal("volume", false).Trim(0)}
	b.EventTime = c.date()
	b.OpenUSD, b.HighUSD, b.LowUSD, b.CloseUSD = c.noisyPrice("open"), c.noisyPrice("high"), c.noisyPrice("low"), c.noisyPrice("close")
	return b
}

// closing is a close-only day: open, high and low are the close, the volume is not known.
func (c *cells) closing(symbol string) *market.Bar {
	p := c.noisyPrice("close")
	return &market.Bar{
		Meta: market.Meta{EventTime: c.date()}, Symbol: symbol, Interval: market.Interval1d, OpenUSD: p, HighUSD: p, LowUSD: p, CloseUSD: p,
	}
}

func (c *cells) date() time.Time {
	text := c.get("date", true)
	if text == "" {
		return time.Time{}
	}
	d, err := session.ParseDate(text)
	if err != nil {
		c.fail(&market.Invalid{Reason: market.ReasonTime, Detail: err.Error()})
		return time.Time{}
	}
	return c.clock.cal.Midnight(d)
}
