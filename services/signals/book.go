package signals

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// book holds the prints of one symbol and trade date with their corrections and cancels, by the second that they stand in. Nothing is ever
// subtracted: what changes is folded again from the prints.
type book struct {
	day   session.Date
	names *interner
	rules *Rules

	prints  []print
	index   map[key]uint32
	revised map[uint32]*revisions

	seconds map[int64]*second // by Unix second
	minutes map[int64]*minute // by its first Unix second
	spans   []session.Session // of the trade date, as far as prints were in them

	// touched is told of each second whose prints changed.
	touched func(at int64, s session.Session)
}

// key of a print within its trade date.
type key struct {
	exchange uint32
	text     bool // id is interned text, not the number itself
	id       uint64
}

// print as it was told, and where it stands.
type print struct {
	at              int64 // ns; of a corrected print that of its original
	sequence, order uint64
	made            uint64 // place of the correction that made it; 0: none did
	price, size     int64
	minute, daily   reference.Flags
	told            bool // there is a print, not only something about it
	placed          bool // it stands in its second
}

// revisions are what was told about a print.
type revisions struct {
	cancelled bool
	same      *correction   // to the same id
	into      []*correction // to other ids: the print is replaced
	outOf     []*correction // of other ids: what made it
	now       print         // the print with its corrections, while it is placed
}

type correction struct {
	from, to      uint32
	order         uint64
	price, size   int64
	minute, daily reference.Flags
}

type second struct {
	prints        []uint32
	sorted        bool
	fresh         bool // the parts are of these prints
	minute, daily part
}

type minute struct {
	fresh         bool
	minute, daily part
}

func newBook(date session.Date, names *interner, rules *Rules, touched func(int64, session.Session)) *book {
	return &book{
		day: date, names: names, rules: rules, index: map[key]uint32{}, revised: map[uint32]*revisions{},
		seconds: map[int64]*second{}, minutes: map[int64]*minute{}, touched: touched,
	}
}

// find the print of a name; it is made if it is not there.
func (b *book) find(exchange, id string) uint32 {
	k := b.names.key(exchange, id)
	i, ok := b.index[k]
	if !ok {
		i = uint32(len(b.prints))
		b.prints = append(b.prints, print{})
		b.index[k] = i
	}
	return i
}

func (b *book) about(i uint32) *revisions {
	r := b.revised[i]
	if r == nil {
		r = &revisions{}
		b.revised[i] = r
	}
	return r
}

// add takes what the stream told at the place order. It reports whether it was new. s is the session of the print's own time.
func (b *book) add(t *market.Trade, order uint64, s session.Session) bool {
	price, okPrice := fixed(t.PriceUSD)
	size, okSize := fixed(t.SizeShares)
	if !okPrice || !okSize {
		return false
	}
	switch t.Action {
	case market.TradeNew:
		i := b.find(t.Exchange, idOf(t))
		p := &b.prints[i]
		if p.told {
			return false
		}
		// A correction may have come first; what it made of other prints stands elsewhere now.
		b.lift(i)
		f := b.rules.of(t.Conditions, t.Tape)
		*p = print{at: t.EventTime.UnixNano(), sequence: t.Sequence, order: order, price: price, size: size, minute: f.minute, daily: f.daily, told: true}
		b.note(s)
		b.settle(i)
	case market.TradeCancel:
		i := b.find(t.Exchange, idOf(t))
		r := b.about(i)
		if r.cancelled {
			return false
		}
		r.cancelled = true
		b.settle(i)
	case market.TradeCorrection:
		from, to := b.find(t.Exchange, t.OriginalID), b.find(t.Exchange, idOf(t))
		f := b.rules.of(t.Conditions, t.Tape)
		c := &correction{from: from, to: to, order: order, price: price, size: size, minute: f.minute, daily: f.daily}
		r := b.about(from)
		if from == to {
			if r.same != nil {
				return false
			}
			r.same = c
			b.settle(from)
			return true
		}
		if slices.ContainsFunc(r.into, func(x *correction) bool { return x.to == to }) {
			return false
		}
		r.into = append(r.into, c)
		m := b.about(to)
		m.outOf = append(m.outOf, c)
		b.settle(from)
	}
	return true
}

// note remembers a session that has prints.
func (b *book) note(s session.Session) {
	if s.Kind == session.Closed {
		return
	}
	if n := len(b.spans); n > 0 && b.spans[n-1].Kind == s.Kind {
		return
	}
	if !slices.ContainsFunc(b.spans, func(x session.Session) bool { return x.Kind == s.Kind }) {
		b.spans = append(b.spans, s)
	}
}

func (b *book) span(kind session.Kind) (session.Session, bool) {
	for _, s := range b.spans {
		if s.Kind == kind {
			return s, true
		}
	}
	return session.Session{}, false
}

func (b *book) spanAt(at int64) (session.Session, bool) {
	for _, s := range b.spans {
		if at >= s.Open.UnixNano() && at < s.Close.UnixNano() {
			return s, true
		}
	}
	return session.Session{}, false
}

