package market

import (
	"strconv"
	"time"
)

// TradeAction says what a trade event does to the tape.
type TradeAction uint8

// A trade is printed, later perhaps corrected or cancelled.
const (
	TradeNew TradeAction = iota + 1
	TradeCorrection
	TradeCancel
)

func (a TradeAction) String() string {
	switch a {
	case TradeNew:
		return "trade"
	case TradeCorrection:
		return "correction"
	case TradeCancel:
		return "cancel"
	}
	return "unknown"
}

// Trade is a print, or the correction or cancel of one.
//
// TradeNew: ID, PriceUSD, SizeShares, Conditions are the print's. TradeCorrection: they are the corrected values and Original* what
// they replace. TradeCancel: ID, PriceUSD and SizeShares are those of the cancelled print and CancelCode the venue's code.
type Trade struct {
	Meta
	Action     TradeAction
	Symbol     string
	ID         string // the venue's; unique per symbol, exchange and trade date only
	Exchange   string // the venue's code for the exchange
	Tape       string
	PriceUSD   Decimal
	SizeShares Decimal // may be fractional
	Conditions []string
	// Sequence is the venue's own number of the message; it grows within a symbol, with gaps. 0: none.
	Sequence uint64

	OriginalID         string
	OriginalPriceUSD   Decimal
	OriginalSizeShares Decimal
	CancelCode         string
}

// Stream implements Event.
func (*Trade) Stream() Stream { return Trades }

// Tokens implements Event: md.v1.trade.<source>.<symbol>.
func (t *Trade) Tokens() (string, []string) { return "trade", []string{t.Source, t.Symbol} }

// Identity implements Event. The UTC date stands for the trade date: US sessions up to 20:00 New York time end before 01:00 UTC, and an id
// that comes again on the next date must not be taken for a duplicate.
func (t *Trade) Identity() string { return string(t.appendIdentity(make([]byte, 0, 64))) }

func (t *Trade) appendIdentity(b []byte) []byte {
	b = append(b, byte('0'+t.Action), '|')
	b = append(b, t.Source...)
	b = append(b, '|')
	b = append(b, t.Symbol...)
	b = append(b, '|')
	b = append(b, t.Exchange...)
	b = append(b, '|')
	b = append(b, t.ID...)
	b = append(b, '|')
	b = append(b, t.OriginalID...)
	b = append(b, '|')
	// The date, as days since 1970: a calendar's is the same and costs more.
	return strconv.AppendInt(b, t.EventTime.Add(-5*time.Hour).Unix()/86400, 10)
}

// Validate implements Event.
func (t *Trade) Validate() error {
	if t.Action < TradeNew || t.Action > TradeCancel {
		return invalid(ReasonValue, "trade action %d is unknown", t.Action)
	}
	err := first(t.validate(), checkText("symbol", t.Symbol), checkPrice("price", t.PriceUSD), checkSize("size", t.SizeShares))
	if err == nil && t.Action == TradeNew && t.SizeShares.IsZero() {
		err = invalid(ReasonSize, "size is 0")
	}
	if err == nil && t.Action == TradeCorrection {
		err = first(checkPriceOrNone("original price", t.OriginalPriceUSD), checkSize("original size", t.OriginalSizeShares))
	}
	return err
}

// Quote is the best bid and offer of a feed (the NBBO on a consolidated one). A price of 0 means that the side is empty.
type Quote struct {
	Meta
	Symbol        string
	BidExchange   string
	AskExchange   string
	BidPriceUSD   Decimal
	AskPriceUSD   Decimal
	BidSizeShares Decimal
	AskSizeShares Decimal
	Conditions    []string
	Tape          string
}

// Stream implements Event.
func (*Quote) Stream() Stream { return Quotes }

// Tokens implements Event: md.v1.quote.<source>.<symbol>.
func (q *Quote) Tokens() (string, []string) { return "quote", []string{q.Source, q.Symbol} }

// Identity implements Event. Quotes have no id: the whole content is the identity.
func (q *Quote) Identity() string { return string(q.appendIdentity(make([]byte, 0, 96))) }

func (q *Quote) appendIdentity(b []byte) []byte {
	b = append(b, q.Source...)
	b = append(b, '|')
	b = append(b, q.Symbol...)
	b = append(b, '|')
	b = strconv.AppendInt(b, q.EventTime.UnixNano(), 10)
	b = append(append(b, '|'), q.BidExchange...)
	b = appendDecimal(appendDecimal(b, q.BidPriceUSD), q.BidSizeShares)
	b = append(append(b, '|'), q.AskExchange...)
	return appendDecimal(appendDecimal(b, q.AskPriceUSD), q.AskSizeShares)
}

