package hashprice

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// The methods of hashprice.
const (
	methodLive  = "tip144"
	methodDaily = "daily"
)

// calculator publishes the live hashprice from the newest tip and the newest prices.
type calculator struct {
	cfg   CalculatorConfig
	order []string // names of the chain sources, the preferred one first
	f     *feed.Feed
	wake  chan struct{} // capacity 1: a wake-up that is already due is enough

	mu     sync.Mutex
	tips   map[string]tipState
	alive  map[string]time.Time // of chain sources
	prices map[string]*market.BTCPrice
	recent []*market.Hashprice // published, oldest first, at least recentEvery apart
	told   time.Time           // when a value was computed last, by the feed's clock
	why    string              // there is none now; empty: there is
}

// recent values are kept to compare with what others publish of the same time.
const (
	recentEvery = 15 * time.Second
	recentMost  = 6000 // a day and an hour
	recentReach = 10 * time.Minute
)

func newCalculator(cfg CalculatorConfig, order []string, f *feed.Feed) *calculator {
	return &calculator{
		cfg: cfg, order: order, f: f, wake: make(chan struct{}, 1),
		tips: map[string]tipState{}, alive: map[string]time.Time{}, prices: map[string]*market.BTCPrice{},
	}
}

func (c *calculator) onTip(source string, t tipState) {
	c.mu.Lock()
	c.tips[source] = t
	c.mu.Unlock()
	c.poke()
}

// onAlive notes that a chain source has spoken: its tip is its word of that moment.
func (c *calculator) onAlive(source string, at time.Time) {
	c.mu.Lock()
	c.alive[source] = at
	c.mu.Unlock()
}

func (c *calculator) onPrice(p *market.BTCPrice) {
	c.mu.Lock()
	if old, ok := c.prices[p.Source]; !ok || !p.EventTime.Before(old.EventTime) {
		c.prices[p.Source] = p
	}
	c.mu.Unlock()
	c.poke()
}

func (c *calculator) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends: on a change of tip or price, at most each MinEvery and only when the value differs at published precision,
// and at least each MaxEvery.
func (c *calculator) run(ctx context.Context) error {
	var (
		told      *market.Hashprice
		least     = time.NewTicker(c.cfg.MaxEvery)
		staleTold bool
	)
	defer least.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-least.C:
			force = true
		}
		h, err := c.compute(c.f.Now())
		c.note(h, err)
		switch {
		case err != nil:
			if !staleTold {
				c.f.Logger().Warn("hashprice is not published", "err", err)
			}
			staleTold = true
			continue
		case h == nil:
			continue
		}
		staleTold = false
		if !force && told != nil && told.Height == h.Height && told.Difficulty.Cmp(h.Difficulty) == 0 &&
			told.HashpriceUSD.Cmp(h.HashpriceUSD) == 0 && told.HashpriceBTC.Cmp(h.HashpriceBTC) == 0 &&
			told.BTCUSDSource == h.BTCUSDSource && told.Inputs[inputChain] == h.Inputs[inputChain] {
			continue
		}
		if _, err := c.f.Emit(ctx, h, "calculator", nil); err != nil {
			if ctx.Err() != nil {
				return nil // stopped in the middle of it
			}
			return fmt.Errorf("publish hashprice: %w", err)
		}
		told = h
		c.keep(h)
		least.Reset(c.cfg.MaxEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.cfg.MinEvery):
		}
	}
}

// note keeps whether there is a value, for who asks.
func (c *calculator) note(h *market.Hashprice, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.why = err.Error()
	case h == nil:
		c.why = "no block or no price has come yet"
	default:
		c.told, c.why = h.EventTime, ""
	}
}

// stand tells whether a hashprice of now is published: a value is computed at least each MaxEvery.
func (c *calculator) stand(context.Context) run.Standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := c.f.Now().Sub(c.told).Round(time.Millisecond)
	switch {
	case c.told.IsZero() && c.why == "":
		return run.Standing{Why: "none was computed yet"}
	case c.why != "":
		return run.Standing{Why: c.why}
	case age > 2*c.cfg.MaxEvery+5*time.Second:
		return run.Standing{Why: fmt.Sprintf("none was computed for %s; one is due each %s", age, c.cfg.MaxEvery)}
	}
	return run.Standing{OK: true, Why: fmt.Sprintf("computed %s ago", age)}
}

