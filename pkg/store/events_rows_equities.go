package store

import (
	"github.com/hashpivot/hashpivot/pkg/market"
)

// tradeRow is a row of trades.
type tradeRow struct {
	action                               int8
	symbol, tradeID, exchange, tape      string
	priceUSD, sizeShares                 price
	conditions                           []string
	originalTradeID                      string
	originalPriceUSD, originalSizeShares price
	cancelCode                           string
	sequence                             uint64
}

func tradeColumns() []string {
	return []string{
		asEnum("action"), "symbol", "trade_id", "exchange", "tape", asPrice("price_usd"), asPrice("size_shares"), "conditions",
		"original_trade_id", asPrice("original_price_usd"), asPrice("original_size_shares"), "cancel_code", "sequence",
	}
}

func (r *tradeRow) dest() []any {
	return []any{
		&r.action, &r.symbol, &r.tradeID, &r.exchange, &r.tape, (*int64)(&r.priceUSD), (*int64)(&r.sizeShares), &r.conditions,
		&r.originalTradeID, (*int64)(&r.originalPriceUSD), (*int64)(&r.originalSizeShares), &r.cancelCode, &r.sequence,
	}
}

func (r *tradeRow) event(m market.Meta) (market.Event, error) {
	return &market.Trade{
		Meta: m, Action: market.TradeAction(r.action), Symbol: r.symbol, ID: r.tradeID, Exchange: r.exchange, Tape: r.tape,
		PriceUSD: r.priceUSD.dec(), SizeShares: r.sizeShares.dec(), Conditions: some(r.conditions),
		OriginalID: r.originalTradeID, OriginalPriceUSD: r.originalPriceUSD.dec(),
		OriginalSizeShares: r.originalSizeShares.dec(), CancelCode: r.cancelCode, Sequence: r.sequence,
	}, nil
}

// quoteRow is a row of quotes.
type quoteRow struct {
	symbol, bidExchange, askExchange                       string
	bidPriceUSD, askPriceUSD, bidSizeShares, askSizeShares price
	conditions                                             []string
	tape                                                   string
}

func quoteColumns() []string {
	return []string{
		"symbol", "bid_exchange", "ask_exchange", asPrice("bid_price_usd"), asPrice("ask_price_usd"), asPrice("bid_size_shares"),
		asPrice("ask_size_shares"), "conditions", "tape",
	}
}

func (r *quoteRow) dest() []any {
	return []any{
		&r.symbol, &r.bidExchange, &r.askExchange, (*int64)(&r.bidPriceUSD), (*int64)(&r.askPriceUSD),
		(*int64)(&r.bidSizeShares), (*int64)(&r.askSizeShares), &r.conditions, &r.tape,
	}
}

func (r *quoteRow) event(m market.Meta) (market.Event, error) {
	return &market.Quote{
		Meta: m, Symbol: r.symbol, BidExchange: r.bidExchange, AskExchange: r.askExchange, BidPriceUSD: r.bidPriceUSD.dec(),
		AskPriceUSD: r.askPriceUSD.dec(), BidSizeShares: r.bidSizeShares.dec(), AskSizeShares: r.askSizeShares.dec(),
		Conditions: some(r.conditions), Tape: r.tape,
	}, nil
}

// barRow is a row of bars.
type barRow struct {
	symbol, interval                                    string
	openUSD, highUSD, lowUSD, closeUSD, volume, vwapUSD price
	tradeCount                                          uint64
	final                                               bool
	session, tradeDate, method                          string
}

func barColumns() []string {
	return []string{
		"symbol", "interval", asPrice("open_usd"), asPrice("high_usd"), asPrice("low_usd"), asPrice("close_usd"),
		asPrice("volume"), asPrice("vwap_usd"), "trade_count", "final", "session", "trade_date", "method",
	}
}

func (r *barRow) dest() []any {
	return []any{
		&r.symbol, &r.interval, (*int64)(&r.openUSD), (*int64)(&r.highUSD), (*int64)(&r.lowUSD), (*int64)(&r.closeUSD),
		(*int64)(&r.volume), (*int64)(&r.vwapUSD), &r.tradeCount, &r.final, &r.session, &r.tradeDate, &r.method,
	}
}

func (r *barRow) event(m market.Meta) (market.Event, error) {
	return &market.Bar{
		Meta: m, Symbol: r.symbol, Interval: market.Interval(r.interval), OpenUSD: r.openUSD.dec(), HighUSD: r.highUSD.dec(),
		LowUSD: r.lowUSD.dec(), CloseUSD: r.closeUSD.dec(), Volume: r.volume.dec(), VWAPUSD: r.vwapUSD.dec(),
		TradeCount: r.tradeCount, Final: r.final, Session: r.session, TradeDate: r.tradeDate, Method: r.method,
	}, nil
}

// haltRow is a row of halts.
type haltRow struct {
	kind                                                         int8
	symbol, statusCode, statusText, reasonCode, reasonText, tape string
	limitUpUSD, limitDownUSD                                     price
	indicator                                                    string
}

func haltColumns() []string {
	return []string{
		asEnum("kind"), "symbol", "status_code", "status_text", "reason_code", "reason_text", "tape", asPrice("limit_up_usd"),
		asPrice("limit_down_usd"), "indicator",
	}
}

func (r *haltRow) dest() []any {
	return []any{
		&r.kind, &r.symbol, &r.statusCode, &r.statusText, &r.reasonCode, &r.reasonText, &r.tape, (*int64)(&r.limitUpUSD),
		(*int64)(&r.limitDownUSD), &r.indicator,
	}
}

func (r *haltRow) event(m market.Meta) (market.Event, error) {
	return &market.Halt{
		Meta: m, Kind: market.HaltKind(r.kind), Symbol: r.symbol, StatusCode: r.statusCode, StatusText: r.statusText,
		ReasonCode: r.reasonCode, ReasonText: r.reasonText, Tape: r.tape, LimitUpUSD: r.limitUpUSD.dec(),
		LimitDownUSD: r.limitDownUSD.dec(), Indicator: r.indicator,
	}, nil
}

// imbalanceRow is a row of imbalances.
type imbalanceRow struct {
	symbol, exchange, tape                                    string
	priceUSD, imbalanceShares, pairedShares, clearingPriceUSD price
	auction, auctionTime                                      string
}

func imbalanceColumns() []string {
	return []string{
		"symbol", "exchange", "tape", asPrice("price_usd"), asPrice("imbalance_shares"), asPrice("paired_shares"),
		asPrice("clearing_price_usd"), "auction", "auction_time",
	}
}

func (r *imbalanceRow) dest() []any {
	return []any{
		&r.symbol, &r.exchange, &r.tape, (*int64)(&r.priceUSD), (*int64)(&r.imbalanceShares), (*int64)(&r.pairedShares),
		(*int64)(&r.clearingPriceUSD), &r.auction, &r.auctionTime,
	}
}

func (r *imbalanceRow) event(m market.Meta) (market.Event, error) {
	return &market.Imbalance{
		Meta: m, Symbol: r.symbol, Exchange: r.exchange, Tape: r.tape, PriceUSD: r.priceUSD.dec(),
		ImbalanceShares: r.imbalanceShares.dec(), PairedShares: r.pairedShares.dec(), ClearingPriceUSD: r.clearingPriceUSD.dec(),
		Auction: r.auction, AuctionTime: r.auctionTime,
	}, nil
}
