package hashprice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

const day = 24 * time.Hour

// dayIsOver is how long after a UTC day's end its figures are taken for final: blocks of the day may be stamped late, upstreams cache.
const dayIsOver = 30 * time.Minute

// candlesPerPage is Coinbase's limit.
const candlesPerPage = 300

// history publishes what the upstreams know of past days: retargets, daily BTC-USD bars and the daily hashprice.
type history struct {
	from      time.Time
	every     time.Duration
	stopAtEnd bool
	mempool   *feed.Feed
	coinbase  *feed.Feed
	calc      *feed.Feed
	memREST   *caller
	cbREST    *caller
	memURL    string
	cb        CoinbaseConfig
	retargets *retargets

	passed chan struct{} // closed once the history was read, or tried, for the first time
	first  sync.Once

	// What was published, by day: the last word of each. mempool and coinbase are nil where they are off.
	bars  map[time.Time]*market.Bar
	mu    sync.Mutex
	daily map[time.Time]*market.Hashprice // guarded by mu: references compare with it
}

// restore reads back the bars and the daily hashprices that were published before.
func (h *history) restore(ctx context.Context, hist feed.History) error {
	if hist == nil {
		return nil
	}
	if h.coinbase != nil {
		err := hist.Replay(ctx, market.Bars, h.coinbase.Source(), time.Time{}, func(ev market.Event, _ market.Place) error {
			if b, ok := ev.(*market.Bar); ok && b.Symbol == h.cb.Product && b.Interval == market.Interval1d {
				if old, ok := h.bars[b.EventTime.UTC()]; !ok || b.Rev >= old.Rev {
					h.bars[b.EventTime.UTC()] = b
				}
			}
			return nil
		}, string(market.Interval1d), h.cb.Product)
		if err != nil {
			return fmt.Errorf("restore daily bars of %s: %w", h.coinbase.Source(), err)
		}
	}
	err := hist.Replay(ctx, market.Hashprices, h.calc.Source(), time.Time{}, func(ev market.Event, _ market.Place) error {
		if p, ok := ev.(*market.Hashprice); ok && p.Method == methodDaily {
			if old, ok := h.daily[p.EventTime.UTC()]; !ok || p.Rev >= old.Rev {
				h.daily[p.EventTime.UTC()] = p
			}
		}
		return nil
	}, methodDaily) // the live ones are many and are not needed
	if err != nil {
		return fmt.Errorf("restore daily hashprices of %s: %w", h.calc.Source(), err)
	}
	return nil
}

// at is the daily hashprice of a UTC day; nil where there is none.
func (h *history) at(d time.Time) *market.Hashprice {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.daily[d.UTC().Truncate(day)]
}

// run reads the history at once and then again as days end.
func (h *history) run(ctx context.Context) error {
	for {
		err := h.once(ctx)
		h.first.Do(func() { close(h.passed) })
		switch {
		case ctx.Err() != nil:
			return nil
		case isSink(err):
			return err
		case err != nil:
			h.calc.Logger().Warn("history is incomplete, will be read again", "err", err, "in", h.every)
		}
		if h.stopAtEnd {
			h.retargets.set(nil) // whoever waits for it waits no longer
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(h.every):
		}
	}
}

// sinkError marks an error of our own side: reading again would not cure it.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

func isSink(err error) bool {
	_, ok := errors.AsType[sinkError](err)
	return ok
}

// once reads everything, as far as it goes: one part that fails does not keep the others.
func (h *history) once(ctx context.Context) error {
	if h.from.IsZero() {
		h.retargets.set(nil)
		return nil
	}
	var err1, err2, err3 error
	var list []retarget
	if h.mempool == nil {
		h.retargets.set(nil)
	} else {
		list, err1 = h.readRetargets(ctx)
	}
	if h.coinbase != nil {
		err2 = h.readBars(ctx)
	}
	if h.mempool != nil && err1 == nil {
		err3 = h.readDaily(ctx, list)
	}
	return errors.Join(err1, err2, err3)
}

// fetch gets and decodes; what does not decode becomes a dead letter and an error.
func fetch[T any](ctx context.Context, f *feed.Feed, c *caller, base, path string, decode func([]byte, time.Time) (T, error)) (T, *feed.Response, error) {
	var none T
	resp, err := c.get(ctx, base+path)
	if err != nil {
		if m, ok := errors.AsType[*feed.Malformed](err); ok {
			if err := f.Reject(ctx, path, m.Reason, m, nil); err != nil {
				return none, nil, sinkError{err}
			}
		}
		return none, nil, err
	}
	v, err := decode(resp.Body, resp.Recv)
	if err != nil {
		if err := f.Reject(ctx, path, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); err != nil {
			return none, nil, sinkError{err}
		}
		return none, nil, fmt.Errorf("decode %s of %s: %w", path, f.Source(), err)
	}
	return v, resp, nil
}

