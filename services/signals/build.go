package signals

import (
	"cmp"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Build makes the bars of prints from the beginning, by the method as docs/bars.md words it: the definition that the engine must equal.
// The prints, corrections and cancels are of one source and symbol, in the order of their stream. Bars come in no particular order, without
// source, revision and receive time.
func Build(prints []market.Trade, rules *Rules, cal session.Calendar, intervals []market.Interval) []market.Bar {
	byDate := map[session.Date][]buildPrint{}
	for _, x := range resolve(prints, cal) {
		s := cal.At(x.at)
		if s.Kind == session.Closed {
			continue
		}
		x.session, x.rule = s, rules.of(x.conditions, x.tape)
		byDate[s.TradeDate] = append(byDate[s.TradeDate], x)
	}
	var out []market.Bar
	for date, list := range byDate {
		slices.SortFunc(list, func(a, b buildPrint) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.order, b.order), cmp.Compare(a.made, b.made))
		})
		for _, interval := range intervals {
			out = append(out, buildInterval(list, date, interval, rules.Method, cal)...)
		}
	}
	return out
}

// buildPrint is a print as it stands after its corrections.
type buildPrint struct {
	at          time.Time
	sequence    uint64
	order, made int
	price, size market.Decimal
	conditions  []string
	tape        string

	session session.Session
	rule    rule
}

// resolve applies corrections and cancels. A revision is about the print of its exchange and id in its own trade date; the first of two
// tellings of one fact counts; a corrected print stands where its original stood; one whose original is unknown stands nowhere.
func resolve(prints []market.Trade, cal session.Calendar) []buildPrint {
	type name struct {
		date         session.Date
		exchange, id string
	}
	type change struct {
		from, to name
		t        *market.Trade
		order    int
	}
	told := map[name]buildPrint{}
	cancelled := map[name]bool{}
	var changes []change
	for i := range prints {
		t := &prints[i]
		date := dateOf(cal, t.EventTime)
		n := name{date, t.Exchange, idOf(t)}
		switch t.Action {
		case market.TradeNew:
			if _, twice := told[n]; !twice {
				told[n] = buildPrint{at: t.EventTime, sequence: t.Sequence, order: i, price: t.PriceUSD, size: t.SizeShares, conditions: t.Conditions, tape: t.Tape}
			}
		case market.TradeCancel:
			cancelled[n] = true
		case market.TradeCorrection:
			c := change{name{date, t.Exchange, t.OriginalID}, n, t, i}
			if !slices.ContainsFunc(changes, func(x change) bool { return x.from == c.from && x.to == c.to }) {
				changes = append(changes, c)
			}
		}
	}
	// A print that nobody told stands where the original of its first correction stands, if that is known.
	var stands func(n name, seen map[name]bool) (buildPrint, bool)
	stands = func(n name, seen map[name]bool) (buildPrint, bool) {
		if p, ok := told[n]; ok || seen[n] {
			return p, ok
		}
		seen[n] = true
		for _, c := range changes {
			if c.to != n || c.from == n {
				continue
			}
			if p, ok := stands(c.from, seen); ok {
				p.price, p.size, p.conditions, p.tape, p.made = c.t.PriceUSD, c.t.SizeShares, c.t.Conditions, c.t.Tape, c.order
				return p, true
			}
		}
		return buildPrint{}, false
	}
	made := map[name]buildPrint{}
	for _, c := range changes {
		if p, ok := stands(c.to, map[name]bool{}); ok {
			made[c.to] = p
		}
	}
	maps.Copy(told, made)
	for _, c := range changes {
		if p, ok := told[c.to]; ok && c.from == c.to {
			p.price, p.size, p.conditions, p.tape = c.t.PriceUSD, c.t.SizeShares, c.t.Conditions, c.t.Tape
			told[c.to] = p
		} else if c.from != c.to {
			cancelled[c.from] = true
		}
	}
	var out []buildPrint
	for n, p := range told {
		if !cancelled[n] && p.size.IsPos() {
			out = append(out, p)
		}
	}
	return out
}

