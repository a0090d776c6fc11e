package gpurates

import (
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// weightUnit: weights are millionths of a GPU, so that capping stays in whole numbers.
const weightUnit = 1_000_000

type weighed struct {
	price  market.Decimal
	weight int64
	id     string
}

// weights are prices with weights, in order of price and id.
type weights []weighed

func (w weights) sort() {
	slices.SortFunc(w, func(a, b weighed) int {
		if c := a.price.Cmp(b.price); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
}

func (w weights) sum() int64 {
	var s int64
	for _, x := range w {
		s += x.weight
	}
	return s
}

// trim cuts a share of the weight, 1/divisor, from each end; what stands across the edge keeps what is inside.
func (w weights) trim(divisor int64) {
	cut := w.sum() / divisor
	for left, i := cut, 0; left > 0; i++ {
		x := min(left, w[i].weight)
		w[i].weight -= x
		left -= x
	}
	for left, i := cut, len(w)-1; left > 0; i-- {
		x := min(left, w[i].weight)
		w[i].weight -= x
		left -= x
	}
}

// quantile is the lowest price at which the cumulated weight reaches its share, num/den; where it reaches it exactly, the mean with the next
// price, as in the plain median of an even number.
func (w weights) quantile(num, den int64) (market.Decimal, error) {
	want := w.sum() * num
	var cum int64
	for i, x := range w {
		if x.weight == 0 {
			continue
		}
		cum += x.weight
		if cum*den > want {
			return x.price, nil
		}
		if cum*den == want {
			for _, y := range w[i+1:] {
				if y.weight > 0 {
					return mean(x.price, y.price)
				}
			}
			return x.price, nil
		}
	}
	return w[len(w)-1].price, nil
}

// byHost weighs offers by their GPUs. A host counts for at most a fifth of the GPUs: one data centre with one price must not be the market.
// But for no less than eight, a whole machine.
func byHost(offers []*market.Offer) (w weights, gpus, hosts int64) {
	const (
		hostShareDivisor = 5
		hostFloorGPUs    = 8
	)
	of := map[string]int64{}
	for _, o := range offers {
		of[host(o)] += int64(o.GPUCount)
		gpus += int64(o.GPUCount)
	}
	most := max((gpus+hostShareDivisor-1)/hostShareDivisor, hostFloorGPUs)
	for _, o := range offers {
		x := int64(o.GPUCount) * weightUnit
		if h := of[host(o)]; h > most {
			x = x / h * most
		}
		w = append(w, weighed{o.USDPerGPUHour, x, o.OfferID})
	}
	w.sort()
	return w, gpus, int64(len(of))
}

// host names who offers; an offer without a host stands for itself.
func host(o *market.Offer) string {
	if o.HostID == "" {
		return "offer " + o.OfferID
	}
	return o.HostID
}

// mean of two prices at published precision, half to even.
func mean(a, b market.Decimal) (market.Decimal, error) {
	s, err := a.Add(b)
	if err != nil {
		return market.Decimal{}, err
	}
	m, err := s.Quo(market.MustDecimal("2"))
	if err != nil {
		return market.Decimal{}, err
	}
	return m.Round(priceScale).Trim(0), nil
}

// inSample tells whether an offer may be in an index: one that its provider vouches for and that can be rented now.
func inSample(o *market.Offer) bool {
	return o.Verified && o.Rentable && o.GPUCount > 0 && o.GPUCount < 1<<16
}