func (h *history) readRetargets(ctx context.Context) ([]retarget, error) {
	const path = "/v1/mining/difficulty-adjustments"
	list, resp, err := fetch(ctx, h.mempool, h.memREST, h.memURL, path, func(b []byte, _ time.Time) ([]retarget, error) { return decodeRetargets(b) })
	if err != nil {
		return nil, err
	}
	byHeight := slices.Clone(list)
	slices.SortStableFunc(byHeight, func(a, b retarget) int {
		if a.Height < b.Height {
			return -1
		}
		return 1
	})
	h.retargets.set(byHeight)
	for i, r := range list {
		// The one in force on the first day counts, though it is older.
		if r.At.Before(h.from) && (i+1 == len(list) || list[i+1].At.Before(h.from)) {
			continue
		}
		ev := &market.Difficulty{
			Meta:   market.Meta{EventTime: r.At, RecvTime: resp.Recv, Backfill: true},
			Height: r.Height, Difficulty: r.Difficulty, ChangePercent: math.NaN(), EstimatedChangePercent: math.NaN(),
			RemainingBlocks: retargetBlocks, NextRetargetHeight: r.Height + retargetBlocks,
		}
		if r.Ratio > 0 {
			ev.ChangePercent = (r.Ratio - 1) * 100
		}
		if _, err := h.mempool.Emit(ctx, ev, path, nil); err != nil {
			return nil, sinkError{err}
		}
	}
	return list, nil
}

// lastDay is the newest UTC day that is over.
func (h *history) lastDay() time.Time {
	return h.calc.Now().Add(-dayIsOver).Truncate(day).Add(-day)
}

func (h *history) readBars(ctx context.Context) error {
	last := h.lastDay()
	from := h.from
	for d := range h.bars {
		// The newest few days are read again: a venue may correct them.
		if d = d.Add(-3 * day); d.After(from) {
			from = d
		}
	}
	for ; !from.After(last); from = from.Add(candlesPerPage * day) {
		to := from.Add((candlesPerPage - 1) * day)
		path := fmt.Sprintf("/products/%s/candles?granularity=86400&start=%s&end=%s", url.PathEscape(h.cb.Product),
			url.QueryEscape(from.Format(time.RFC3339)), url.QueryEscape(to.Format(time.RFC3339)))
		bars, _, err := fetch(ctx, h.coinbase, h.cbREST, h.cb.RESTURL, path, func(b []byte, recv time.Time) ([]*market.Bar, error) {
			return decodeCandles(b, h.cb.Product, market.Interval1d, recv)
		})
		if err != nil {
			return err
		}
		for _, b := range bars {
			// The venue may send rows from before the start that was asked for.
			if b.EventTime.After(last) || b.EventTime.Before(h.from) || b.EventTime.After(to) {
				continue
			}
			if old, ok := h.bars[b.EventTime]; ok {
				if sameBar(old, b) {
					continue
				}
				b.Rev = old.Rev + 1
			}
			if _, err := h.coinbase.Emit(ctx, b, path, nil); err != nil {
				return sinkError{err}
			}
			h.bars[b.EventTime] = b
		}
	}
	return nil
}

func sameBar(a, b *market.Bar) bool {
	return a.OpenUSD.Cmp(b.OpenUSD) == 0 && a.HighUSD.Cmp(b.HighUSD) == 0 && a.LowUSD.Cmp(b.LowUSD) == 0 &&
		a.CloseUSD.Cmp(b.CloseUSD) == 0 && a.Volume.Cmp(b.Volume) == 0
}

// readDaily publishes the hashprice of each whole UTC day: difficulty averaged over the day (see difficultyOver), mean fees of the day's
// blocks, and the price at the day's end, which is what a "daily close" of bitcoin means.
func (h *history) readDaily(ctx context.Context, list []retarget) error {
	decodeFees := func(b []byte, _ time.Time) (map[time.Time]dayMean, error) { return decodeDays(b, "avgFees") }
	decodeRewards := func(b []byte, _ time.Time) (map[time.Time]dayMean, error) { return decodeDays(b, "avgRewards") }
	// Without a known period the upstream answers with all of history, one row per UTC day.
	fees, resp, err := fetch(ctx, h.mempool, h.memREST, h.memURL, "/v1/mining/blocks/fees/all", decodeFees)
	if err != nil {
		return err
	}
	rewards, _, err := fetch(ctx, h.mempool, h.memREST, h.memURL, "/v1/mining/blocks/rewards/all", decodeRewards)
	if err != nil {
		return err
	}
	prices, _, err := fetch(ctx, h.mempool, h.memREST, h.memURL, "/v1/historical-price", func(b []byte, _ time.Time) ([]pricePoint, error) {
		return decodeHistoricalPrices(b)
	})
	if err != nil {
		return err
	}
	in := dailyInputs{retargets: list, fees: fees, rewards: rewards, prices: prices, bars: h.bars, mempool: h.mempool.Source(), coinbase: h.cb.Source}
	skipped := 0
	for d, last := h.from, h.lastDay(); !d.After(last); d = d.Add(day) {
		if _, ok := fees[d]; !ok {
			continue
		}
		p, err := in.hashprice(d)
		if err != nil {
			skipped++
			h.calc.Logger().Debug("no hashprice for a day", "day", d.Format(time.DateOnly), "err", err)
			continue
		}
		p.RecvTime = resp.Recv
		if old := h.at(d); old != nil {
			if old.HashpriceUSD.Cmp(p.HashpriceUSD) == 0 && old.HashpriceBTC.Cmp(p.HashpriceBTC) == 0 && old.Height == p.Height {
				continue
			}
			p.Rev = old.Rev + 1
		}
		if _, err := h.calc.Emit(ctx, p, "history", nil); err != nil {
			return sinkError{err}
		}
		h.mu.Lock()
		h.daily[d] = p
		h.mu.Unlock()
	}
	if skipped > 0 {
		h.calc.Logger().Warn("days without a hashprice: an input is missing (debug log tells which)", "days", skipped)
	}
	return nil
}
