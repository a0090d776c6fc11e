package wire

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashpivot/hashpivot/pkg/market"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

func networkBatch(events []market.Event) (*mdv1.NetworkBatch, error) {
	source := events[0].GetMeta().Source
	_, tokens := events[0].Tokens()
	out := make([]*mdv1.NetworkEvent, len(events))
	for i, ev := range events {
		if err := sameSource(ev, source); err != nil {
			return nil, err
		}
		if _, tt := ev.Tokens(); tt[0] != tokens[0] {
			return nil, mixed("kind", tokens[0], tt[0])
		}
		switch e := ev.(type) {
		case *market.Block:
			out[i] = &mdv1.NetworkEvent{Event: &mdv1.NetworkEvent_Block{Block: &mdv1.Block{
				Meta: metaOf(&e.Meta), Height: e.Height, Hash: e.Hash, PreviousHash: e.PreviousHash, Difficulty: decText(e.Difficulty),
				SubsidySat: e.SubsidySat, FeesSat: e.FeesSat, RewardSat: e.RewardSat, TxCount: e.TxCount, SizeBytes: e.SizeBytes,
				WeightUnits: e.WeightUnits, Pool: e.Pool,
			}}}
		case *market.Difficulty:
			out[i] = &mdv1.NetworkEvent{Event: &mdv1.NetworkEvent_Difficulty{Difficulty: &mdv1.Difficulty{
				Meta: metaOf(&e.Meta), Height: e.Height, Difficulty: decText(e.Difficulty), ChangePercent: e.ChangePercent,
				EstimatedChangePercent: e.EstimatedChangePercent, RemainingBlocks: e.RemainingBlocks, NextRetargetHeight: e.NextRetargetHeight,
			}}}
		case *market.Fees:
			out[i] = &mdv1.NetworkEvent{Event: &mdv1.NetworkEvent_Fees{Fees: &mdv1.Fees{
				Meta: metaOf(&e.Meta), FastestSatPerVb: decText(e.FastestSatPerVB), HalfHourSatPerVb: decText(e.HalfHourSatPerVB),
				HourSatPerVb: decText(e.HourSatPerVB), EconomySatPerVb: decText(e.EconomySatPerVB), MinimumSatPerVb: decText(e.MinimumSatPerVB),
			}}}
		case *market.BTCPrice:
			out[i] = &mdv1.NetworkEvent{Event: &mdv1.NetworkEvent_BtcPrice{BtcPrice: &mdv1.BtcPrice{
				Meta: metaOf(&e.Meta), PriceUsd: decText(e.PriceUSD), BidUsd: decText(e.BidUSD), AskUsd: decText(e.AskUSD),
				Volume_24HBtc: decText(e.Volume24hBTC), VenueSeq: e.VenueSeq,
			}}}
		default:
			return nil, fmt.Errorf("event %d is a %T", i, ev)
		}
	}
	return &mdv1.NetworkBatch{Source: source, Events: out}, nil
}

func decodeNetwork(data []byte) ([]market.Event, error) {
	var b mdv1.NetworkBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	out := make([]market.Event, len(b.Events))
	for i, ev := range b.Events {
		var r reader
		switch e := ev.GetEvent().(type) {
		case *mdv1.NetworkEvent_Block:
			p := e.Block
			out[i] = &market.Block{
				Meta: toMeta(b.Source, p.Meta), Height: p.Height, Hash: p.Hash, PreviousHash: p.PreviousHash,
				Difficulty: r.dec("difficulty", p.Difficulty), SubsidySat: p.SubsidySat, FeesSat: p.FeesSat, RewardSat: p.RewardSat,
				TxCount: p.TxCount, SizeBytes: p.SizeBytes, WeightUnits: p.WeightUnits, Pool: p.Pool,
			}
		case *mdv1.NetworkEvent_Difficulty:
			p := e.Difficulty
			out[i] = &market.Difficulty{
				Meta: toMeta(b.Source, p.Meta), Height: p.Height, Difficulty: r.dec("difficulty", p.Difficulty), ChangePercent: p.ChangePercent,
				EstimatedChangePercent: p.EstimatedChangePercent, RemainingBlocks: p.RemainingBlocks, NextRetargetHeight: p.NextRetargetHeight,
			}
		case *mdv1.NetworkEvent_Fees:
			p := e.Fees
			out[i] = &market.Fees{
				Meta: toMeta(b.Source, p.Meta), FastestSatPerVB: r.dec("fastest_sat_per_vb", p.FastestSatPerVb),
				HalfHourSatPerVB: r.dec("half_hour_sat_per_vb", p.HalfHourSatPerVb), HourSatPerVB: r.dec("hour_sat_per_vb", p.HourSatPerVb),
				EconomySatPerVB: r.dec("economy_sat_per_vb", p.EconomySatPerVb), MinimumSatPerVB: r.dec("minimum_sat_per_vb", p.MinimumSatPerVb),
			}
		case *mdv1.NetworkEvent_BtcPrice:
			p := e.BtcPrice
			out[i] = &market.BTCPrice{
				Meta: toMeta(b.Source, p.Meta), PriceUSD: r.dec("price_usd", p.PriceUsd), BidUSD: r.dec("bid_usd", p.BidUsd),
				AskUSD: r.dec("ask_usd", p.AskUsd), Volume24hBTC: r.dec("volume_24h_btc", p.Volume_24HBtc), VenueSeq: p.VenueSeq,
			}
		default:
			return nil, fmt.Errorf("event %d: %w", i, errUnknownKind)
		}
		if r.err != nil {
			return nil, fmt.Errorf("event %d: %w", i, r.err)
		}
	}
	return out, nil
}

