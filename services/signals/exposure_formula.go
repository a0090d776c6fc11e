package signals

import (
	"math"
	"math/big"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The arithmetic of exposures, in whole numbers as the views exposure and lead_lag have it, so that both agree to the last digit. Returns have 10
// decimals, beta, correlation and share 8, bounds 6; each is rounded once, to the nearest, halves away from zero.
const (
	exposurePairs  = 20  // fewer give no value
	exposureFactor = 100 // a price or level that moves this much between two days is an error of units, not a return
	exposureLags   = 5   // of lead and lag, trade days each way
)

// Why a value is missing; the views say the same.
const (
	whyPairs       = "fewer than 20 pairs"
	whyFactorStill = "the factor did not move"
	whyFactorFaint = "the factor hardly moved"
	whyPriceStill  = "the price did not move"
	whyAdjusted    = "prices are of another adjustment"
	whyPriceJumps  = "price moved hundredfold"
	whyFactorJumps = "factor moved hundredfold"
	whyNoLevel     = "no level of the day"
	whyNoLevelPrev = "no level of the trade day before"
	whyNoMethod    = "no method of both days"
)

var (
	bigOne   = big.NewInt(1)
	e6       = tenTo(6)
	e8       = tenTo(8)
	e10      = tenTo(10)
	e18      = tenTo(18)
	e24      = tenTo(24)
	fourE16  = new(big.Int).Mul(big.NewInt(4), tenTo(16))
	tenThous = tenTo(4)
)

func bigOf(n int) *big.Int { return big.NewInt(int64(n)) }

func tenTo(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

// unscaled is a decimal times 10^scale, which must be whole.
func unscaled(d market.Decimal, scale int64) *big.Int {
	r := ratOf(d)
	return new(big.Int).Quo(new(big.Int).Mul(r.Num(), tenTo(scale)), r.Denom())
}

// roundQuo is a/b to the nearest whole number, halves away from zero; b is above 0.
func roundQuo(a, b *big.Int) *big.Int {
	q := new(big.Int).Abs(a)
	q.Lsh(q, 1).Add(q, b)
	q.Quo(q, new(big.Int).Lsh(b, 1))
	if a.Sign() < 0 {
		q.Neg(q)
	}
	return q
}

// returnOf is after/before - 1 times 10^10; nil where that is no return.
func returnOf(before, after *big.Int) *big.Int {
	bound := big.NewInt(exposureFactor)
	if before.Sign() <= 0 || after.Sign() <= 0 || after.Cmp(new(big.Int).Mul(bound, before)) >= 0 || before.Cmp(new(big.Int).Mul(bound, after)) >= 0 {
		return nil
	}
	r := roundQuo(new(big.Int).Mul(after, e10), before)
	return r.Sub(r, e10)
}

// pair is the returns of a factor and of a symbol over one span, times 10^10.
type pair struct{ x, y *big.Int }

// regression is what pairs say: nil is no value, and why says why.
type regression struct {
	n                int
	beta, r, share   *big.Int // times 10^8
	low, high        *big.Int // of r, 95 %, times 10^6
	shareLow, shareH *big.Int // times 10^6
	why              string
}

func regress(pairs []pair) regression {
	out := regression{n: len(pairs)}
	if out.n < exposurePairs {
		out.why = whyPairs
		return out
	}
	var sx, sy, sxx, sxy, syy, p big.Int
	for _, x := range pairs {
		sx.Add(&sx, x.x)
		sy.Add(&sy, x.y)
		sxx.Add(&sxx, p.Mul(x.x, x.x))
		sxy.Add(&sxy, p.Mul(x.x, x.y))
		syy.Add(&syy, p.Mul(x.y, x.y))
	}
	n := big.NewInt(int64(out.n))
	around := func(ab, a, b *big.Int) *big.Int { // n times the sum of products, less the product of sums
		v := new(big.Int).Mul(n, ab)
		return v.Sub(v, p.Mul(a, b))
	}
	cov, varX, varY := around(&sxy, &sx, &sy), around(&sxx, &sx, &sx), around(&syy, &sy, &sy)
	if varX.Sign() == 0 {
		out.why = whyFactorStill
		return out
	}
	if beta := roundQuo(new(big.Int).Mul(cov, e8), varX); beta.CmpAbs(e18) < 0 {
		out.beta = beta
	} else {
		out.why = whyFactorFaint
	}
	if varY.Sign() == 0 {
		if out.why == "" {
			out.why = whyPriceStill
		}
		return out
	}
	square, both := new(big.Int).Mul(cov, cov), new(big.Int).Mul(varX, varY)
	out.share = roundQuo(p.Mul(square, e8), both)
	// Half of one more than the root of four times the square is the root, rounded.
	root := new(big.Int).Sqrt(new(big.Int).Quo(new(big.Int).Mul(square, fourE16), both))
	out.r = root.Rsh(root.Add(root, bigOne), 1)
	if cov.Sign() < 0 {
		out.r.Neg(out.r)
	}
	out.bound()
	return out
}

// bound sets the bounds by Fisher's transformation. The hyperbolic tangent of a sum is a ratio of whole numbers once that of the half width is one.
func (x *regression) bound() {
	t := fisher(x.n)
	r := new(big.Int).Mul(x.r, tenThous)
	rt := new(big.Int).Mul(r, t)
	x.low = roundQuo(new(big.Int).Mul(new(big.Int).Sub(r, t), e18), new(big.Int).Sub(e24, rt))
	x.high = roundQuo(new(big.Int).Mul(new(big.Int).Add(r, t), e18), new(big.Int).Add(e24, rt))
	low, high := roundQuo(new(big.Int).Mul(x.low, x.low), e6), roundQuo(new(big.Int).Mul(x.high, x.high), e6)
	if low.Cmp(high) > 0 {
		low, high = high, low
	}
	if x.low.Sign()*x.high.Sign() <= 0 {
		low = new(big.Int)
	}
	x.shareLow, x.shareH = low, high
}

// fisher is the hyperbolic tangent of half the width of the 95 % interval of n pairs, times 10^12.
func fisher(n int) *big.Int {
	return big.NewInt(int64(math.Round(math.Tanh(1.959963984540054/math.Sqrt(float64(max(n, 4)-3))) * 1e12)))
}

// scaled is a whole number with so many decimals as text, without zeros at its end.
func scaled(v *big.Int, decimals int) string {
	digits := new(big.Int).Abs(v).String()
	if n := decimals + 1 - len(digits); n > 0 {
		digits = strings.Repeat("0", n) + digits
	}
	at := len(digits) - decimals
	out := strings.TrimRight(strings.TrimRight(digits[:at]+"."+digits[at:], "0"), ".")
	if v.Sign() < 0 {
		out = "-" + out
	}
	return out
}
