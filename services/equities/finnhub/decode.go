package finnhub

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/internal/rawjson"
)

// message is a frame, decoded.
type message struct {
	kind   string // trade, ping, error
	text   string // of an error
	prints []print
}

// print of a trade message. Its id is made by ordinals.
type print struct {
	trade *market.Trade
	raw   []byte
	err   error // it was refused; the message goes on
}

// maxPrints of one message.
const maxPrints = 100_000

func decode(data []byte) (m message, err error) {
	o, err := rawjson.Parse(data)
	if err != nil {
		return m, err
	}
	m.kind = o.Text("type", rawjson.Required)
	switch m.kind {
	case "trade":
		for _, raw := range o.List("data", rawjson.Required, maxPrints) {
			p := print{raw: raw}
			p.trade, p.err = decodeTrade(raw)
			m.prints = append(m.prints, p)
		}
	case "error":
		m.text = o.LongText("msg", rawjson.Optional)
	case "ping":
	default:
		if o.Err == nil {
			return m, &feed.Malformed{Reason: feed.ReasonUnknownType, Err: fmt.Errorf("message type %.32q", m.kind)}
		}
	}
	return m, o.Err
}

func decodeTrade(raw json.RawMessage) (*market.Trade, error) {
	o, err := rawjson.Parse(raw)
	if err != nil {
		return nil, err
	}
	t := &market.Trade{
		Meta: market.Meta{EventTime: milliseconds(o, "t")}, Action: market.TradeNew, Symbol: o.Text("s", rawjson.Required),
		PriceUSD: o.Decimal("p", rawjson.Required), SizeShares: o.Decimal("v", rawjson.Required), Conditions: o.Codes("c"),
	}
	return t, o.Err
}

// milliseconds reads a Unix time; what is no such time of this century is refused by market.
func milliseconds(o *rawjson.Object, key string) time.Time {
	n := o.Int(key, rawjson.Required)
	if n < 0 || n > 1e14 {
		o.Fail(key, &market.Invalid{Reason: market.ReasonTime, Detail: fmt.Sprintf("%d is no Unix time in ms", n)})
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// ordinals give prints an identity, which the venue does not: the whole content, and which of its equals on this connection it is. Two equal
// prints in one millisecond are two trades. Each connection counts anew: nothing is replayed, and an equal print behind a reconnect, in
// the same millisecond as one before, is taken for the same one; what that could lose lies in the hole that the ledger lists.
type ordinals struct {
	n        int
	now, old map[string]int
}

const maxOrdinals = 1 << 16

func newOrdinals() *ordinals { return &ordinals{n: maxOrdinals, now: map[string]int{}} }

// id of a print.
func (o *ordinals) id(t *market.Trade) string {
	content := strings.Join([]string{
		strconv.FormatInt(t.EventTime.UnixMilli(), 10), t.PriceUSD.Trim(0).String(), t.SizeShares.Trim(0).String(), strings.Join(t.Conditions, ","),
	}, "-")
	key := t.Symbol + "|" + content
	n, ok := o.now[key]
	if !ok {
		n = o.old[key]
	}
	if len(o.now) >= o.n {
		o.old, o.now = o.now, map[string]int{}
	}
	o.now[key] = n + 1
	return content + "-" + strconv.Itoa(n)
}

// candleScale is where prices of candles are rounded: they are computed by the venue and printed with float noise.
const candleScale = 6

// decodeCandles reads an answer of parallel arrays. Bars that are no bars are handed over too, for the engine to refuse.
func decodeCandles(body []byte, symbol string) ([]*market.Bar, error) {
	o, err := rawjson.Parse(body)
	if err != nil {
		return nil, err
	}
	switch s := o.Text("s", rawjson.Required); {
	case o.Err != nil:
		return nil, &feed.Malformed{Reason: feed.ReasonOf(o.Err, feed.ReasonMalformed), Err: fmt.Errorf("candles: %w", o.Err)}
	case s == "no_data":
		return nil, nil
	case s != "ok":
		return nil, &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("candles with the status %.32q", s)}
	}
	columns := map[string][]market.Decimal{}
	for _, key := range []string{"t", "o", "h", "l", "c", "v"} {
		for _, raw := range o.List(key, rawjson.Required, maxPrints) {
			d, err := market.ParseDecimal(string(raw))
			o.Fail(key, err)
			columns[key] = append(columns[key], d)
		}
		if o.Err == nil && len(columns[key]) != len(columns["t"]) {
			o.Fail(key, fmt.Errorf("%d values for %d times", len(columns[key]), len(columns["t"])))
		}
	}
	if o.Err != nil {
		return nil, &feed.Malformed{Reason: feed.ReasonOf(o.Err, feed.ReasonMalformed), Err: fmt.Errorf("candles: %w", o.Err)}
	}
	bars := make([]*market.Bar, 0, len(columns["t"]))
	for i, t := range columns["t"] {
		at, _, ok := t.Int64(0)
		if !ok || !t.IsInt() || at < 0 || at > 1e11 {
			return nil, &feed.Malformed{Reason: market.ReasonTime, Err: fmt.Errorf("candles: time %s", t)}
		}
		bars = append(bars, &market.Bar{
			Meta: market.Meta{EventTime: time.Unix(at, 0).UTC()}, Symbol: symbol, Interval: market.Interval1m,
			OpenUSD: columns["o"][i].Round(candleScale), HighUSD: columns["h"][i].Round(candleScale), LowUSD: columns["l"][i].Round(candleScale),
			CloseUSD: columns["c"][i].Round(candleScale), Volume: columns["v"][i].Round(candleScale),
		})
	}
	return bars, nil
}
