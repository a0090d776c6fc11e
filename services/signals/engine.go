package signals

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
)

// suffix of the source of what was made from a source's prints.
const suffix = "-prints"

// engine makes bars of the prints that it is given, one at a time, and tells each bar and each revision of it when it is due. It is not safe
// for concurrent use and keeps no clock.
type engine struct {
	cfg     Config
	cal     session.Calendar
	metrics *Metrics
	emit    func(context.Context, market.Event) error
	// load fills a new book of a trade date that is not, or no longer, held: with what the streams have of it. It reports whether that is all.
	load func(ctx context.Context, b *symbolBook) (whole bool, err error)

	rules map[string]*Rules // by source
	books map[bookName]*symbolBook
	names *interner
	span  session.Session // of the last print

	lengths []int32  // of the bars that are made
	keys    []barKey // reused

	gaps map[string]map[string]*market.FeedGap // by source and id

	// complete is the first trade date whose prints are all held in memory once they were read.
	complete session.Date
	now      time.Time // of the last flush
}

type bookName struct {
	source, symbol string // the venue's source
	date           session.Date
}

// symbolBook is a book with what was told of it.
type symbolBook struct {
	*book
	bookName
	told    map[barKey]toldBar
	pending map[barKey]struct{}
	lastAt  int64 // the second that was touched last since the last flush
	vendor  map[barKey]vendorBar
	checks  map[barKey]time.Time // when to compare
	found   map[barKey]toldDifference

	final   bool
	used    time.Time // by the engine's clock
	lost    bool      // the stream no longer holds the date whole
	skipped skipped
	listed  toldSkipped
}

// toldBar is the last revision of a bar that was told.
type toldBar struct {
	values
	rev     uint32
	final   bool
	changed time.Time // by our clock; zero after a restart
}

func newEngine(cfg Config, cal session.Calendar, m *Metrics, emit func(context.Context, market.Event) error) *engine {
	var lengths []int32
	for _, i := range cfg.Bars.Intervals {
		lengths = append(lengths, lengthOf(i))
	}
	return &engine{
		lengths: lengths, cfg: cfg, cal: cal, metrics: m, emit: emit, rules: map[string]*Rules{}, books: map[bookName]*symbolBook{}, names: &interner{map[string]uint64{}},
		gaps: map[string]map[string]*market.FeedGap{},
		load: func(context.Context, *symbolBook) (bool, error) { return true, nil },
	}
}

func (e *engine) rulesOf(source string) (*Rules, error) {
	if r, ok := e.rules[source]; ok {
		return r, nil
	}
	r, err := NewRules(rulesName(e.cfg.Rules, source))
	if err != nil {
		return nil, err
	}
	e.rules[source] = r
	return r, nil
}

// at is the session of a moment; prints come in runs of one.
func (e *engine) at(t time.Time) session.Session {
	if t.Before(e.span.Open) || !t.Before(e.span.Close) {
		e.span = e.cal.At(t)
	}
	return e.span
}

// bookOf finds or makes the book of a symbol and trade date.
func (e *engine) bookOf(ctx context.Context, n bookName) (*symbolBook, error) {
	if b, ok := e.books[n]; ok {
		b.used = e.now
		return b, nil
	}
	n.source, n.symbol = strings.Clone(n.source), strings.Clone(n.symbol) // they may be pieces of a whole message
	b, err := e.newBook(n)
	if err != nil {
		return nil, err
	}
	e.books[n] = b
	if n.date.Before(e.complete) {
		whole, err := e.load(ctx, b)
		if err != nil {
			delete(e.books, n)
			return nil, err
		}
		e.metrics.loaded(n.source)
		b.lost = !whole
	}
	return b, nil
}

