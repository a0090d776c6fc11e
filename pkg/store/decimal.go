package store

import (
	"math/bits"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The two decimal types of the tables.
const (
	// priceType holds prices, sizes and rates: ten digits before the point and eight behind it.
	priceType  = "Decimal(18, 8)"
	priceScale = 8
	priceLimit = 999_999_999_999_999_999 // 18 digits

	// wideType holds every market.Decimal exactly: 19 digits before the point and 19 behind it.
	wideType  = "Decimal(38, 19)"
	wideScale = market.MaxDigits
)

// pow10 returns 10 to the n, 0 <= n <= 19.
func pow10(n int) uint64 { return powersOf10[n] }

//nolint:gochecknoglobals // a constant table
var powersOf10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// scalePrice returns d times 10^8 and whether that is exact and within Decimal(18, 8).
func scalePrice(d market.Decimal) (int64, bool) {
	coef, scale := d.Coef(), d.Scale()
	if scale <= priceScale {
		hi, lo := bits.Mul64(coef, pow10(priceScale-scale))
		if hi != 0 {
			return 0, false
		}
		coef = lo
	} else {
		p := pow10(scale - priceScale)
		q := coef / p
		if q*p != coef {
			return 0, false
		}
		coef = q
	}
	if coef > priceLimit {
		return 0, false
	}
	if d.IsNeg() {
		return -int64(coef), true
	}
	return int64(coef), true
}

// scaleWide returns d times 10^19 as a 128-bit two's complement integer. Every market.Decimal fits: its coefficient is below
// 10^19 and its scale at most 19.
func scaleWide(d market.Decimal) (hi, lo uint64) {
	hi, lo = bits.Mul64(d.Coef(), pow10(wideScale-d.Scale()))
	if d.IsNeg() {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
	}
	return hi, lo
}
