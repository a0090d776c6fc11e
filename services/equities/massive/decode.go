package massive

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/internal/rawjson"
)

// message is one event of a stream frame, decoded.
type message struct {
	event   market.Event // nil for the others
	status  *status      // nil for the others
	ignored string       // the type of a known event that nobody wants
	raw     []byte       // what it came from
	err     error        // it was refused; the frame goes on
}

// status is a control event.
type status struct{ status, message string }

// decoder turns frames of the stream and records of the history into events. It does not judge values: that is market.Event.Validate's.
type decoder struct {
	lot market.Decimal // shares of a unit of quote sizes
}

func newDecoder(quoteSizeUnit string) decoder {
	if quoteSizeUnit == "shares" {
		return decoder{market.MustDecimal("1")}
	}
	return decoder{market.MustDecimal("100")}
}

// frame decodes a stream frame: an array of events.
func (d decoder) frame(data []byte) ([]message, error) {
	list, err := rawjson.Array(data)
	if err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	out := make([]message, 0, len(list))
	for _, raw := range list {
		out = append(out, d.message(raw))
	}
	return out, nil
}

func (d decoder) message(raw json.RawMessage) message {
	m := message{raw: raw}
	o, err := rawjson.Parse(raw)
	if err != nil {
		m.err = err
		return m
	}
	switch typ := o.Text("ev", rawjson.Required); typ {
	case "":
		m.err = o.Err
		if m.err == nil {
			m.err = feed.Missing("ev")
		}
		return m
	case "T":
		m.event = streamTrade(o)
	case "Q":
		m.event = d.streamQuote(o)
	case "A":
		m.event = streamBar(o, market.Interval1s)
	case "AM":
		m.event = streamBar(o, market.Interval1m)
	case "LULD":
		m.event = luld(o)
	case "NOI":
		m.event = imbalance(o)
	case "status":
		m.status = &status{o.Text("status", rawjson.Required), o.LongText("message", rawjson.Optional)}
	case "FMV", "LV":
		m.ignored = typ
		return m
	default:
		m.err = &feed.Malformed{Reason: feed.ReasonUnknownType, Err: fmt.Errorf("event type %.32q", typ)}
		return m
	}
	if m.err = o.Err; m.err != nil {
		m.event, m.status = nil, nil
	}
	return m
}

// at reads a Unix time and tells its unit by its magnitude: the documentation says milliseconds of every event, and its samples of LULD are
// microseconds, those of NOI nanoseconds.
func at(o *rawjson.Object, key string) time.Time {
	n := o.Int(key, rawjson.Required)
	switch {
	case o.Err != nil:
	case n >= 1e17:
		return time.Unix(0, n).UTC()
	case n >= 1e14:
		return time.UnixMicro(n).UTC()
	case n >= 1e11:
		return time.UnixMilli(n).UTC()
	default:
		o.Fail(key, &market.Invalid{Reason: market.ReasonTime, Detail: fmt.Sprintf("%d is no Unix time in ms, µs or ns", n)})
	}
	return time.Time{}
}

// tapes by the venue's number.
var tapes = map[string]string{"1": "A", "2": "B", "3": "C"}

func tapeOf(o *rawjson.Object, key string) string {
	z := o.Digits(key, rawjson.Optional)
	if t, ok := tapes[z]; ok {
		return t
	}
	return z
}

// tradeID is unique per symbol, exchange and date. Off the exchange it is so per reporting facility only, which is made a part of it.
func tradeID(o *rawjson.Object, key, facility string) string {
	id := ""
	if raw, ok := o.Get(key, rawjson.Required); ok {
		if raw[0] == '"' {
			id = o.Text(key, rawjson.Required)
		} else { // older messages
			id = o.Digits(key, rawjson.Required)
		}
		if id == "" {
			o.Fail(key, &market.Invalid{Reason: market.ReasonMissing, Detail: "the id is empty"})
		}
	}
	if trf := o.Digits(facility, rawjson.Optional); trf != "" && trf != "0" {
		id += "@" + trf
	}
	return id
}

// size prefers the decimal size, which has the fractions.
func size(o *rawjson.Object, whole, decimal string) market.Decimal {
	if o.Has(decimal) {
		return o.DecimalText(decimal, rawjson.Required)
	}
	return o.Decimal(whole, rawjson.Required)
}

func streamTrade(o *rawjson.Object) *market.Trade {
	return &market.Trade{
		Meta: market.Meta{EventTime: at(o, "t")}, Action: market.TradeNew, Symbol: o.Text("sym", rawjson.Required), ID: tradeID(o, "i", "trfi"),
		Exchange: o.Digits("x", rawjson.Optional), Tape: tapeOf(o, "z"), PriceUSD: o.Decimal("p", rawjson.Required), SizeShares: size(o, "s", "ds"),
		Conditions: o.Codes("c"), Sequence: sequence(o, "q", rawjson.Optional),
	}
}

