package hashprice

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// mixed is the price that the hashprice is computed with.
type mixed struct {
	usd    market.Decimal
	source string        // the one source, or "median(a,b)"
	age    time.Duration // of the oldest price in it
}

// btcusdScale is what is stored of a price; the mean of two prices has one more decimal than they.
const btcusdScale = 8

// mix is the median of the venues' prices that are not older than MaxPriceAge; of an even number it is the mean of the two in the middle.
// Each price goes into inputs with its age, used or not.
func mix(prices map[string]*market.BTCPrice, cfg CalculatorConfig, now time.Time, inputs map[string]string) (mixed, error) {
	var (
		used []*market.BTCPrice
		m    mixed
		old  []string
	)
	for _, source := range slices.Sorted(maps.Keys(prices)) {
		p := prices[source]
		age := max(now.Sub(p.EventTime), 0)
		if age > cfg.MaxPriceAge {
			inputs[source+".left_out_age_ms"] = strconv.FormatInt(age.Milliseconds(), 10)
			old = append(old, source+" "+age.Round(time.Second).String())
			continue
		}
		inputs[source+".usd"] = p.PriceUSD.String()
		inputs[source+".age_ms"] = strconv.FormatInt(age.Milliseconds(), 10)
		used = append(used, p)
		m.age = max(m.age, age)
	}
	switch len(used) {
	case 0:
		return mixed{}, fmt.Errorf("every price is older than calculator.max_price_age (%s): %s", cfg.MaxPriceAge, strings.Join(old, ", "))
	case 1:
		m.usd, m.source = used[0].PriceUSD, used[0].Source
		return m, nil
	}
	names := make([]string, len(used))
	for i, p := range used {
		names[i] = p.Source
	}
	m.source = "median(" + strings.Join(names, ",") + ")"
	slices.SortStableFunc(used, func(a, b *market.BTCPrice) int { return a.PriceUSD.Cmp(b.PriceUSD) })
	low, high := rat(used[0].PriceUSD), rat(used[len(used)-1].PriceUSD)
	// With two there is no telling who lies; with more the median does not care.
	if len(used) == 2 && cfg.MaxSpreadPercent > 0 {
		spread := new(big.Rat).Quo(new(big.Rat).Sub(high, low), low)
		if spread.Cmp(new(big.Rat).SetFloat64(cfg.MaxSpreadPercent/100)) > 0 {
			return mixed{}, fmt.Errorf("%s at %s and %s at %s differ by more than calculator.max_spread_percent (%v): one of them is wrong",
				used[0].Source, used[0].PriceUSD, used[1].Source, used[1].PriceUSD, cfg.MaxSpreadPercent)
		}
	}
	a, b := used[(len(used)-1)/2], used[len(used)/2]
	usd, err := round(new(big.Rat).Quo(new(big.Rat).Add(rat(a.PriceUSD), rat(b.PriceUSD)), ratInt(2)), btcusdScale)
	if err != nil {
		return mixed{}, errors.Join(errors.New("mean of two prices"), err)
	}
	m.usd = usd.Trim(0)
	return m, nil
}
