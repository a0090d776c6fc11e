package gpurates

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Run runs the service until ctx ends, or, with StopAtEnd, until the upstream has no more. Everything published is flushed then.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure gpurates service: %w", err)
	}
	from, err := cfg.Vast.historyFrom()
	if err != nil {
		return err
	}
	if cfg.StopAtEnd {
		cfg.Vast.MetricsCallEvery = 0 // a recording has no rate limit
	}
	f, err := feed.New(deps.Config(cfg.Vast.Source))
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	search := newSearcher(cfg.Vast, cfg.StopAtEnd, f, client)
	hist := &medians{cfg: cfg.Vast, stopAtEnd: cfg.StopAtEnd, f: f, client: client, from: from, told: map[string]*market.Rate{}}

	if err := restore(ctx, f, search, hist); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return search.run(gctx) })
	g.Go(func() error { return hist.run(gctx) })
	err = g.Wait()

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if ferr := deps.Sink.Flush(last); err == nil && ferr != nil {
		err = fmt.Errorf("flush gpurates service: %w", ferr)
	}
	if ctx.Err() != nil {
		if _, ours := errors.AsType[sinkError](err); !ours && !feed.IsRefused(err) {
			return nil
		}
	}
	return err
}

// restore reads back the offers that were open and the rates that were told, so that what happened while we were away is told once and
// nothing twice.
func restore(ctx context.Context, f *feed.Feed, search *searcher, hist *medians) error {
	if err := f.Restore(ctx, time.Time{}); err != nil { // the ledger
		return err
	}
	if err := f.RestoreEach(ctx, time.Time{}, market.Offers, search.restore); err != nil {
		return err
	}
	return f.RestoreEach(ctx, time.Time{}, market.Rates, func(ev market.Event) {
		search.restore(ev)
		if r, ok := ev.(*market.Rate); ok {
			hist.restore(r)
		}
	})
}