// appendDecimal writes a decimal as its coefficient and scale: as telling as its text, and cheaper.
func appendDecimal(b []byte, d Decimal) []byte {
	b = append(b, '|')
	if d.IsNeg() {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, d.Coef(), 10)
	return strconv.AppendInt(append(b, 'e'), int64(d.Scale()), 10)
}

// Validate implements Event. A crossed or locked quote is legal: it happens, and hiding it would be a lie.
func (q *Quote) Validate() error {
	return first(q.validate(), checkText("symbol", q.Symbol),
		checkPriceOrNone("bid price", q.BidPriceUSD), checkPriceOrNone("ask price", q.AskPriceUSD),
		checkSize("bid size", q.BidSizeShares), checkSize("ask size", q.AskSizeShares))
}

// Interval is the length of a bar in the field's short form, such as 1s, 5m, 4h, 1d: a length that fills a minute, an hour or a day evenly, in the
// greatest unit that it is whole in.
type Interval string

// The intervals that are always made.
const (
	Interval1s Interval = "1s"
	Interval1m Interval = "1m"
	Interval1h Interval = "1h"
	Interval1d Interval = "1d"
)

// Duration of the interval; a day counts 24 hours. 0 for what is no interval.
func (i Interval) Duration() time.Duration {
	if i == Interval1d {
		return 24 * time.Hour
	}
	if len(i) < 2 || len(i) > 3 || i[0] == '0' {
		return 0
	}
	n := 0
	for _, c := range []byte(i[:len(i)-1]) {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	unit, most := time.Second, 60
	switch i[len(i)-1] {
	case 's':
	case 'm':
		unit = time.Minute
	case 'h':
		unit, most = time.Hour, 24
	default:
		return 0
	}
	if n >= most || most%n != 0 {
		return 0
	}
	return time.Duration(n) * unit
}

// IntervalOf is the interval of a length; empty where there is none.
func IntervalOf(d time.Duration) Interval {
	i := Interval1d
	switch {
	case d < time.Minute:
		i = Interval(strconv.FormatInt(int64(d/time.Second), 10) + "s")
	case d < time.Hour:
		i = Interval(strconv.FormatInt(int64(d/time.Minute), 10) + "m")
	case d < 24*time.Hour:
		i = Interval(strconv.FormatInt(int64(d/time.Hour), 10) + "h")
	}
	if d <= 0 || i.Duration() != d {
		return ""
	}
	return i
}

// Bar is open, high, low, close and volume of one interval; EventTime is its start. A revised bar has a greater Rev.
type Bar struct {
	Meta
	Symbol   string // an equity, or a pair such as BTC-USD
	Interval Interval
	OpenUSD  Decimal
	HighUSD  Decimal
	LowUSD   Decimal
	CloseUSD Decimal
	// Volume in units of the symbol (shares, BTC). 0 with TradeCount 0 means that the source gave none (a close-only history).
	Volume     Decimal
	VWAPUSD    Decimal // 0: not given
	TradeCount uint64  // 0: not given
	Final      bool    // the session is closed and the bar will change by correction only
	// Session is pre, regular, after or overnight; empty: the whole trade date, or not told. A bar shorter than a day lies in one session.
	Session string
	// TradeDate, 2006-01-02; empty: not told.
	TradeDate string
	// Method is how the bar was made from prints where we made it, with its version; empty: the source's own bar.
	Method string
}

// Stream implements Event.
func (*Bar) Stream() Stream { return Bars }

// Tokens implements Event: md.v1.bar.<interval>.<symbol>.
func (b *Bar) Tokens() (string, []string) { return "bar", []string{string(b.Interval), b.Symbol} }

// Identity implements Event: the bar with its session, and its revision.
func (b *Bar) Identity() string {
	id := b.Source + "|" + b.Symbol + "|" + string(b.Interval) + "|" + strconv.FormatInt(b.EventTime.Unix(), 10) + "|" +
		strconv.FormatUint(uint64(b.Rev), 10)
	if b.Session != "" {
		id += "|" + b.Session
	}
	return id
}

// Validate implements Event.
func (b *Bar) Validate() error {
	if b.Interval.Duration() == 0 {
		return invalid(ReasonValue, "interval %.16q is unknown", string(b.Interval))
	}
	err := first(b.validate(), checkText("symbol", b.Symbol), checkPrice("open", b.OpenUSD), checkPrice("high", b.HighUSD),
		checkPrice("low", b.LowUSD), checkPrice("close", b.CloseUSD), checkSize("volume", b.Volume), checkPriceOrNone("vwap", b.VWAPUSD))
	if err != nil {
		return err
	}
	if b.HighUSD.Cmp(b.LowUSD) < 0 || b.OpenUSD.Cmp(b.HighUSD) > 0 || b.CloseUSD.Cmp(b.HighUSD) > 0 ||
		b.OpenUSD.Cmp(b.LowUSD) < 0 || b.CloseUSD.Cmp(b.LowUSD) < 0 {
		return invalid(ReasonIncoherent, "open %s, high %s, low %s, close %s do not lie within each other", b.OpenUSD, b.HighUSD, b.LowUSD, b.CloseUSD)
	}
	return nil
}

// HaltKind tells a trading status from a price band.
type HaltKind uint8

// The kinds of the HALTS stream.
const (
	HaltStatus HaltKind = iota + 1
	HaltLULD
)

func (k HaltKind) String() string {
	switch k {
	case HaltStatus:
		return "status"
	case HaltLULD:
		return "luld"
	}
	return "unknown"
}

// Halt is a trading status (halt, pause, resumption) or a limit-up limit-down band of a symbol.
type Halt struct {
	Meta
	Kind       HaltKind
	Symbol     string
	StatusCode string
	StatusText string
	ReasonCode string
	ReasonText string
	Tape       string
	// LULD only.
	LimitUpUSD   Decimal
	LimitDownUSD Decimal
	Indicator    string
}

// Stream implements Event.
func (*Halt) Stream() Stream { return Halts }

// Tokens implements Event: md.v1.halt.<source>.<symbol>.
func (h *Halt) Tokens() (string, []string) { return "halt", []string{h.Source, h.Symbol} }

// Identity implements Event.
func (h *Halt) Identity() string {
	return h.Kind.String() + "|" + h.Source + "|" + h.Symbol + "|" + strconv.FormatInt(h.EventTime.UnixNano(), 10) + "|" + h.StatusCode + "|" +
		h.ReasonCode + "|" + h.Indicator + "|" + h.LimitUpUSD.String() + "|" + h.LimitDownUSD.String()
}

// Validate implements Event.
func (h *Halt) Validate() error {
	if h.Kind != HaltStatus && h.Kind != HaltLULD {
		return invalid(ReasonValue, "halt kind %d is unknown", h.Kind)
	}
	return first(h.validate(), checkText("symbol", h.Symbol),
		checkPriceOrNone("limit up", h.LimitUpUSD), checkPriceOrNone("limit down", h.LimitDownUSD))
}

// Imbalance is what an auction lacks on one side, as the venue tells it before the auction.
type Imbalance struct {
	Meta
	Symbol   string
	Exchange string
	Tape     string
	// PriceUSD is the reference or indicative price; 0: not told.
	PriceUSD Decimal
	// ImbalanceShares is signed, below 0: more to sell. 0: balanced, or not told.
	ImbalanceShares Decimal
	// PairedShares would trade; 0: none, or not told.
	PairedShares Decimal
	// ClearingPriceUSD is where the book would clear; 0: not told.
	ClearingPriceUSD Decimal
	// Auction is the venue's code (opening, closing, after a halt), AuctionTime its New York wall clock as the venue writes it.
	Auction     string
	AuctionTime string
}

// Stream implements Event.
func (*Imbalance) Stream() Stream { return Halts }

// Tokens implements Event: md.v1.imbalance.<source>.<symbol>.
func (i *Imbalance) Tokens() (string, []string) { return "imbalance", []string{i.Source, i.Symbol} }

// Identity implements Event: imbalances have no id, the whole content is the identity.
func (i *Imbalance) Identity() string {
	return "imbalance|" + i.Source + "|" + i.Symbol + "|" + strconv.FormatInt(i.EventTime.UnixNano(), 10) + "|" + i.Exchange + "|" + i.Auction + "|" +
		i.AuctionTime + "|" + i.PriceUSD.String() + "|" + i.ImbalanceShares.String() + "|" + i.PairedShares.String() + "|" + i.ClearingPriceUSD.String()
}

// Validate implements Event.
func (i *Imbalance) Validate() error {
	return first(i.validate(), checkText("symbol", i.Symbol), checkPriceOrNone("price", i.PriceUSD), checkStored("imbalance", i.ImbalanceShares),
		checkSize("paired shares", i.PairedShares), checkPriceOrNone("clearing price", i.ClearingPriceUSD))
}
