package store_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// row is an event at its place, the table it must be found in and what must stand in the table's own columns.
type row struct {
	ev    market.Event
	at    market.Place
	table string
	own   map[string]any
}

// want returns all columns of the row.
func (r row) want() map[string]any {
	m := r.ev.GetMeta()
	out := map[string]any{
		"event_time": m.EventTime.UTC(), "recv_time": m.RecvTime.UTC(), "stream_time": r.at.StreamTime.UTC(),
		"stream_seq": r.at.Seq, "idx": r.at.Idx, "source": m.Source, "rev": m.Rev, "backfill": m.Backfill,
	}
	for k, v := range r.own {
		if d, ok := v.(market.Decimal); ok {
			v = decimalText(d)
		}
		out[k] = v
	}
	return out
}

// decimalText is the number as the store reads it back: without zeros at its end.
func decimalText(d market.Decimal) json.Number {
	return json.Number(d.Trim(0).String())
}

// gen draws the values of events: ordinary ones and the extremes of every type.
type gen struct{ *rapid.T }

func (g gen) bool(l string) bool { return rapid.Bool().Draw(g.T, l) }
func (g gen) u32(l string) uint32 {
	return rapid.OneOf(rapid.SampledFrom([]uint32{0, 1, math.MaxUint32}), rapid.Uint32()).Draw(g.T, l)
}

func (g gen) u64(l string) uint64 {
	return rapid.OneOf(rapid.SampledFrom([]uint64{0, 1, math.MaxUint64}), rapid.Uint64()).Draw(g.T, l)
}

func (g gen) i64(l string) int64 {
	return rapid.OneOf(rapid.SampledFrom([]int64{0, math.MinInt64, math.MaxInt64}), rapid.Int64()).Draw(g.T, l)
}

// text is anything: empty, long, not UTF-8, with NULs and quotes.
func (g gen) text(l string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "@", "IREN", "a\x00b", "\xff\xfe", "it's \"quoted\"\\", strings.Repeat("long ", 60), "日本"}),
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
	).Draw(g.T, l)
}

func (g gen) inputs() map[string]string {
	m := map[string]string{}
	for i, k := range g.texts("inputs") {
		m[k] = g.text(fmt.Sprint("input", i))
	}
	return m
}

func (g gen) texts(l string) []string {
	out := []string{}
	for i := range rapid.IntRange(0, 5).Draw(g.T, l) {
		out = append(out, g.text(fmt.Sprint(l, i)))
	}
	return out
}

// nullable returns a float and what is read back of it.
func (g gen) nullable(l string) (float64, any) {
	f := rapid.OneOf(rapid.SampledFrom([]float64{math.NaN(), 0, 0.993, -5.03, math.MaxFloat64, math.SmallestNonzeroFloat64}), rapid.Float64()).Draw(g.T, l)
	if math.IsNaN(f) {
		return f, nil
	}
	return f, f
}

func (g gen) time(l string) time.Time {
	lo, hi := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, time.FixedZone("EST", -5*3600))
	return rapid.OneOf(
		rapid.SampledFrom([]time.Time{lo, hi, now, now.Add(time.Nanosecond)}),
		rapid.Map(rapid.Int64Range(0, int64(6*time.Hour)), func(n int64) time.Time { return now.Add(time.Duration(n)) }),
		rapid.Map(rapid.Int64Range(0, hi.Unix()-lo.Unix()), func(n int64) time.Time { return time.Unix(lo.Unix()+n, n%1e9) }),
	).Draw(g.T, l)
}

// price draws a decimal that fits Decimal(18, 8), with any number of zeros behind it.
func (g gen) price(l string) market.Decimal {
	return rapid.OneOf(
		rapid.SampledFrom([]market.Decimal{
			market.MustDecimal("0"), market.MustDecimal("0.00000001"), market.MustDecimal("9999999999.99999999"),
			market.MustDecimal("13.37"), market.MustDecimal("100.000000000"), market.MustDecimal("0.29"),
		}),
		rapid.Custom(func(t *rapid.T) market.Decimal {
			scale := rapid.IntRange(0, 8).Draw(t, "scale")
			limit := int64(1e10)
			for range scale {
				limit *= 10
			}
			d, err := market.ParseDecimal(scaled(uint64(rapid.Int64Range(0, limit-1).Draw(t, "coefficient")), scale, false))
			if err != nil {
				t.Fatal(err)
			}
			return d
		}),
	).Draw(g.T, l)
}

