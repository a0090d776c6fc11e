package alpaca

import (
	"math"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// bar in the units of the tape; at is its start.
type bar struct {
	at         int64
	o, h, l, c int64
	v, n       int64
	vw         int64 // 1e-6 USD
}

// minute gathers the prints of one symbol and minute by Alpaca's condition table as far as the generated conditions need it: odd lots (I)
// count for volume and trades, not for prices.
type minute struct {
	b          bar
	pv, pvSize int64
	dirty      bool // a print came late, was cancelled or corrected: the bar must be built anew
	sent       bool
}

func (m *minute) add(at, price, size int64, cond []string) {
	m.b.v += size
	m.b.n++
	if isOddLot(cond) {
		return
	}
	if m.pvSize == 0 {
		m.b.o, m.b.h, m.b.l = price, price, price
	}
	m.b.h, m.b.l, m.b.c = max(m.b.h, price), min(m.b.l, price), price
	m.pv += price * size
	m.pvSize += size
	m.b.vw = m.pv * 100 / m.pvSize
}

// ok reports whether there is a bar: a minute without an eligible print has none.
func (m *minute) ok() bool { return m.pvSize > 0 }

func isOddLot(cond []string) bool {
	for _, c := range cond {
		if c == "I" {
			return true
		}
	}
	return false
}

// minuteBar builds the bar of the minute that starts at bucket first from its prints as they are known at bucket now.
func (g *generator) minuteBar(s *security, first, now int64) (bar, bool) {
	m := minute{b: bar{at: first * int64(bucket)}}
	var scratch []tick
	var prints []told
	for b := first; b < first+perMinute && b <= now; b++ {
		scratch, prints = g.trades(s, b, now, scratch, prints[:0])
		for _, p := range prints {
			if p.u == "" || p.u == "corrected" {
				m.add(p.at, p.price, p.size, p.cond)
			}
		}
	}
	return m.b, m.ok()
}

// dailyBar is the bar of a New York date up to the minute of now. It is drawn from the world's price by the minute, not summed up from
// the prints: it lies within a tick or so of them, and weeks back cost nothing.
func (g *generator) dailyBar(cal session.Always, s *security, d session.Date, now time.Time) (bar, bool) {
	start, end := cal.Midnight(d), cal.TradeDateEnd(d)
	upTo := end
	if now.Before(end) {
		upTo = now.Truncate(time.Minute)
	}
	if !upTo.After(start) {
		return bar{}, false
	}
	out := bar{at: start.UnixNano()}
	var sum float64
	steps := int64(0)
	for t := start; t.Before(upTo); t = t.Add(time.Minute) {
		usd, ok := g.w.EquityAt(s.symbol, t)
		if !ok {
			return bar{}, false
		}
		p := max(int64(usd*unit), 1)
		p = max(p/tickOf(p), 1) * tickOf(p)
		if steps == 0 {
			out.o, out.h, out.l = p, p, p
		}
		out.h, out.l, out.c = max(out.h, p), min(out.l, p), p
		sum += float64(p)
		steps++
	}
	// A trade is three events in ten, of 180 shares in the mean.
	out.n = int64(math.Ceil(s.rate * 0.3 * upTo.Sub(start).Seconds()))
	out.v = out.n * 180
	out.vw = int64(sum / float64(steps) * 100)
	return out, true
}
