package hashprice

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// pacer holds calls apart.
type pacer struct {
	every time.Duration
	next  time.Time
}

func (p *pacer) wait(ctx context.Context) error {
	if d := time.Until(p.next); d > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d):
		}
	}
	p.next = time.Now().Add(p.every)
	return nil
}

// luxorSpans are the spans that Luxor serves with their finest bucket of the basic plans, shortest first.
var luxorSpans = []struct {
	reach        time.Duration
	span, bucket string
}{
	{day, "1D", "5m"}, {7 * day, "7D", "1H"}, {30 * day, "1M", "1H"}, {90 * day, "3M", "1H"}, {365 * day, "1Y", "6H"},
}

// pollLuxor asks for the published index of the last day. After a longer absence it asks for the span that covers it, too, which has coarser
// buckets: of that it takes what lies between the last known value and the last day alone, since an hour's mean is no revision of the five
// minutes that bear the same time.
func pollLuxor(cfg LuxorConfig, r *reference) func(context.Context, time.Time) ([]*market.Hashprice, error) {
	pace := pacer{every: cfg.CallEvery}
	ask := func(ctx context.Context, span, bucket string) ([]*market.Hashprice, error) {
		if err := pace.wait(ctx); err != nil {
			return nil, err
		}
		const path = "/hashprice"
		q := url.Values{"span": {span}, "bucket": {bucket}, "currency": {"USD"}, "hashunit": {"PHS"}}
		got, err := get(ctx, r, feed.Request{
			URL: cfg.URL + path + "?" + q.Encode(), Header: http.Header{"X-Hi-Api-Key": {cfg.Key.Reveal()}},
		}, path, decodeLuxor)
		if feed.IsRefused(err) {
			return nil, fmt.Errorf("hashprice.luxor.key is not accepted, or its plan has no index (Silver and above have): %w", err)
		}
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(got, func(a, b *market.Hashprice) int { return a.EventTime.Compare(b.EventTime) })
		for _, p := range got {
			p.Backfill = p.RecvTime.Sub(p.EventTime) > 2*cfg.Every+10*time.Minute
			p.Inputs = map[string]string{"bucket": bucket}
		}
		return got, nil
	}
	return func(ctx context.Context, since time.Time) ([]*market.Hashprice, error) {
		got, err := ask(ctx, luxorSpans[0].span, luxorSpans[0].bucket)
		away := r.f.Now().Sub(r.last)
		if err != nil || since.IsZero() || away <= luxorSpans[0].reach || len(got) == 0 {
			return got, err
		}
		x := luxorSpans[1]
		for i := 1; i+1 < len(luxorSpans) && away > luxorSpans[i].reach; i++ {
			x = luxorSpans[i+1]
		}
		older, err := ask(ctx, x.span, x.bucket)
		if err != nil {
			return nil, err
		}
		older = slices.DeleteFunc(older, func(p *market.Hashprice) bool {
			return !p.EventTime.After(r.last) || !p.EventTime.Before(got[0].EventTime)
		})
		return append(older, got...), nil
	}
}

// pollBraiins asks for the published figure; the client follows its redirect.
func pollBraiins(cfg BraiinsConfig, r *reference) func(context.Context, time.Time) ([]*market.Hashprice, error) {
	return func(ctx context.Context, _ time.Time) ([]*market.Hashprice, error) {
		const path = "/hashrate-stats"
		return get(ctx, r, feed.Request{URL: cfg.URL + path}, path, decodeBraiins)
	}
}

// coinPages bounds the pages of one poll: a thousand days each, more than bitcoin has.
const coinPages = 50

// pollCoinMetrics reads the daily figures page by page.
func pollCoinMetrics(cfg CoinMetricsConfig, r *reference) func(context.Context, time.Time) ([]*market.Hashprice, error) {
	pace := pacer{every: cfg.CallEvery}
	return func(ctx context.Context, since time.Time) ([]*market.Hashprice, error) {
		const path = "/timeseries/asset-metrics"
		q := url.Values{
			"assets": {"btc"}, "metrics": {"HashRate,IssTotUSD,FeeTotNtv,PriceUSD"}, "frequency": {"1d"}, "page_size": {"1000"},
			"start_time": {since.UTC().Format(time.DateOnly)}, "paging_from": {"start"},
		}
		var out []*market.Hashprice
		seen := map[string]bool{}
		for range coinPages {
			if err := pace.wait(ctx); err != nil {
				return nil, err
			}
			page, err := get(ctx, r, feed.Request{URL: cfg.URL + path + "?" + q.Encode()}, path, decodeCoinMetrics)
			if err != nil {
				return nil, err
			}
			out = append(out, page.days...)
			if page.next == "" {
				return out, nil
			}
			if seen[page.next] {
				return nil, fmt.Errorf("read pages of %s: the token of a page comes again", r.name)
			}
			seen[page.next] = true
			q.Set("next_page_token", page.next)
		}
		return nil, fmt.Errorf("read pages of %s: more than %d", r.name, coinPages)
	}
}