// errUnknownKind is for a member of a oneof that this binary does not know; a newer one can replay the message.
var errUnknownKind = errors.New("kind is unknown to this version")

func hashpriceBatch(events []market.Event) (*mdv1.HashpriceBatch, error) {
	hps, err := gather(events, func(h *market.Hashprice) string { return h.Method }, func(h *market.Hashprice) *mdv1.Hashprice {
		return &mdv1.Hashprice{
			Meta: metaOf(&h.Meta), Height: h.Height, Difficulty: decText(h.Difficulty), SubsidySat: h.SubsidySat,
			MeanFeesSat: decText(h.MeanFeesSat), FeeWindowBlocks: h.FeeWindowBlocks, BtcUsd: decText(h.BTCUSD), BtcUsdSource: h.BTCUSDSource,
			BtcUsdAgeMs: h.BTCUSDAgeMs, HashpriceBtc: decText(h.HashpriceBTC), HashpriceSat: decText(h.HashpriceSat),
			HashpriceUsd: decText(h.HashpriceUSD), NetworkEhs: decText(h.NetworkEHs), Published: h.Published, Inputs: hashpriceInputs(h.Inputs),
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Hashprice)
	return &mdv1.HashpriceBatch{Source: head.Source, Method: head.Method, Hashprices: hps}, nil
}

// hashpriceInputs come in the order of their names: encoding is deterministic.
func hashpriceInputs(m map[string]string) []*mdv1.HashpriceInput {
	var out []*mdv1.HashpriceInput
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &mdv1.HashpriceInput{Name: k, Value: m[k]})
	}
	return out
}

func decodeHashprices(data []byte) ([]market.Event, error) {
	var b mdv1.HashpriceBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Hashprices, func(p *mdv1.Hashprice, h *market.Hashprice) error {
		var r reader
		*h = market.Hashprice{
			Meta: toMeta(b.Source, p.Meta), Method: b.Method, Height: p.Height, Difficulty: r.dec("difficulty", p.Difficulty),
			SubsidySat: p.SubsidySat, MeanFeesSat: r.dec("mean_fees_sat", p.MeanFeesSat), FeeWindowBlocks: p.FeeWindowBlocks,
			BTCUSD: r.dec("btc_usd", p.BtcUsd), BTCUSDSource: p.BtcUsdSource, BTCUSDAgeMs: p.BtcUsdAgeMs,
			HashpriceBTC: r.dec("hashprice_btc", p.HashpriceBtc), HashpriceSat: r.dec("hashprice_sat", p.HashpriceSat),
			HashpriceUSD: r.dec("hashprice_usd", p.HashpriceUsd), NetworkEHs: r.dec("network_ehs", p.NetworkEhs), Published: p.Published,
		}
		if len(p.Inputs) > 0 {
			h.Inputs = make(map[string]string, len(p.Inputs))
			for _, in := range p.Inputs {
				h.Inputs[in.Name] = in.Value
			}
		}
		return r.err
	})
}
