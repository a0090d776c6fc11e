package alpaca

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// recentDelay is how old history must be on a plan without recent data, with some room.
const recentDelay = 15*time.Minute + 15*time.Second

// codeRecent is the venue's code for a query of younger history.
const codeRecent = "42210000"

// paths and names of the kinds of history.
var paths = map[engine.Kind]struct {
	name     string
	interval market.Interval
	frame    string
}{
	engine.DailyBars:  {"bars", market.Interval1d, "1Day"},
	engine.MinuteBars: {"bars", market.Interval1m, "1Min"},
	engine.Trades:     {"trades", "", ""},
	engine.Quotes:     {"quotes", "", ""},
}

// Fetch implements engine.Upstream.
func (u *Upstream) Fetch(ctx context.Context, e *engine.Engine, q engine.Query, emit engine.Emit) error {
	kind := paths[q.Kind]
	dec := newDecoder(func(symbol string) bool { return slices.Contains(q.Symbols, symbol) })
	values := url.Values{
		"symbols": {strings.Join(q.Symbols, ",")}, "start": {q.From.UTC().Format(time.RFC3339Nano)}, "end": {q.To.UTC().Format(time.RFC3339Nano)},
		"limit": {strconv.Itoa(u.cfg.PageLimit)}, "feed": {u.cfg.Feed}, "sort": {"asc"},
	}
	if kind.frame != "" {
		values.Set("timeframe", kind.frame)
	}
	header := http.Header{"Apca-Api-Key-Id": {u.cfg.Key.Reveal()}, "Apca-Api-Secret-Key": {u.cfg.Secret.Reveal()}}
	base := strings.TrimSuffix(u.cfg.RESTURL, "/") + "/v2/stocks/" + kind.name + "?"
	err := e.Pages(ctx, func(token string) feed.Request {
		if token != "" {
			values.Set("page_token", token)
		}
		return feed.Request{URL: base + values.Encode(), Header: header}
	}, func(body []byte, p engine.Page) (records int, next string, err error) {
		next, err = dec.page(body, kind.name, kind.interval, func(r record) error {
			records++
			return u.recorded(ctx, e, r, p, emit)
		})
		return records, next, err
	})
	if se, ok := errors.AsType[*feed.StatusError](err); ok && se.Status == http.StatusForbidden && strings.Contains(se.Body, codeRecent) {
		return &engine.TooRecent{Err: fmt.Errorf("the plan does not permit the history of the last 15 minutes: %w", err), Delay: recentDelay}
	}
	return err
}

// recorded publishes a record of history.
func (u *Upstream) recorded(ctx context.Context, e *engine.Engine, r record, p engine.Page, emit engine.Emit) error {
	reject := func(def market.Reason, err error) error {
		return e.Feed().Reject(ctx, p.Path, feed.ReasonOf(err, def), err, r.raw)
	}
	if r.err != nil {
		return reject(feed.ReasonMalformed, r.err)
	}
	t, ok := r.event.(*market.Trade)
	if !ok {
		return emit(r.event, p, r.raw)
	}
	switch r.fate {
	case printValid, printCancelled, printIncorrect, printCorrected:
		return u.recordedPrint(t, r, p, emit)
	}
	return reject(market.ReasonValue, fmt.Errorf("print with the unknown fate u = %.32q", r.fate))
}

// recordedPrint publishes a print of history with its fate. History does not say which print a correction replaced: it is told as the
// cancel of one and a new other, unless the stream told the correction itself.
func (u *Upstream) recordedPrint(t *market.Trade, r record, p engine.Page, emit engine.Emit) error {
	if r.fate == printValid {
		return emit(t, p, r.raw)
	}
	u.fates.mu.Lock()
	defer u.fates.mu.Unlock()
	known := u.fates.has(printKey(t.Symbol, t.Exchange, t.ID, t.EventTime))
	if r.fate == printCorrected {
		if known {
			return nil
		}
		return emit(t, p, r.raw)
	}
	if err := emit(t, p, r.raw); err != nil || known {
		return err
	}
	cancel := *t
	cancel.Action, cancel.CancelCode, cancel.Conditions = market.TradeCancel, r.fate, nil
	return emit(&cancel, p, r.raw)
}
