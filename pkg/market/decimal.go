package market

import (
	"fmt"
	"strconv"

	"github.com/govalues/decimal"
)

// Decimal is an exact decimal of up to 19 significant digits, without allocation.
type Decimal = decimal.Decimal

// MaxDigits is the number of significant digits that a Decimal holds exactly.
const MaxDigits = decimal.MaxPrec

// ParseDecimal reads a decimal from its text. Unlike decimal.Parse it never rounds: a number of more than MaxDigits significant
// digits is an error, because a price that is not the venue's price is worse than none.
func ParseDecimal(s string) (Decimal, error) {
	if d, ok := parsePlain(s); ok {
		return d, nil
	}
	digits, scale, leading, point := 0, 0, true, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 'e' || c == 'E' {
			exp, err := strconv.Atoi(s[i+1:])
			if err != nil || exp < -1000 || exp > 1000 {
				return Decimal{}, fmt.Errorf("parse decimal %.40q: the exponent is no number from -1000 to 1000", s)
			}
			scale -= exp
			break
		}
		if c == '.' {
			point = true
		}
		if c < '0' || c > '9' {
			continue
		}
		if point {
			scale++
		}
		if c == '0' && leading {
			continue
		}
		leading = false
		digits++
	}
	if digits > MaxDigits || digits > 0 && scale > MaxDigits {
		return Decimal{}, fmt.Errorf("parse decimal %.40q: more than %d digits, or behind the point", s, MaxDigits)
	}
	d, err := decimal.Parse(s)
	if err != nil {
		return Decimal{}, fmt.Errorf("parse decimal %.40q: %w", s, err)
	}
	return d, nil
}

// parsePlain reads what venues mostly write: digits with or without a point, few enough for an integer.
func parsePlain(s string) (Decimal, bool) {
	if len(s) == 0 || len(s) > 18 || s[0] == '.' || s[len(s)-1] == '.' {
		return Decimal{}, false
	}
	coef, scale, point := int64(0), 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			coef = coef*10 + int64(c-'0')
			if point {
				scale++
			}
		case c == '.' && !point:
			point = true
		default:
			return Decimal{}, false
		}
	}
	d, err := decimal.New(coef, scale)
	return d, err == nil
}

// MustDecimal is ParseDecimal for constants; it panics on bad text.
func MustDecimal(s string) Decimal {
	d, err := ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return d
}

// Fits reports whether d can be stored exactly as Decimal(precision, scale).
func Fits(d Decimal, precision, scale int) bool {
	// Without zeros at its end to cut off, which is what prices are like: digits before the point that fit, and few enough behind it.
	if s := d.Scale(); s <= scale && precision-scale+s < len(powersOf10) && d.Coef() < powersOf10[precision-scale+s] {
		return true
	}
	t := d.Trim(0)
	if t.Scale() > scale {
		return false
	}
	return t.Prec()-t.Scale() <= precision-scale
}

//nolint:gochecknoglobals // a constant table
var powersOf10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}
