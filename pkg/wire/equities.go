package wire

import (
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/market"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

// gather checks that every event is a T of the same source and key and converts it.
func gather[T market.Event, P any](events []market.Event, key func(T) string, conv func(T) P) ([]P, error) {
	first, ok := events[0].(T)
	if !ok {
		return nil, fmt.Errorf("event 0 is a %T", events[0])
	}
	source, k := first.GetMeta().Source, key(first)
	out := make([]P, len(events))
	for i, ev := range events {
		t, ok := ev.(T)
		if !ok {
			return nil, fmt.Errorf("event %d is a %T among %T", i, ev, first)
		}
		if err := sameSource(ev, source); err != nil {
			return nil, err
		}
		if kk := key(t); kk != k {
			return nil, mixed("subject", k, kk)
		}
		out[i] = conv(t)
	}
	return out, nil
}

// spread converts the messages of a batch into events; the events lie in one slab.
func spread[P any, T any, E interface {
	*T
	market.Event
}](in []P, conv func(P, *T) error) ([]market.Event, error) {
	slab := make([]T, len(in))
	out := make([]market.Event, len(in))
	for i, p := range in {
		if err := conv(p, &slab[i]); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		out[i] = E(&slab[i])
	}
	return out, nil
}

func tradeBatch(events []market.Event) (*mdv1.TradeBatch, error) {
	trades, err := gather(events, func(t *market.Trade) string { return t.Symbol }, func(t *market.Trade) *mdv1.Trade {
		return &mdv1.Trade{
			Meta: metaOf(&t.Meta), Action: mdv1.TradeAction(t.Action), Id: t.ID, Exchange: t.Exchange, Tape: t.Tape,
			PriceUsd: decText(t.PriceUSD), SizeShares: decText(t.SizeShares), Conditions: t.Conditions,
			OriginalId: t.OriginalID, OriginalPriceUsd: decText(t.OriginalPriceUSD), OriginalSizeShares: decText(t.OriginalSizeShares),
			CancelCode: t.CancelCode, Sequence: t.Sequence,
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Trade)
	return &mdv1.TradeBatch{Source: head.Source, Symbol: head.Symbol, Trades: trades}, nil
}

func decodeTrades(data []byte) ([]market.Event, error) {
	var b mdv1.TradeBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Trades, func(p *mdv1.Trade, t *market.Trade) error {
		var r reader
		*t = market.Trade{
			Meta: toMeta(b.Source, p.Meta), Action: tradeAction(p.Action), Symbol: b.Symbol, ID: p.Id, Exchange: p.Exchange, Tape: p.Tape,
			PriceUSD: r.dec("price_usd", p.PriceUsd), SizeShares: r.dec("size_shares", p.SizeShares), Conditions: p.Conditions,
			OriginalID: p.OriginalId, OriginalPriceUSD: r.dec("original_price_usd", p.OriginalPriceUsd),
			OriginalSizeShares: r.dec("original_size_shares", p.OriginalSizeShares), CancelCode: p.CancelCode,
			Sequence: p.Sequence,
		}
		return r.err
	})
}

// tradeAction and its like turn a value from a newer schema into 0, which Validate refuses: the row is dead-lettered with its
// reason and can be replayed by a newer binary.
func tradeAction(a mdv1.TradeAction) market.TradeAction {
	if a < 0 || a > mdv1.TradeAction_TRADE_ACTION_CANCEL {
		return 0
	}
	return market.TradeAction(a)
}

func tradeActionOf(b byte) market.TradeAction { return tradeAction(mdv1.TradeAction(b)) }

func quoteBatch(events []market.Event) (*mdv1.QuoteBatch, error) {
	quotes, err := gather(events, func(q *market.Quote) string { return q.Symbol }, func(q *market.Quote) *mdv1.Quote {
		return &mdv1.Quote{
			Meta: metaOf(&q.Meta), BidExchange: q.BidExchange, AskExchange: q.AskExchange,
			BidPriceUsd: decText(q.BidPriceUSD), AskPriceUsd: decText(q.AskPriceUSD),
			BidSizeShares: decText(q.BidSizeShares), AskSizeShares: decText(q.AskSizeShares), Conditions: q.Conditions, Tape: q.Tape,
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Quote)
	return &mdv1.QuoteBatch{Source: head.Source, Symbol: head.Symbol, Quotes: quotes}, nil
}

func decodeQuotes(data []byte) ([]market.Event, error) {
	var b mdv1.QuoteBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Quotes, func(p *mdv1.Quote, q *market.Quote) error {
		var r reader
		*q = market.Quote{
			Meta: toMeta(b.Source, p.Meta), Symbol: b.Symbol, BidExchange: p.BidExchange, AskExchange: p.AskExchange,
			BidPriceUSD: r.dec("bid_price_usd", p.BidPriceUsd), AskPriceUSD: r.dec("ask_price_usd", p.AskPriceUsd),
			BidSizeShares: r.dec("bid_size_shares", p.BidSizeShares), AskSizeShares: r.dec("ask_size_shares", p.AskSizeShares),
			Conditions: p.Conditions, Tape: p.Tape,
		}
		return r.err
	})
}

func barBatch(events []market.Event) (*mdv1.BarBatch, error) {
	bars, err := gather(events, func(b *market.Bar) string { return string(b.Interval) + " " + b.Symbol }, func(b *market.Bar) *mdv1.Bar {
		return &mdv1.Bar{
			Meta: metaOf(&b.Meta), OpenUsd: decText(b.OpenUSD), HighUsd: decText(b.HighUSD), LowUsd: decText(b.LowUSD), CloseUsd: decText(b.CloseUSD),
			Volume: decText(b.Volume), VwapUsd: decText(b.VWAPUSD), TradeCount: b.TradeCount, Final: b.Final,
			Session: b.Session, TradeDate: b.TradeDate, Method: b.Method,
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Bar)
	return &mdv1.BarBatch{Source: head.Source, Symbol: head.Symbol, Interval: string(head.Interval), Bars: bars}, nil
}

func decodeBars(data []byte) ([]market.Event, error) {
	var b mdv1.BarBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Bars, func(p *mdv1.Bar, m *market.Bar) error {
		var r reader
		*m = market.Bar{
			Meta: toMeta(b.Source, p.Meta), Symbol: b.Symbol, Interval: market.Interval(b.Interval),
			OpenUSD: r.dec("open_usd", p.OpenUsd), HighUSD: r.dec("high_usd", p.HighUsd), LowUSD: r.dec("low_usd", p.LowUsd),
			CloseUSD: r.dec("close_usd", p.CloseUsd), Volume: r.dec("volume", p.Volume), VWAPUSD: r.dec("vwap_usd", p.VwapUsd),
			TradeCount: p.TradeCount, Final: p.Final, Session: p.Session, TradeDate: p.TradeDate, Method: p.Method,
		}
		return r.err
	})
}

func haltBatch(events []market.Event) (*mdv1.HaltBatch, error) {
	halts, err := gather(events, func(h *market.Halt) string { return h.Symbol }, func(h *market.Halt) *mdv1.Halt {
		return &mdv1.Halt{
			Meta: metaOf(&h.Meta), Kind: mdv1.HaltKind(h.Kind), StatusCode: h.StatusCode, StatusText: h.StatusText,
			ReasonCode: h.ReasonCode, ReasonText: h.ReasonText, Tape: h.Tape,
			LimitUpUsd: decText(h.LimitUpUSD), LimitDownUsd: decText(h.LimitDownUSD), Indicator: h.Indicator,
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Halt)
	return &mdv1.HaltBatch{Source: head.Source, Symbol: head.Symbol, Halts: halts}, nil
}

func decodeHalts(data []byte) ([]market.Event, error) {
	var b mdv1.HaltBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	halts, err := spread(b.Halts, func(p *mdv1.Halt, h *market.Halt) error {
		var r reader
		kind := market.HaltKind(0)
		if p.Kind > 0 && p.Kind <= mdv1.HaltKind_HALT_KIND_LULD {
			kind = market.HaltKind(p.Kind)
		}
		*h = market.Halt{
			Meta: toMeta(b.Source, p.Meta), Kind: kind, Symbol: b.Symbol, StatusCode: p.StatusCode, StatusText: p.StatusText,
			ReasonCode: p.ReasonCode, ReasonText: p.ReasonText, Tape: p.Tape,
			LimitUpUSD: r.dec("limit_up_usd", p.LimitUpUsd), LimitDownUSD: r.dec("limit_down_usd", p.LimitDownUsd), Indicator: p.Indicator,
		}
		return r.err
	})
	if err != nil || len(b.Imbalances) == 0 {
		return halts, err
	}
	imbalances, err := spread(b.Imbalances, func(p *mdv1.Imbalance, i *market.Imbalance) error {
		var r reader
		*i = market.Imbalance{
			Meta: toMeta(b.Source, p.Meta), Symbol: b.Symbol, Exchange: p.Exchange, Tape: p.Tape, PriceUSD: r.dec("price_usd", p.PriceUsd),
			ImbalanceShares: r.dec("imbalance_shares", p.ImbalanceShares), PairedShares: r.dec("paired_shares", p.PairedShares),
			ClearingPriceUSD: r.dec("clearing_price_usd", p.ClearingPriceUsd), Auction: p.Auction, AuctionTime: p.AuctionTime,
		}
		return r.err
	})
	return append(halts, imbalances...), err
}

func imbalanceBatch(events []market.Event) (*mdv1.HaltBatch, error) {
	list, err := gather(events, func(i *market.Imbalance) string { return i.Symbol }, func(i *market.Imbalance) *mdv1.Imbalance {
		return &mdv1.Imbalance{
			Meta: metaOf(&i.Meta), Exchange: i.Exchange, Tape: i.Tape, PriceUsd: decText(i.PriceUSD), ImbalanceShares: decText(i.ImbalanceShares),
			PairedShares: decText(i.PairedShares), ClearingPriceUsd: decText(i.ClearingPriceUSD), Auction: i.Auction, AuctionTime: i.AuctionTime,
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Imbalance)
	return &mdv1.HaltBatch{Source: head.Source, Symbol: head.Symbol, Imbalances: list}, nil
}
