package store

import (
	"maps"
	"slices"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// blockRows are rows of btc_blocks.
type blockRows struct {
	common
	height                fixed
	hash, previous        text
	difficulty            fixed
	subsidy, fees, reward fixed
	txs, size, weight     fixed
	pool                  dict
}

func newBlockRows() rows[*market.Block] {
	return &blockRows{
		common:     newCommon(),
		height:     newFixed("height", "UInt64", 8),
		hash:       newText("hash"),
		previous:   newText("previous_hash"),
		difficulty: newWide("difficulty"),
		subsidy:    newFixed("subsidy_sat", "Int64", 8),
		fees:       newFixed("fees_sat", "Int64", 8),
		reward:     newFixed("reward_sat", "Int64", 8),
		txs:        newFixed("tx_count", "UInt32", 4),
		size:       newFixed("size_bytes", "UInt32", 4),
		weight:     newFixed("weight_units", "UInt32", 4),
		pool:       newDict("pool"),
	}
}

func (r *blockRows) columns() []col {
	return r.cols(&r.height, &r.hash, &r.previous, &r.difficulty, &r.subsidy, &r.fees, &r.reward, &r.txs, &r.size, &r.weight, &r.pool)
}

func (r *blockRows) add(e *market.Block, at market.Place) error {
	c := check{table: tableBlocks}
	p := c.place(&e.Meta, at)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.height.u64(e.Height)
	r.hash.add(e.Hash)
	r.previous.add(e.PreviousHash)
	r.difficulty.wide(e.Difficulty)
	r.subsidy.i64(e.SubsidySat)
	r.fees.i64(e.FeesSat)
	r.reward.i64(e.RewardSat)
	r.txs.u32(e.TxCount)
	r.size.u32(e.SizeBytes)
	r.weight.u32(e.WeightUnits)
	r.pool.add(e.Pool)
	return nil
}

// difficultyRows are rows of btc_difficulty.
type difficultyRows struct {
	common
	height            fixed
	difficulty        fixed
	change, estimated nullable
	remaining         fixed
	next              fixed
}

func newDifficultyRows() rows[*market.Difficulty] {
	return &difficultyRows{
		common:     newCommon(),
		height:     newFixed("height", "UInt64", 8),
		difficulty: newWide("difficulty"),
		change:     newNullable("change_percent", "Float64"),
		estimated:  newNullable("estimated_change_percent", "Float64"),
		remaining:  newFixed("remaining_blocks", "UInt32", 4),
		next:       newFixed("next_retarget_height", "UInt64", 8),
	}
}

func (r *difficultyRows) columns() []col {
	return r.cols(&r.height, &r.difficulty, &r.change, &r.estimated, &r.remaining, &r.next)
}

func (r *difficultyRows) add(e *market.Difficulty, at market.Place) error {
	c := check{table: tableDifficulty}
	p := c.place(&e.Meta, at)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.height.u64(e.Height)
	r.difficulty.wide(e.Difficulty)
	r.change.float(e.ChangePercent)
	r.estimated.float(e.EstimatedChangePercent)
	r.remaining.u32(e.RemainingBlocks)
	r.next.u64(e.NextRetargetHeight)
	return nil
}

// feesRows are rows of btc_fees.
type feesRows struct {
	common
	fastest, halfHour, hour, economy, minimum fixed
}

func newFeesRows() rows[*market.Fees] {
	return &feesRows{
		common:   newCommon(),
		fastest:  newPrice("fastest_sat_per_vb"),
		halfHour: newPrice("half_hour_sat_per_vb"),
		hour:     newPrice("hour_sat_per_vb"),
		economy:  newPrice("economy_sat_per_vb"),
		minimum:  newPrice("minimum_sat_per_vb"),
	}
}

func (r *feesRows) columns() []col {
	return r.cols(&r.fastest, &r.halfHour, &r.hour, &r.economy, &r.minimum)
}

func (r *feesRows) add(e *market.Fees, at market.Place) error {
	c := check{table: tableFees}
	p := c.place(&e.Meta, at)
	fastest := c.price("fastest_sat_per_vb", e.FastestSatPerVB)
	halfHour := c.price("half_hour_sat_per_vb", e.HalfHourSatPerVB)
	hour := c.price("hour_sat_per_vb", e.HourSatPerVB)
	economy := c.price("economy_sat_per_vb", e.EconomySatPerVB)
	minimum := c.price("minimum_sat_per_vb", e.MinimumSatPerVB)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.fastest.i64(fastest)
	r.halfHour.i64(halfHour)
	r.hour.i64(hour)
	r.economy.i64(economy)
	r.minimum.i64(minimum)
	return nil
}

// btcPriceRows are rows of btc_prices.
type btcPriceRows struct {
	common
	price, bid, ask, volume fixed
	venueSeq                fixed
}

func newBTCPriceRows() rows[*market.BTCPrice] {
	return &btcPriceRows{
		common:   newCommon(),
		price:    newPrice("price_usd"),
		bid:      newPrice("bid_usd"),
		ask:      newPrice("ask_usd"),
		volume:   newPrice("volume_24h_btc"),
		venueSeq: newFixed("venue_seq", "UInt64", 8),
	}
}

func (r *btcPriceRows) columns() []col {
	return r.cols(&r.price, &r.bid, &r.ask, &r.volume, &r.venueSeq)
}

func (r *btcPriceRows) add(e *market.BTCPrice, at market.Place) error {
	c := check{table: tableBTCPrices}
	p := c.place(&e.Meta, at)
	price := c.price("price_usd", e.PriceUSD)
	bid := c.price("bid_usd", e.BidUSD)
	ask := c.price("ask_usd", e.AskUSD)
	volume := c.price("volume_24h_btc", e.Volume24hBTC)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.price.i64(price)
	r.bid.i64(bid)
	r.ask.i64(ask)
	r.volume.i64(volume)
	r.venueSeq.u64(e.VenueSeq)
	return nil
}

// hashpriceRows are rows of hashprice.
type hashpriceRows struct {
	common
	method                        dict
	height                        fixed
	difficulty                    fixed
	subsidy                       fixed
	meanFees                      fixed
	window                        fixed
	btcusd                        fixed
	btcusdSource                  dict
	btcusdAge                     fixed
	inBTC, inSat, inUSD, exahashs fixed
	inputs                        pairs
	published                     fixed
}

func newHashpriceRows() rows[*market.Hashprice] {
	return &hashpriceRows{
		common:       newCommon(),
		method:       newDict("method"),
		height:       newFixed("height", "UInt64", 8),
		difficulty:   newWide("difficulty"),
		subsidy:      newFixed("subsidy_sat", "Int64", 8),
		meanFees:     newWide("mean_fees_sat"),
		window:       newFixed("fee_window_blocks", "UInt32", 4),
		btcusd:       newPrice("btc_usd"),
		btcusdSource: newDict("btc_usd_source"),
		btcusdAge:    newFixed("btc_usd_age_ms", "Int64", 8),
		inBTC:        newWide("hashprice_btc"),
		inSat:        newWide("hashprice_sat"),
		inUSD:        newWide("hashprice_usd"),
		exahashs:     newWide("network_ehs"),
		inputs:       newPairs("inputs"),
		published:    newFixed("published", "Bool", 1),
	}
}

func (r *hashpriceRows) columns() []col {
	return r.cols(&r.method, &r.height, &r.difficulty, &r.subsidy, &r.meanFees, &r.window, &r.btcusd, &r.btcusdSource, &r.btcusdAge,
		&r.inBTC, &r.inSat, &r.inUSD, &r.exahashs, &r.inputs, &r.published)
}

func (r *hashpriceRows) add(e *market.Hashprice, at market.Place) error {
	c := check{table: tableHashprice}
	p := c.place(&e.Meta, at)
	btcusd := c.price("btc_usd", e.BTCUSD)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.method.add(e.Method)
	r.height.u64(e.Height)
	r.difficulty.wide(e.Difficulty)
	r.subsidy.i64(e.SubsidySat)
	r.meanFees.wide(e.MeanFeesSat)
	r.window.u32(e.FeeWindowBlocks)
	r.btcusd.i64(btcusd)
	r.btcusdSource.add(e.BTCUSDSource)
	r.btcusdAge.i64(e.BTCUSDAgeMs)
	r.inBTC.wide(e.HashpriceBTC)
	r.inSat.wide(e.HashpriceSat)
	r.inUSD.wide(e.HashpriceUSD)
	r.exahashs.wide(e.NetworkEHs)
	r.inputs.add(slices.Sorted(maps.Keys(e.Inputs)), e.Inputs)
	r.published.bool(e.Published)
	return nil
}
