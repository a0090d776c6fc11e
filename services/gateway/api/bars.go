package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

type barsAnswer struct {
	Symbol   string `json:"symbol"`
	Interval string `json:"interval"`
	// Of is the stored interval that the bars are made of.
	Of       market.Interval   `json:"of"`
	Adjusted string            `json:"adjusted"`
	Bars     []json.RawMessage `json:"bars"`
	// Next is the from of the next page; null: there is no more in the span.
	Next *time.Time `json:"next"`
}

// bars answers bars of any interval, made of the revisions that are true now of the greatest stored interval that divides it.
func (h *handler) bars(r *http.Request, p *params) (answer, error) {
	if err := p.only("symbol", "interval", "source", "session", "from", "to", "limit", "adjusted"); err != nil {
		return answer{}, err
	}
	bucket, err := p.bucket("interval")
	if err != nil {
		return answer{}, err
	}
	of := base(bucket)
	spec := live.Spec{Channel: live.Bars, Symbols: []string{p.text("symbol")}, Source: p.text("source"), Interval: of}
	if err := spec.Normalize(); err != nil {
		return answer{}, err
	}
	if !spec.Exact() {
		return answer{}, live.Errorf(live.CodeBadSymbol, "symbol %.64q is a pattern; name one symbol", p.text("symbol"))
	}
	limit, err := p.limit()
	if err != nil {
		return answer{}, err
	}
	from, to, err := p.span(bucket)
	if err != nil {
		return answer{}, err
	}
	view, ok := map[string]string{"": "", "false": "", "true": "_split", "total": "_total"}[p.text("adjusted")]
	if !ok {
		return answer{}, live.Errorf(live.CodeBadRequest, "adjusted %.16q is none of false, true (for splits), total (for splits and distributions)", p.text("adjusted"))
	}
	if s := p.text("session"); s != "" && !slices.Contains([]string{"overnight", "pre", "regular", "after"}, s) {
		return answer{}, live.Errorf(live.CodeBadRequest, "session %.16q is none of overnight, pre, regular, after", s)
	}
	if err := h.Authorize(r, live.Bars, spec.Symbols); err != nil {
		return answer{}, err
	}
	res, err := h.Store.Query(r.Context(), barsSQL(spec, bucket, from, to, p.text("session"), view, limit))
	if err != nil {
		return answer{}, err
	}
	a := barsAnswer{Symbol: spec.Symbols[0], Interval: p.text("interval"), Of: of, Adjusted: p.text("adjusted"), Bars: []json.RawMessage{}}
	if a.Adjusted == "" {
		a.Adjusted = "false"
	}
	rows := res.Rows
	if len(rows) > limit { // the bars of one time stay together
		cut, ok := rows[limit][0].(time.Time)
		if !ok {
			return answer{}, fmt.Errorf("read bars: the time is a %T", rows[limit][0])
		}
		rows = slices.DeleteFunc(rows, func(row []any) bool { return row[0] == rows[limit][0] })
		if cut = cut.UTC(); len(rows) == 0 {
			return answer{}, live.Errorf(live.CodeBadRequest, "limit %d is below the number of sources; name one or raise it", limit)
		}
		a.Next = &cut
	}
	for _, row := range rows {
		o, err := object(res, row)
		if err != nil {
			return answer{}, err
		}
		a.Bars = append(a.Bars, o)
	}
	return answer{a, cacheNo}, nil
}

// base is the greatest stored interval that divides the bucket.
func base(bucket time.Duration) market.Interval {
	for _, i := range []market.Interval{market.Interval1d, market.Interval1h, market.Interval1m} {
		if bucket%i.Duration() == 0 {
			return i
		}
	}
	return market.Interval1s
}

// barsSQL folds bars_now. Sums are of 76 digits: products of prices and volumes overflow otherwise. A bar of ours without trades was withdrawn.
func barsSQL(spec live.Spec, bucket time.Duration, from, to time.Time, session, adjusted string, limit int) string {
	view, suffix, volume := "bars_now", "_usd", "volume"
	if adjusted != "" {
		view, suffix, volume = "bars_adjusted", adjusted+"_usd", "volume_split"
	}
	where := []string{
		"symbol = " + store.QuoteText(spec.Symbols[0]), "interval = " + store.QuoteText(string(spec.Interval)),
		"event_time >= " + store.QuoteTime(from), "event_time < " + store.QuoteTime(to), "NOT (method != '' AND trade_count = 0)",
	}
	if spec.Source != "" {
		where = append(where, store.MatchText("source", spec.Source))
	}
	if session != "" || spec.Interval == market.Interval1d {
		where = append(where, "session = "+store.QuoteText(session))
	}
	inner := "SELECT event_time, source AS src, open" + suffix + " AS o, high" + suffix + " AS h, low" + suffix + " AS l, close" + suffix + " AS c, vwap" + suffix + " AS w, " +
		volume + " AS v, trade_count AS n, final AS f FROM " + view + " WHERE " + strings.Join(where, " AND ")
	folded := "SELECT " + bucketSQL(bucket) + " AS time, src, argMin(o, event_time) AS open, max(h) AS high, min(l) AS low, argMax(c, event_time) AS close," +
		" sum(toDecimal256(v, 8)) AS vol, sum(toDecimal256(w, 8) * toDecimal256(v, 8)) AS turnover, countIf(w = 0 AND v != 0) AS without, sum(n) AS trades, min(f) AS complete" +
		" FROM (" + inner + ") GROUP BY time, src"
	return "SELECT time, src AS source, open AS open_usd, high AS high_usd, low AS low_usd, close AS close_usd, vol AS volume," +
		" if(vol = 0 OR without > 0, toDecimal256(0, 8), toDecimal256(turnover / if(vol = 0, 1, vol), 8)) AS vwap_usd, trades AS trade_count, complete AS final FROM (" + folded + ")" +
		fmt.Sprintf(" ORDER BY time, source LIMIT %d SETTINGS max_execution_time = 25", limit+1)
}

// bucketSQL is the start of the bucket of event_time.
func bucketSQL(bucket time.Duration) string {
	off := int64(origin(bucket))
	return fmt.Sprintf("fromUnixTimestamp64Nano(intDiv(toUnixTimestamp64Nano(event_time) - %d, %d) * %[2]d + %[1]d, 'UTC')", off, int64(bucket))
}
