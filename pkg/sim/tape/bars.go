package tape

import (
	"math"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// Bar in the units of the tape; At is its start.
type Bar struct {
	At         int64
	O, H, L, C int64
	V, N       int64
	VW         int64 // 1e-6 USD
}

// Minute gathers the prints of one symbol and minute by Alpaca's condition table as far as the generated conditions need it: odd lots (I)
// count for volume and trades, not for prices.
type Minute struct {
	Bar        Bar
	pv, pvSize int64
	Dirty      bool // a print came late, was cancelled or corrected: the bar must be built anew
	Sent       bool
}

// Add counts a print.
func (m *Minute) Add(at, price, size int64, cond []string) {
	if has(cond, "M") || has(cond, "Q") {
		return // the official price repeats the auction
	}
	m.Bar.V += size
	m.Bar.N++
	if has(cond, "I") {
		return
	}
	m.price(price, size)
}

func (m *Minute) price(price, size int64) {
	if m.pvSize == 0 {
		m.Bar.O, m.Bar.H, m.Bar.L = price, price, price
	}
	m.Bar.H, m.Bar.L, m.Bar.C = max(m.Bar.H, price), min(m.Bar.L, price), price
	m.pv += price * size
	m.pvSize += size
	m.Bar.VW = m.pv * 100 / m.pvSize
}

// Day gathers the prints of a trade date by the daily column of the table: those of the extended hours (T) count for volume and trades only.
type Day Minute

// Add counts a print.
func (d *Day) Add(price, size int64, cond []string) {
	if has(cond, "M") || has(cond, "Q") {
		return
	}
	d.Bar.V += size
	d.Bar.N++
	if !has(cond, "I") && !has(cond, "T") {
		(*Minute)(d).price(price, size)
	}
}

// OK reports whether there is a bar.
func (d *Day) OK() bool { return (*Minute)(d).OK() }

// OK reports whether there is a bar: a minute without an eligible print has none.
func (m *Minute) OK() bool { return m.pvSize > 0 }

func has(cond []string, code string) bool { return slices.Contains(cond, code) }

// MinuteBar builds the bar of the minute that starts at bucket first from its prints as they are known at bucket now.
func (g *Generator) MinuteBar(s *Security, first, now int64) (Bar, bool) {
	return g.SpanBar(s, first, PerMinute, now)
}

// SpanBar is MinuteBar over n buckets.
func (g *Generator) SpanBar(s *Security, first, n, now int64) (Bar, bool) {
	m := Minute{Bar: Bar{At: first * int64(Bucket)}}
	var scratch []Tick
	var prints []Told
	for b := first; b < first+n && b <= now; b++ {
		scratch, prints = g.Prints(s, b, now, scratch, prints[:0])
		for _, p := range prints {
			if p.Update == "" || p.Update == "corrected" {
				m.Add(p.At, p.Price, p.Size, p.Conditions)
			}
		}
	}
	return m.Bar, m.OK()
}

// DailyBar is the bar of a New York date up to the minute of now. It is drawn from the world's price by the minute, not summed up from
// the prints: it lies within a tick or so of them, and weeks back cost nothing.
func (g *Generator) DailyBar(cal session.Always, s *Security, d session.Date, now time.Time) (Bar, bool) {
	if g.cal != nil {
		return g.dayFromPrints(s, d, now)
	}
	start, end := cal.Midnight(d), cal.TradeDateEnd(d)
	upTo := end
	if now.Before(end) {
		upTo = now.Truncate(time.Minute)
	}
	if !upTo.After(start) {
		return Bar{}, false
	}
	out := Bar{At: start.UnixNano()}
	var sum float64
	steps := int64(0)
	for t := start; t.Before(upTo); t = t.Add(time.Minute) {
		usd, ok := g.w.EquityAt(s.Symbol, t)
		if !ok {
			return Bar{}, false
		}
		p := max(int64(usd*Unit), 1)
		p = max(p/TickOf(p), 1) * TickOf(p)
		if steps == 0 {
			out.O, out.H, out.L = p, p, p
		}
		out.H, out.L, out.C = max(out.H, p), min(out.L, p), p
		sum += float64(p)
		steps++
	}
	// A trade is three events in ten, of 180 shares in the mean.
	out.N = int64(math.Ceil(s.rate * 0.3 * upTo.Sub(start).Seconds()))
	out.V = out.N * 180
	out.VW = int64(sum / float64(steps) * 100)
	return out, true
}