// wide draws any decimal at all.
func (g gen) wide(l string) market.Decimal {
	return rapid.OneOf(
		rapid.SampledFrom([]market.Decimal{
			market.MustDecimal("0"), market.MustDecimal("9999999999999999999"), market.MustDecimal("-9999999999999999999"),
			market.MustDecimal("0.9999999999999999999"), market.MustDecimal("-0.0000000000000000001"), market.MustDecimal("155973032196071.9"),
		}),
		rapid.Custom(func(t *rapid.T) market.Decimal {
			d, err := market.ParseDecimal(scaled(rapid.Uint64Range(0, 9999999999999999999).Draw(t, "coefficient"),
				rapid.IntRange(0, 19).Draw(t, "scale"), rapid.Bool().Draw(t, "negative")))
			if err != nil {
				t.Fatal(err)
			}
			return d
		}),
	).Draw(g.T, l)
}

// scaled writes coefficient * 10^-scale as text.
func scaled(coefficient uint64, scale int, negative bool) string {
	s := fmt.Sprintf("%0*d", scale+1, coefficient)
	s = s[:len(s)-scale] + "." + s[len(s)-scale:]
	s = strings.TrimSuffix(s, ".")
	if negative && coefficient != 0 {
		s = "-" + s
	}
	return s
}

func (g gen) meta() market.Meta {
	return market.Meta{
		EventTime: g.time("event time"), RecvTime: g.time("receive time"), Source: g.text("source"), Rev: g.u32("rev"), Backfill: g.bool("backfill"),
	}
}

// event draws an event of the given kind, 0 to kinds-1.
func (g gen) event(kind int, seq uint64, idx uint32) row {
	r := g.ofKind(kind)
	r.at = market.Place{Stream: r.ev.Stream(), Seq: seq, Idx: idx, StreamTime: g.time("stream time")}
	return r
}

const kinds = 16

