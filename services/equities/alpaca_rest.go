package equities

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
)

// errRecent says that the plan does not let us read the last 15 minutes.
var errRecent = errors.New("the plan does not permit the history of the last 15 minutes")

// codeRecent is the venue's code for it.
const codeRecent = "42210000"

// history is one query of the venue's history.
type history struct {
	name     string // trades, quotes, bars
	interval market.Interval
	symbols  []string
	from, to time.Time // inclusive
}

func (h history) String() string {
	if h.interval != "" {
		return h.name + " " + string(h.interval)
	}
	return h.name
}

// fetch reads a query to its end, page by page, and publishes what is new. count sees each new event. A page that cannot be read is asked for
// again a few times.
func (s *service) fetch(ctx context.Context, h history, count func(market.Event)) error {
	dec := newDecoder(s.cfg.Symbols)
	token := ""
	for page := 1; ; page++ {
		next, err := s.page(ctx, dec, h, token, count)
		if err != nil {
			return fmt.Errorf("fetch history of %s from %s to %s, page %d: %w", h, h.from.Format(time.RFC3339), h.to.Format(time.RFC3339), page, err)
		}
		if next == "" {
			return nil
		}
		if next == token {
			return fmt.Errorf("fetch history of %s, page %d: the venue gives the same page token again", h, page)
		}
		token = next
	}
}

// pageTries is how often a page that does not parse is asked for.
const pageTries = 4

func (s *service) page(ctx context.Context, dec *decoder, h history, token string, count func(market.Event)) (next string, err error) {
	q := url.Values{
		"symbols": {strings.Join(h.symbols, ",")}, "start": {h.from.UTC().Format(time.RFC3339Nano)}, "end": {h.to.UTC().Format(time.RFC3339Nano)},
		"limit": {strconv.Itoa(s.cfg.Alpaca.PageLimit)}, "feed": {s.cfg.Alpaca.Feed}, "sort": {"asc"},
	}
	switch h.interval {
	case market.Interval1m:
		q.Set("timeframe", "1Min")
	case market.Interval1d:
		q.Set("timeframe", "1Day")
	}
	if token != "" {
		q.Set("page_token", token)
	}
	path := "/v2/stocks/" + h.name
	req := feed.Request{
		URL: strings.TrimSuffix(s.cfg.Alpaca.RESTURL, "/") + path + "?" + q.Encode(),
		Header: http.Header{
			"Apca-Api-Key-Id": {s.cfg.Alpaca.Key.Reveal()}, "Apca-Api-Secret-Key": {s.cfg.Alpaca.Secret.Reveal()},
		},
	}
	for try := 1; ; try++ {
		asOf := s.f.Now()
		resp, err := s.f.CallPatiently(ctx, s.http, req)
		if err != nil {
			if se, ok := errors.AsType[*feed.StatusError](err); ok && se.Status == http.StatusForbidden && strings.Contains(se.Body, codeRecent) {
				return "", errRecent
			}
			return "", err
		}
		now := resp.Recv
		if !resp.Date.IsZero() {
			now = resp.Date // whether a day is over is for the venue's clock to say
		}
		var emitErr error
		next, err = dec.page(resp.Body, h.name, h.interval, func(r record) error {
			emitErr = s.recorded(ctx, path, r, resp.Recv, asOf, now, count)
			return emitErr
		})
		if emitErr != nil {
			return "", emitErr
		}
		if err == nil {
			return next, s.keepRate(ctx, resp.Header)
		}
		if rerr := s.f.Reject(ctx, path, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); rerr != nil {
			return "", rerr
		}
		if try == pageTries {
			return "", err
		}
		if err := wait(ctx, time.Duration(try)*250*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// recorded publishes a record of history.
func (s *service) recorded(ctx context.Context, path string, r record, recv, asOf, venueNow time.Time, count func(market.Event)) error {
	if r.err != nil {
		return s.f.Reject(ctx, path, feed.ReasonOf(r.err, feed.ReasonMalformed), r.err, r.raw)
	}
	m := r.event.GetMeta()
	m.RecvTime, m.Backfill = recv, true
	emit := func(ev market.Event) error {
		fresh, err := s.f.Emit(ctx, ev, path, r.raw)
		if fresh {
			count(ev)
		}
		return err
	}
	switch ev := r.event.(type) {
	case *market.Bar:
		ev.Final = !s.cal.TradeDateEnd(s.cal.At(ev.EventTime).TradeDate).After(venueNow)
		if ev.Interval == market.Interval1d {
			ev.Final = !s.cal.TradeDateEnd(s.cal.DateOf(ev.EventTime)).After(venueNow)
		}
		if ev.Validate() == nil && !s.revs.next(ev, asOf) {
			return nil
		}
	case *market.Trade:
		switch r.fate {
		case printValid, printCancelled, printIncorrect, printCorrected:
			return s.recordedPrint(ev, r.fate, emit)
		}
		return s.f.Reject(ctx, path, market.ReasonValue, fmt.Errorf("print with the unknown fate u = %.32q", r.fate), r.raw)
	}
	return emit(r.event)
}

// recordedPrint publishes a print of history with its fate. History does not say which print a correction replaced: it is told as the
// cancel of one and a new other, unless the stream told the correction itself.
func (s *service) recordedPrint(t *market.Trade, fate string, emit func(market.Event) error) error {
	if fate == printValid {
		return emit(t)
	}
	s.fates.mu.Lock()
	defer s.fates.mu.Unlock()
	known := s.fates.has(printKey(t.Symbol, t.Exchange, t.ID, t.EventTime))
	if fate == printCorrected {
		if known {
			return nil
		}
		return emit(t)
	}
	if err := emit(t); err != nil || known {
		return err
	}
	cancel := *t
	cancel.Action, cancel.CancelCode, cancel.Conditions = market.TradeCancel, fate, nil
	return emit(&cancel)
}

// keepRate waits when the venue says that the minute's requests are used up.
func (s *service) keepRate(ctx context.Context, h http.Header) error {
	if h.Get("X-RateLimit-Remaining") != "0" {
		return nil
	}
	reset, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return nil
	}
	return wait(ctx, min(time.Unix(reset, 0).Sub(s.f.Now()), time.Minute))
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
