package tape

import (
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// extendedShare is how busy the extended hours are, of the regular ones.
const extendedShare = 0.3

// auctionKind of a bucket: the first of the regular session opens it, the first behind it closes it.
type auctionKind uint8

const (
	noAuction auctionKind = iota
	openingAuction
	closingAuction

	// maxAuction prints are made of an auction: the cross, and the market center's official price of it.
	maxAuction = 2
)

var (
	alwaysRegular = session.Session{Kind: session.Regular}

	openingCross, officialOpen  = []string{"@", "O", "X"}, []string{"Q"}
	closingCross, officialClose = []string{"@", "6", "X"}, []string{"M"}
)

// sessionOf a bucket, by its start.
func (g *Generator) sessionOf(b int64) session.Session {
	if g.cal == nil {
		return alwaysRegular
	}
	t := BucketTime(b)
	if x := g.current.Load(); x != nil && !t.Before(x.Open) && t.Before(x.Close) {
		return *x
	}
	x := g.cal.At(t)
	g.current.Store(&x)
	return x
}

func (g *Generator) auction(b int64, x session.Session) auctionKind {
	if g.cal == nil || BucketTime(b).Sub(x.Open) >= Bucket {
		return noAuction
	}
	switch x.Kind {
	case session.Regular:
		return openingAuction
	case session.After:
		return closingAuction
	}
	return noAuction
}

func auctionPrints(a auctionKind) int {
	if a == noAuction {
		return 0
	}
	return maxAuction
}

// appendAuction makes the prints of an auction at the start of the bucket: the cross, which counts, and the official price, which repeats it.
func appendAuction(out []Tick, s *Security, b int64, a auctionKind, price int64) []Tick {
	conditions := [maxAuction][]string{openingCross, officialOpen}
	if a == closingAuction {
		conditions = [maxAuction][]string{closingCross, officialClose}
	}
	for i, c := range conditions {
		out = append(out, Tick{
			Kind: 't', Security: s, At: b * int64(Bucket), ID: uint64(b)<<12 | uint64(i), Sequence: uint64(b)<<sequenceBits | uint64(i),
			Price: price, Size: 10_000 + int64(s.hash%90)*100, Exchange: 'Q', Conditions: c,
		})
	}
	return out
}

// formT marks a print of the extended hours.
func formT(conditions []string) []string {
	out := make([]string, 0, len(conditions)+1)
	out = append(out, conditions[0], "T")
	return append(out, conditions[1:]...)
}

// TradeDate of a moment: the calendar's, New York's date without one.
func (g *Generator) TradeDate(cal session.Always, t time.Time) session.Date {
	if g.cal != nil {
		return g.cal.At(t).TradeDate
	}
	return cal.DateOf(t)
}

type dayKey struct {
	symbol string
	date   session.Date
}

// daySum is a day's bar as far as nothing of it can change any more.
type daySum struct {
	sum  Day
	next int64 // the first bucket that is not in it
}

// dayFromPrints is the bar of a trade date by Alpaca's daily rules as it is known at now. What is settled is summed up once.
func (g *Generator) dayFromPrints(s *Security, d session.Date, now time.Time) (Bar, bool) {
	sum := g.firstOf(d)
	if sum.IsZero() {
		return Bar{}, false
	}
	first, end, at := BucketOf(sum), BucketOf(g.cal.TradeDateEnd(d)), BucketOf(now)
	g.daysMu.Lock()
	defer g.daysMu.Unlock()
	k := dayKey{s.Symbol, d}
	x := g.days[k]
	if x == nil {
		x = &daySum{sum: Day{Bar: Bar{At: g.cal.Midnight(d).UnixNano()}}, next: first}
		g.days[k] = x
	}
	var scratch []Tick
	var prints []Told
	add := func(sum *Day, b int64) {
		scratch, prints = g.Prints(s, b, at, scratch, prints[:0])
		for _, p := range prints {
			if p.Update == "" || p.Update == "corrected" {
				sum.Add(p.Price, p.Size, p.Conditions)
			}
		}
	}
	for ; x.next < end && x.next+g.Settled() < at; x.next++ {
		add(&x.sum, x.next)
	}
	out := x.sum
	for b := x.next; b < end && b <= at; b++ {
		add(&out, b)
	}
	return out.Bar, out.OK()
}

// firstOf is the opening of the first session of a trade date; zero for a date without trading.
func (g *Generator) firstOf(d session.Date) time.Time {
	// The evening before may belong to the date; from noon of the day before on, sessions of earlier dates have another trade date.
	for t := g.cal.Midnight(d).Add(-12 * time.Hour); t.Before(g.cal.TradeDateEnd(d)); {
		x := g.cal.At(t)
		if x.Kind != session.Closed && x.TradeDate == d {
			return x.Open
		}
		if !x.Close.After(t) {
			return time.Time{}
		}
		t = x.Close
	}
	return time.Time{}
}