func sequence(o *rawjson.Object, key string, n rawjson.Need) uint64 {
	q := o.Int(key, n)
	if q < 0 {
		o.Fail(key, &market.Invalid{Reason: market.ReasonValue, Detail: "a sequence number below 0"})
		return 0
	}
	return uint64(q)
}

// quoteTime is the millisecond of a quote, and below it the last six digits of its sequence number. A quote has no id: its identity is its
// content. The stream tells milliseconds and the history nanoseconds, so that only the millisecond is common to both, and within one a
// market may go away and come back: the sequence number keeps such quotes apart, and in their order.
func quoteTime(t time.Time, sequence uint64) time.Time {
	return t.Truncate(time.Millisecond).Add(time.Duration(sequence % uint64(time.Millisecond)))
}

// indicators are told beside the condition; they are marked, because their numbers overlap.
func indicators(o *rawjson.Object, key string) (out []string) {
	for _, i := range o.Codes(key) {
		out = append(out, "i"+i)
	}
	return out
}

func (d decoder) shares(o *rawjson.Object, key string) market.Decimal {
	n := o.Decimal(key, rawjson.Optional)
	s, err := n.Mul(d.lot)
	if err != nil {
		o.Fail(key, &market.Invalid{Reason: market.ReasonPrecision, Detail: err.Error()})
	}
	return s
}

// streamQuote reads a quote. A side without price is empty.
func (d decoder) streamQuote(o *rawjson.Object) *market.Quote {
	return &market.Quote{
		Meta:   market.Meta{EventTime: quoteTime(at(o, "t"), sequence(o, "q", rawjson.Required))},
		Symbol: o.Text("sym", rawjson.Required), BidExchange: o.Digits("bx", rawjson.Optional), AskExchange: o.Digits("ax", rawjson.Optional),
		BidPriceUSD: o.Decimal("bp", rawjson.Optional), AskPriceUSD: o.Decimal("ap", rawjson.Optional),
		BidSizeShares: d.shares(o, "bs"), AskSizeShares: d.shares(o, "as"),
		Conditions: append(o.Codes("c"), indicators(o, "i")...), Tape: tapeOf(o, "z"),
	}
}

// vwapScale is where a mean price is rounded: it is derived, no price that anyone traded at, and the venue prints float noise behind it.
const vwapScale = 8

func vwap(o *rawjson.Object, key string) market.Decimal {
	d := o.Decimal(key, rawjson.Optional)
	return d.Round(vwapScale)
}

// streamBar reads an aggregate. Its a is the day's mean price, vw the window's; it has no number of trades.
func streamBar(o *rawjson.Object, interval market.Interval) *market.Bar {
	return &market.Bar{
		Meta: market.Meta{EventTime: at(o, "s")}, Symbol: o.Text("sym", rawjson.Required), Interval: interval,
		OpenUSD: o.Decimal("o", rawjson.Required), HighUSD: o.Decimal("h", rawjson.Required), LowUSD: o.Decimal("l", rawjson.Required),
		CloseUSD: o.Decimal("c", rawjson.Required), Volume: o.Decimal("v", rawjson.Required), VWAPUSD: vwap(o, "vw"),
	}
}

// luld reads a price band: the symbol is in T.
func luld(o *rawjson.Object) *market.Halt {
	return &market.Halt{
		Meta: market.Meta{EventTime: at(o, "t")}, Kind: market.HaltLULD, Symbol: o.Text("T", rawjson.Required),
		LimitUpUSD: o.Decimal("h", rawjson.Required), LimitDownUSD: o.Decimal("l", rawjson.Required),
		Indicator: strings.Join(o.Codes("i"), ","), Tape: tapeOf(o, "z"),
	}
}

// imbalance reads a net order imbalance: the symbol is in T, at is the auction's New York wall clock (930), b where the book would clear.
func imbalance(o *rawjson.Object) *market.Imbalance {
	return &market.Imbalance{
		Meta: market.Meta{EventTime: at(o, "t")}, Symbol: o.Text("T", rawjson.Required), Exchange: o.Digits("x", rawjson.Optional),
		ImbalanceShares: o.Decimal("o", rawjson.Optional), PairedShares: o.Decimal("p", rawjson.Optional),
		ClearingPriceUSD: o.Decimal("b", rawjson.Optional), Auction: o.Text("a", rawjson.Optional), AuctionTime: o.Digits("at", rawjson.Optional),
	}
}
