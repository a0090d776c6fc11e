package massive

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
	"github.com/hashpivot/hashpivot/services/equities/internal/rawjson"
)

// errLimited is the venue's answer to too many calls, which comes with HTTP 200 at times.
var errLimited = errors.New("the venue limits our calls")

// page is an answer of the history.
type page struct {
	records []json.RawMessage
	next    string // path and query of the next page; "" ends
}

// maxRecords of an answer, with room.
const maxRecords = 100_000

// parsePage reads an answer for a path (samePath). Its status is judged always: errors come with HTTP 200 too.
func parsePage(body []byte, path string) (p page, err error) {
	o, err := rawjson.Parse(body)
	if err != nil {
		return p, fmt.Errorf("history page: %w", err)
	}
	status := o.Text("status", rawjson.Required)
	p.records = o.List("results", rawjson.Optional, maxRecords)
	next := o.LongText("next_url", rawjson.Optional)
	if o.Err != nil {
		return p, asMalformed(fmt.Errorf("history page: %w", o.Err))
	}
	switch status {
	case "OK", "DELAYED":
	case "NOT_AUTHORIZED":
		return p, &engine.NotServed{Err: fmt.Errorf("the venue says %s: %.200s", status, o.LongText("message", rawjson.Optional))}
	case "ERROR":
		text := o.LongText("error", rawjson.Optional)
		if strings.Contains(text, "maximum requests") {
			return p, fmt.Errorf("%w: %.200s", errLimited, text)
		}
		return p, fmt.Errorf("the venue says %s: %.200q", status, text)
	default:
		return p, &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("history page with the status %.32q", status)}
	}
	if next == "" {
		return p, nil
	}
	// Only the path and the query are taken: the key must not go to whatever host an answer names.
	u, err := url.Parse(next)
	if err != nil {
		return p, &feed.Malformed{Reason: feed.ReasonProtocol, Err: errors.New("next_url does not parse")}
	}
	if !samePath(u.EscapedPath(), path) {
		return p, &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("next_url leads to %.128q, away from %s", u.EscapedPath(), path)}
	}
	q := u.Query()
	q.Del("apiKey")
	p.next = u.EscapedPath() + "?" + q.Encode()
	return p, nil
}

// samePath reports whether a next page is one of the same history. The path of bars has its beginning in it, which moves on: there want
// ends with a slash.
func samePath(got, want string) bool {
	if rest, ok := strings.CutPrefix(got, want); ok {
		return rest == "" || strings.HasSuffix(want, "/") && !strings.Contains(rest, "..")
	}
	return false
}

func asMalformed(err error) error {
	return &feed.Malformed{Reason: feed.ReasonOf(err, feed.ReasonMalformed), Err: err}
}

// invalid says whether a print of history with this correction indicator does not count any more.
func invalid(correction int64) bool {
	switch correction {
	case 1, 7, 8, 10, 11:
		return true
	}
	return false
}

// restTrade reads a print of history and what became of it.
func restTrade(raw []byte, symbol string) (t *market.Trade, correction int64, err error) {
	o, err := rawjson.Parse(raw)
	if err != nil {
		return nil, 0, err
	}
	t = &market.Trade{
		Meta: market.Meta{EventTime: at(o, "sip_timestamp")}, Action: market.TradeNew, Symbol: symbol, ID: tradeID(o, "id", "trf_id"),
		Exchange: o.Digits("exchange", rawjson.Optional), Tape: tapeOf(o, "tape"), PriceUSD: o.Decimal("price", rawjson.Required),
		SizeShares: size(o, "size", "decimal_size"), Conditions: o.Codes("conditions"), Sequence: sequence(o, "sequence_number", rawjson.Optional),
	}
	return t, o.Int("correction", rawjson.Optional), o.Err
}

func (d decoder) restQuote(raw []byte, symbol string) (*market.Quote, error) {
	o, err := rawjson.Parse(raw)
	if err != nil {
		return nil, err
	}
	return &market.Quote{
		Meta:   market.Meta{EventTime: quoteTime(at(o, "sip_timestamp"), sequence(o, "sequence_number", rawjson.Required))},
		Symbol: symbol, BidExchange: o.Digits("bid_exchange", rawjson.Optional), AskExchange: o.Digits("ask_exchange", rawjson.Optional),
		BidPriceUSD: o.Decimal("bid_price", rawjson.Optional), AskPriceUSD: o.Decimal("ask_price", rawjson.Optional),
		BidSizeShares: d.shares(o, "bid_size"), AskSizeShares: d.shares(o, "ask_size"),
		Conditions: append(o.Codes("conditions"), indicators(o, "indicators")...), Tape: tapeOf(o, "tape"),
	}, o.Err
}

func restBar(raw []byte, symbol string, interval market.Interval) (*market.Bar, error) {
	o, err := rawjson.Parse(raw)
	if err != nil {
		return nil, err
	}
	n := o.Int("n", rawjson.Optional)
	if n < 0 {
		o.Fail("n", &market.Invalid{Reason: market.ReasonValue, Detail: "a number of trades below 0"})
	}
	return &market.Bar{
		Meta: market.Meta{EventTime: at(o, "t")}, Symbol: symbol, Interval: interval,
		OpenUSD: o.Decimal("o", rawjson.Required), HighUSD: o.Decimal("h", rawjson.Required), LowUSD: o.Decimal("l", rawjson.Required),
		CloseUSD: o.Decimal("c", rawjson.Required), Volume: o.Decimal("v", rawjson.Required), VWAPUSD: vwap(o, "vw"), TradeCount: uint64(max(n, 0)),
	}, o.Err
}
