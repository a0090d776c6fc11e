package live

import (
	"strconv"

	"github.com/hashpivot/hashpivot/pkg/market"
)

func (o *object) trade(e *market.Trade) {
	o.text("action", e.Action.String())
	o.text("symbol", e.Symbol)
	o.text("trade_id", e.ID)
	o.text("exchange", e.Exchange)
	o.text("tape", e.Tape)
	o.dec("price_usd", e.PriceUSD)
	o.dec("size_shares", e.SizeShares)
	o.list("conditions", e.Conditions)
	o.text("original_trade_id", e.OriginalID)
	o.dec("original_price_usd", e.OriginalPriceUSD)
	o.dec("original_size_shares", e.OriginalSizeShares)
	o.text("cancel_code", e.CancelCode)
	o.uint("sequence", e.Sequence)
}

func (o *object) quote(e *market.Quote) {
	o.text("symbol", e.Symbol)
	o.text("bid_exchange", e.BidExchange)
	o.text("ask_exchange", e.AskExchange)
	o.dec("bid_price_usd", e.BidPriceUSD)
	o.dec("ask_price_usd", e.AskPriceUSD)
	o.dec("bid_size_shares", e.BidSizeShares)
	o.dec("ask_size_shares", e.AskSizeShares)
	o.list("conditions", e.Conditions)
	o.text("tape", e.Tape)
}

func (o *object) bar(e *market.Bar) {
	o.text("symbol", e.Symbol)
	o.text("interval", string(e.Interval))
	o.dec("open_usd", e.OpenUSD)
	o.dec("high_usd", e.HighUSD)
	o.dec("low_usd", e.LowUSD)
	o.dec("close_usd", e.CloseUSD)
	o.dec("volume", e.Volume)
	o.dec("vwap_usd", e.VWAPUSD)
	o.uint("trade_count", e.TradeCount)
	o.bool("final", e.Final)
	o.text("session", e.Session)
	o.text("trade_date", e.TradeDate)
	o.text("method", e.Method)
}

func (o *object) halt(e *market.Halt) {
	o.text("kind", e.Kind.String())
	o.text("symbol", e.Symbol)
	o.text("status_code", e.StatusCode)
	o.text("status_text", e.StatusText)
	o.text("reason_code", e.ReasonCode)
	o.text("reason_text", e.ReasonText)
	o.text("tape", e.Tape)
	o.dec("limit_up_usd", e.LimitUpUSD)
	o.dec("limit_down_usd", e.LimitDownUSD)
	o.text("indicator", e.Indicator)
}

func (o *object) imbalance(e *market.Imbalance) {
	o.text("symbol", e.Symbol)
	o.text("exchange", e.Exchange)
	o.text("tape", e.Tape)
	o.dec("price_usd", e.PriceUSD)
	o.dec("imbalance_shares", e.ImbalanceShares)
	o.dec("paired_shares", e.PairedShares)
	o.dec("clearing_price_usd", e.ClearingPriceUSD)
	o.text("auction", e.Auction)
	o.text("auction_time", e.AuctionTime)
}

func (o *object) block(e *market.Block) {
	o.uint("height", e.Height)
	o.text("hash", e.Hash)
	o.text("previous_hash", e.PreviousHash)
	o.dec("difficulty", e.Difficulty)
	o.int("subsidy_sat", e.SubsidySat)
	o.int("fees_sat", e.FeesSat)
	o.int("reward_sat", e.RewardSat)
	o.uint("tx_count", uint64(e.TxCount))
	o.uint("size_bytes", uint64(e.SizeBytes))
	o.uint("weight_units", uint64(e.WeightUnits))
	o.text("pool", e.Pool)
}

func (o *object) difficulty(e *market.Difficulty) {
	o.uint("height", e.Height)
	o.dec("difficulty", e.Difficulty)
	o.float("change_percent", e.ChangePercent)
	o.float("estimated_change_percent", e.EstimatedChangePercent)
	o.uint("remaining_blocks", uint64(e.RemainingBlocks))
	o.uint("next_retarget_height", e.NextRetargetHeight)
}

func (o *object) fees(e *market.Fees) {
	o.dec("fastest_sat_per_vb", e.FastestSatPerVB)
	o.dec("half_hour_sat_per_vb", e.HalfHourSatPerVB)
	o.dec("hour_sat_per_vb", e.HourSatPerVB)
	o.dec("economy_sat_per_vb", e.EconomySatPerVB)
	o.dec("minimum_sat_per_vb", e.MinimumSatPerVB)
}

