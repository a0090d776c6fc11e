package store

import "github.com/hashpivot/hashpivot/pkg/market"

// The tables of the streams' events.
const (
	tableTrades      = "trades"
	tableQuotes      = "quotes"
	tableBars        = "bars"
	tableHalts       = "halts"
	tableImbalances  = "imbalances"
	tableBlocks      = "btc_blocks"
	tableDifficulty  = "btc_difficulty"
	tableFees        = "btc_fees"
	tableBTCPrices   = "btc_prices"
	tableHashprice   = "hashprice"
	tableOffers      = "gpu_offers"
	tableRates       = "gpu_rates"
	tableSignals     = "signals"
	tableFeedEvents  = "feed_events"
	tableFeedGaps    = "feed_gaps"
	tableDeadLetters = "dead_letters"
)

// Tables returns the tables that hold the events of a stream, nil for an unknown one.
func Tables(s market.Stream) []string {
	switch s {
	case market.Trades:
		return []string{tableTrades}
	case market.Quotes:
		return []string{tableQuotes}
	case market.Bars:
		return []string{tableBars}
	case market.Halts:
		return []string{tableHalts, tableImbalances}
	case market.Network:
		return []string{tableBlocks, tableDifficulty, tableFees, tableBTCPrices}
	case market.Hashprices:
		return []string{tableHashprice}
	case market.Offers:
		return []string{tableOffers}
	case market.Rates:
		return []string{tableRates}
	case market.Signals:
		return []string{tableSignals}
	case market.Feeds:
		return []string{tableFeedEvents, tableFeedGaps}
	case market.Dead:
		return []string{tableDeadLetters}
	}
	return nil
}

// row adds one event to the table of its type. This is the one place that maps types of events to tables.
func (b *Batch) row(ev market.Event, at market.Place) error {
	switch e := ev.(type) {
	case *market.Trade:
		return addTo(&b.trades, e, at)
	case *market.Quote:
		return addTo(&b.quotes, e, at)
	case *market.Bar:
		return addTo(&b.bars, e, at)
	case *market.Halt:
		return addTo(&b.halts, e, at)
	case *market.Imbalance:
		return addTo(&b.imbalances, e, at)
	case *market.Block:
		return addTo(&b.blocks, e, at)
	case *market.Difficulty:
		return addTo(&b.difficulty, e, at)
	case *market.Fees:
		return addTo(&b.fees, e, at)
	case *market.BTCPrice:
		return addTo(&b.btcPrices, e, at)
	case *market.Hashprice:
		return addTo(&b.hashprices, e, at)
	case *market.Offer:
		return addTo(&b.offers, e, at)
	case *market.Rate:
		return addTo(&b.rates, e, at)
	case *market.Signal:
		return addTo(&b.signals, e, at)
	case *market.FeedEvent:
		return addTo(&b.feedEvents, e, at)
	case *market.FeedGap:
		return addTo(&b.feedGaps, e, at)
	case *market.DeadLetter:
		return addTo(&b.deadLetters, e, at)
	}
	return &RowError{Reason: ReasonUnknown, Table: "-", Column: "-", Detail: typeName(ev) + " has no table"}
}

// makeTables fills the batch's tables and lists them in the order in which they are inserted.
func (b *Batch) makeTables() {
	b.trades = makeTable(tableTrades, byMonth, newTradeRows)
	b.quotes = makeTable(tableQuotes, byMonth, newQuoteRows)
	b.bars = makeTable(tableBars, whole, newBarRows)
	b.halts = makeTable(tableHalts, whole, newHaltRows)
	b.imbalances = makeTable(tableImbalances, whole, newImbalanceRows)
	b.blocks = makeTable(tableBlocks, whole, newBlockRows)
	b.difficulty = makeTable(tableDifficulty, whole, newDifficultyRows)
	b.fees = makeTable(tableFees, whole, newFeesRows)
	b.btcPrices = makeTable(tableBTCPrices, byYear, newBTCPriceRows)
	b.hashprices = makeTable(tableHashprice, whole, newHashpriceRows)
	b.offers = makeTable(tableOffers, byYear, newOfferRows)
	b.rates = makeTable(tableRates, whole, newRateRows)
	b.signals = makeTable(tableSignals, whole, newSignalRows)
	b.feedEvents = makeTable(tableFeedEvents, whole, newFeedEventRows)
	b.feedGaps = makeTable(tableFeedGaps, whole, newFeedGapRows)
	b.deadLetters = makeTable(tableDeadLetters, whole, newDeadLetterRows)
	b.tables = []blocksOf{
		&b.trades, &b.quotes, &b.bars, &b.halts, &b.imbalances, &b.blocks, &b.difficulty, &b.fees, &b.btcPrices, &b.hashprices, &b.offers, &b.rates,
		&b.signals, &b.feedEvents, &b.feedGaps, &b.deadLetters,
	}
}

// common is what the row of every event begins with: when, and where in its stream.
type common struct {
	event, recv, stream fixed
	ticks               bool // recv and stream are differences, see newTickCommon
	seq, idx            fixed
	source              dict
	rev                 fixed
	backfill            fixed
}

const timeType = "DateTime64(9, 'UTC')"

func newCommon() common {
	return common{
		event:    newFixed("event_time", timeType, 8),
		recv:     newFixed("recv_time", timeType, 8),
		stream:   newFixed("stream_time", timeType, 8),
		seq:      newFixed("stream_seq", "UInt64", 8),
		idx:      newFixed("idx", "UInt32", 4),
		source:   newDict("source"),
		rev:      newFixed("rev", "UInt32", 4),
		backfill: newFixed("backfill", "Bool", 1),
	}
}

// newTickCommon is for trades and quotes, of which there are so many that the table computes two of their times: differences take a third of what times do. That of
// stream_time goes from the microsecond of event_time, so that it is a whole number of them for messages whose stream_time is, and compresses as that.
func newTickCommon() common {
	c := newCommon()
	c.recv, c.stream, c.ticks = newFixed("recv_to_stream_ns", "Int64", 8), newFixed("stream_after_event_ns", "Int64", 8), true
	return c
}

func (c *common) cols(own ...col) []col {
	return append([]col{&c.event, &c.recv, &c.stream, &c.seq, &c.idx, &c.source, &c.rev, &c.backfill}, own...)
}

func (c *common) add(p place) {
	c.event.i64(p.event)
	if c.ticks {
		c.recv.i64(p.stream - p.recv)
		c.stream.i64(p.stream - p.event/1000*1000)
	} else {
		c.recv.i64(p.recv)
		c.stream.i64(p.stream)
	}
	c.seq.u64(p.at.Seq)
	c.idx.u32(p.at.Idx)
	c.source.add(p.meta.Source)
	c.rev.u32(p.meta.Rev)
	c.backfill.bool(p.meta.Backfill)
}
