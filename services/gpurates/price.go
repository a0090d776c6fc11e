package gpurates

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/govalues/decimal"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// priceScale is how many decimals of a price are kept. Marketplaces print floating-point quotients (0.30333333333333334), whose tail is noise:
// prices are rounded half to even here, before anything is computed from them that is published.
const priceScale = 8

// dollars reads the exact value of a number's text.
func dollars(field string, n json.Number) (*big.Rat, error) {
	if n == "" {
		return nil, feed.Missing(field)
	}
	// decimal.Parse bounds exponent and digits (it rounds beyond 19), which big.Rat does not.
	d, err := decimal.Parse(n.String())
	if err != nil || len(n) > 64 {
		return nil, &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s %.40q is not a price: %w", field, n.String(), err)}
	}
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		return nil, &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s %.40q is not a price", field, n.String())}
	}
	return r, nil
}

// roundPrice brings r to priceScale decimals, half to even.
func roundPrice(r *big.Rat) (market.Decimal, error) {
	num := new(big.Int).Mul(r.Num(), big.NewInt(1e8))
	quo, rem := new(big.Int).QuoRem(num, r.Denom(), new(big.Int))
	twice := rem.Abs(rem)
	twice.Lsh(twice, 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && quo.Bit(0) == 1 {
		quo.Add(quo, big.NewInt(int64(num.Sign())))
	}
	d, err := market.ParseDecimal(quo.String() + "e-" + strconv.Itoa(priceScale))
	if err != nil {
		return market.Decimal{}, fmt.Errorf("round price: %w", err)
	}
	return d.Trim(0), nil
}

// quote sets what an offer costs. raw is what the upstream quotes for all GPUs of the offer, in its own unit, of which a dollar has units (100
// for cents).
func quote(o *market.Offer, raw *big.Rat, units int64) error {
	gpus := new(big.Rat).SetUint64(uint64(o.GPUCount))
	return quoteGPU(o, raw, new(big.Rat).Quo(raw, gpus.Mul(gpus, new(big.Rat).SetInt64(units))))
}

// quoteGPU sets a quotation and the dollars per GPU-hour that follow from it.
func quoteGPU(o *market.Offer, raw, perGPU *big.Rat) error {
	var err1, err2 error
	o.RawPrice, err1 = roundPrice(raw)
	o.USDPerGPUHour, err2 = roundPrice(perGPU)
	if err := errors.Join(err1, err2); err != nil {
		return &feed.Malformed{Reason: market.ReasonPrecision, Err: err}
	}
	return nil
}