// maxFamily bounds the prints that are made of each other by corrections and are looked at together. A venue has two or three; a hostile one
// must not keep us busy.
const maxFamily = 16

// settle places print i where it stands after its corrections, and all that were made of it.
func (b *book) settle(i uint32) {
	if b.revised[i] == nil { // nearly always
		b.lift(i)
		if p := &b.prints[i]; p.told && p.size > 0 {
			b.place(i, p)
		}
		return
	}
	// Corrections of corrections may run in a circle: each print is looked at once.
	seen := map[uint32]bool{i: true}
	for todo := []uint32{i}; len(todo) > 0; todo = todo[1:] {
		i := todo[0]
		b.lift(i)
		r := b.revised[i]
		now, ok := b.stands(i, map[uint32]bool{})
		if ok && r.same != nil {
			now.price, now.size, now.minute, now.daily = r.same.price, r.same.size, r.same.minute, r.same.daily
		}
		if ok && !r.cancelled && len(r.into) == 0 && now.size > 0 {
			r.now = now
			b.place(i, &r.now)
		}
		for _, c := range r.into {
			if !seen[c.to] && len(seen) < maxFamily {
				seen[c.to] = true
				todo = append(todo, c.to)
			}
		}
	}
}

// stands is the print without corrections to its own id: as it was told, or as the first correction made it whose original is known.
func (b *book) stands(i uint32, seen map[uint32]bool) (print, bool) {
	if b.prints[i].told {
		return b.prints[i], true
	}
	r := b.revised[i]
	if r == nil || seen[i] || len(seen) == maxFamily {
		return print{}, false
	}
	seen[i] = true
	for _, c := range r.outOf {
		if p, ok := b.stands(c.from, seen); ok {
			p.price, p.size, p.minute, p.daily, p.made = c.price, c.size, c.minute, c.daily, c.order
			return p, true
		}
	}
	return print{}, false
}

func (b *book) effective(i uint32) *print {
	if r := b.revised[i]; r != nil {
		return &r.now
	}
	return &b.prints[i]
}

// place puts a print into its second. One outside of the sessions stands in no bar.
func (b *book) place(i uint32, p *print) {
	if _, ok := b.spanAt(p.at); !ok {
		return
	}
	at := p.at / 1e9
	s := b.seconds[at]
	if s == nil {
		s = &second{}
		b.seconds[at] = s
	}
	s.prints = append(s.prints, i)
	s.sorted, b.prints[i].placed = false, true
	b.stale(at, s)
}

// lift takes a print from where it stands. The second keeps its other prints.
func (b *book) lift(i uint32) {
	if !b.prints[i].placed {
		return
	}
	b.prints[i].placed = false
	// Until it is settled anew, what it was when it was placed is still there: in prints for a print without revisions before this one.
	at := b.effectiveAt(i)
	s := b.seconds[at]
	if s == nil {
		return
	}
	if j := slices.Index(s.prints, i); j >= 0 {
		s.prints = slices.Delete(s.prints, j, j+1)
	}
	b.stale(at, s)
}

func (b *book) effectiveAt(i uint32) int64 {
	if r := b.revised[i]; r != nil && r.now.at != 0 {
		return r.now.at / 1e9
	}
	return b.prints[i].at / 1e9
}

func (b *book) stale(at int64, s *second) {
	s.fresh = false
	m := at - at%60
	if x := b.minutes[m]; x != nil {
		x.fresh = false
	} else {
		b.minutes[m] = &minute{}
	}
	if x, ok := b.spanAt(at * 1e9); ok {
		b.touched(at, x)
	}
}

// secondAt folds the prints of a second, by time, the venue's sequence and the place in the stream; those that were made of one print by the
// place of what made them.
func (b *book) secondAt(at int64) *second {
	s := b.seconds[at]
	if s == nil || s.fresh {
		return s
	}
	if !s.sorted {
		slices.SortFunc(s.prints, func(x, y uint32) int {
			p, q := b.effective(x), b.effective(y)
			return cmp.Or(cmp.Compare(p.at, q.at), cmp.Compare(p.sequence, q.sequence), cmp.Compare(p.order, q.order), cmp.Compare(p.made, q.made))
		})
		s.sorted = true
	}
	s.minute, s.daily = part{}, part{}
	for _, i := range s.prints {
		p := b.effective(i)
		s.minute.add(p.price, p.size, p.minute)
		s.daily.add(p.price, p.size, p.daily)
	}
	s.fresh = true
	return s
}

func (b *book) minuteAt(at int64) *minute {
	m := b.minutes[at]
	if m == nil || m.fresh {
		return m
	}
	m.minute, m.daily = part{}, part{}
	for t := at; t < at+60; t++ {
		if s := b.secondAt(t); s != nil {
			m.minute.then(&s.minute)
			m.daily.then(&s.daily)
		}
	}
	m.fresh = true
	return m
}

