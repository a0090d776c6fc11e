package hashprice

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// tickerMessage is one message of the Advanced Trade websocket.
type tickerMessage struct {
	Channel string
	Seq     uint64 // counts per connection over all channels
	HasSeq  bool
	Prices  []*market.BTCPrice
	// Subscribed lists the channels of a "subscriptions" answer.
	Subscribed []string
	// Error is the venue's complaint ("type":"error").
	Error string
}

// decodeTicker reads a message. Numbers are strings there. What of it is bad is in the error; the rest is returned beside it, above all the
// sequence number.
func decodeTicker(data []byte, product string, recv time.Time) (tickerMessage, error) {
	var w struct {
		Type      string          `json:"type"`
		Message   string          `json:"message"`
		Channel   string          `json:"channel"`
		Timestamp string          `json:"timestamp"`
		Seq       *uint64         `json:"sequence_num"`
		Events    json.RawMessage `json:"events"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return tickerMessage{}, err
	}
	m := tickerMessage{Channel: w.Channel}
	if w.Seq != nil {
		m.Seq, m.HasSeq = *w.Seq, true
	}
	if w.Type == "error" {
		m.Error = w.Message
		return m, nil
	}
	switch w.Channel {
	case "ticker", "ticker_batch":
		at, err := time.Parse(time.RFC3339Nano, w.Timestamp)
		if err != nil {
			return m, wrongType("timestamp", err)
		}
		m.Prices, err = decodeTickers(w.Events, product, at.UTC(), recv, m.Seq)
		return m, err
	case "subscriptions":
		var events []struct {
			Subscriptions map[string]json.RawMessage `json:"subscriptions"`
		}
		if err := feed.DecodeJSON(w.Events, &events); err != nil {
			return m, err
		}
		for _, e := range events {
			for channel := range e.Subscriptions {
				m.Subscribed = append(m.Subscribed, channel)
			}
		}
		return m, nil
	case "heartbeats":
		// current_time is not RFC 3339 (a space, no T) and tells us nothing that the envelope does not.
		return m, nil
	case "":
		return m, feed.Missing("channel")
	}
	return m, &feed.Malformed{Reason: feed.ReasonUnknownType, Err: fmt.Errorf("channel %.32q", w.Channel)}
}

func decodeTickers(raw json.RawMessage, product string, at, recv time.Time, seq uint64) ([]*market.BTCPrice, error) {
	var events []struct {
		Tickers []struct {
			Product string `json:"product_id"`
			Price   string `json:"price"`
			Volume  string `json:"volume_24_h"`
			Bid     string `json:"best_bid"`
			Ask     string `json:"best_ask"`
		} `json:"tickers"`
	}
	if len(raw) == 0 {
		return nil, feed.Missing("events")
	}
	if err := feed.DecodeJSON(raw, &events); err != nil {
		return nil, err
	}
	var (
		out  []*market.BTCPrice
		errs []error
	)
	for _, e := range events {
		for _, t := range e.Tickers {
			if t.Product != product {
				continue
			}
			p := &market.BTCPrice{Meta: market.Meta{EventTime: at, RecvTime: recv}, VenueSeq: seq}
			var err1, err2, err3, err4 error
			p.PriceUSD, err1 = text("price", t.Price)
			p.BidUSD, err2 = text("best_bid", t.Bid)
			p.AskUSD, err3 = text("best_ask", t.Ask)
			p.Volume24hBTC, err4 = text("volume_24_h", t.Volume)
			if err := errors.Join(err1, err2, err3, err4); err != nil {
				errs = append(errs, err)
				continue
			}
			p.Volume24hBTC = p.Volume24hBTC.Round(8)
			out = append(out, p)
		}
	}
	return out, errors.Join(errs...)
}

// decodeCandles reads [[time, low, high, open, close, volume], ...] into bars, oldest first.
func decodeCandles(data []byte, product string, interval market.Interval, recv time.Time) ([]*market.Bar, error) {
	var rows [][]json.Number
	if err := feed.DecodeJSON(data, &rows); err != nil {
		return nil, err
	}
	bars := make([]*market.Bar, 0, len(rows))
	for i, row := range rows {
		if len(row) < 6 {
			return nil, feed.Missing(fmt.Sprintf("row %d: one of time, low, high, open, close, volume", i+1))
		}
		at, err := row[0].Int64()
		if err != nil {
			return nil, wrongType(fmt.Sprintf("row %d: time", i+1), err)
		}
		var d [5]market.Decimal
		for j, name := range []string{"low", "high", "open", "close", "volume"} {
			if d[j], err = number(name, row[j+1]); err != nil {
				return nil, fmt.Errorf("row %d: %w", i+1, err)
			}
		}
		bars = append(bars, &market.Bar{
			Meta:   market.Meta{EventTime: seconds(at), RecvTime: recv, Backfill: true},
			Symbol: product, Interval: interval, LowUSD: d[0], HighUSD: d[1], OpenUSD: d[2], CloseUSD: d[3], Volume: d[4].Round(8), Final: true,
		})
	}
	slices.SortStableFunc(bars, func(a, b *market.Bar) int { return a.EventTime.Compare(b.EventTime) })
	return bars, nil
}
