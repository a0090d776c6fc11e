package signals

import (
	"fmt"
	"math/big"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// pivotScale is the decimals of every value of the pivot. A value is computed exactly and rounded once, to the nearest, halves away from zero:
// as the views revenue_per_mwh, pivot and pivot_live do.
const pivotScale = 8

// miningUSDPerMWh is what a megawatt-hour earns in mining. One PH/s of e J/TH draws e kW.
func miningUSDPerMWh(hashprice, jPerTH, pue *big.Rat) *big.Rat {
	return quo(mul(hashprice, big.NewRat(1000, 1)), mul(big.NewRat(24, 1), jPerTH, pue))
}

// gpuUSDPerMWh is what a megawatt-hour earns in GPUs of systems of so many kW each.
func gpuUSDPerMWh(rate, utilisation, gpus, kw, pue *big.Rat) *big.Rat {
	return quo(mul(rate, utilisation, big.NewRat(1000, 1), gpus), mul(kw, pue))
}

// breakEvenUSD is the hashprice at which mining earns as much as a megawatt-hour at usdPerMWh.
func breakEvenUSD(usdPerMWh, jPerTH, pue *big.Rat) *big.Rat {
	return mul(usdPerMWh, big.NewRat(24, 1000), jPerTH, pue)
}

func mul(first *big.Rat, rest ...*big.Rat) *big.Rat {
	out := new(big.Rat).Set(first)
	for _, r := range rest {
		out.Mul(out, r)
	}
	return out
}

func quo(a, b *big.Rat) *big.Rat { return new(big.Rat).Quo(a, b) }

// roundPivot rounds to pivotScale.
func roundPivot(r *big.Rat) (market.Decimal, error) {
	d, err := market.ParseDecimal(r.FloatString(pivotScale))
	if err != nil {
		return market.Decimal{}, fmt.Errorf("round: %w", err)
	}
	return d.Trim(0), nil
}

// ratOf is a decimal as a fraction.
func ratOf(d market.Decimal) *big.Rat { return ratOfText(d.String()) }

// ratOfText is a decimal text as a fraction; the reference has checked its own.
func ratOfText(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return new(big.Rat)
	}
	return r
}