func (c *calculator) keep(h *market.Hashprice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.recent); n > 0 && h.EventTime.Sub(c.recent[n-1].EventTime) < recentEvery {
		return
	}
	if len(c.recent) >= recentMost {
		c.recent = append(c.recent[:0], c.recent[recentMost/10:]...)
	}
	c.recent = append(c.recent, h)
}

// at is the value that was the newest at a time; nil where there was none, or only an old one.
func (c *calculator) at(t time.Time) *market.Hashprice {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.recent) - 1; i >= 0; i-- {
		if h := c.recent[i]; !h.EventTime.After(t) {
			if t.Sub(h.EventTime) > recentReach {
				return nil
			}
			return h
		}
	}
	return nil
}

// The inputs of a live hashprice beside its columns; each chain source has its height and each price source its price too, under its name.
const inputChain = "chain.source"

// compute is the hashprice of now; nil without error while an input was never there, an error where there is none that may be used.
func (c *calculator) compute(now time.Time) (*market.Hashprice, error) {
	c.mu.Lock()
	tips, alive, prices := maps.Clone(c.tips), maps.Clone(c.alive), maps.Clone(c.prices)
	c.mu.Unlock()
	if len(tips) == 0 || len(prices) == 0 {
		return nil, nil //nolint:nilnil // "not yet" is no failure
	}
	inputs := map[string]string{}
	tip, err := c.chainOf(tips, alive, now, inputs)
	if err != nil {
		return nil, err
	}
	price, err := mix(prices, c.cfg, now, inputs)
	if err != nil {
		return nil, err
	}
	subsidy := SubsidySat(tip.Height)
	v, err := Compute(Inputs{
		Difficulty: rat(tip.Difficulty), SubsidySat: ratInt(subsidy), FeesSat: new(big.Rat).SetInt(tip.FeesSat), Blocks: int64(tip.Blocks),
		BTCUSD: rat(price.usd),
	})
	if err != nil {
		return nil, err
	}
	return &market.Hashprice{
		Meta:   market.Meta{EventTime: now, RecvTime: now},
		Method: methodLive, Height: tip.Height, Difficulty: tip.Difficulty, SubsidySat: subsidy,
		MeanFeesSat: v.MeanFeesSat, FeeWindowBlocks: uint32(tip.Blocks),
		BTCUSD: price.usd, BTCUSDSource: price.source, BTCUSDAgeMs: price.age.Milliseconds(),
		HashpriceBTC: v.HashpriceBTC, HashpriceSat: v.HashpriceSat, HashpriceUSD: v.HashpriceUSD, NetworkEHs: v.NetworkEHs, Inputs: inputs,
	}, nil
}

// chainOf picks the first source in the configured order that is alive and not behind the others.
func (c *calculator) chainOf(tips map[string]tipState, alive map[string]time.Time, now time.Time, inputs map[string]string) (tipState, error) {
	fresh := func(source string) bool { return now.Sub(alive[source]) <= c.cfg.MaxChainAge }
	best := uint64(0)
	for _, source := range c.order {
		t, ok := tips[source]
		if !ok {
			continue
		}
		inputs["chain."+source+".height"] = strconv.FormatUint(t.Height, 10)
		if fresh(source) {
			best = max(best, t.Height)
		} else {
			inputs["chain."+source+".stale_ms"] = strconv.FormatInt(now.Sub(alive[source]).Milliseconds(), 10)
		}
	}
	for _, source := range c.order {
		if t, ok := tips[source]; ok && fresh(source) && t.Height+c.cfg.MaxBehindBlocks >= best {
			inputs[inputChain] = source
			return t, nil
		}
	}
	return tipState{}, errors.New("no source of blocks has spoken within calculator.max_chain_age (" + c.cfg.MaxChainAge.String() + ")")
}
