package store

import (
	"strconv"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// tradeRows are rows of trades.
type tradeRows struct {
	common
	action                      fixed
	symbol                      dict
	number                      fixed
	id                          text
	exchange, tape              dict
	price, size                 fixed
	conditions                  codes
	originalID                  text
	originalPrice, originalSize fixed
	cancelCode                  dict
	sequence                    fixed
}

func newTradeRows() rows[*market.Trade] {
	return &tradeRows{
		common:        newTickCommon(),
		action:        newFixed("action", "Enum8('trade' = 1, 'correction' = 2, 'cancel' = 3)", 1),
		symbol:        newDict("symbol"),
		number:        newFixed("trade_number", "UInt64", 8),
		id:            newText("trade_text"),
		exchange:      newDict("exchange"),
		tape:          newDict("tape"),
		price:         newPrice("price_usd"),
		size:          newPrice("size_shares"),
		conditions:    newCodes("condition_codes"),
		originalID:    newText("original_trade_id"),
		originalPrice: newPrice("original_price_usd"),
		originalSize:  newPrice("original_size_shares"),
		cancelCode:    newDict("cancel_code"),
		sequence:      newFixed("sequence", "UInt64", 8),
	}
}

func (r *tradeRows) columns() []col {
	return r.cols(&r.action, &r.symbol, &r.number, &r.id, &r.exchange, &r.tape, &r.price, &r.size, &r.conditions, &r.originalID, &r.originalPrice,
		&r.originalSize, &r.cancelCode, &r.sequence)
}

func (r *tradeRows) add(e *market.Trade, at market.Place) error {
	c := check{table: tableTrades}
	p := c.place(&e.Meta, at)
	c.enum("action", uint8(e.Action), uint8(market.TradeCancel))
	price := c.price("price_usd", e.PriceUSD)
	size := c.price("size_shares", e.SizeShares)
	oldPrice := c.price("original_price_usd", e.OriginalPriceUSD)
	oldSize := c.price("original_size_shares", e.OriginalSizeShares)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.action.u8(uint8(e.Action))
	r.symbol.add(e.Symbol)
	n := idNumber(e.ID)
	r.number.u64(n)
	if n == 0 {
		r.id.add(e.ID)
	} else {
		r.id.add("")
	}
	r.exchange.add(e.Exchange)
	r.tape.add(e.Tape)
	r.price.i64(price)
	r.size.i64(size)
	r.conditions.add(e.Conditions)
	r.originalID.add(e.OriginalID)
	r.originalPrice.i64(oldPrice)
	r.originalSize.i64(oldSize)
	r.cancelCode.add(e.CancelCode)
	r.sequence.u64(e.Sequence)
	return nil
}

// idNumber is the number above 0 that an id is, if it is written as one is: without a sign or zeros before it, so that the number tells the id again. 0: it
// is no such number. The migration that carries older rows over decides in the same way.
func idNumber(id string) uint64 {
	if id == "" || id[0] == '0' || len(id) > 20 {
		return 0
	}
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return 0
		}
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil { // above 64 bits
		return 0
	}
	return n
}

// quoteRows are rows of quotes.
type quoteRows struct {
	common
	symbol                   dict
	bidExchange, askExchange dict
	bidPrice, askPrice       fixed
	bidSize, askSize         fixed
	conditions               list
	tape                     dict
}

func newQuoteRows() rows[*market.Quote] {
	return &quoteRows{
		common:      newTickCommon(),
		symbol:      newDict("symbol"),
		bidExchange: newDict("bid_exchange"),
		askExchange: newDict("ask_exchange"),
		bidPrice:    newPrice("bid_price_usd"),
		askPrice:    newPrice("ask_price_usd"),
		bidSize:     newPrice("bid_size_shares"),
		askSize:     newPrice("ask_size_shares"),
		conditions:  newList("conditions"),
		tape:        newDict("tape"),
	}
}

func (r *quoteRows) columns() []col {
	return r.cols(&r.symbol, &r.bidExchange, &r.askExchange, &r.bidPrice, &r.askPrice, &r.bidSize, &r.askSize, &r.conditions, &r.tape)
}

func (r *quoteRows) add(e *market.Quote, at market.Place) error {
	c := check{table: tableQuotes}
	p := c.place(&e.Meta, at)
	bidPrice := c.price("bid_price_usd", e.BidPriceUSD)
	askPrice := c.price("ask_price_usd", e.AskPriceUSD)
	bidSize := c.price("bid_size_shares", e.BidSizeShares)
	askSize := c.price("ask_size_shares", e.AskSizeShares)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.symbol.add(e.Symbol)
	r.bidExchange.add(e.BidExchange)
	r.askExchange.add(e.AskExchange)
	r.bidPrice.i64(bidPrice)
	r.askPrice.i64(askPrice)
	r.bidSize.i64(bidSize)
	r.askSize.i64(askSize)
	r.conditions.add(e.Conditions)
	r.tape.add(e.Tape)
	return nil
}

// barRows are rows of bars.
type barRows struct {
	common
	symbol, interval       dict
	open, high, low, close fixed
	volume, vwap           fixed
	trades                 fixed
	final                  fixed
	session, date, method  dict
}