func (e *engine) newBook(n bookName) (*symbolBook, error) {
	rules, err := e.rulesOf(n.source)
	if err != nil {
		return nil, err
	}
	b := &symbolBook{
		bookName: n, told: map[barKey]toldBar{}, pending: map[barKey]struct{}{}, vendor: map[barKey]vendorBar{}, checks: map[barKey]time.Time{},
		found: map[barKey]toldDifference{}, used: e.now,
	}
	midnight := e.cal.Midnight(n.date).Unix()
	b.book = newBook(n.date, e.names, rules, func(at int64, s session.Session) {
		if b.lastAt == at {
			return // all of them are pending since the last flush
		}
		b.lastAt = at
		e.keys = keys(e.keys[:0], e.lengths, at, s, midnight)
		for _, k := range e.keys {
			b.pending[k] = struct{}{}
		}
	})
	return b, nil
}

// trade takes a print, a correction or a cancel from the stream.
func (e *engine) trade(ctx context.Context, t *market.Trade, order uint64) error {
	s := e.at(t.EventTime)
	date := s.TradeDate
	if s.Kind == session.Closed {
		date = dateOf(e.cal, t.EventTime)
	}
	b, err := e.bookOf(ctx, bookName{t.Source, t.Symbol, date})
	if err != nil {
		return err
	}
	e.metrics.print(t.Source)
	b.take(t, order, s)
	return nil
}

// take adds a print to the book, or counts why no bar can have it.
func (b *symbolBook) take(t *market.Trade, order uint64, s session.Session) {
	if b.lost {
		b.skipped.tooOld++
		return
	}
	if b.add(t, order, s) && t.Action == market.TradeNew && s.Kind == session.Closed {
		b.skipped.outside++
	}
}

// flush tells what is due by now.
func (e *engine) flush(ctx context.Context, now time.Time) error {
	e.now = now
	names := slices.SortedFunc(maps.Keys(e.books), func(a, b bookName) int {
		return cmp.Or(strings.Compare(a.source, b.source), strings.Compare(a.symbol, b.symbol), strings.Compare(a.date.String(), b.date.String()))
	})
	oldest := e.oldestHeld(now)
	prints := 0
	for _, n := range names {
		b := e.books[n]
		if err := e.flushBook(ctx, b, now); err != nil {
			return err
		}
		if n.date.Before(oldest) && len(b.pending) == 0 && len(b.checks) == 0 && now.Sub(b.used) > idle {
			delete(e.books, n)
			if n.date = n.date.AddDays(1); e.complete.Before(n.date) {
				e.complete = n.date
			}
			continue
		}
		prints += len(b.prints)
	}
	e.metrics.held(len(e.books), prints)
	return nil
}

// idle is for how long a book of an old trade date is kept after its last print: backfill tells a date print by print.
const idle = time.Minute

// oldestHeld is the oldest trade date whose prints stay in memory.
func (e *engine) oldestHeld(now time.Time) session.Date {
	d := dateOf(e.cal, now)
	for closed := 0; ; {
		if !e.cal.TradeDateEnd(d).Add(e.cfg.Bars.FinalAfter).After(now) {
			if closed++; closed == e.cfg.Bars.Retain {
				return d
			}
		}
		d = previous(e.cal, d)
	}
}

// previous trade date.
func previous(cal session.Calendar, d session.Date) session.Date {
	// The night session of d may have opened the evening before: half a day before its midnight is nobody's but an earlier date's.
	return dateOf(cal, cal.Midnight(d).Add(-12*time.Hour))
}

func (e *engine) flushBook(ctx context.Context, b *symbolBook, now time.Time) error {
	end := e.cal.TradeDateEnd(b.date)
	closed := !end.Add(e.cfg.Bars.FinalAfter).After(now)
	if closed && !b.final {
		b.final = true
		for k, x := range b.told {
			if !x.final {
				b.pending[k] = struct{}{}
			}
		}
	}
	for _, k := range b.due(e, now) {
		if err := e.tell(ctx, b, k, now); err != nil {
			return err
		}
	}
	if err := e.list(ctx, b, now); err != nil {
		return err
	}
	return e.check(ctx, b, now)
}

