package massive

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
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// limitTries is how often in a row one page is asked for that the venue limits; then the engine asks for the whole query later.
const limitTries = 10

// Fetch implements engine.Upstream: symbol after symbol.
func (u *Upstream) Fetch(ctx context.Context, e *engine.Engine, q engine.Query, emit engine.Emit) error {
	// One at a time: the pause that the venue asks one reader for holds for the other too.
	u.fetching.Lock()
	defer u.fetching.Unlock()
	for _, symbol := range q.Symbols {
		if err := u.fetchSymbol(ctx, e, q, symbol, emit); err != nil {
			return fmt.Errorf("%s: %w", symbol, err)
		}
	}
	return nil
}

func (u *Upstream) fetchSymbol(ctx context.Context, e *engine.Engine, q engine.Query, symbol string, emit engine.Emit) error {
	first, path := u.query(q, symbol)
	base := strings.TrimSuffix(u.cfg.RESTURL, "/")
	header := http.Header{"Authorization": {"Bearer " + u.cfg.Key.Reveal()}} // next_url lacks the key: it is sent with every page
	at := first
	for limited := 0; ; {
		begin := at
		err := e.Pages(ctx, func(token string) feed.Request {
			if token == "" {
				token = begin
			}
			at = token
			return feed.Request{URL: base + token, Header: header}
		}, func(body []byte, p engine.Page) (records int, next string, err error) {
			pg, err := parsePage(body, path)
			if err != nil {
				return 0, "", err
			}
			limited = 0
			for _, raw := range pg.records {
				if err := u.record(ctx, e, q.Kind, symbol, raw, p, emit); err != nil {
					return 0, "", err
				}
			}
			return len(pg.records), pg.next, nil
		})
		if !errors.Is(err, errLimited) {
			return notServed(err)
		}
		if limited++; limited == limitTries {
			return err
		}
		e.Feed().Logger().Warn("the venue limits our calls of its history", "wait", u.cfg.LimitWait)
		if err := wait(ctx, u.cfg.LimitWait); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// notServed tells what the plan does not have, which no retry cures, from the rest.
func notServed(err error) error {
	if se, ok := errors.AsType[*feed.StatusError](err); ok && se.Status == http.StatusForbidden && strings.Contains(se.Body, "NOT_AUTHORIZED") {
		return &engine.NotServed{Err: err}
	}
	return err
}

// query is the path of a query's first page, and what the paths of its pages have in common (samePath).
func (u *Upstream) query(q engine.Query, symbol string) (first, common string) {
	values := url.Values{"limit": {strconv.Itoa(u.cfg.PageLimit)}, "sort": {"asc"}}
	ticker := url.PathEscape(symbol)
	span := ""
	switch q.Kind {
	case engine.DailyBars:
		span = "day"
	case engine.MinuteBars:
		span = "minute"
	}
	if span != "" {
		values.Set("adjusted", "false")
		common = "/v2/aggs/ticker/" + ticker + "/range/1/" + span + "/"
		return fmt.Sprintf("%s%d/%d?%s", common, q.From.UnixMilli(), q.To.UnixMilli(), values.Encode()), common
	}
	common = "/v3/trades/" + ticker
	if q.Kind == engine.Quotes {
		common = "/v3/quotes/" + ticker
	}
	values.Set("sort", "timestamp")
	values.Set("order", "asc")
	values.Set("timestamp.gte", strconv.FormatInt(q.From.UnixNano(), 10))
	values.Set("timestamp.lte", strconv.FormatInt(q.To.UnixNano(), 10))
	return common + "?" + values.Encode(), common
}

// record publishes a record of history.
func (u *Upstream) record(ctx context.Context, e *engine.Engine, kind engine.Kind, symbol string, raw []byte, p engine.Page, emit engine.Emit) error {
	var ev market.Event
	var correction int64
	var err error
	switch kind {
	case engine.Trades:
		ev, correction, err = restTrade(raw, symbol)
	case engine.Quotes:
		ev, err = u.dec.restQuote(raw, symbol)
	case engine.DailyBars:
		ev, err = restBar(raw, symbol, market.Interval1d)
	default:
		ev, err = restBar(raw, symbol, market.Interval1m)
	}
	if err != nil {
		return e.Feed().Reject(ctx, p.Path, feed.ReasonOf(err, feed.ReasonMalformed), err, raw)
	}
	if !invalid(correction) {
		return emit(ev, p, raw)
	}
	// It was printed once, and is no more: both are told, as the stream of a venue with cancels would have. The correction is a print of
	// its own (12).
	t := ev.(*market.Trade)
	cancel := *t
	if err := emit(t, p, raw); err != nil {
		return err
	}
	cancel.Action, cancel.CancelCode, cancel.Conditions = market.TradeCancel, strconv.FormatInt(correction, 10), nil
	return emit(&cancel, p, raw)
}
