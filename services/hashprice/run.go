package hashprice

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// blocksKnown is how far back published blocks are read to restore the chain: longer than keepBlocks takes.
const blocksKnown = 45 * day

// blockSkew is how far ahead of our clock a block's time may be: it is its miner's, who may be two hours ahead by the rules of the network.
const blockSkew = 2*time.Hour + time.Minute

// service is what Run puts together.
type service struct {
	cfg  Config
	deps feed.Deps

	calc      *calculator
	hist      *history
	parts     []feed.Part
	restores  []func(ctx context.Context) error
	absences  []*feed.Feed
	closers   []func()
	retargets *retargets
}

// Run runs the service until ctx ends, or, with StopAtEnd, until the upstreams have no more. Everything published is flushed then. An
// upstream that refuses us ends alone; its error is returned when the others have ended.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure hashprice service: %w", err)
	}
	if cfg.StopAtEnd {
		cfg.Mempool.CallEvery, cfg.Coinbase.CallEvery = 0, 0 // a recording has no rate limit
	}
	s := &service{cfg: cfg, deps: deps, retargets: newRetargets()}
	defer func() {
		for _, c := range s.closers {
			c()
		}
	}()
	if err := s.build(); err != nil {
		return err
	}
	if err := s.restore(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	// The calculator has no end of its own: it runs as long as what it computes from.
	calcCtx, stopCalc := context.WithCancel(ctx)
	defer stopCalc()
	calcDone := make(chan error, 1)
	go func() { calcDone <- s.calc.run(calcCtx) }()
	err := feed.Together(ctx, deps.Logger, s.parts...)
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

// build makes the parts that are on.
func (s *service) build() error {
	calcFeed, err := feed.New(s.deps.Config(s.cfg.Calculator.Source))
	if err != nil {
		return err
	}
	s.calc = newCalculator(s.cfg.Calculator, s.cfg.chainSources(), calcFeed)
	if !s.cfg.StopAtEnd { // a recording is of another time
		s.deps.Health.Add(run.Check{Name: "hashprice of now", Stand: s.calc.stand})
	}
	from, err := s.cfg.historyFrom()
	if err != nil {
		return err
	}
	s.hist = &history{
		from: from, every: s.cfg.HistoryEvery, stopAtEnd: s.cfg.StopAtEnd, calc: calcFeed, memURL: s.cfg.Mempool.RESTURL, cb: s.cfg.Coinbase,
		retargets: s.retargets, passed: make(chan struct{}),
		bars: map[time.Time]*market.Bar{}, daily: map[time.Time]*market.Hashprice{},
	}
	for _, add := range []func() error{s.mempool, s.bitcoind, s.coinbase, s.kraken, s.published} {
		if err := add(); err != nil {
			return err
		}
	}
	s.restores = append(s.restores, func(ctx context.Context) error {
		// Its ledger, and the differences, so that none is told twice; history keeps the daily values itself and the live ones are not needed.
		if err := calcFeed.Restore(ctx, time.Time{}, market.Signals); err != nil {
			return err
		}
		return s.hist.restore(ctx, s.deps.History)
	})
	s.parts = append(s.parts, feed.Part{Name: "history", Run: s.hist.run})
	return nil
}

func (s *service) caller(f *feed.Feed, every time.Duration) *caller {
	c := newCaller(f, every)
	s.closers = append(s.closers, c.close)
	return c
}

// chainFeed makes the feed and the chain of a source of blocks.
func (s *service) chainFeed(source string, refill int, from string) (*feed.Feed, *linker, error) {
	cfg := s.deps.Watched(source, "blocks")
	cfg.FutureSkew = blockSkew
	f, err := feed.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	c := newChain()
	s.restores = append(s.restores, func(ctx context.Context) error { return restoreChain(ctx, f, c, s.deps.History) })
	s.absences = append(s.absences, f)
	return f, &linker{f: f, chain: c, from: from, window: s.cfg.Calculator.WindowBlocks, refill: refill, onTip: s.calc.onTip}, nil
}

func (s *service) mempool() error {
	if !s.cfg.Mempool.Enabled {
		return nil
	}
	f, l, err := s.chainFeed(s.cfg.Mempool.Source, s.cfg.Mempool.RefillBlocks, mempoolWS)
	if err != nil {
		return err
	}
	n := &network{
		cfg: s.cfg.Mempool, stopAtEnd: s.cfg.StopAtEnd, f: f, rest: s.caller(f, s.cfg.Mempool.CallEvery), chain: l.chain, links: l, retargets: s.retargets,
		onAlive: s.calc.onAlive,
	}
	l.page = n.page
	s.hist.mempool, s.hist.memREST = f, s.caller(f, s.cfg.Mempool.CallEvery)
	s.parts = append(s.parts, feed.Part{Name: s.cfg.Mempool.Source, Run: n.run})
	return nil
}

func (s *service) bitcoind() error {
	if !s.cfg.Bitcoind.on() {
		return nil
	}
	f, l, err := s.chainFeed(s.cfg.Bitcoind.Source, s.cfg.Bitcoind.RefillBlocks, bitcoindRPC)
	if err != nil {
		return err
	}
	n := &node{cfg: s.cfg.Bitcoind, f: f, rpc: newCoreRPC(s.cfg.Bitcoind, f), chain: l.chain, links: l, onAlive: s.calc.onAlive}
	l.page, l.onBlock = n.page, n.retarget
	s.closers = append(s.closers, n.rpc.close)
	s.parts = append(s.parts, feed.Part{Name: s.cfg.Bitcoind.Source, Run: n.run})
	return nil
}

// tickFeed makes the feed of a source of prices. Ticks have no history that could tell them again: the last minutes are enough to restore.
func (s *service) tickFeed(source string) (*feed.Feed, error) {
	f, err := feed.New(s.deps.Watched(source, "price of bitcoin"))
	if err != nil {
		return nil, err
	}
	s.restores = append(s.restores, func(ctx context.Context) error {
		return f.Restore(ctx, f.Now().Add(-10*time.Minute), market.Network)
	})
	s.absences = append(s.absences, f)
	return f, nil
}

func (s *service) coinbase() error {
	if !s.cfg.Coinbase.Enabled {
		return nil
	}
	f, err := s.tickFeed(s.cfg.Coinbase.Source)
	if err != nil {
		return err
	}
	c := &spot{cfg: s.cfg.Coinbase, stopAtEnd: s.cfg.StopAtEnd, f: f, onPrice: s.calc.onPrice}
	s.hist.coinbase, s.hist.cbREST = f, s.caller(f, s.cfg.Coinbase.CallEvery)
	s.parts = append(s.parts, feed.Part{Name: s.cfg.Coinbase.Source, Run: c.run})
	return nil
}

func (s *service) kraken() error {
	if !s.cfg.Kraken.Enabled {
		return nil
	}
	f, err := s.tickFeed(s.cfg.Kraken.Source)
	if err != nil {
		return err
	}
	k := &krakenSpot{cfg: s.cfg.Kraken, f: f, onPrice: s.calc.onPrice}
	s.parts = append(s.parts, feed.Part{Name: s.cfg.Kraken.Source, Run: k.run})
	return nil
}

// published makes the references that are on.
func (s *service) published() error {
	add := func(name, source string, every, timeout, keep time.Duration) (*reference, error) {
		watched := s.deps.Watched(source, "")
		watched.Aside = true // what others publish is compared with ours and nothing is made of it
		f, err := feed.New(watched)
		if err != nil {
			return nil, err
		}
		client := &http.Client{Timeout: timeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}
		s.closers = append(s.closers, client.CloseIdleConnections)
		r := &reference{name: name, f: f, client: client, every: every, keep: keep, calc: s.calc.f, ours: s.calc.at, stopAtEnd: s.cfg.StopAtEnd}
		s.restores = append(s.restores, func(ctx context.Context) error { return r.restore(ctx, s.deps.History) })
		s.absences = append(s.absences, f)
		s.parts = append(s.parts, feed.Part{Name: source, Run: r.run})
		return r, nil
	}
	if c := s.cfg.Luxor; c.on() {
		r, err := add("luxor", c.Source, c.Every, c.Timeout, time.Hour)
		if err != nil {
			return err
		}
		r.poll, r.history = pollLuxor(c, r), true
	}
	if c := s.cfg.Braiins; c.Enabled {
		r, err := add("braiins", c.Source, c.Every, c.Timeout, 0)
		if err != nil {
			return err
		}
		r.poll = pollBraiins(c, r)
	}
	if c := s.cfg.CoinMetrics; c.Enabled {
		r, err := add("coinmetrics", c.Source, c.Every, c.Timeout, 3*day)
		if err != nil {
			return err
		}
		if r.first, err = time.Parse(time.DateOnly, c.From); err != nil {
			return err
		}
		r.poll, r.history, r.ours, r.after = pollCoinMetrics(c, r), true, s.hist.at, s.hist.passed
	}
	return nil
}

// restore reads back what was published before, so that nothing is told twice and revisions go on where they were, and writes down that we
// were away.
func (s *service) restore(ctx context.Context) error {
	for _, r := range s.restores {
		if err := r(ctx); err != nil {
			return err
		}
	}
	if s.cfg.StopAtEnd { // a recording is not missed while nobody plays it
		return nil
	}
	for _, f := range s.absences {
		if err := noteAbsence(ctx, f, s.deps.History); err != nil {
			return err
		}
	}
	return nil
}

// restoreChain reads back a source's blocks.
func restoreChain(ctx context.Context, f *feed.Feed, c *chain, hist feed.History) error {
	if err := f.Restore(ctx, time.Time{}, market.Network); err != nil {
		return err
	}
	if hist == nil {
		return nil
	}
	err := hist.Replay(ctx, market.Network, f.Source(), f.Now().Add(-blocksKnown), func(ev market.Event, _ market.Place) error {
		if b, ok := ev.(*market.Block); ok {
			c.restore(b)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore blocks of %s: %w", f.Source(), err)
	}
	return nil
}