// within folds the prints of a minute from a moment on and before another: a calendar of one's own may open and close sessions within a minute.
func (b *book) within(at, from, to int64, daily bool) (part, bool) {
	if from <= at && to >= at+60 {
		m := b.minuteAt(at)
		switch {
		case m == nil:
			return part{}, false
		case daily:
			return m.daily, true
		}
		return m.minute, true
	}
	var p part
	found := false
	for t := max(at, from); t < min(at+60, to); t++ {
		s := b.secondAt(t)
		switch {
		case s == nil:
			continue
		case daily:
			p.then(&s.daily)
		default:
			p.then(&s.minute)
		}
		found = true
	}
	return p, found
}

// bar folds the prints of one bar.
func (b *book) bar(k barKey, cal session.Calendar) (values, bool) {
	switch {
	case k.length == sec:
		if s := b.secondAt(k.start); s != nil {
			return s.minute.values()
		}
		return values{}, false
	case k.length <= min1:
		from := k.start
		if s, ok := b.span(k.kind()); ok {
			from = max(from, s.Open.Unix())
		}
		p, ok := b.within(k.start-k.start%60, from, b.end(k, cal), false)
		if !ok {
			return values{}, false
		}
		return p.values()
	}
	var p part
	first, to := b.first(k), b.end(k, cal)
	for t := first - first%60; t < to; t += 60 {
		m, ok := b.within(t, first, to, k.whole())
		if !ok {
			continue
		}
		if k.length != dayLong {
			// An hour, and what is like it, is made of minutes that have a bar.
			if _, ok := m.values(); !ok {
				continue
			}
		}
		p.then(&m)
	}
	return p.values()
}

// end of a bar, exclusive, Unix seconds.
func (b *book) end(k barKey, cal session.Calendar) int64 {
	switch {
	case k.length == sec:
		return k.start + 1
	case k.whole():
		return cal.TradeDateEnd(b.day).Unix()
	}
	s, _ := b.span(k.kind())
	if k.length == dayLong {
		return s.Close.Unix()
	}
	n := int64(k.length)
	return min(k.start-k.start%n+n, s.Close.Unix())
}

// first moment of a bar whose prints may come before its label: the bar of a trade date is labelled by its midnight, and its first session
// opens the evening before.
func (b *book) first(k barKey) int64 {
	if !k.whole() {
		return k.start
	}
	out := k.start
	for _, s := range b.spans {
		out = min(out, s.Open.Unix())
	}
	return out
}

// unmatched counts corrections and cancels of prints that were never told.
func (b *book) unmatched() (n int) {
	for i, r := range b.revised {
		if _, ok := b.stands(i, map[uint32]bool{}); ok {
			continue
		}
		if r.cancelled {
			n++
		}
		if r.same != nil {
			n++
		}
		n += len(r.into)
	}
	return n
}

// barKey names a bar within a book.
type barKey struct {
	length  int32 // seconds
	session uint8 // index into kinds
	start   int64 // Unix seconds
}

// Lengths with rules of their own; the others are as hours are, or, below a minute, parts of one.
const (
	sec     int32 = 1
	min1    int32 = 60
	dayLong int32 = 24 * 3600
)

var kinds = [...]session.Kind{"", session.Overnight, session.Pre, session.Regular, session.After}

// lengthOf an interval, seconds.
func lengthOf(i market.Interval) int32 { return int32(i.Duration() / time.Second) }

func (k barKey) interval() market.Interval {
	return market.IntervalOf(time.Duration(k.length) * time.Second)
}

// whole: the bar of the whole trade date.
func (k barKey) whole() bool { return k.length == dayLong && k.session == 0 }

func (k barKey) kind() session.Kind { return kinds[k.session] }

func kindIndex(k session.Kind) uint8 { return uint8(max(slices.Index(kinds[:], k), 0)) }

// keys appends the bars of the lengths that the prints of a second are in.
func keys(out []barKey, lengths []int32, at int64, s session.Session, midnight int64) []barKey {
	kind := kindIndex(s.Kind)
	for _, n := range lengths {
		switch n {
		case sec, min1:
			out = append(out, barKey{n, kind, at - at%int64(n)})
		case dayLong:
			out = append(out, barKey{n, kind, s.Open.Unix()}, barKey{n, 0, midnight})
		default:
			out = append(out, barKey{n, kind, max(at-at%int64(n), s.Open.Unix())})
		}
	}
	return out
}

// interner numbers texts that come again and again.
type interner struct{ n map[string]uint64 }

func (x *interner) number(s string) uint64 {
	n, ok := x.n[s]
	if !ok {
		n = uint64(len(x.n))
		x.n[strings.Clone(s)] = n // s may be a piece of a whole message
	}
	return n
}

// key of a print. An id that is a plain number is kept as one.
func (x *interner) key(exchange, id string) key {
	k := key{exchange: uint32(x.number(exchange))}
	if len(id) == 0 || len(id) > 18 || id[0] == '0' && len(id) > 1 {
		k.text, k.id = true, x.number(id)
		return k
	}
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			k.text, k.id = true, x.number(id)
			return k
		}
		k.id = k.id*10 + uint64(id[i]-'0')
	}
	return k
}

// startOf is when a bar's label says that it starts.
func (k barKey) startOf() time.Time { return time.Unix(k.start, 0).UTC() }
