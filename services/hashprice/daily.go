package hashprice

import (
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// priceReach is how far from a day's end mempool's own price may lie; its history is daily at first and hourly lately.
const priceReach = 2 * time.Hour

// nearHalving is within how many blocks of a halving the mean subsidy of a day is taken from the rewards instead of from the height: more
// than the blocks of any day.
const nearHalving = 500

// dailyInputs are the tables that a day's hashprice is computed from.
type dailyInputs struct {
	retargets         []retarget
	fees, rewards     map[time.Time]dayMean
	prices            []pricePoint
	bars              map[time.Time]*market.Bar
	mempool, coinbase string // names of the sources
}

// hashprice of the UTC day d.
func (in dailyInputs) hashprice(d time.Time) (*market.Hashprice, error) {
	fee, ok := in.fees[d]
	if !ok {
		return nil, errors.New("no mean fees")
	}
	difficulty, _, ok := difficultyOver(in.retargets, d, d.Add(day))
	if !ok {
		return nil, errors.New("no difficulty")
	}
	// The price at the day's end: mempool's median of exchanges where it has one, else Coinbase's close.
	usd, ok := priceNear(in.prices, d.Add(day), priceReach)
	source := in.mempool
	if !ok {
		b, ok := in.bars[d]
		if !ok {
			return nil, errors.New("no price")
		}
		usd, source = b.CloseUSD, in.coinbase
	}
	subsidy := SubsidySat(fee.Height)
	if near := (fee.Height + nearHalving) % halvingBlocks; near <= 2*nearHalving {
		r, ok := in.rewards[d]
		if !ok || r.Sat < fee.Sat {
			return nil, errors.New("no mean rewards on a day about a halving")
		}
		subsidy = r.Sat - fee.Sat
	}
	v, err := Compute(Inputs{
		Difficulty: difficulty, SubsidySat: ratInt(subsidy), FeesSat: ratInt(fee.Sat), Blocks: 1, BTCUSD: rat(usd),
	})
	if err != nil {
		return nil, err
	}
	shown, err := shownDifficulty(difficulty)
	if err != nil {
		return nil, err
	}
	return &market.Hashprice{
		Meta:   market.Meta{EventTime: d, Backfill: true},
		Method: methodDaily, Height: fee.Height, Difficulty: shown, SubsidySat: subsidy,
		MeanFeesSat: v.MeanFeesSat, FeeWindowBlocks: 0, // the blocks of the day, which the upstream does not count
		BTCUSD: usd, BTCUSDSource: source,
		HashpriceBTC: v.HashpriceBTC, HashpriceSat: v.HashpriceSat, HashpriceUSD: v.HashpriceUSD, NetworkEHs: v.NetworkEHs,
	}, nil
}

// shownDifficulty rounds a mean to two decimals, as many as the network's own figure carries in JavaScript.
func shownDifficulty(r *big.Rat) (market.Decimal, error) {
	d, err := round(r, 2)
	if err != nil {
		return market.Decimal{}, fmt.Errorf("round difficulty: %w", err)
	}
	return d.Trim(0), nil
}
