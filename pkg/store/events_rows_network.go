package store

import (
	chdecimal "github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// blockRow is a row of btc_blocks.
type blockRow struct {
	height                          uint64
	hash, previousHash              string
	difficulty                      chdecimal.Decimal
	subsidySat, feesSat, rewardSat  int64
	txCount, sizeBytes, weightUnits uint32
	pool                            string
}

func blockColumns() []string {
	return []string{
		"height", "hash", "previous_hash", "difficulty", "subsidy_sat", "fees_sat", "reward_sat", "tx_count", "size_bytes",
		"weight_units", "pool",
	}
}

func (r *blockRow) dest() []any {
	return []any{
		&r.height, &r.hash, &r.previousHash, &r.difficulty, &r.subsidySat, &r.feesSat, &r.rewardSat, &r.txCount, &r.sizeBytes,
		&r.weightUnits, &r.pool,
	}
}

func (r *blockRow) event(m market.Meta) (market.Event, error) {
	var w wide
	e := &market.Block{
		Meta: m, Height: r.height, Hash: r.hash, PreviousHash: r.previousHash, Difficulty: w.dec("difficulty", r.difficulty),
		SubsidySat: r.subsidySat, FeesSat: r.feesSat, RewardSat: r.rewardSat, TxCount: r.txCount, SizeBytes: r.sizeBytes,
		WeightUnits: r.weightUnits, Pool: r.pool,
	}
	return e, w.err
}

// difficultyRow is a row of btc_difficulty.
type difficultyRow struct {
	height                                uint64
	difficulty                            chdecimal.Decimal
	changePercent, estimatedChangePercent *float64
	remainingBlocks                       uint32
	nextRetargetHeight                    uint64
}

func difficultyColumns() []string {
	return []string{
		"height", "difficulty", "change_percent", "estimated_change_percent", "remaining_blocks", "next_retarget_height",
	}
}

func (r *difficultyRow) dest() []any {
	return []any{
		&r.height, &r.difficulty, &r.changePercent, &r.estimatedChangePercent, &r.remainingBlocks, &r.nextRetargetHeight,
	}
}

func (r *difficultyRow) event(m market.Meta) (market.Event, error) {
	var w wide
	e := &market.Difficulty{
		Meta: m, Height: r.height, Difficulty: w.dec("difficulty", r.difficulty), ChangePercent: orNaN(r.changePercent),
		EstimatedChangePercent: orNaN(r.estimatedChangePercent), RemainingBlocks: r.remainingBlocks,
		NextRetargetHeight: r.nextRetargetHeight,
	}
	return e, w.err
}

// feesRow is a row of btc_fees.
type feesRow struct {
	fastestSatPerVb, halfHourSatPerVb, hourSatPerVb, economySatPerVb, minimumSatPerVb price
}

func feesColumns() []string {
	return []string{
		asPrice("fastest_sat_per_vb"), asPrice("half_hour_sat_per_vb"), asPrice("hour_sat_per_vb"),
		asPrice("economy_sat_per_vb"), asPrice("minimum_sat_per_vb"),
	}
}

func (r *feesRow) dest() []any {
	return []any{
		(*int64)(&r.fastestSatPerVb), (*int64)(&r.halfHourSatPerVb), (*int64)(&r.hourSatPerVb), (*int64)(&r.economySatPerVb),
		(*int64)(&r.minimumSatPerVb),
	}
}

func (r *feesRow) event(m market.Meta) (market.Event, error) {
	return &market.Fees{
		Meta: m, FastestSatPerVB: r.fastestSatPerVb.dec(), HalfHourSatPerVB: r.halfHourSatPerVb.dec(), HourSatPerVB: r.hourSatPerVb.dec(),
		EconomySatPerVB: r.economySatPerVb.dec(), MinimumSatPerVB: r.minimumSatPerVb.dec(),
	}, nil
}

// btcPriceRow is a row of btc_prices.
type btcPriceRow struct {
	priceUSD, bidUSD, askUSD, volume24hBTC price
	venueSeq                               uint64
}

func btcPriceColumns() []string {
	return []string{
		asPrice("price_usd"), asPrice("bid_usd"), asPrice("ask_usd"), asPrice("volume_24h_btc"), "venue_seq",
	}
}

func (r *btcPriceRow) dest() []any {
	return []any{
		(*int64)(&r.priceUSD), (*int64)(&r.bidUSD), (*int64)(&r.askUSD), (*int64)(&r.volume24hBTC), &r.venueSeq,
	}
}

func (r *btcPriceRow) event(m market.Meta) (market.Event, error) {
	return &market.BTCPrice{
		Meta: m, PriceUSD: r.priceUSD.dec(), BidUSD: r.bidUSD.dec(), AskUSD: r.askUSD.dec(), Volume24hBTC: r.volume24hBTC.dec(),
		VenueSeq: r.venueSeq,
	}, nil
}

// hashpriceRow is a row of hashprice.
type hashpriceRow struct {
	method                                               string
	height                                               uint64
	difficulty                                           chdecimal.Decimal
	subsidySat                                           int64
	meanFeesSat                                          chdecimal.Decimal
	feeWindowBlocks                                      uint32
	btcUSD                                               price
	btcUSDSource                                         string
	btcUSDAgeMs                                          int64
	hashpriceBTC, hashpriceSat, hashpriceUSD, networkEhs chdecimal.Decimal
	inputs                                               map[string]string
	published                                            bool
}

func hashpriceColumns() []string {
	return []string{
		"method", "height", "difficulty", "subsidy_sat", "mean_fees_sat", "fee_window_blocks", asPrice("btc_usd"),
		"btc_usd_source", "btc_usd_age_ms", "hashprice_btc", "hashprice_sat", "hashprice_usd", "network_ehs", "inputs",
		"published",
	}
}

func (r *hashpriceRow) dest() []any {
	return []any{
		&r.method, &r.height, &r.difficulty, &r.subsidySat, &r.meanFeesSat, &r.feeWindowBlocks, (*int64)(&r.btcUSD),
		&r.btcUSDSource, &r.btcUSDAgeMs, &r.hashpriceBTC, &r.hashpriceSat, &r.hashpriceUSD, &r.networkEhs, &r.inputs,
		&r.published,
	}
}

func (r *hashpriceRow) event(m market.Meta) (market.Event, error) {
	var w wide
	e := &market.Hashprice{
		Meta: m, Method: r.method, Height: r.height, Difficulty: w.dec("difficulty", r.difficulty), SubsidySat: r.subsidySat,
		MeanFeesSat: w.dec("mean_fees_sat", r.meanFeesSat), FeeWindowBlocks: r.feeWindowBlocks, BTCUSD: r.btcUSD.dec(),
		BTCUSDSource: r.btcUSDSource, BTCUSDAgeMs: r.btcUSDAgeMs, HashpriceBTC: w.dec("hashprice_btc", r.hashpriceBTC),
		HashpriceSat: w.dec("hashprice_sat", r.hashpriceSat), HashpriceUSD: w.dec("hashprice_usd", r.hashpriceUSD),
		NetworkEHs: w.dec("network_ehs", r.networkEhs), Inputs: entries(r.inputs), Published: r.published,
	}
	return e, w.err
}
