package store

import (
	"fmt"
	"math"
	"time"

	"github.com/govalues/decimal"
	chdecimal "github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// eventTable says how a table's rows become events again.
type eventTable struct {
	name string
	// key are the columns of what live.Key tells, with a slash between them; kind is the key where it is the table.
	key     []string
	kind    string
	columns []string // behind the common ones, as expressions
	row     func() eventRow
}

// eventRow is where the own columns of a row are scanned to.
type eventRow interface {
	dest() []any
	// event makes a new event of what was scanned.
	event(market.Meta) (market.Event, error)
}

func eventTableOf(name string) eventTable {
	t := eventTable{name: name, key: []string{"symbol"}}
	switch name {
	case tableTrades:
		t.columns, t.row = tradeColumns(), func() eventRow { return &tradeRow{} }
	case tableQuotes:
		t.columns, t.row = quoteColumns(), func() eventRow { return &quoteRow{} }
	case tableBars:
		t.columns, t.row = barColumns(), func() eventRow { return &barRow{} }
	case tableHalts:
		t.columns, t.row = haltColumns(), func() eventRow { return &haltRow{} }
	case tableImbalances:
		t.columns, t.row = imbalanceColumns(), func() eventRow { return &imbalanceRow{} }
	case tableBlocks:
		t.key, t.kind, t.columns, t.row = nil, "block", blockColumns(), func() eventRow { return &blockRow{} }
	case tableDifficulty:
		t.key, t.kind, t.columns, t.row = nil, "difficulty", difficultyColumns(), func() eventRow { return &difficultyRow{} }
	case tableFees:
		t.key, t.kind, t.columns, t.row = nil, "fees", feesColumns(), func() eventRow { return &feesRow{} }
	case tableBTCPrices:
		t.key, t.kind, t.columns, t.row = nil, "btcusd", btcPriceColumns(), func() eventRow { return &btcPriceRow{} }
	case tableHashprice:
		t.key, t.columns, t.row = []string{"method"}, hashpriceColumns(), func() eventRow { return &hashpriceRow{} }
	case tableOffers:
		t.key, t.columns, t.row = []string{"provider", "gpu"}, offerColumns(), func() eventRow { return &offerRow{} }
	case tableRates:
		t.key, t.columns, t.row = []string{"gpu", "class"}, rateColumns(), func() eventRow { return &rateRow{} }
	case tableSignals:
		t.key, t.columns, t.row = []string{"name", "symbol"}, signalColumns(), func() eventRow { return &signalRow{} }
	case tableFeedEvents:
		t.key, t.columns, t.row = []string{"source"}, []string{"state", "detail"}, func() eventRow { return &feedEventRow{} }
	case tableFeedGaps:
		t.key, t.columns, t.row = []string{"source"}, feedGapColumns(), func() eventRow { return &feedGapRow{} }
	case tableDeadLetters:
		t.key, t.columns, t.row = []string{"source"}, deadLetterColumns(), func() eventRow { return &deadLetterRow{} }
	}
	return t
}

// commonRow is what every row begins with.
type commonRow struct {
	when, recv, stream time.Time
	seq                uint64
	idx                uint32
	source             string
	rev                uint32
	backfill           bool
}

func commonColumns() []string {
	return []string{"event_time", "recv_time", "stream_time", "stream_seq", "idx", "source", "rev", "backfill"}
}

func (c *commonRow) dest() []any {
	return []any{&c.when, &c.recv, &c.stream, &c.seq, &c.idx, &c.source, &c.rev, &c.backfill}
}

func (c *commonRow) meta() market.Meta {
	return market.Meta{EventTime: c.when.UTC(), RecvTime: c.recv.UTC(), Source: c.source, Rev: c.rev, Backfill: c.backfill}
}

// price is a Decimal(18, 8) read as the integer that it is, without a big number for each.
type price int64

func (p price) dec() market.Decimal {
	d, err := decimal.New(int64(p), priceScale)
	if err != nil { // scale and digits are within what a Decimal holds
		return market.Decimal{}
	}
	return d.Trim(0)
}

// asPrice is the expression of a column that is scanned into a price.
func asPrice(column string) string { return "reinterpretAsInt64(" + column + ")" }

// asEnum is the expression of an Enum8 that is scanned into its number.
func asEnum(column string) string { return "CAST(" + column + ", 'Int8')" }

// wide reads Decimals of 38 digits; those that were written here fit a market.Decimal.
type wide struct{ err error }

func (w *wide) dec(column string, d chdecimal.Decimal) market.Decimal {
	out, err := market.ParseDecimal(d.String())
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("column %s: %w", column, err)
	}
	return out.Trim(0)
}

// orNaN is a nullable number as the domain has it.
func orNaN(f *float64) float64 {
	if f == nil {
		return math.NaN()
	}
	return *f
}

// orZero is a nullable time as the domain has it.
func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// some is a list as the domain has it: none is nil. It is copied, because what it was scanned to is scanned to again.
func some(list []string) []string { return append([]string(nil), list...) }

// entries is a map as the domain has it: none is nil.
func entries(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}