// dateOf is the trade date of a moment; between two sessions it is that which ended, since what is told then is about the day before.
func dateOf(cal session.Calendar, at time.Time) session.Date {
	s := cal.At(at)
	for s.Kind == session.Closed && !s.Open.IsZero() {
		s = cal.At(s.Open.Add(-time.Nanosecond))
	}
	return s.TradeDate
}

// idOf a print; where the venue gives none, its content.
func idOf(t *market.Trade) string {
	if t.ID != "" {
		return t.ID
	}
	return strconv.FormatInt(t.EventTime.UnixNano(), 10) + "@" + t.PriceUSD.String() + "x" + t.SizeShares.String()
}

func buildInterval(list []buildPrint, date session.Date, interval market.Interval, method string, cal session.Calendar) []market.Bar {
	type group struct {
		start   time.Time
		session session.Kind
	}
	var order []group
	groups := map[group][]buildPrint{}
	put := func(g group, x buildPrint) {
		if _, known := groups[g]; !known {
			order = append(order, g)
		}
		groups[g] = append(groups[g], x)
	}
	minutes := map[time.Time]bool{} // that have a bar
	asHours := interval.Duration() > time.Minute && interval != market.Interval1d
	if asHours {
		for _, b := range buildInterval(list, date, market.Interval1m, method, cal) {
			minutes[b.EventTime] = true
		}
	}
	for _, x := range list {
		switch {
		case interval == market.Interval1d:
			put(group{cal.Midnight(date), ""}, x)
			put(group{x.session.Open, x.session.Kind}, x)
		case interval == market.Interval1s, interval == market.Interval1m:
			put(group{x.at.Truncate(interval.Duration()), x.session.Kind}, x)
		case !asHours || minutes[x.at.Truncate(time.Minute)]:
			start := x.at.Truncate(interval.Duration())
			if start.Before(x.session.Open) {
				start = x.session.Open
			}
			put(group{start, x.session.Kind}, x)
		}
	}
	var out []market.Bar
	for _, g := range order {
		b := market.Bar{Interval: interval, Session: string(g.session), TradeDate: date.String(), Method: method}
		b.EventTime = g.start
		if buildOne(&b, groups[g], interval == market.Interval1d && g.session == "") {
			out = append(out, b)
		}
	}
	return out
}

// buildOne folds prints, in their order, into b and reports whether there is a bar.
func buildOne(b *market.Bar, list []buildPrint, daily bool) bool {
	var opened, ranged bool
	var volume, value, counted big.Int
	for _, x := range list {
		f := x.rule.minute
		if daily {
			f = x.rule.daily
		}
		if f.OpenClose == reference.Updates || f.OpenClose == reference.IfFirst && !opened {
			if !opened {
				b.OpenUSD = x.price
			}
			b.CloseUSD, opened = x.price, true
		}
		if f.HighLow == reference.Updates || f.HighLow == reference.IfFirst && !ranged {
			if !ranged || x.price.Cmp(b.HighUSD) > 0 {
				b.HighUSD = x.price
			}
			if !ranged || x.price.Cmp(b.LowUSD) < 0 {
				b.LowUSD = x.price
			}
			ranged = true
		}
		if f.Volume != reference.Updates {
			continue
		}
		price, _ := fixed(x.price)
		size, _ := fixed(x.size)
		s := big.NewInt(size)
		volume.Add(&volume, s)
		b.TradeCount++
		if f.HighLow == reference.Updates {
			value.Add(&value, new(big.Int).Mul(big.NewInt(price), s))
			counted.Add(&counted, s)
		}
	}
	if !opened || !ranged || volume.Sign() == 0 || volume.Cmp(big.NewInt(maxStored)) >= 0 {
		return false
	}
	b.Volume = decimalOf(volume.Int64())
	if counted.Sign() > 0 {
		q, r := new(big.Int).QuoRem(&value, &counted, new(big.Int))
		if c := r.Lsh(r, 1).Cmp(&counted); c > 0 || c == 0 && q.Bit(0) == 1 {
			q.Add(q, big.NewInt(1))
		}
		b.VWAPUSD = decimalOf(q.Int64())
	}
	return true
}
