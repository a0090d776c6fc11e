package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// serial says where the values of a channel are. Names are fixed here and never come from a request.
type serial struct {
	from   string
	symbol string // expression that the symbol must equal; empty: it is the table
	labels string // a series for each
	fields []string
}

func serialOf(channel live.Channel, symbol string) (serial, bool) {
	switch channel {
	case live.Hashprice:
		return serial{"hashprice_now", "method", "method", []string{"hashprice_usd", "hashprice_btc", "hashprice_sat", "btc_usd", "difficulty", "network_ehs", "mean_fees_sat"}}, true
	case live.Rates:
		return serial{"gpu_rates_now", "concat(gpu, '/', class)", "concat(method, '/', toString(version))", []string{
			"usd_per_gpu_hour", "p10_usd_per_gpu_hour", "p90_usd_per_gpu_hour", "dispersion", "sample_offers", "sample_gpus", "sample_hosts", "sample_providers",
		}}, true
	case live.Signals:
		return serial{"signals", "concat(name, '/', symbol)", "''", []string{"value"}}, true
	case live.Quotes:
		return serial{"quotes", "symbol", "''", []string{"bid_price_usd", "ask_price_usd", "bid_size_shares", "ask_size_shares"}}, true
	case live.Network:
		switch symbol {
		case "btcusd":
			return serial{"btc_prices", "", "''", []string{"price_usd", "bid_usd", "ask_usd", "volume_24h_btc"}}, true
		case "difficulty":
			return serial{"btc_difficulty", "", "''", []string{"difficulty", "change_percent", "estimated_change_percent"}}, true
		case "fees":
			return serial{"btc_fees", "", "''", []string{"fastest_sat_per_vb", "half_hour_sat_per_vb", "hour_sat_per_vb", "economy_sat_per_vb", "minimum_sat_per_vb"}}, true
		case "block":
			// Of a reorganised height the last telling holds.
			return serial{"(SELECT * FROM btc_blocks ORDER BY rev DESC, stream_time DESC, stream_seq DESC, idx DESC LIMIT 1 BY source, height)", "", "''", []string{
				"height", "difficulty", "subsidy_sat", "fees_sat", "reward_sat", "tx_count", "size_bytes", "weight_units",
			}}, true
		}
	}
	return serial{}, false
}

type seriesAnswer struct {
	Channel  live.Channel      `json:"channel"`
	Symbol   string            `json:"symbol"`
	Field    string            `json:"field"`
	Interval string            `json:"interval"`
	Points   []json.RawMessage `json:"points"`
}

// series answers the last true value in each bucket, of each source and method apart. A bucket without data is absent: nothing is made up between.
func (h *handler) series(r *http.Request, p *params) (answer, error) {
	if err := p.only("channel", "symbol", "source", "method", "field", "interval", "from", "to"); err != nil {
		return answer{}, err
	}
	spec := live.Spec{Channel: live.Channel(p.text("channel")), Symbols: []string{p.text("symbol")}, Source: p.text("source")}
	if spec.Channel == live.Bars {
		return answer{}, live.Errorf(live.CodeBadChannel, "series has no bars; ask /v1/bars")
	}
	if err := spec.Normalize(); err != nil {
		return answer{}, err
	}
	s, ok := serialOf(spec.Channel, spec.Symbols[0])
	switch {
	case !ok:
		return answer{}, live.Errorf(live.CodeBadChannel, "there are series of hashprice, rates, signals, quotes, and of network block, difficulty, fees and btcusd")
	case !spec.Exact():
		return answer{}, live.Errorf(live.CodeBadSymbol, "symbol %.64q is a pattern; name one symbol", spec.Symbols[0])
	case !slices.Contains(s.fields, p.text("field")):
		return answer{}, live.Errorf(live.CodeBadRequest, "field %.32q is none of %s", p.text("field"), strings.Join(s.fields, ", "))
	}
	bucket, err := p.bucket("interval")
	if err != nil {
		return answer{}, err
	}
	from, to, err := p.span(bucket)
	if err != nil {
		return answer{}, err
	}
	if err := h.Authorize(r, spec.Channel, spec.Symbols); err != nil {
		return answer{}, err
	}
	where := []string{"event_time >= " + store.QuoteTime(from), "event_time < " + store.QuoteTime(to)}
	if s.symbol != "" {
		where = append(where, s.symbol+" = "+store.QuoteText(spec.Symbols[0]))
	}
	if spec.Source != "" {
		where = append(where, store.MatchText("source", spec.Source))
	}
	if m := p.text("method"); m != "" {
		where = append(where, s.labels+" = "+store.QuoteText(m))
	}
	sql := "SELECT " + bucketSQL(bucket) + " AS bucket, source AS src, " + s.labels + " AS label, argMax((" + p.text("field") + ", event_time), (event_time, rev, stream_time, stream_seq, idx)) AS last" +
		" FROM " + s.from + " WHERE " + strings.Join(where, " AND ") + fmt.Sprintf(" GROUP BY bucket, src, label ORDER BY bucket, src, label LIMIT %d", maxBuckets+1)
	points, err := h.rows(r.Context(), "SELECT bucket AS time, src AS source, label AS method, toString(last.1) AS value, last.2 AS event_time FROM ("+sql+") ORDER BY bucket, src, label")
	if err != nil {
		return answer{}, err
	}
	if len(points) > maxBuckets {
		return answer{}, live.Errorf(live.CodeBadRequest, "these are more than %d points; name a source or a method, or ask for a part", maxBuckets)
	}
	return answer{seriesAnswer{spec.Channel, spec.Symbols[0], p.text("field"), p.text("interval"), points}, cacheNo}, nil
}
