package signals

import (
	"math/bits"

	"github.com/govalues/decimal"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// scale of prices and sizes inside the engine: whole numbers of 1e-8, as they are stored.
const scale = 8

// maxStored is what Decimal(18, 8) can hold, exclusive.
const maxStored = 1_000_000_000_000_000_000

// fixed converts a decimal that market has validated.
func fixed(d market.Decimal) (int64, bool) {
	d = d.Trim(0)
	c, s := d.Coef(), d.Scale()
	if s > scale {
		return 0, false
	}
	for ; s < scale; s++ {
		if c >= maxStored/10 {
			return 0, false
		}
		c *= 10
	}
	if c >= maxStored {
		return 0, false
	}
	if d.IsNeg() {
		return -int64(c), true
	}
	return int64(c), true
}

// decimalOf is the inverse of fixed.
func decimalOf(n int64) market.Decimal {
	return decimal.MustNew(n, scale).Trim(0)
}

// part is what the prints of a span do to a bar, such that the parts of two spans that follow each other make the part of both. All of it is
// exact.
type part struct {
	volume, trades uint64
	// Sum of price times size, 1e-16, and of size, over the prints of the average price.
	pvHi, pvLo, pvSize uint64

	open, last int64 // first print that may open; last that updates the close
	high, low  int64 // of the prints that update them
	only       int64 // price of a print that sets high and low only if it is the first

	hasOpen, hasLast, hasRange, hasOnly bool
	over                                bool // sizes beyond all measure
}

func (p *part) add(price, size int64, f reference.Flags) {
	switch f.OpenClose {
	case reference.Updates:
		if !p.hasOpen {
			p.open, p.hasOpen = price, true
		}
		p.last, p.hasLast = price, true
	case reference.IfFirst:
		if !p.hasOpen {
			p.open, p.hasOpen = price, true
		}
	}
	switch f.HighLow {
	case reference.Updates:
		p.widen(price, price)
	case reference.IfFirst:
		if !p.hasRange && !p.hasOnly {
			p.only, p.hasOnly = price, true
		}
	}
	if f.Volume != reference.Updates {
		return
	}
	p.count(uint64(size), 1)
	if f.HighLow == reference.Updates {
		hi, lo := bits.Mul64(uint64(price), uint64(size))
		p.average(hi, lo, uint64(size))
	}
}

func (p *part) widen(high, low int64) {
	if !p.hasRange {
		p.high, p.low, p.hasRange = high, low, true
		return
	}
	p.high, p.low = max(p.high, high), min(p.low, low)
}

func (p *part) count(volume, trades uint64) {
	sum, carry := bits.Add64(p.volume, volume, 0)
	p.volume, p.over = sum, p.over || carry > 0
	p.trades += trades
}

// average cannot overflow while the sizes do not: prices are below 2^60.
func (p *part) average(hi, lo, size uint64) {
	var carry uint64
	p.pvLo, carry = bits.Add64(p.pvLo, lo, 0)
	p.pvHi, _ = bits.Add64(p.pvHi, hi, carry)
	p.pvSize, carry = bits.Add64(p.pvSize, size, 0)
	p.over = p.over || carry > 0
}

// then appends what follows.
func (p *part) then(q *part) {
	if !p.hasOpen && q.hasOpen {
		p.open, p.hasOpen = q.open, true
	}
	if q.hasLast {
		p.last, p.hasLast = q.last, true
	}
	if q.hasOnly && !p.hasRange && !p.hasOnly {
		p.only, p.hasOnly = q.only, true
	}
	if q.hasRange {
		p.widen(q.high, q.low)
	}
	p.count(q.volume, q.trades)
	p.average(q.pvHi, q.pvLo, q.pvSize)
	p.over = p.over || q.over
}

// values are the numbers of a bar, in 1e-8. The zero values are no bar.
type values struct {
	open, high, low, close int64
	volume, trades         uint64
	vwap                   int64
}

// values of the part; none unless open, high, low, close and volume are all there.
func (p *part) values() (v values, ok bool) {
	if !p.hasOpen || !p.hasRange && !p.hasOnly || p.volume == 0 || p.over || p.volume >= maxStored {
		return values{}, false
	}
	v = values{open: p.open, close: p.open, high: p.high, low: p.low, volume: p.volume, trades: p.trades}
	if p.hasLast {
		v.close = p.last
	}
	if p.hasOnly {
		if !p.hasRange {
			v.high, v.low = p.only, p.only
		}
		v.high, v.low = max(v.high, p.only), min(v.low, p.only)
	}
	if p.pvSize > 0 {
		q, rest := bits.Div64(p.pvHi, p.pvLo, p.pvSize)
		// To the nearest, a half to the even neighbour.
		if up := p.pvSize - rest; rest > up || rest == up && q&1 == 1 {
			q++
		}
		v.vwap = int64(q)
	}
	return v, true
}
