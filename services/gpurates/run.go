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

// Run runs the service until ctx ends, or, with StopAtEnd, until the upstreams have no more. Everything published is flushed then.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure gpurates service: %w", err)
	}
	if cfg.StopAtEnd {
		cfg.Vast.MetricsCallEvery = 0 // a recording has no rate limit
	}
	s := &service{cfg: cfg, deps: deps, board: newBoard()}
	defer s.close()
	if err := s.upstreams(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	err := s.together(ctx)

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

// service is one run.
type service struct {
	cfg     Config
	deps    feed.Deps
	board   *board
	index   *indexer // nil: none
	parts   []feed.Part
	clients []*http.Client
}

func (s *service) close() {
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// upstreams makes a part of each that is on, restored.
func (s *service) upstreams(ctx context.Context) error {
	for _, u := range s.cfg.upstreams() {
		if !u.on {
			continue
		}
		f, err := feed.New(s.deps.Watched(u.cfg.Source, "offers of GPUs"))
		if err != nil {
			return err
		}
		client := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
		s.clients = append(s.clients, client)
		a := &access{f, client, feed.NewLimiter(0, nil)}
		up := upstream{key: u.key, keyed: u.cfg.APIKey != "", every: u.cfg.PollEvery}
		var p *poller
		var hist *medians
		switch u.key {
		case "vast":
			from, err := s.cfg.Vast.historyFrom()
			if err != nil {
				return err
			}
			up.refused = vastRefused
			p = newPoller(up, s.cfg, f, s.board, vastLists(s.cfg.Vast, s.cfg.StopAtEnd, a)...)
			hist = &medians{cfg: s.cfg.Vast, stopAtEnd: s.cfg.StopAtEnd, f: f, up: a, from: from, told: map[string]*market.Rate{}}
		case "runpod":
			p = newPoller(up, s.cfg, f, s.board, runpodList(s.cfg.RunPod, a))
		case "lambda":
			p = newPoller(up, s.cfg, f, s.board, lambdaList(s.cfg.Lambda, a))
		case "shadeform":
			p = newPoller(up, s.cfg, f, s.board, shadeformList(s.cfg.Shadeform, a))
		case "prime_intellect":
			p = newPoller(up, s.cfg, f, s.board, primeList(s.cfg.PrimeIntellect, a))
		case "akash":
			p = newPoller(up, s.cfg, f, s.board, akashList(s.cfg.Akash, a))
		case "azure":
			p = newPoller(up, s.cfg, f, s.board, azureList(s.cfg.Azure, a))
		default:
			return fmt.Errorf("run gpurates service: upstream %s is not known", u.key)
		}
		if err := restore(ctx, f, p, hist); err != nil {
			return err
		}
		s.parts = append(s.parts, feed.Part{Name: u.key, Run: func(ctx context.Context) error {
			g, gctx := errgroup.WithContext(ctx)
			g.Go(func() error { return p.run(gctx) })
			if hist != nil {
				g.Go(func() error { return hist.run(gctx) })
			}
			return g.Wait()
		}})
	}
	if !s.cfg.Index.Enabled || s.cfg.StopAtEnd { // the polls of a recording are of different days
		return nil
	}
	var err error
	s.index, err = newIndexer(ctx, s.cfg.Index, s.deps, s.board)
	return err
}

// together runs the parts, and the index as long as any of them.
func (s *service) together(ctx context.Context) error {
	if s.index == nil {
		return feed.Together(ctx, s.deps.Logger, s.parts...)
	}
	g, gctx := errgroup.WithContext(ctx)
	ictx, end := context.WithCancel(gctx)
	g.Go(func() error {
		defer end()
		return feed.Together(gctx, s.deps.Logger, s.parts...)
	})
	g.Go(func() error { return s.index.run(ictx) })
	return g.Wait()
}

// restore reads back the offers that were open and the rates that were told, so that what happened while we were away is told once and
// nothing twice.
func restore(ctx context.Context, f *feed.Feed, p *poller, hist *medians) error {
	if err := f.Restore(ctx, time.Time{}); err != nil { // the ledger
		return err
	}
	err := f.RestoreEach(ctx, time.Time{}, market.Offers, func(ev market.Event) {
		if o, ok := ev.(*market.Offer); ok {
			p.restoreOffer(o)
		}
	})
	if err != nil {
		return err
	}
	// A quiet price list tells nothing for days; that the feed was on is in its own events then.
	err = f.RestoreEach(ctx, time.Time{}, market.Feeds, func(ev market.Event) {
		if _, state := ev.(*market.FeedEvent); state {
			p.sign(ev.GetMeta().EventTime)
		}
	})
	if err != nil || hist == nil {
		return err
	}
	return f.RestoreEach(ctx, time.Time{}, market.Rates, func(ev market.Event) {
		if r, ok := ev.(*market.Rate); ok {
			p.restoreRate(r)
			hist.restore(r)
		}
	})
}