// due takes the bars whose time has come from what is pending, in the order of their labels.
func (b *symbolBook) due(e *engine, now time.Time) []barKey {
	b.lastAt = 0
	var out []barKey
	for k := range b.pending {
		if !e.wants(k) {
			delete(b.pending, k)
			continue
		}
		at := time.Unix(b.end(k, e.cal), 0).Add(e.cfg.Bars.Grace)
		if last, ok := b.told[k]; ok {
			if again := last.changed.Add(e.cfg.Bars.ReviseEvery); again.After(at) && (last.final || !b.final) {
				at = again
			}
		}
		if !at.After(now) {
			out = append(out, k)
			delete(b.pending, k)
		}
	}
	slices.SortFunc(out, func(x, y barKey) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(x.length, y.length), cmp.Compare(x.session, y.session))
	})
	return out
}

func (e *engine) wants(k barKey) bool {
	return slices.Contains(e.lengths, k.length)
}

// tell publishes a bar as it stands if that is news.
func (e *engine) tell(ctx context.Context, b *symbolBook, k barKey, now time.Time) error {
	v, ok := b.bar(k, e.cal)
	last, before := b.told[k]
	switch {
	case !ok && !before:
		return nil
	case !ok:
		// All of its prints were cancelled. What was told cannot be untold: a bar without volume and trades says that there is none.
		v = last.values
		v.volume, v.trades, v.vwap = 0, 0, 0
	}
	if before && v == last.values && (last.final || !b.final) {
		return nil
	}
	x := toldBar{values: v, final: b.final || last.final, changed: now}
	if before {
		x.rev = last.rev + 1
	}
	bar := &market.Bar{
		Meta:   market.Meta{EventTime: k.startOf(), RecvTime: now, Source: b.source + suffix, Rev: x.rev},
		Symbol: b.symbol, Interval: k.interval(),
		OpenUSD: decimalOf(v.open), HighUSD: decimalOf(v.high), LowUSD: decimalOf(v.low), CloseUSD: decimalOf(v.close),
		Volume: decimalOf(int64(v.volume)), VWAPUSD: decimalOf(v.vwap), TradeCount: v.trades, Final: x.final,
		Session: string(k.kind()), TradeDate: b.date.String(), Method: b.rules.Method,
	}
	if err := bar.Validate(); err != nil {
		e.metrics.refused(b.source)
		b.skipped.refused++
		b.told[k] = x // not again before it changes
		return nil
	}
	if err := e.emit(ctx, bar); err != nil {
		return err
	}
	b.told[k] = x
	e.metrics.bar(b.source, bar.Interval, before)
	e.again(b, k, now)
	return nil
}

// restore takes a bar of ours that was published before.
func (e *engine) restore(ctx context.Context, bar *market.Bar) error {
	source, ours := strings.CutSuffix(bar.Source, suffix)
	date, err := session.ParseDate(bar.TradeDate)
	if !ours || err != nil || date.Before(e.complete) {
		return nil
	}
	b, err := e.bookOf(ctx, bookName{source, bar.Symbol, date})
	if err != nil {
		return err
	}
	b.restore(bar)
	return nil
}

func (b *symbolBook) restore(bar *market.Bar) {
	k, ok := keyOfBar(bar)
	if last, before := b.told[k]; !ok || before && last.rev >= bar.Rev {
		return
	}
	v, ok := valuesOf(bar)
	if ok {
		b.told[k] = toldBar{values: v, rev: bar.Rev, final: bar.Final}
	}
}

func keyOfBar(bar *market.Bar) (barKey, bool) {
	n := lengthOf(bar.Interval)
	s := slices.Index(kinds[:], session.Kind(bar.Session))
	return barKey{n, uint8(max(s, 0)), bar.EventTime.Unix()}, n > 0 && s >= 0
}

func valuesOf(bar *market.Bar) (v values, ok bool) {
	ok = true
	get := func(d market.Decimal) int64 {
		n, fits := fixed(d)
		ok = ok && fits
		return n
	}
	v = values{
		open: get(bar.OpenUSD), high: get(bar.HighUSD), low: get(bar.LowUSD), close: get(bar.CloseUSD),
		volume: uint64(get(bar.Volume)), trades: bar.TradeCount, vwap: get(bar.VWAPUSD),
	}
	return v, ok
}
