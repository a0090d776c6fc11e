package finnhub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// candlesSpan of one call.
const candlesSpan = 7 * 24 * time.Hour

// Fetch implements engine.Upstream: candles of a minute, symbol after symbol. Their spans stand for pages.
func (u *Upstream) Fetch(ctx context.Context, e *engine.Engine, q engine.Query, emit engine.Emit) error {
	for _, symbol := range q.Symbols {
		at := q.From
		err := e.Pages(ctx, func(token string) feed.Request {
			if n, err := strconv.ParseInt(token, 10, 64); err == nil {
				at = time.Unix(n, 0)
			}
			values := url.Values{
				"symbol": {symbol}, "resolution": {"1"}, "from": {strconv.FormatInt(at.Unix(), 10)}, "to": {strconv.FormatInt(until(at, q.To).Unix(), 10)},
			}
			return feed.Request{
				URL:    strings.TrimSuffix(u.cfg.RESTURL, "/") + "/stock/candle?" + values.Encode(),
				Header: http.Header{"X-Finnhub-Token": {u.cfg.Key.Reveal()}},
			}
		}, func(body []byte, p engine.Page) (records int, next string, err error) {
			bars, err := decodeCandles(body, symbol)
			if err != nil {
				return 0, "", err
			}
			for _, b := range bars {
				if err := emit(b, p, nil); err != nil {
					return 0, "", err
				}
			}
			if end := until(at, q.To); end.Before(q.To) {
				next = strconv.FormatInt(end.Unix(), 10)
			}
			return max(len(bars), 1), next, nil // a week without trading is no page without end
		})
		if se, ok := errors.AsType[*feed.StatusError](err); ok && se.Status == http.StatusForbidden {
			return &engine.NotServed{Err: fmt.Errorf("candles of %s: %w", symbol, err)}
		}
		if err != nil {
			return fmt.Errorf("candles of %s: %w", symbol, err)
		}
	}
	return nil
}

func until(from, to time.Time) time.Time {
	if end := from.Add(candlesSpan); end.Before(to) {
		return end
	}
	return to
}