func (g gen) ofKind(kind int) row {
	m := g.meta()
	switch kind {
	case 0:
		e := &market.Trade{
			Meta: m, Action: market.TradeAction(rapid.IntRange(1, 3).Draw(g.T, "action")), Symbol: g.text("symbol"), ID: g.text("id"),
			Exchange: g.text("exchange"), Tape: g.text("tape"), PriceUSD: g.price("price"), SizeShares: g.price("size"), Conditions: g.texts("conditions"),
			OriginalID: g.text("original"), OriginalPriceUSD: g.price("original price"), OriginalSizeShares: g.price("original size"), CancelCode: g.text("cancel"),
			Sequence: g.u64("sequence"),
		}
		return row{ev: e, table: "trades", own: map[string]any{
			"action": e.Action.String(), "symbol": e.Symbol, "trade_id": e.ID, "exchange": e.Exchange, "tape": e.Tape, "price_usd": e.PriceUSD,
			"size_shares": e.SizeShares, "conditions": e.Conditions, "original_trade_id": e.OriginalID, "original_price_usd": e.OriginalPriceUSD,
			"original_size_shares": e.OriginalSizeShares, "cancel_code": e.CancelCode, "sequence": e.Sequence,
		}}
	case 1:
		e := &market.Quote{
			Meta: m, Symbol: g.text("symbol"), BidExchange: g.text("bx"), AskExchange: g.text("ax"), BidPriceUSD: g.price("bp"), AskPriceUSD: g.price("ap"),
			BidSizeShares: g.price("bs"), AskSizeShares: g.price("as"), Conditions: g.texts("conditions"), Tape: g.text("tape"),
		}
		return row{ev: e, table: "quotes", own: map[string]any{
			"symbol": e.Symbol, "bid_exchange": e.BidExchange, "ask_exchange": e.AskExchange, "bid_price_usd": e.BidPriceUSD, "ask_price_usd": e.AskPriceUSD,
			"bid_size_shares": e.BidSizeShares, "ask_size_shares": e.AskSizeShares, "conditions": e.Conditions, "tape": e.Tape,
		}}
	case 2:
		e := &market.Bar{
			Meta: m, Symbol: g.text("symbol"), Interval: market.Interval(g.text("interval")), OpenUSD: g.price("o"), HighUSD: g.price("h"), LowUSD: g.price("l"),
			CloseUSD: g.price("c"), Volume: g.price("v"), VWAPUSD: g.price("vw"), TradeCount: g.u64("n"), Final: g.bool("final"),
			Session: g.text("session"), TradeDate: g.text("date"), Method: g.text("method"),
		}
		return row{ev: e, table: "bars", own: map[string]any{
			"symbol": e.Symbol, "interval": string(e.Interval), "open_usd": e.OpenUSD, "high_usd": e.HighUSD, "low_usd": e.LowUSD, "close_usd": e.CloseUSD,
			"volume": e.Volume, "vwap_usd": e.VWAPUSD, "trade_count": e.TradeCount, "final": e.Final, "session": e.Session, "trade_date": e.TradeDate,
			"method": e.Method,
		}}
	case 3:
		e := &market.Halt{
			Meta: m, Kind: market.HaltKind(rapid.IntRange(1, 2).Draw(g.T, "kind")), Symbol: g.text("symbol"), StatusCode: g.text("sc"), StatusText: g.text("st"),
			ReasonCode: g.text("rc"), ReasonText: g.text("rt"), Tape: g.text("tape"), LimitUpUSD: g.price("up"), LimitDownUSD: g.price("down"), Indicator: g.text("ind"),
		}
		return row{ev: e, table: "halts", own: map[string]any{
			"kind": e.Kind.String(), "symbol": e.Symbol, "status_code": e.StatusCode, "status_text": e.StatusText, "reason_code": e.ReasonCode,
			"reason_text": e.ReasonText, "tape": e.Tape, "limit_up_usd": e.LimitUpUSD, "limit_down_usd": e.LimitDownUSD, "indicator": e.Indicator,
		}}
	case 4:
		e := &market.Block{
			Meta: m, Height: g.u64("height"), Hash: g.text("hash"), PreviousHash: g.text("prev"), Difficulty: g.wide("difficulty"), SubsidySat: g.i64("subsidy"),
			FeesSat: g.i64("fees"), RewardSat: g.i64("reward"), TxCount: g.u32("tx"), SizeBytes: g.u32("size"), WeightUnits: g.u32("weight"), Pool: g.text("pool"),
		}
		return row{ev: e, table: "btc_blocks", own: map[string]any{
			"height": e.Height, "hash": e.Hash, "previous_hash": e.PreviousHash, "difficulty": e.Difficulty, "subsidy_sat": e.SubsidySat, "fees_sat": e.FeesSat,
			"reward_sat": e.RewardSat, "tx_count": e.TxCount, "size_bytes": e.SizeBytes, "weight_units": e.WeightUnits, "pool": e.Pool,
		}}
	}
	return g.ofOtherKind(kind, m)
}

