package market

import (
	"fmt"

	"github.com/govalues/decimal"
)

// Decimal is an exact decimal of up to 19 significant digits, without allocation.
type Decimal = decimal.Decimal

// MaxDigits is the number of significant digits that a Decimal holds exactly.
const MaxDigits = decimal.MaxPrec

// ParseDecimal reads a decimal from its text. Unlike decimal.Parse it never rounds: a number of more than MaxDigits significant
// digits is an error, because a price that is not the venue's price is worse than none.
func ParseDecimal(s string) (Decimal, error) {
	digits, leading := 0, true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 'e' || c == 'E' {
			break
		}
		if c < '0' || c > '9' {
			continue
		}
		if c == '0' && leading {
			continue
		}
		leading = false
		digits++
	}
	if digits > MaxDigits {
		return Decimal{}, fmt.Errorf("parse decimal %.40q: more than %d significant digits", s, MaxDigits)
	}
	d, err := decimal.Parse(s)
	if err != nil {
		return Decimal{}, fmt.Errorf("parse decimal %.40q: %w", s, err)
	}
	return d, nil
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
	t := d.Trim(0)
	if t.Scale() > scale {
		return false
	}
	return t.Prec()-t.Scale() <= precision-scale
}