func newBarRows() rows[*market.Bar] {
	return &barRows{
		common:   newCommon(),
		symbol:   newDict("symbol"),
		interval: newDict("interval"),
		open:     newPrice("open_usd"),
		high:     newPrice("high_usd"),
		low:      newPrice("low_usd"),
		close:    newPrice("close_usd"),
		volume:   newPrice("volume"),
		vwap:     newPrice("vwap_usd"),
		trades:   newFixed("trade_count", "UInt64", 8),
		final:    newFixed("final", "Bool", 1),
		session:  newDict("session"),
		date:     newDict("trade_date"),
		method:   newDict("method"),
	}
}

func (r *barRows) columns() []col {
	return r.cols(&r.symbol, &r.interval, &r.open, &r.high, &r.low, &r.close, &r.volume, &r.vwap, &r.trades, &r.final,
		&r.session, &r.date, &r.method)
}

func (r *barRows) add(e *market.Bar, at market.Place) error {
	c := check{table: tableBars}
	p := c.place(&e.Meta, at)
	open := c.price("open_usd", e.OpenUSD)
	high := c.price("high_usd", e.HighUSD)
	low := c.price("low_usd", e.LowUSD)
	closing := c.price("close_usd", e.CloseUSD)
	volume := c.price("volume", e.Volume)
	vwap := c.price("vwap_usd", e.VWAPUSD)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.symbol.add(e.Symbol)
	r.interval.add(string(e.Interval))
	r.open.i64(open)
	r.high.i64(high)
	r.low.i64(low)
	r.close.i64(closing)
	r.volume.i64(volume)
	r.vwap.i64(vwap)
	r.trades.u64(e.TradeCount)
	r.final.bool(e.Final)
	r.session.add(e.Session)
	r.date.add(e.TradeDate)
	r.method.add(e.Method)
	return nil
}

// haltRows are rows of halts.
type haltRows struct {
	common
	kind                   fixed
	symbol                 dict
	statusCode, statusText dict
	reasonCode, reasonText dict
	tape                   dict
	limitUp, limitDown     fixed
	indicator              dict
}

func newHaltRows() rows[*market.Halt] {
	return &haltRows{
		common:     newCommon(),
		kind:       newFixed("kind", "Enum8('status' = 1, 'luld' = 2)", 1),
		symbol:     newDict("symbol"),
		statusCode: newDict("status_code"),
		statusText: newDict("status_text"),
		reasonCode: newDict("reason_code"),
		reasonText: newDict("reason_text"),
		tape:       newDict("tape"),
		limitUp:    newPrice("limit_up_usd"),
		limitDown:  newPrice("limit_down_usd"),
		indicator:  newDict("indicator"),
	}
}

func (r *haltRows) columns() []col {
	return r.cols(&r.kind, &r.symbol, &r.statusCode, &r.statusText, &r.reasonCode, &r.reasonText, &r.tape, &r.limitUp, &r.limitDown, &r.indicator)
}

func (r *haltRows) add(e *market.Halt, at market.Place) error {
	c := check{table: tableHalts}
	p := c.place(&e.Meta, at)
	c.enum("kind", uint8(e.Kind), uint8(market.HaltLULD))
	up := c.price("limit_up_usd", e.LimitUpUSD)
	down := c.price("limit_down_usd", e.LimitDownUSD)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.kind.u8(uint8(e.Kind))
	r.symbol.add(e.Symbol)
	r.statusCode.add(e.StatusCode)
	r.statusText.add(e.StatusText)
	r.reasonCode.add(e.ReasonCode)
	r.reasonText.add(e.ReasonText)
	r.tape.add(e.Tape)
	r.limitUp.i64(up)
	r.limitDown.i64(down)
	r.indicator.add(e.Indicator)
	return nil
}

// imbalanceRows are rows of imbalances.
type imbalanceRows struct {
	common
	symbol, exchange, tape dict
	price, imbalance       fixed
	paired, clearing       fixed
	auction, auctionClock  dict
}

func newImbalanceRows() rows[*market.Imbalance] {
	return &imbalanceRows{
		common:       newCommon(),
		symbol:       newDict("symbol"),
		exchange:     newDict("exchange"),
		tape:         newDict("tape"),
		price:        newPrice("price_usd"),
		imbalance:    newPrice("imbalance_shares"),
		paired:       newPrice("paired_shares"),
		clearing:     newPrice("clearing_price_usd"),
		auction:      newDict("auction"),
		auctionClock: newDict("auction_time"),
	}
}

func (r *imbalanceRows) columns() []col {
	return r.cols(&r.symbol, &r.exchange, &r.tape, &r.price, &r.imbalance, &r.paired, &r.clearing, &r.auction, &r.auctionClock)
}

func (r *imbalanceRows) add(e *market.Imbalance, at market.Place) error {
	c := check{table: tableImbalances}
	p := c.place(&e.Meta, at)
	price := c.price("price_usd", e.PriceUSD)
	imbalance := c.price("imbalance_shares", e.ImbalanceShares)
	paired := c.price("paired_shares", e.PairedShares)
	clearing := c.price("clearing_price_usd", e.ClearingPriceUSD)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.symbol.add(e.Symbol)
	r.exchange.add(e.Exchange)
	r.tape.add(e.Tape)
	r.price.i64(price)
	r.imbalance.i64(imbalance)
	r.paired.i64(paired)
	r.clearing.i64(clearing)
	r.auction.add(e.Auction)
	r.auctionClock.add(e.AuctionTime)
	return nil
}