func (g gen) ofOtherKind(kind int, m market.Meta) row {
	switch kind {
	case 5:
		e := &market.Difficulty{Meta: m, Height: g.u64("height"), Difficulty: g.wide("difficulty"), RemainingBlocks: g.u32("left"), NextRetargetHeight: g.u64("next")}
		own := map[string]any{"height": e.Height, "difficulty": e.Difficulty, "remaining_blocks": e.RemainingBlocks, "next_retarget_height": e.NextRetargetHeight}
		e.ChangePercent, own["change_percent"] = g.nullable("change")
		e.EstimatedChangePercent, own["estimated_change_percent"] = g.nullable("estimate")
		return row{ev: e, table: "btc_difficulty", own: own}
	case 6:
		e := &market.Fees{
			Meta: m, FastestSatPerVB: g.price("f"), HalfHourSatPerVB: g.price("hh"), HourSatPerVB: g.price("h"), EconomySatPerVB: g.price("e"), MinimumSatPerVB: g.price("m"),
		}
		return row{ev: e, table: "btc_fees", own: map[string]any{
			"fastest_sat_per_vb": e.FastestSatPerVB, "half_hour_sat_per_vb": e.HalfHourSatPerVB, "hour_sat_per_vb": e.HourSatPerVB,
			"economy_sat_per_vb": e.EconomySatPerVB, "minimum_sat_per_vb": e.MinimumSatPerVB,
		}}
	case 7:
		e := &market.BTCPrice{Meta: m, PriceUSD: g.price("p"), BidUSD: g.price("b"), AskUSD: g.price("a"), Volume24hBTC: g.price("v"), VenueSeq: g.u64("seq")}
		return row{ev: e, table: "btc_prices", own: map[string]any{
			"price_usd": e.PriceUSD, "bid_usd": e.BidUSD, "ask_usd": e.AskUSD, "volume_24h_btc": e.Volume24hBTC, "venue_seq": e.VenueSeq,
		}}
	case 8:
		e := &market.Hashprice{
			Meta: m, Method: g.text("method"), Height: g.u64("height"), Difficulty: g.wide("d"), SubsidySat: g.i64("s"), MeanFeesSat: g.wide("mf"),
			FeeWindowBlocks: g.u32("w"), BTCUSD: g.price("btc"), BTCUSDSource: g.text("src"), BTCUSDAgeMs: g.i64("age"), HashpriceBTC: g.wide("hb"),
			HashpriceSat: g.wide("hs"), HashpriceUSD: g.wide("hu"), NetworkEHs: g.wide("eh"), Published: g.bool("published"), Inputs: g.inputs(),
		}
		return row{ev: e, table: "hashprice", own: map[string]any{
			"method": e.Method, "height": e.Height, "difficulty": e.Difficulty, "subsidy_sat": e.SubsidySat, "mean_fees_sat": e.MeanFeesSat,
			"fee_window_blocks": e.FeeWindowBlocks, "btc_usd": e.BTCUSD, "btc_usd_source": e.BTCUSDSource, "btc_usd_age_ms": e.BTCUSDAgeMs,
			"hashprice_btc": e.HashpriceBTC, "hashprice_sat": e.HashpriceSat, "hashprice_usd": e.HashpriceUSD, "network_ehs": e.NetworkEHs,
			"published": e.Published, "inputs": e.Inputs,
		}}
	case 9:
		e := &market.Offer{
			Meta: m, Action: market.OfferAction(rapid.IntRange(1, 3).Draw(g.T, "action")), Provider: g.text("provider"), OfferID: g.text("offer"), HostID: g.text("host"),
			MachineID: g.text("machine"), GPU: g.text("gpu"), GPUName: g.text("name"), GPUCount: g.u32("n"), GPUMemoryMiB: g.u32("mem"), Class: market.Class(g.text("class")),
			USDPerGPUHour: g.price("rate"), RawPrice: g.price("raw"), RawUnit: g.text("unit"), Region: g.text("region"), Verified: g.bool("v"), Rentable: g.bool("r"),
			Via: g.text("via"), Stock: g.text("stock"),
		}
		own := map[string]any{
			"action": e.Action.String(), "provider": e.Provider, "offer_id": e.OfferID, "host_id": e.HostID, "machine_id": e.MachineID, "gpu": e.GPU,
			"gpu_name": e.GPUName, "gpu_count": e.GPUCount, "gpu_memory_mib": e.GPUMemoryMiB, "class": string(e.Class), "usd_per_gpu_hour": e.USDPerGPUHour,
			"raw_price": e.RawPrice, "raw_unit": e.RawUnit, "region": e.Region, "verified": e.Verified, "rentable": e.Rentable,
			"via": e.Via, "stock": e.Stock,
		}
		e.Reliability, own["reliability"] = g.nullable("reliability")
		return row{ev: e, table: "gpu_offers", own: own}
	case 10:
		e := &market.Rate{
			Meta: m, GPU: g.text("gpu"), Class: market.Class(g.text("class")), Method: g.text("method"), Version: g.u32("version"), USDPerGPUHour: g.price("rate"),
			P10USDPerGPUHour: g.price("p10"), P90USDPerGPUHour: g.price("p90"), SampleOffers: g.u32("o"), SampleGPUs: g.u32("g"), SampleHosts: g.u32("h"), SampleProviders: g.u32("p"),
		}
		own := map[string]any{
			"gpu": e.GPU, "class": string(e.Class), "method": e.Method, "version": e.Version, "usd_per_gpu_hour": e.USDPerGPUHour,
			"p10_usd_per_gpu_hour": e.P10USDPerGPUHour, "p90_usd_per_gpu_hour": e.P90USDPerGPUHour, "sample_offers": e.SampleOffers, "sample_gpus": e.SampleGPUs,
			"sample_hosts": e.SampleHosts, "sample_providers": e.SampleProviders,
		}
		names, prices, gpus, offers := []string{}, []json.Number{}, []uint32{}, []uint32{}
		for i := range rapid.IntRange(0, 3).Draw(g.T, "constituents") {
			c := market.Constituent{Provider: g.text(fmt.Sprint("provider", i)), USDPerGPUHour: g.price(fmt.Sprint("price", i)), GPUs: g.u32(fmt.Sprint("gpus", i)), Offers: g.u32(fmt.Sprint("offers", i))}
			e.Constituents = append(e.Constituents, c)
			names, prices, gpus, offers = append(names, c.Provider), append(prices, decimalText(c.USDPerGPUHour)), append(gpus, c.GPUs), append(offers, c.Offers)
		}
		own["constituent_providers"], own["constituent_usd_per_gpu_hour"], own["constituent_gpus"], own["constituent_offers"] = names, prices, gpus, offers
		e.Dispersion, own["dispersion"] = g.nullable("dispersion")
		return row{ev: e, table: "gpu_rates", own: own}
	case 11:
		e := &market.Signal{Meta: m, Name: g.text("name"), Symbol: g.text("symbol"), Value: g.wide("value"), Unit: g.text("unit"), Inputs: g.inputs()}
		return row{ev: e, table: "signals", own: map[string]any{"name": e.Name, "symbol": e.Symbol, "value": e.Value, "unit": e.Unit, "inputs": e.Inputs}}
	case 12:
		e := &market.FeedEvent{Meta: m, State: market.FeedState(g.text("state")), Detail: g.text("detail")}
		return row{ev: e, table: "feed_events", own: map[string]any{"state": string(e.State), "detail": e.Detail}}
	case 13:
		e := &market.FeedGap{
			Meta: m, GapID: g.text("gap"), Symbol: g.text("symbol"), Reason: g.text("reason"), State: market.GapState(g.text("state")), Recovered: g.u64("recovered"),
		}
		own := map[string]any{
			"gap_id": e.GapID, "symbol": e.Symbol, "reason": e.Reason, "state": string(e.State), "recovered": e.Recovered, "from_time": nil, "to_time": nil,
		}
		if g.bool("begun") {
			e.From = g.time("from")
			own["from_time"] = e.From.UTC()
		}
		if g.bool("ended") {
			e.To = g.time("to")
			own["to_time"] = e.To.UTC()
		}
		return row{ev: e, table: "feed_gaps", own: own}
	case 14:
		e := &market.DeadLetter{
			Meta: m, Of: g.text("of"), Created: g.i64("created"), Seq: g.u64("seq"), Idx: rapid.Int32().Draw(g.T, "idx"), Subject: g.text("subject"),
			Reason: market.Reason(g.text("reason")), Detail: g.text("detail"), Payload: []byte(g.text("payload")), PayloadBytes: g.u64("bytes"),
		}
		return row{ev: e, table: "dead_letters", own: map[string]any{
			"dead_stream": e.Of, "dead_created_s": e.Created, "dead_seq": e.Seq, "dead_idx": e.Idx, "subject": e.Subject, "reason": string(e.Reason),
			"detail": e.Detail, "payload": string(e.Payload), "payload_bytes": e.PayloadBytes,
		}}
	case 15:
		e := &market.Imbalance{
			Meta: m, Symbol: g.text("symbol"), Exchange: g.text("exchange"), Tape: g.text("tape"), PriceUSD: g.price("price"), ImbalanceShares: g.price("imbalance"),
			PairedShares: g.price("paired"), ClearingPriceUSD: g.price("clearing"), Auction: g.text("auction"), AuctionTime: g.text("clock"),
		}
		return row{ev: e, table: "imbalances", own: map[string]any{
			"symbol": e.Symbol, "exchange": e.Exchange, "tape": e.Tape, "price_usd": e.PriceUSD, "imbalance_shares": e.ImbalanceShares,
			"paired_shares": e.PairedShares, "clearing_price_usd": e.ClearingPriceUSD, "auction": e.Auction, "auction_time": e.AuctionTime,
		}}
	}
	panic(fmt.Sprintf("no kind %d", kind))
}
