package hashprice

import (
	"context"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The methods of hashprice.
const (
	methodLive  = "tip144"
	methodDaily = "daily"
)

// calculator publishes the live hashprice from the newest tip and the newest price.
type calculator struct {
	cfg  CalculatorConfig
	f    *feed.Feed
	wake chan struct{} // capacity 1: a wake-up that is already due is enough

	mu    sync.Mutex
	tip   tipState
	price *market.BTCPrice
}

func newCalculator(cfg CalculatorConfig, f *feed.Feed) *calculator {
	return &calculator{cfg: cfg, f: f, wake: make(chan struct{}, 1)}
}

func (c *calculator) onTip(t tipState) {
	c.mu.Lock()
	c.tip = t
	c.mu.Unlock()
	c.poke()
}

func (c *calculator) onPrice(p *market.BTCPrice) {
	c.mu.Lock()
	c.price = p
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
			told.HashpriceUSD.Cmp(h.HashpriceUSD) == 0 && told.HashpriceBTC.Cmp(h.HashpriceBTC) == 0 {
			continue
		}
		if _, err := c.f.Emit(ctx, h, "calculator", nil); err != nil {
			if ctx.Err() != nil {
				return nil // stopped in the middle of it
			}
			return fmt.Errorf("publish hashprice: %w", err)
		}
		told = h
		least.Reset(c.cfg.MaxEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.cfg.MinEvery):
		}
	}
}

// compute is the hashprice of now; nil without error while an input was never there, an error where the price is too old.
func (c *calculator) compute(now time.Time) (*market.Hashprice, error) {
	c.mu.Lock()
	tip, price := c.tip, c.price
	c.mu.Unlock()
	if tip.Blocks == 0 || price == nil {
		return nil, nil //nolint:nilnil // "not yet" is no failure
	}
	age := now.Sub(price.EventTime)
	if age > c.cfg.MaxPriceAge {
		return nil, fmt.Errorf("the newest price of %s is %s old, more than calculator.max_price_age (%s)",
			price.Source, age.Round(time.Second), c.cfg.MaxPriceAge)
	}
	subsidy := SubsidySat(tip.Height)
	v, err := Compute(Inputs{
		Difficulty: rat(tip.Difficulty), SubsidySat: ratInt(subsidy), FeesSat: new(big.Rat).SetInt(tip.FeesSat), Blocks: int64(tip.Blocks),
		BTCUSD: rat(price.PriceUSD),
	})
	if err != nil {
		return nil, err
	}
	return &market.Hashprice{
		Meta:   market.Meta{EventTime: now, RecvTime: now},
		Method: methodLive, Height: tip.Height, Difficulty: tip.Difficulty, SubsidySat: subsidy,
		MeanFeesSat: v.MeanFeesSat, FeeWindowBlocks: uint32(tip.Blocks),
		BTCUSD: price.PriceUSD, BTCUSDSource: price.Source, BTCUSDAgeMs: max(age.Milliseconds(), 0),
		HashpriceBTC: v.HashpriceBTC, HashpriceSat: v.HashpriceSat, HashpriceUSD: v.HashpriceUSD, NetworkEHs: v.NetworkEHs,
	}, nil
}