func (o *object) btcPrice(e *market.BTCPrice) {
	o.dec("price_usd", e.PriceUSD)
	o.dec("bid_usd", e.BidUSD)
	o.dec("ask_usd", e.AskUSD)
	o.dec("volume_24h_btc", e.Volume24hBTC)
	o.uint("venue_seq", e.VenueSeq)
}

func (o *object) hashprice(e *market.Hashprice) {
	o.text("method", e.Method)
	o.uint("height", e.Height)
	o.dec("difficulty", e.Difficulty)
	o.int("subsidy_sat", e.SubsidySat)
	o.dec("mean_fees_sat", e.MeanFeesSat)
	o.uint("fee_window_blocks", uint64(e.FeeWindowBlocks))
	o.dec("btc_usd", e.BTCUSD)
	o.text("btc_usd_source", e.BTCUSDSource)
	o.int("btc_usd_age_ms", e.BTCUSDAgeMs)
	o.dec("hashprice_btc", e.HashpriceBTC)
	o.dec("hashprice_sat", e.HashpriceSat)
	o.dec("hashprice_usd", e.HashpriceUSD)
	o.dec("network_ehs", e.NetworkEHs)
	o.pairs("inputs", e.Inputs)
	o.bool("published", e.Published)
}

func (o *object) offer(e *market.Offer) {
	o.text("action", e.Action.String())
	o.text("provider", e.Provider)
	o.text("offer_id", e.OfferID)
	o.text("host_id", e.HostID)
	o.text("machine_id", e.MachineID)
	o.text("gpu", e.GPU)
	o.text("gpu_name", e.GPUName)
	o.uint("gpu_count", uint64(e.GPUCount))
	o.uint("gpu_memory_mib", uint64(e.GPUMemoryMiB))
	o.text("class", string(e.Class))
	o.dec("usd_per_gpu_hour", e.USDPerGPUHour)
	o.dec("raw_price", e.RawPrice)
	o.text("raw_unit", e.RawUnit)
	o.text("region", e.Region)
	o.bool("verified", e.Verified)
	o.bool("rentable", e.Rentable)
	o.float("reliability", e.Reliability)
	o.text("via", e.Via)
	o.text("stock", e.Stock)
}

// rate writes the constituents as the table has them: four lists of equal length.
func (o *object) rate(e *market.Rate) {
	o.text("gpu", e.GPU)
	o.text("class", string(e.Class))
	o.text("method", e.Method)
	o.uint("version", uint64(e.Version))
	o.dec("usd_per_gpu_hour", e.USDPerGPUHour)
	o.dec("p10_usd_per_gpu_hour", e.P10USDPerGPUHour)
	o.dec("p90_usd_per_gpu_hour", e.P90USDPerGPUHour)
	o.float("dispersion", e.Dispersion)
	o.uint("sample_offers", uint64(e.SampleOffers))
	o.uint("sample_gpus", uint64(e.SampleGPUs))
	o.uint("sample_hosts", uint64(e.SampleHosts))
	o.uint("sample_providers", uint64(e.SampleProviders))
	if len(e.Constituents) == 0 {
		return
	}
	o.each("constituent_providers", e, func(c *market.Constituent) { o.b = appendString(o.b, c.Provider) })
	o.each("constituent_usd_per_gpu_hour", e, func(c *market.Constituent) {
		o.b = append(appendDecimal(append(o.b, '"'), c.USDPerGPUHour), '"')
	})
	o.each("constituent_gpus", e, func(c *market.Constituent) { o.b = strconv.AppendUint(o.b, uint64(c.GPUs), 10) })
	o.each("constituent_offers", e, func(c *market.Constituent) { o.b = strconv.AppendUint(o.b, uint64(c.Offers), 10) })
}

func (o *object) each(name string, e *market.Rate, write func(*market.Constituent)) {
	o.key(name)
	for i := range e.Constituents {
		o.b = append(o.b, "[,"[min(i, 1)])
		write(&e.Constituents[i])
	}
	o.b = append(o.b, ']')
}

func (o *object) signal(e *market.Signal) {
	o.text("name", e.Name)
	o.text("symbol", e.Symbol)
	o.dec("value", e.Value)
	o.text("unit", e.Unit)
	o.pairs("inputs", e.Inputs)
}

func (o *object) gap(e *market.FeedGap) {
	o.text("gap_id", e.GapID)
	o.text("symbol", e.Symbol)
	o.time("from_time", e.From)
	o.time("to_time", e.To)
	o.text("reason", e.Reason)
	o.text("state", string(e.State))
	o.uint("recovered", e.Recovered)
}
