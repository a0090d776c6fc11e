package store

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Batch gathers events for one Insert. It is not safe for concurrent use. It keeps nothing of an event beyond Add.
type Batch struct {
	trades      table[*market.Trade]
	quotes      table[*market.Quote]
	bars        table[*market.Bar]
	halts       table[*market.Halt]
	imbalances  table[*market.Imbalance]
	blocks      table[*market.Block]
	difficulty  table[*market.Difficulty]
	fees        table[*market.Fees]
	btcPrices   table[*market.BTCPrice]
	hashprices  table[*market.Hashprice]
	offers      table[*market.Offer]
	rates       table[*market.Rate]
	signals     table[*market.Signal]
	feedEvents  table[*market.FeedEvent]
	feedGaps    table[*market.FeedGap]
	deadLetters table[*market.DeadLetter]

	tables []blocksOf
	rows   int
	row8   []byte // scratch of Checksums
}

// NewBatch returns an empty batch. It belongs to no connection and may be inserted by any Store.
func NewBatch() *Batch {
	b := &Batch{}
	b.makeTables()
	return b
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch { return NewBatch() }

// Add appends the event at its place. An error is a *RowError: this event can never be stored, now or later; the batch is as it was
// before and stays usable.
func (b *Batch) Add(ev market.Event, at market.Place) error {
	if s := ev.Stream(); s != at.Stream {
		return &RowError{Reason: ReasonStream, Table: "-", Column: "-", Detail: fmt.Sprintf("%s belongs to stream %s, not %s", typeName(ev), s, at.Stream)}
	}
	if err := b.row(ev, at); err != nil {
		return err
	}
	b.rows++
	return nil
}

func typeName(ev market.Event) string { return fmt.Sprintf("%T", ev) }

// Rows returns the number of events added since the last Reset.
func (b *Batch) Rows() int { return b.rows }

// Bytes returns about how much memory the events added since the last Reset take here.
func (b *Batch) Bytes() int {
	n := 0
	for _, t := range b.tables {
		n += t.bytes()
	}
	return n
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	for _, t := range b.tables {
		t.reset()
	}
	b.rows = 0
}

// block is the rows of one table and partition: what one INSERT carries.
type block struct {
	table     string
	partition string
	cols      []col
}

// each calls f with every block in the order of tables and partitions, until it fails.
func (b *Batch) each(f func(block) error) error {
	for _, t := range b.tables {
		if err := t.each(f); err != nil {
			return err
		}
	}
	return nil
}

// rows is the rows of one table and partition, of events of type E.
type rows[E any] interface {
	add(E, market.Place) error
	columns() []col
}

// blocksOf is a table without its type of events.
type blocksOf interface {
	bytes() int
	reset()
	each(func(block) error) error
	schema() (string, []col)
	partitioning() partitioning
}

// partitioning says how a table is cut.
type partitioning uint8

const (
	whole partitioning = iota
	byYear
	byMonth
)

// span returns the number (2026, or 202611) and the bounds in Unix seconds [from, to) of the partition that t falls into.
func (p partitioning) span(t time.Time) (key int, from, to int64) {
	year, month, _ := t.UTC().Date()
	switch p {
	case byYear:
		return year, unix(year, 1), unix(year+1, 1)
	case byMonth:
		return year*100 + int(month), unix(year, month), unix(year, month+1)
	default:
		return 0, math.MinInt64, math.MaxInt64
	}
}

func unix(year int, month time.Month) int64 {
	return time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Unix()
}

// label is the partition's name in the deduplication token.
func (p partitioning) label(key int) string {
	if p == whole {
		return "all"
	}
	return strconv.Itoa(key)
}

// part is one partition's rows.
type part[E any] struct {
	key  int
	rows rows[E]
	cols []col
}

func (p *part[E]) empty() bool { return p.cols[0].rows() == 0 }

func (p *part[E]) reset() {
	for _, c := range p.cols {
		c.reset()
	}
}

// table holds a table's rows by partition.
type table[E market.Event] struct {
	name string
	cut  partitioning
	make func() rows[E]

	parts    []part[E] // ascending by key
	free     []part[E] // empty ones, kept for their memory
	last     rows[E]   // the partition of the row before
	from, to int64     // its bounds, Unix seconds
}

// partSize is about what a partition takes before its first row, for a table of many columns.
const partSize = 12 << 10

// maxFree bounds the empty partitions that a table keeps.
const maxFree = 2

func makeTable[E market.Event](name string, cut partitioning, newRows func() rows[E]) table[E] {
	return table[E]{name: name, cut: cut, make: newRows}
}

// addTo appends ev to the partition of its time.
func addTo[E market.Event](t *table[E], ev E, at market.Place) error {
	when := ev.GetMeta().EventTime
	s := when.Unix()
	if t.last == nil || s < t.from || s >= t.to {
		// An impossible time must not open a partition.
		c := check{table: t.name}
		if c.time("event_time", when); c.err != nil {
			return c.err
		}
		t.open(when)
	}
	return t.last.add(ev, at)
}

// open makes the partition of when the current one.
func (t *table[E]) open(when time.Time) {
	var key int
	key, t.from, t.to = t.cut.span(when)
	i, found := slices.BinarySearchFunc(t.parts, key, func(p part[E], key int) int { return p.key - key })
	if !found {
		t.parts = slices.Insert(t.parts, i, t.fresh(key))
	}
	t.last = t.parts[i].rows
}

func (t *table[E]) fresh(key int) part[E] {
	if n := len(t.free); n > 0 {
		p := t.free[n-1]
		t.free = t.free[:n-1]
		p.key = key
		return p
	}
	r := t.make()
	return part[E]{key: key, rows: r, cols: r.columns()}
}

// schema returns the table's name and columns.
func (t *table[E]) schema() (string, []col) { return t.name, t.make().columns() }

func (t *table[E]) partitioning() partitioning { return t.cut }

func (t *table[E]) bytes() int {
	n := 0
	for i := range t.parts {
		for _, c := range t.parts[i].cols {
			n += c.size()
		}
		n += partSize
	}
	return n
}

func (t *table[E]) reset() {
	for i := range t.parts {
		if len(t.free) < maxFree {
			t.parts[i].reset()
			t.free = append(t.free, t.parts[i])
		}
	}
	clear(t.parts)
	t.parts, t.last = t.parts[:0], nil
}

func (t *table[E]) each(f func(block) error) error {
	for i := range t.parts {
		p := &t.parts[i]
		if p.empty() {
			continue
		}
		if err := f(block{table: t.name, partition: t.cut.label(p.key), cols: p.cols}); err != nil {
			return err
		}
	}
	return nil
}
