package hashprice

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// krakenMessage is one message of Kraken's websocket v2.
type krakenMessage struct {
	Prices []*market.BTCPrice
	// Acked is the channel of a successful subscription; Error the complaint of one that failed, or of a request.
	Acked string
	Error string
	// System is the state of the venue where the message tells it: online, maintenance, cancel_only, post_only.
	System string
}

// decodeKraken reads a message. Numbers are JSON numbers, and are read from their text. What of it is bad is in the error; the rest is
// returned beside it.
func decodeKraken(data []byte, channel, symbol string, recv time.Time) (krakenMessage, error) {
	var w struct {
		Method  string `json:"method"`
		Success *bool  `json:"success"`
		Error   string `json:"error"`
		Result  struct {
			Channel string `json:"channel"`
		} `json:"result"`
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return krakenMessage{}, err
	}
	if w.Method != "" {
		switch {
		case w.Method == "pong":
			return krakenMessage{}, nil
		case w.Success != nil && !*w.Success, w.Success == nil && w.Error != "":
			if w.Error == "" {
				w.Error = "no reason given"
			}
			return krakenMessage{Error: w.Error}, nil
		case w.Method == "subscribe" && w.Success != nil:
			return krakenMessage{Acked: w.Result.Channel}, nil
		}
		return krakenMessage{}, &feed.Malformed{Reason: feed.ReasonUnknownType, Err: fmt.Errorf("method %.32q", w.Method)}
	}
	switch w.Channel {
	case "heartbeat":
		return krakenMessage{}, nil
	case "status":
		var states []struct {
			System string `json:"system"`
		}
		if err := feed.DecodeJSON(w.Data, &states); err != nil {
			return krakenMessage{}, err
		}
		var m krakenMessage
		for _, s := range states {
			m.System = s.System
		}
		return m, nil
	case channel:
		prices, err := decodeKrakenPrices(w.Data, channel, symbol, recv)
		return krakenMessage{Prices: prices}, err
	case "":
		if w.Error != "" {
			return krakenMessage{Error: w.Error}, nil
		}
		return krakenMessage{}, feed.Missing("channel")
	}
	return krakenMessage{}, &feed.Malformed{Reason: feed.ReasonUnknownType, Err: fmt.Errorf("channel %.32q", w.Channel)}
}

// decodeKrakenPrices reads tickers or trades; a bad element costs itself only.
func decodeKrakenPrices(raw json.RawMessage, channel, symbol string, recv time.Time) ([]*market.BTCPrice, error) {
	if len(raw) == 0 {
		return nil, feed.Missing("data")
	}
	var rows []json.RawMessage
	if err := feed.DecodeJSON(raw, &rows); err != nil {
		return nil, err
	}
	var (
		out  []*market.BTCPrice
		errs []error
	)
	for i, row := range rows {
		p, err := decodeKrakenRow(row, channel, symbol, recv)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %d of %d: %w", channel, i+1, len(rows), err))
		} else if p != nil {
			out = append(out, p)
		}
	}
	return out, errors.Join(errs...)
}

func decodeKrakenRow(row []byte, channel, symbol string, recv time.Time) (*market.BTCPrice, error) {
	var w struct {
		Symbol    string      `json:"symbol"`
		Last      json.Number `json:"last"`
		Bid       json.Number `json:"bid"`
		Ask       json.Number `json:"ask"`
		Volume    json.Number `json:"volume"`
		Price     json.Number `json:"price"`
		TradeID   uint64      `json:"trade_id"`
		Timestamp string      `json:"timestamp"`
	}
	if err := feed.DecodeJSON(row, &w); err != nil {
		return nil, err
	}
	if w.Symbol != symbol {
		return nil, nil //nolint:nilnil // another symbol's, which we did not ask for
	}
	// The ticker's timestamp is new and optional; without it the time is that of receipt.
	p := &market.BTCPrice{Meta: market.Meta{EventTime: recv, RecvTime: recv}}
	if w.Timestamp != "" {
		at, err := time.Parse(time.RFC3339Nano, w.Timestamp)
		if err != nil {
			return nil, wrongType("timestamp", err)
		}
		p.EventTime = at.UTC()
	}
	var err error
	if channel == krakenTrade {
		if w.TradeID == 0 || w.Timestamp == "" {
			return nil, feed.Missing("trade_id or timestamp")
		}
		p.VenueSeq = w.TradeID
		p.PriceUSD, err = number("price", w.Price)
		return p, err
	}
	if p.PriceUSD, err = number("last", w.Last); err != nil {
		return nil, err
	}
	if p.BidUSD, err = number("bid", w.Bid); err != nil {
		return nil, err
	}
	if p.AskUSD, err = number("ask", w.Ask); err != nil {
		return nil, err
	}
	if w.Volume != "" {
		if p.Volume24hBTC, err = number("volume", w.Volume); err != nil {
			return nil, err
		}
		p.Volume24hBTC = p.Volume24hBTC.Round(8)
	}
	return p, nil
}
