package hashprice

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// blocksKnown is how far back published blocks are read to restore the chain: longer than keepBlocks takes.
const blocksKnown = 45 * day

// Run runs the service until ctx ends, or, with StopAtEnd, until the upstreams have no more. Everything published is flushed then.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure hashprice service: %w", err)
	}
	from, err := cfg.historyFrom()
	if err != nil {
		return err
	}
	if cfg.StopAtEnd {
		cfg.Mempool.CallEvery, cfg.Coinbase.CallEvery = 0, 0 // a recording has no rate limit
	}
	mc := deps.Config(cfg.Mempool.Source)
	// A block's time is its miner's, who may be two hours ahead by the rules of the network.
	mc.FutureSkew = 2*time.Hour + time.Minute
	mem, err := feed.New(mc)
	if err != nil {
		return err
	}
	cb, err := feed.New(deps.Config(cfg.Coinbase.Source))
	if err != nil {
		return err
	}
	calcFeed, err := feed.New(deps.Config(cfg.Calculator.Source))
	if err != nil {
		return err
	}

	blocks := newChain()
	rts := newRetargets()
	liveREST, memREST := newCaller(mem, cfg.Mempool.CallEvery), newCaller(mem, cfg.Mempool.CallEvery)
	cbREST := newCaller(cb, cfg.Coinbase.CallEvery)
	defer liveREST.close()
	defer memREST.close()
	defer cbREST.close()
	hist := &history{
		from: from, every: cfg.HistoryEvery, stopAtEnd: cfg.StopAtEnd, mempool: mem, coinbase: cb, calc: calcFeed,
		memREST: memREST, cbREST: cbREST, memURL: cfg.Mempool.RESTURL, cb: cfg.Coinbase, retargets: rts,
		bars: map[time.Time]*market.Bar{}, daily: map[time.Time]*market.Hashprice{},
	}
	if err := restore(ctx, deps, mem, cb, calcFeed, blocks, hist); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if !cfg.StopAtEnd { // a recording is not missed while nobody plays it
		for _, f := range []*feed.Feed{mem, cb} {
			if err := noteAbsence(ctx, f, deps.History); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
	calc := newCalculator(cfg.Calculator, calcFeed)
	net := &network{
		cfg: cfg.Mempool, stopAtEnd: cfg.StopAtEnd, window: cfg.Calculator.WindowBlocks, f: mem, rest: liveREST, chain: blocks, retargets: rts,
		onTip: calc.onTip,
	}
	price := &spot{cfg: cfg.Coinbase, stopAtEnd: cfg.StopAtEnd, f: cb, onPrice: calc.onPrice}

	// The calculator has no end of its own: it runs as long as what it computes from.
	calcCtx, stopCalc := context.WithCancel(ctx)
	defer stopCalc()
	calcDone := make(chan error, 1)
	go func() { calcDone <- calc.run(calcCtx) }()

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return net.run(gctx) })
	g.Go(func() error { return price.run(gctx) })
	g.Go(func() error { return hist.run(gctx) })
	err = g.Wait()
	stopCalc()
	if cerr := <-calcDone; err == nil && ctx.Err() == nil {
		err = cerr
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if ferr := deps.Sink.Flush(last); err == nil && ferr != nil {
		err = fmt.Errorf("flush hashprice service: %w", ferr)
	}
	if err != nil && ctx.Err() != nil && !isSink(err) {
		return nil
	}
	return err
}

// restore reads back what was published before, so that nothing is told twice and revisions go on where they were.
func restore(ctx context.Context, deps feed.Deps, mem, cb, calc *feed.Feed, blocks *chain, hist *history) error {
	if err := mem.Restore(ctx, time.Time{}, market.Network); err != nil {
		return err
	}
	// Ticks have no history that could tell them again: the last minutes are enough.
	if err := cb.Restore(ctx, cb.Now().Add(-10*time.Minute), market.Network); err != nil {
		return err
	}
	if err := calc.Restore(ctx, calc.Now()); err != nil { // its ledger only; history keeps the values itself
		return err
	}
	if err := hist.restore(ctx, deps.History); err != nil {
		return err
	}
	if deps.History == nil {
		return nil
	}
	err := deps.History.Replay(ctx, market.Network, mem.Source(), mem.Now().Add(-blocksKnown), func(ev market.Event, _ market.Place) error {
		if b, ok := ev.(*market.Block); ok {
			blocks.restore(b)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore blocks of %s: %w", mem.Source(), err)
	}
	return nil
}
